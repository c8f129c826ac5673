"""Tracks of saved cubes, read back by readers written from the formats, and compared with what was delivered."""

import csv
import json
import logging
from datetime import UTC, datetime
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from openhsi_shared.buffers.times import Anchor
from openhsi_shared.channels.gps_fields import FIELDS
from openhsi_shared.channels.tracks.exporting import export_track
from openhsi_shared.cli import main
from openhsi_shared.columns import COLUMNS
from openhsi_shared.errors import ArgumentError, SaveError
from openhsi_shared.files import CubeWriter
from openhsi_shared.writer.cube_channels import CubeChannels
from tests.support.channels import BEGIN, MS, S, deliver, every, kind_of, properties, seconds_of
from tests.support.cubes import make_cube

N, STEP, AHEAD = 50, 2 * MS, 3250 * MS
GPS_MINUS_UTC = 18
EPOCH = datetime(1980, 1, 6, tzinfo=UTC).timestamp()


def pose(time_ns):
    """Latitude, longitude, altitude, roll, pitch, heading, course at a time by the clock of the lines."""
    s = seconds_of(time_ns)
    return -33.0 + 1e-5 * s, 151.0 + 2e-5 * s, 100.0 + s, 2.0 + 0.1 * s, -1.0, 359.0 + 0.5 * s, 90.0


def fix(time_ns, with_attitude=True):
    latitude, longitude, altitude, roll, pitch, heading, course = pose(time_ns)
    attitude = [heading % 360, roll, pitch] if with_attitude else [np.nan] * 3
    return [latitude, longitude, altitude, 20.0, course, *attitude, 4.0, 12.0, 0.8, 3.0]


def lines_of(number):
    return BEGIN + 10 * S + number * N * STEP + np.arange(N) * STEP


def flight(directory, n_cubes=3, *, with_attitude=True, run="one flight", has_gps=True):
    """Cubes of 0.1 s; a GPS whose clock is 3.25 s ahead, 10 times a second; of each cube two frames were lost."""
    kind = kind_of(properties("gps", list(FIELDS), clock="fit"), properties("lamp"))
    object.__setattr__(kind.memory, "anchor", Anchor(BEGIN, 0))
    channels = CubeChannels(kind)
    end = lines_of(n_cubes)[0] + S
    if has_gps:
        deliver(
            kind.memory, "gps", every(100, BEGIN, end), ahead_ns=AHEAD, lag_ns=1,
            function=lambda t: fix(t, with_attitude),
        )  # fmt: skip
    deliver(kind.memory, "lamp", every(50, BEGIN, end))
    directory.mkdir(parents=True, exist_ok=True)
    with CubeWriter(N, (5, 7), np.uint16) as writer:
        for number in range(n_cubes):
            times = lines_of(number)
            ids = 1000 + number * (N + 2) + np.arange(N) + 2 * (np.arange(N) >= 20)
            found = channels.of_cube(number, times, Anchor(BEGIN, 0), 1.0)
            cube = make_cube(
                N,
                columns={"time_ns": times, "frame_id": ids, **found.columns},
                column_descriptions=(*COLUMNS, *found.descriptions),
                groups=found.groups,
                attributes={"run_id": run, "clock_anchor_wall_ns": BEGIN, "clock_anchor_monotonic_ns": 0},
            )
            channels.note_saved(number, writer.write(cube, [directory], picture=False).path)
    return directory


@pytest.fixture(scope="module")
def flown(tmp_path_factory):
    return flight(tmp_path_factory.mktemp("flight"))


def true_seconds(time_ns):
    """GPS seconds of a time by the clock of the lines."""
    return (time_ns + AHEAD) / 1e9 - EPOCH + GPS_MINUS_UTC


def test_lcf_and_times_are_in_the_same_gps_seconds_and_begin_before_the_lines(flown, tmp_path):
    written = export_track(flown, "lcf", tmp_path)
    assert [path.suffix for path in written] == [".lcf", ".times"] * 3
    for number, (lcf, times) in enumerate(zip(written[::2], written[1::2], strict=True)):
        assert lcf.parent == times.parent == tmp_path / "2023_11_14"
        rows, lines = np.loadtxt(lcf), np.loadtxt(times)
        assert lines == pytest.approx(true_seconds(lines_of(number)), abs=1e-3)
        assert rows[0, 0] <= lines[0] < lines[-1] <= rows[-1, 0]
        at = (rows[:, 0] - GPS_MINUS_UTC + EPOCH) * 1e9 - AHEAD
        latitude, longitude, altitude, roll, pitch, heading, _ = pose(at)
        assert rows[:, 1] == pytest.approx(np.radians(roll), abs=1e-5)
        assert rows[:, 2] == pytest.approx(np.radians(np.full(len(at), pitch)))
        assert np.cos(rows[:, 3]) == pytest.approx(np.cos(np.radians(heading)), abs=1e-4)
        assert rows[:, 4] == pytest.approx(longitude, abs=1e-7)
        assert rows[:, 5] == pytest.approx(latitude, abs=1e-7)
        assert rows[:, 6] == pytest.approx(altitude, abs=1e-2)


def test_csv_has_a_row_for_each_line_and_lost_frames_are_missing_numbers(flown, tmp_path):
    written = export_track(flown, "csv", tmp_path)
    with written[1].open() as file:
        rows = list(csv.DictReader(file))
    ids = [int(row["frame_id"]) for row in rows]
    assert (len(rows), ids[0], ids[19:21], ids[-1]) == (N, 1052, [1071, 1074], 1103)
    seconds = np.array([float(row["gps_seconds"]) for row in rows])
    assert seconds == pytest.approx(true_seconds(lines_of(1)), abs=1e-3)
    first = datetime.fromisoformat(rows[0]["utc"][:26] + "+00:00")
    assert first.timestamp() - EPOCH + GPS_MINUS_UTC == pytest.approx(seconds[0], abs=1e-5)
    assert float(rows[7]["gps_latitude"]) == pytest.approx(pose(lines_of(1)[7])[0], abs=1e-7)
    assert {row["gps_state"] for row in rows} == {"good"}
    assert {"lamp", "lamp_age", "lamp_state"} <= rows[0].keys()


def test_headwall_has_one_track_and_one_index_of_frames_for_a_recording(flown, tmp_path):
    imu, index = export_track(flown, "headwall", tmp_path)
    assert (imu.relative_to(tmp_path).as_posix(), index.name) == ("2023_11_14/imu_gps.txt", "frameIndex_1000.txt")
    with imu.open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert list(rows[0]) == [
        "Roll",
        "Pitch",
        "Yaw",
        "Lat",
        "Lon",
        "Alt",
        "Timestamp",
        "Gps_UTC_Date&Time",
        "Status",
        "Heading",
    ]
    for row in rows:
        utc = int(row["Timestamp"]) * 1000
        latitude, longitude, _, roll, _, heading, _ = pose(utc - AHEAD)
        assert [float(row[name]) for name in ("Lat", "Lon", "Roll")] == pytest.approx(
            [latitude, longitude, roll], abs=1e-3
        )
        assert (float(row["Yaw"]) - heading + 180) % 360 - 180 == pytest.approx(0, abs=1e-2)
        said = datetime.strptime(row["Gps_UTC_Date&Time"] + " +0000", "%Y/%b/%d %H:%M:%S.%f %z")
        assert round(said.timestamp() * 1e6) == int(row["Timestamp"])
    frames = np.loadtxt(index, skiprows=1, delimiter="\t")
    assert frames[:, 0].tolist() == [1000 + n * (N + 2) + i + 2 * (i >= 20) for n in range(3) for i in range(N)]
    all_lines = np.concatenate([lines_of(number) for number in range(3)])
    assert frames[:, 1] == pytest.approx((all_lines + AHEAD) / 1000, abs=1000)


def test_maps_get_a_line_for_each_cube_and_a_track_for_each_recording(flown, tmp_path):
    (geojson,) = export_track(flown, "geojson", tmp_path)
    features = json.loads(geojson.read_text())["features"]
    assert [feature["properties"]["lines"] for feature in features] == [N] * 3
    longitude, latitude = features[2]["geometry"]["coordinates"][5]
    assert (latitude, longitude) == pytest.approx(pose(lines_of(2)[5])[:2], abs=1e-7)
    (gpx,) = export_track(flown, "gpx", tmp_path)
    points = ElementTree.parse(gpx).findall(".//{*}trkpt")
    at_ns = np.datetime64(points[3].find("{*}time").text.rstrip("Z"), "ns").astype(int) - AHEAD
    assert float(points[3].attrib["lat"]) == pytest.approx(pose(at_ns)[0], abs=1e-7)


def test_without_attitude_a_format_that_needs_it_is_refused_unless_it_is_level(tmp_path, caplog):
    flown = flight(tmp_path / "flight", 1, with_attitude=False)
    with caplog.at_level(logging.WARNING, "openhsi_shared"):
        lcf, _ = export_track(flown, "lcf", tmp_path / "out", level=True)
    rows = np.loadtxt(lcf)
    assert np.array_equal(rows[:, 1:3], np.zeros((len(rows), 2)))
    assert rows[:, 3] == pytest.approx(np.full(len(rows), np.pi / 2))
    assert "roll and pitch are taken as 0" in caplog.text
    with pytest.raises(SaveError, match="nothing is overwritten"):
        export_track(flown, "lcf", tmp_path / "out", level=True)
    result = CliRunner().invoke(main, ["track", str(flown), "--to", "headwall", "--out", str(tmp_path / "out")])
    assert (result.exit_code, "needs altitude, roll, pitch and heading" in result.output) == (1, True)


def test_cubes_without_position_are_named_and_a_flight_without_any_is_an_error(tmp_path, caplog):
    flight(tmp_path / "both", 1)
    flight(tmp_path / "both" / "none", 1, run="another flight", has_gps=False)
    with caplog.at_level(logging.WARNING, "openhsi_shared"):
        assert len(export_track(tmp_path / "both", "csv", tmp_path / "out")) == 1
    assert "has no position: it is left out" in caplog.text
    with pytest.raises(ArgumentError, match="has a position: record one"):
        export_track(tmp_path / "both" / "none", "csv")
    with pytest.raises(ArgumentError, match=r"to must be one of csv.*did you mean csv"):
        export_track(tmp_path / "both", "cvs")


def test_leap_seconds_can_be_given(flown, tmp_path):
    usual = np.loadtxt(export_track(flown, "lcf", tmp_path / "usual")[1])
    other = np.loadtxt(export_track(flown, "lcf", tmp_path / "other", leap_seconds=19)[1])
    assert other - usual == pytest.approx(np.ones(N))
