"""Channels matched to saved cubes: no seam is left, and a log gives the same as a recording."""

import logging

import netCDF4
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from openhsi_shared import SharedReplayCamera, match_channels, open_cube, verify
from openhsi_shared.buffers.times import Anchor
from openhsi_shared.channels import SimulatedChannel
from openhsi_shared.channels.log import LogChannel
from openhsi_shared.channels.properties import Field
from openhsi_shared.cli import main
from openhsi_shared.columns import COLUMNS
from openhsi_shared.errors import ArgumentError, ChannelError, FileError, UnknownKeyword
from openhsi_shared.files import CubeWriter
from openhsi_shared.matching import State
from openhsi_shared.writer.cube_channels import CubeChannels
from tests.support.channels import BEGIN, MS, S, deliver, every, kind_of, properties, seconds_of
from tests.support.cubes import make_cube

N, STEP = 100, 2 * MS
AHEAD = 3250 * MS


def lines_of(number):
    return BEGIN + 30 * S + np.arange(number * N, (number + 1) * N) * STEP


def flight(directory, n_cubes=8):
    """Cubes of 0.2 s each, saved as soon as they are full; a GPS with a wrong clock speaks once a second, late."""
    fields = [Field("latitude", "degree_north", how="linear", standard_name="latitude"), "x"]
    kind = kind_of(
        properties("gps", fields, clock="fit", latency_s=0.02),
        properties("imu", clock="gps"),
        properties("pv", [Field("value", "degC", how="previous")]),
    )
    object.__setattr__(kind.memory, "anchor", Anchor(BEGIN, 0))
    channels = CubeChannels(kind)
    done = dict.fromkeys(kind.properties, 0)
    with CubeWriter(N, (5, 7), np.uint16) as writer:
        for number in range(n_cubes):
            times = lines_of(number)
            for name, period_ms, how in (
                ("gps", 1000, {"ahead_ns": AHEAD, "lag_ns": 20 * MS, "function": lambda t: [seconds_of(t), 7.0]}),
                ("imu", 10, {"ahead_ns": AHEAD, "lag_ns": 2 * MS}),
                ("pv", 70, {}),
            ):
                due = every(period_ms, BEGIN, times[-1] - how.get("lag_ns", 0))
                deliver(kind.memory, name, due[done[name] :], **how) if len(due) > done[name] else None
                done[name] = len(due)
            found = channels.of_cube(number, times, Anchor(BEGIN, 0), 1.0)
            cube = make_cube(
                N,
                columns={"time_ns": times, **found.columns},
                column_descriptions=(*COLUMNS, *found.descriptions),
                groups=found.groups,
                attributes={"run_id": "one flight", "clock_anchor_wall_ns": BEGIN, "clock_anchor_monotonic_ns": 0},
            )
            channels.note_saved(number, writer.write(cube, [directory], picture=False).path)
    return directory


@pytest.fixture(scope="module")
def flown(tmp_path_factory):
    return flight(tmp_path_factory.mktemp("flight"))


ALL = np.concatenate([lines_of(number) for number in range(8)])


def test_seams_are_closed_and_every_value_is_that_of_the_function(flown):
    dataset = match_channels(flown)
    assert (dataset.time.values.astype(np.int64) == ALL).all()
    assert dataset.cube.values.tolist() == np.repeat(np.arange(8), N).tolist()
    last_fix = BEGIN + 31 * S
    is_known = last_fix >= ALL
    assert np.abs(dataset.gps_latitude - seconds_of(ALL))[is_known].max() < 1e-3
    assert (dataset.gps_state == np.where(is_known, State.GOOD, State.EDGE)).all()
    assert (dataset.gps_x == 7)[is_known].all()
    assert np.abs(dataset.imu - seconds_of(ALL))[:-10].max() < 2e-2, "its least lag is not that of the GPS"
    assert not dataset.imu_state[:-10].any()
    assert (dataset.pv == seconds_of((ALL - BEGIN) // (70 * MS) * 70 * MS + BEGIN))[:-50].all()
    assert np.abs(dataset.clock_offset - 3.25).max() < 1e-3
    assert dataset.gps_latitude.attrs["standard_name"] == "latitude"


def test_in_the_files_themselves_there_are_seams_that_say_so(flown):
    for path in sorted(flown.rglob("*.nc"))[:4]:
        with open_cube(path) as cube:
            assert set(cube.column("gps_state")[1:]) == {State.EDGE}
            assert np.isnan(cube.column("gps_latitude")[1:]).all()
            assert np.abs(cube.column("clock_offset") - 3.25).max() < 1e-2


def test_one_cube_alone_gives_what_its_file_has(flown):
    path = sorted(flown.rglob("*.nc"))[6]
    dataset = match_channels(path)
    with open_cube(path) as cube:
        for name in ("pv", "pv_age", "imu"):
            assert np.allclose(dataset[name], cube.column(name), atol=1e-6, equal_nan=True)


def test_what_is_saved_lies_beside_the_cubes_and_is_no_cube(tmp_path):
    flight(tmp_path, 2)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.nc")}
    first = match_channels(tmp_path, save=True).attrs["saved"]
    again = match_channels(tmp_path, save=True, how="nearest").attrs["saved"]
    assert [path.rpartition("/")[2] for path in (first[0], again[0])] == [
        "2023_11_14-22_13_50_000000.channels.nc",
        "2023_11_14-22_13_50_000000.channels-1.nc",
    ]
    with xr.open_dataset(first[1]) as saved, netCDF4.Dataset(first[1]) as by_netcdf:
        assert (saved.time.values.astype(np.int64) == lines_of(1)).all()
        assert saved.attrs["source"] == "2023_11_14-22_13_50_200000.nc"
        assert by_netcdf["gps_state"].flag_values.dtype == np.int8
    assert all(path.read_bytes() == content for path, content in before.items())
    result = CliRunner().invoke(main, ["verify", str(tmp_path)])
    assert (result.exit_code, "2 of 2 cubes are intact" in result.output) == (0, True)


def test_properties_are_replaced_for_all_channels_or_for_one(flown):
    dataset = match_channels(flown, how="nearest", pv={"clock_offset_s": -1.0})
    nearest = np.minimum(np.rint(seconds_of(ALL)), 31.0)
    assert np.abs(dataset.gps_latitude.values - nearest).max() < 1e-3
    expected = seconds_of(np.rint((ALL + S - BEGIN) / (70 * MS)) * 70 * MS + BEGIN)
    assert (np.abs(dataset.pv - expected) < 1e-6)[:200].all()
    assert (match_channels(flown, pv={"max_age_s": 0.01}).pv_state == State.STALE).any()


def test_a_log_gives_the_same_as_the_recording(flown, tmp_path, caplog):
    times = every(1000, BEGIN + 20 * S, BEGIN + 40 * S)
    rows = [f"{np.datetime64(int(time_ns), 'ns')}Z,{seconds_of(time_ns)}" for time_ns in times]
    log = tmp_path / "my log.csv"
    log.write_text("\n".join(["time,height [m]", *rows]))
    dataset = match_channels(flown, log, how="linear")
    assert np.abs(dataset.my_log - seconds_of(ALL)).max() < 1e-6
    assert dataset.my_log.attrs["units"] == "m"
    shifted = match_channels(flown, {"height": f"log:{log},clock_offset_s=0.5,how=linear"})
    assert np.abs(shifted.height - (seconds_of(ALL) - 0.5)).max() < 1e-6
    assert caplog.text == "", "a log has no times of arrival that contradict its offset"
    log.write_text(log.read_text() + "\n9 o'clock,3\n")
    match_channels(flown, log)
    assert "1 rows or sentences have no valid time" in caplog.text
    of_gps = match_channels(flown, LogChannel("height", log, clock="gps", how="linear"))
    assert np.abs(of_gps.height - (seconds_of(ALL) + 3.25)).max() < 1e-2, "lines in the time of the GPS"
    cube = sorted(flown.rglob("*.nc"))[7]
    other = match_channels(flown, LogChannel("again", cube, group="pv"))
    assert np.isfinite(other.again[-100:]).all()


@pytest.mark.parametrize(
    ("arguments", "how", "error", "words"),
    [
        ((), {"hwo": "linear"}, UnknownKeyword, "no keyword 'hwo'.*how"),
        ((), {"pv": 3}, ArgumentError, "expected properties of this channel"),
        ((), {"pv": {"rate": 3}}, UnknownKeyword, "'rate' of channel 'pv' cannot be changed"),
        ((), {"how": "cubic", "tolerance_s": -1}, ArgumentError, "tolerance_s"),
        (({"a": "no/such/log.csv"},), {}, ChannelError, "there is no log .*no/such"),
        (("no/such/log.csv",), {}, ChannelError, "there is no log"),
        ((17,), {}, ArgumentError, "expected the path of a log"),
        (({},), {}, ArgumentError, "expected the path of a log"),
        ((SimulatedChannel("a"),), {}, ArgumentError, "only logs can be matched"),
    ],
)
def test_bad_input_is_one_clear_error(flown, arguments, how, error, words):
    with pytest.raises(error, match=words):
        match_channels(flown, *arguments, **how)


def test_a_log_of_another_day_is_refused_with_both_times(flown, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("time,a\n2020-01-01T00:00:00Z,1\n2020-01-01T00:00:01Z,2\n")
    with pytest.raises(ChannelError, match=r"2020-01-01T00:00:00.* the lines from 2023-11-14T22:13:50.*no overlap"):
        match_channels(flown, log)


def test_cubes_without_channels_or_no_cubes_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match="contains no cube"):
        match_channels(tmp_path)
    with pytest.raises(FileError, match="No such file"):
        match_channels(tmp_path / "gone.nc")
    with CubeWriter(6, (5, 7), np.uint16) as writer:
        writer.write(make_cube(), [tmp_path], picture=False)
    with pytest.raises(ArgumentError, match="no channel was recorded"):
        match_channels(tmp_path)


def test_the_command_says_how_many_lines_have_a_value(flown, caplog):
    caplog.set_level(logging.CRITICAL)
    result = CliRunner().invoke(main, ["match", str(flown), "--how", "linear"])
    assert result.exit_code == 0, result.output
    assert "8 cubes, 800 lines" in result.output
    assert "gps: 501 good, 299 edge" in result.output
    result = CliRunner().invoke(main, ["match", str(flown), "--channel", "a"])
    assert (result.exit_code, "expected NAME=LOG" in result.output) == (2, True)


def test_the_files_of_the_flight_are_well(flown):
    assert all(verify(path).ok for path in flown.rglob("*.nc"))


def test_a_replay_keeps_the_channels_of_its_lines_at_its_own_times(flown, tmp_path):
    with SharedReplayCamera(path=flown, n_lines=250, rate=None, channels={"own": "sim:clock"}) as camera:
        for _ in range(3):
            camera.collect()
            camera.save(tmp_path, savefig=False).result()
    paths = sorted(tmp_path.rglob("*.nc"))
    assert all(verify(path).problems == () for path in paths)
    recorded = match_channels(flown)
    for number, path in enumerate(paths):
        part = slice(250 * number, 250 * (number + 1))
        with open_cube(path) as cube:
            assert "channels_failed" not in cube.attributes
            assert (cube.camera_times_ns == ALL[part]).all()
            for name in ("gps_latitude", "gps_state", "imu", "pv", "pv_age"):
                assert np.array_equal(cube.column(name), recorded[name].values[part], equal_nan=True), name
            true_utc = cube.times_ns + cube.column("clock_offset") * 1e9
            assert np.abs(true_utc - ALL[part] - 3.25e9).max() < 1e6
            assert set(cube.channels) == {"gps", "imu", "pv", "own"}
            assert cube.channels["imu"].attributes["source"].startswith("replay of ")
    again = match_channels(paths[1])
    assert np.nanmax(np.abs(again.imu.values - recorded.imu.values[250:500])) < 0.05
