"""Logs of all kinds as channels: their columns, units and times, and what is wrong with them."""

from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import xarray as xr

from openhsi_shared.channels.addresses import channel_from_text
from openhsi_shared.channels.log import LogChannel
from openhsi_shared.errors import ArgumentError, ChannelError
from openhsi_shared.matching.states import State
from openhsi_shared.testing import ChannelContract
from tests.channels.heard import heard
from tests.support.helpers import is_installed, wait_for

DATA = Path(__file__).parents[1] / "data"
NOON = 1_777_636_800 * 10**9  # 2026-05-01T12:00:00Z


def log(directory: Path, text: str, name: str = "log.csv") -> Path:
    path = directory / name
    path.write_text(text)
    return path


class TestContract(ChannelContract):
    @pytest.fixture
    def channel(self, tmp_path: Path) -> LogChannel:
        return LogChannel("a", log(tmp_path, "time,a,b\n1777636800,1,2\n1777636801,1,2\n1777636802,1,2\n"))


def test_columns_of_a_csv_are_fields_with_units(tmp_path: Path) -> None:
    path = log(
        tmp_path,
        "# of a flight\nTime (UTC),Lamp Temp [deg C],lat,heading\n"
        "2026-05-01T12:00:00.25Z,40.5,-33.5,359\n2026-05-01T12:00:01.25,,-33.4,1\n",
    )
    channel = LogChannel("flight", path)
    assert [field.name for field in channel.fields] == ["Lamp_Temp", "latitude", "heading"]
    assert [field.unit for field in channel.fields] == ["degC", "degree_north", "degree"]
    assert [field.how for field in channel.fields] == ["previous", "linear", "linear"]
    samples = channel.read()
    assert (samples.time_ns - NOON).tolist() == [250_000_000, 1_250_000_000]
    assert samples.values[0].tolist() == [40.5, -33.5, 359.0]
    assert np.isnan(samples.values[1, 0])


def test_one_column_is_a_single_value_and_columns_choose_and_rename(tmp_path: Path) -> None:
    path = log(tmp_path, "timestamp,temp (K),lamp\n1777636800.5,300,1\n1777636801.5,301,0\n")
    channel = channel_from_text(f"log:{path},columns=temp (K)", "body")
    assert channel.properties.variables[0] == "body"
    assert channel.fields[0].unit == "K"
    assert channel.read().values.tolist() == [[300.0], [301.0]]
    both = LogChannel("both", path, columns={"a": "lamp", "b": "temp (K)"})
    assert [field.name for field in both.fields] == ["a", "b"]
    assert LogChannel("body", path, columns=["temp (K)"], unit="degC", how="linear").fields[0].how == "linear"


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ("seconds", "1777636800.000001"),
        ("milliseconds", "1777636800000"),
        ("microseconds", "1777636800000001"),
        ("nanoseconds", "1777636800000001234"),
    ],
)
def test_the_size_of_numbers_tells_their_unit(tmp_path: Path, time: str, text: str) -> None:
    [stamp] = LogChannel("a", log(tmp_path, f"time,a\n{text},1\n")).read().time_ns.tolist()
    expected = {"seconds": 1000, "milliseconds": 0, "microseconds": 1000, "nanoseconds": 1234}[time]
    assert stamp - NOON == pytest.approx(expected, abs=200 if time == "seconds" else 0)


def test_a_date_in_a_column_of_its_own_belongs_to_the_time(tmp_path: Path) -> None:
    path = log(tmp_path, "date;time;a\n2026-05-01;12:00:00,5;1,5\n")
    samples = LogChannel("a", path).read()
    assert (samples.time_ns - NOON).tolist() == [500_000_000]
    assert samples.values.tolist() == [[1.5]]


def test_rows_without_a_time_are_refused_and_counted(tmp_path: Path) -> None:
    path = log(tmp_path, "time,a\n2026-05-01T12:00:00,1\n,2\nnever,3\n2026-05-01T12:00:01,4\n")
    samples = LogChannel("a", path).read()
    assert samples.values.tolist() == [[1.0], [4.0]]
    assert samples.counts.refused == 2


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", ChannelError, "is no CSV"),
        ("1,2\n3,4\n", ChannelError, "names of its columns"),
        ("a,b\n3,4\n", ArgumentError, "name it by time="),
        ("time,b\n3.5,4\n", ChannelError, "since 1970"),
        ("time,b\nnoon,4\n", ChannelError, "ISO 8601"),
        ("time\n1777636800\n", ChannelError, "no columns of numbers"),
    ],
)
def test_what_is_wrong_with_a_csv_is_named(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    path = log(tmp_path, text)
    with pytest.raises(error, match=message) as caught:
        LogChannel("a", path)
    assert str(path) in str(caught.value)


def test_times_that_ns_cannot_express_are_refused_and_counted_and_never_other_times(tmp_path: Path) -> None:
    """A receiver without a fix says year 1; a row of a log may be damaged."""
    path = log(tmp_path, "time,a\n0001-01-01T00:00:00Z,1\n2026-05-01T12:00:00Z,2\n9999-01-01T00:00:00Z,3\n")
    samples = LogChannel("a", path).read()
    assert (samples.time_ns.tolist(), samples.values.tolist(), samples.counts.refused) == ([NOON], [[2.0]], 2)
    path = log(tmp_path, "time,a\n1777636800,1\n1777636801,2\n1777636800000000000,3\n1777636802,4\n")
    samples = LogChannel("a", path).read()
    assert samples.values[:, 0].tolist() == [1.0, 2.0, 4.0]
    assert (samples.time_ns[0], samples.counts.refused) == (NOON, 1)


def test_times_in_single_precision_are_refused(tmp_path: Path) -> None:
    seconds = np.array([1_777_636_800, 1_777_636_801], np.float32)  # the same number
    xr.Dataset({"a": ("t", [1.0, 2.0]), "unix_time": ("t", seconds)}).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(ChannelError, match="is float32, whose steps are minutes"):
        LogChannel("a", tmp_path / "a.nc", time="unix_time")


def test_rows_that_end_with_a_separator_are_read_as_the_names_say_and_longer_ones_are_refused(tmp_path: Path) -> None:
    path = log(tmp_path, "time,unix_time,a\n2026-05-01T12:00:00Z,1777640400,5,\n2026-05-01T12:00:01Z,1777640401,6,\n")
    samples = LogChannel("a", path, columns=["a"]).read()
    assert (samples.time_ns[0], samples.values[:, 0].tolist()) == (NOON, [5.0, 6.0])
    with pytest.raises(ChannelError, match="more columns than its first line has names"):
        LogChannel("a", log(tmp_path, "unix_time,a\n1,1777640400,5\n2,1777640401,6\n"))


def test_a_log_that_does_not_exist_is_one_error_when_the_channel_is_made(tmp_path: Path) -> None:
    with pytest.raises(ChannelError, match="there is no log"):
        channel_from_text(f"log:{tmp_path}/nothing.csv", "a")
    with pytest.raises(ArgumentError, match="has no column 'c'"):
        LogChannel("a", log(tmp_path, "time,b\n1777636800,4\n"), columns=["c"])
    with pytest.raises(ArgumentError, match="choose them by columns="):
        LogChannel("a", log(tmp_path, "time,b\n1777636800,4\n"), fields=["b"])
    with pytest.raises(ArgumentError, match="is text"):
        LogChannel("a", log(tmp_path, "time,b\n1777636800,warm\n"), columns=["b"])


def test_netcdf_has_units_and_flags(tmp_path: Path) -> None:
    times = np.array([NOON, NOON + 10**9], "datetime64[ns]")
    data = xr.Dataset(
        {
            "temp": ("time", [20.0, 21.0], {"units": "degC"}),
            "lamp": ("time", [0.0, 1.0], {"flag_values": [0.0, 1.0], "flag_meanings": "off on"}),
            "image": (("time", "x"), np.zeros((2, 3))),
        },
        {"time": times},
    )
    path = tmp_path / "log.nc"
    data.to_netcdf(path)
    channel = LogChannel("house", path)
    assert [(field.name, field.unit, field.flags) for field in channel.fields] == [
        ("temp", "degC", ()),
        ("lamp", None, ("off", "on")),
    ]
    samples = channel.read()
    assert samples.time_ns.tolist() == times.astype(np.int64).tolist()
    assert samples.values.tolist() == [[20.0, 0.0], [21.0, 1.0]]


def test_the_raw_series_in_a_file_of_this_library_keeps_arrival_id_and_quality(tmp_path: Path) -> None:
    path = tmp_path / "cube.nc"
    xr.Dataset({"datacube": (("y", "x"), np.zeros((2, 2)))}).to_netcdf(path)
    for n, name in enumerate(("gps", "temp")):
        stamps = np.array([NOON + n, NOON + 10**9], "datetime64[ns]")
        variables = {
            "time": ("sample", stamps),
            "arrival": ("sample", stamps + np.timedelta64(80, "ms")),
            "id": ("sample", [7, 8]),
            "quality": ("sample", [0, 3]),
            "value": ("sample", [1.0, 2.0], {"units": "degC", "how": "linear", "kind": "number"}),
        }
        xr.Dataset(variables).to_netcdf(path, mode="a", group=f"channels/{name}")
    channel = LogChannel("temp", path)
    assert (channel.fields[0].name, channel.fields[0].unit, channel.fields[0].how) == ("value", "degC", "linear")
    samples = channel.read()
    assert samples.time_ns[0] == NOON + 1
    assert (samples.arrival_ns - samples.time_ns).tolist() == [80_000_000] * 2
    assert (samples.id.tolist(), samples.quality.tolist()) == ([7, 8], [0, 3])
    assert LogChannel("other", path, group="gps").read().time_ns[0] == NOON
    with pytest.raises(ArgumentError, match="give group="):
        LogChannel("other", path)


def test_a_sample_without_a_stamp_in_a_file_of_this_library_has_its_arrival(tmp_path: Path) -> None:
    path = tmp_path / "cube.nc"
    stamps = np.array(["NaT", NOON], "datetime64[ns]")
    arrivals = np.array([NOON + 5, NOON + 6], "datetime64[ns]")
    variables = {"time": ("sample", stamps), "arrival": ("sample", arrivals), "value": ("sample", [1.0, 2.0])}
    xr.Dataset(variables).to_netcdf(path, group="channels/a")
    assert LogChannel("a", path).read().time_ns.tolist() == [NOON + 5, NOON]


@pytest.mark.skipif(not is_installed("pynmea2"), reason="pynmea2 is missing: pip install 'openhsi_shared[gps]'")
def test_a_raw_nmea_log_is_a_gps() -> None:
    samples = (channel := LogChannel("gps", DATA / "ublox_m9n.nmea")).read()
    assert len(samples) == 10
    names = [field.name for field in channel.fields]
    assert samples.values[0, names.index("latitude")] == pytest.approx(38.110494)
    assert channel.fields[names.index("altitude")].standard_name == "height_above_reference_ellipsoid"
    assert samples.description["altitude_above"] == "ellipsoid"
    no_date = DATA / "gps_logs.LICENSE"
    with pytest.raises(ChannelError):
        LogChannel("gps", no_date)


def test_an_open_log_delivers_all_of_it_and_has_ended(tmp_path: Path) -> None:
    rows = "".join(f"{1_777_636_800 + k},{k}\n" for k in range(3000))
    channel = LogChannel("a", log(tmp_path, "time,a\n" + rows))
    with heard(cloudpickle.loads(cloudpickle.dumps(channel))) as found:
        found.wait_for_state(State.ENDED)
        wait_for(lambda: len(found.samples) == 3000)
        assert found.samples.values[:, 0].tolist() == list(range(3000))
    log(tmp_path, "time,a,b\n1777636800,1,2\n")
    with pytest.raises(ChannelError, match="other columns now"):
        channel.read()
