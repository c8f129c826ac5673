"""Saved cubes, of this library and of openhsi, as a camera."""

import logging
import math
import uuid

import numpy as np
import pytest

from openhsi_shared.dataset import Cube
from openhsi_shared.drivers import FrameStatus
from openhsi_shared.drivers.replay import ReplayDriver
from openhsi_shared.drivers.saved_lines import BLOCK_BYTES
from openhsi_shared.errors import ArgumentError, CameraError, FileError, FrameTimeout, SourceEnded
from openhsi_shared.files import CubeWriter
from openhsi_shared.settings import CameraSettings
from openhsi_shared.testing import CameraContract

SHAPE = (6, 8)
MORNING_NS = 1_700_000_000_000_000_000
PERIOD_NS = 1_000_000


def lines_from(first, n, shape=SHAPE, dtype=np.uint16):
    """Lines that differ everywhere: line k holds k, k + 1, ..."""
    return (np.arange(first, first + n)[:, None, None] + np.arange(math.prod(shape)).reshape(shape)).astype(dtype)


def save_cube(folder, lines, *, begin_ns=MORNING_NS, times_ns=None, ids=None, run_id="run", **attributes):
    n = len(lines)
    times_ns = begin_ns + PERIOD_NS * np.arange(n) if times_ns is None else np.asarray(times_ns)
    columns = {
        "time_ns": times_ns.astype(np.int64),
        "frame_id": np.arange(n) if ids is None else np.asarray(ids, np.int64),
        "temperature": np.linspace(20, 30, n, dtype=np.float32),
    }
    cube = Cube(
        memory=lines,
        n_lines=n,
        columns=columns,
        uuid=str(uuid.uuid4()),
        attributes={"run_id": run_id, "exposure_ms": 7.5} | attributes,
    )
    folder.mkdir(exist_ok=True)
    with CubeWriter(n, lines.shape[1:], lines.dtype) as writer:
        return writer.write(cube, [folder], picture=False).path


def save_cube_of_openhsi(path, lines, times_ns=None):
    """As openhsi 0.4 writes it (old_style): time on a dimension of its own, and neither frame ids nor checksums."""
    import netCDF4

    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("x", lines.shape[1]), ("y", len(lines)), ("wavelength", lines.shape[2])):
            file.createDimension(name, size)
            file.createVariable(name, "i8", (name,))[:] = np.arange(size)
        if times_ns is not None:
            file.createDimension("time", len(lines))
            time = file.createVariable("time", "i8", ("time",))
            time.units, time.calendar = "nanoseconds since 2023-11-14T22:13:20", "proleptic_gregorian"
            time[:] = np.asarray(times_ns) - MORNING_NS
        file.createVariable("datacube", lines.dtype, ("x", "y", "wavelength"))[:] = lines.transpose(1, 0, 2)
    return path


@pytest.fixture
def replayed():
    """Replay a path; all drivers are closed in the end."""
    drivers = []

    def replay(path, rate=None, **options):
        drivers.append(ReplayDriver(CameraSettings(), path=path, rate=rate, **options))
        drivers[-1].open()
        drivers[-1].start()
        return drivers[-1]

    yield replay
    for driver in drivers:
        driver.close()


def read(driver, n):
    frames = np.zeros((n, *driver.frame_shape), driver.frame_dtype)
    return frames, [driver.read_into(frame, 5.0) for frame in frames]


def ids_of(stamps):
    return [stamp.frame_id for stamp in stamps]


class TestReplayOfACube(CameraContract):
    @pytest.fixture
    def driver(self, tmp_path):
        path = save_cube(tmp_path, lines_from(0, 60))
        return ReplayDriver(CameraSettings(), path=path)


class TestReplayOfAFolderWithoutEnd(CameraContract):
    @pytest.fixture
    def driver(self, tmp_path):
        for number in range(3):
            save_cube(tmp_path, lines_from(0, 4), begin_ns=MORNING_NS + number * 10**9, run_id=f"run {number}")
        return ReplayDriver(CameraSettings(), path=tmp_path, rate=None, loop=True)


# ---- what comes out is what was saved ----


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_pixel_id_and_time_is_the_saved_one(replayed, tmp_path, dtype):
    lines = lines_from(0, 20, dtype=dtype)
    ids = np.arange(20) + 1000
    ids[7:] += 3  # three frames were lost
    driver = replayed(save_cube(tmp_path, lines, ids=ids))
    assert (driver.frame_shape, driver.frame_dtype) == (SHAPE, np.dtype(dtype))
    frames, stamps = read(driver, 20)
    assert np.array_equal(frames, lines)
    assert ids_of(stamps) == ids.tolist()
    assert [stamp.camera_ns for stamp in stamps] == [MORNING_NS + PERIOD_NS * k for k in range(20)]


def test_a_cube_of_openhsi_is_replayed_with_counted_ids(replayed, tmp_path):
    lines, times = lines_from(0, 9), MORNING_NS + PERIOD_NS * np.arange(9)
    driver = replayed(save_cube_of_openhsi(tmp_path / "upstream.nc", lines, times))
    frames, stamps = read(driver, 9)
    assert np.array_equal(frames, lines)
    assert ids_of(stamps) == list(range(9))
    assert [stamp.camera_ns for stamp in stamps] == times.tolist()
    assert math.isnan(driver.temperature_celsius())


def test_a_cube_larger_than_what_is_read_at_once_arrives_whole(replayed, tmp_path):
    shape = (512, 512)
    n = 2 * BLOCK_BYTES // (512 * 512 * 2) + 3
    lines = lines_from(0, n, shape)
    frames, _ = read(replayed(save_cube(tmp_path, lines)), n)
    assert np.array_equal(frames, lines)


def test_behind_the_last_line_the_source_has_ended_until_it_is_opened_again(replayed, tmp_path):
    driver = replayed(save_cube(tmp_path, lines_from(0, 3)))
    read(driver, 3)
    for _ in range(2):
        with pytest.raises(SourceEnded, match=r"all lines of .*\.nc were replayed; loop=True restarts it"):
            read(driver, 1)
    driver.close()
    driver.open()
    driver.start()
    assert ids_of(read(driver, 3)[1]) == [0, 1, 2]


def test_a_stopped_replay_goes_on_with_the_next_line(replayed, tmp_path):
    driver = replayed(save_cube(tmp_path, lines_from(0, 6)))
    read(driver, 2)
    driver.stop()
    driver.start()
    assert ids_of(read(driver, 4)[1]) == [2, 3, 4, 5]


def test_the_temperature_is_that_of_the_line(replayed, tmp_path):
    driver = replayed(save_cube(tmp_path, lines_from(0, 11)))
    assert math.isnan(driver.temperature_celsius())
    read(driver, 6)
    assert driver.temperature_celsius() == 25.0


def test_the_exposure_is_that_of_the_recording(replayed, tmp_path):
    assert replayed(save_cube(tmp_path, lines_from(0, 2))).set_exposure(1.0) == 7.5


def test_a_damaged_line_is_an_incomplete_frame_and_the_others_are_good(replayed, tmp_path, caplog):
    lines = lines_from(0, 8, (64, 64))
    path = save_cube(tmp_path, lines)
    data = bytearray(path.read_bytes())
    data[data.index(lines[3].tobytes()) + 5] ^= 1
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        frames, stamps = read(replayed(path), 8)
    assert [stamp.frame_id for stamp in stamps if stamp.status is FrameStatus.INCOMPLETE] == [3]
    assert np.array_equal(np.delete(frames, 3, 0), np.delete(lines, 3, 0))
    assert "a line is replayed as an incomplete frame" in caplog.text


# ---- folders ----


def test_a_folder_is_replayed_in_the_order_of_its_times_as_one_stream(replayed, tmp_path):
    save_cube(tmp_path / "b", lines_from(0, 4), ids=range(4), prefix="x")
    save_cube(tmp_path / "a", lines_from(4, 4), begin_ns=MORNING_NS + 10**9, ids=range(6, 10))
    (tmp_path / ".half.nc").write_bytes(b"")
    frames, stamps = read(replayed(tmp_path), 8)
    assert np.array_equal(frames, lines_from(0, 8))
    assert ids_of(stamps) == [0, 1, 2, 3, 6, 7, 8, 9]  # two were lost between the cubes of one recording


def test_ids_of_another_recording_go_on_where_those_of_the_last_ended(replayed, tmp_path):
    save_cube(tmp_path, lines_from(0, 3), ids=[5, 6, 8], run_id="morning")
    save_cube(tmp_path, lines_from(3, 3), ids=[90, 91, 92], run_id="noon", begin_ns=MORNING_NS + 10**12)
    save_cube(tmp_path, lines_from(6, 2), ids=[94, 95], run_id="noon", begin_ns=MORNING_NS + 10**13)
    save_cube_of_openhsi(tmp_path / "late.nc", lines_from(8, 2), MORNING_NS + 10**14 + PERIOD_NS * np.arange(2))
    _, stamps = read(replayed(tmp_path), 10)
    assert ids_of(stamps) == [5, 6, 8, 9, 10, 11, 13, 14, 15, 16]


def test_a_cube_that_lies_there_twice_is_replayed_twice_under_new_ids(replayed, tmp_path, caplog):
    path = save_cube(tmp_path, lines_from(0, 3))
    (tmp_path / "copy_of_it.nc").write_bytes(path.read_bytes())
    assert ids_of(read(replayed(tmp_path), 6)[1]) == list(range(6))
    assert "contains the same cube as" in caplog.text


def test_a_loop_has_no_end_and_its_ids_and_times_go_on(replayed, tmp_path):
    path = save_cube(tmp_path, lines_from(0, 4), ids=[10, 11, 12, 13])
    frames, stamps = read(replayed(path, loop=True), 10)
    assert np.array_equal(frames, lines_from(0, 4)[np.arange(10) % 4])
    assert ids_of(stamps) == list(range(10, 20))
    assert [stamp.camera_ns for stamp in stamps] == [MORNING_NS + PERIOD_NS * k for k in range(10)]


# ---- pace ----


def times_of(stamps):
    return np.array([stamp.monotonic_ns for stamp in stamps])


def test_the_recorded_pace_is_kept_to_the_nanosecond_on_the_whole(replayed, tmp_path):
    times_ns = MORNING_NS + np.cumsum([0, 2, 1, 7, 3]) * 1_000_000
    _, stamps = read(replayed(save_cube(tmp_path, lines_from(0, 5), times_ns=times_ns), "recorded"), 5)
    assert np.diff(times_of(stamps)).tolist() == np.diff(times_ns).tolist()


def test_a_rate_in_lines_a_second_is_kept(replayed, tmp_path):
    _, stamps = read(replayed(save_cube(tmp_path, lines_from(0, 5)), rate=500), 5)
    assert np.diff(times_of(stamps)).tolist() == [2_000_000] * 4


def test_a_second_start_does_not_change_the_pace(replayed, tmp_path):
    driver = replayed(save_cube(tmp_path, lines_from(0, 2)), rate=500)
    _, first = read(driver, 1)
    driver.start()
    _, second = read(driver, 1)
    assert np.diff(times_of(first + second)).tolist() == [2_000_000]


def test_as_fast_as_asked_has_no_time_of_its_own(replayed, tmp_path):
    _, stamps = read(replayed(save_cube(tmp_path, lines_from(0, 5))), 5)
    assert {stamp.monotonic_ns for stamp in stamps} == {None}


def test_a_line_that_is_due_later_times_out_and_comes_when_it_is_due(replayed, tmp_path):
    times_ns = MORNING_NS + np.array([0, 2000]) * 1_000_000
    driver = replayed(save_cube(tmp_path, lines_from(0, 2), times_ns=times_ns), "recorded")
    _, (first,) = read(driver, 1)
    for timeout_s in (0.01, 0.0, -1.0):
        with pytest.raises(FrameTimeout, match=r"no line of .* within .* s: the next one is due in [01]\.\d+ s"):
            driver.read_into(np.empty(SHAPE, np.uint16), timeout_s)
    _, (second,) = read(driver, 1)
    assert (second.frame_id, second.monotonic_ns - first.monotonic_ns) == (1, 2_000_000_000)


def test_a_time_that_steps_back_is_no_pause(replayed, tmp_path):
    times_ns = MORNING_NS + np.array([0, -3600, -3600]) * 10**9
    _, stamps = read(replayed(save_cube(tmp_path, lines_from(0, 3), times_ns=times_ns), "recorded"), 3)
    assert np.diff(times_of(stamps)).tolist() == [0, 0]


def test_hours_between_flights_are_not_waited_for(replayed, tmp_path):
    times_ns = MORNING_NS + np.array([0, 5 * 3600]) * 10**9
    driver = replayed(save_cube(tmp_path, lines_from(0, 2), times_ns=times_ns), "recorded")
    read(driver, 1)
    with pytest.raises(FrameTimeout, match=r"due in (\d\.\d+|10) s"):
        driver.read_into(np.empty(SHAPE, np.uint16), 0.0)


# ---- what cannot be replayed ----


def test_what_is_missing_or_no_cube_is_a_file_error(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.nc").write_text("no cube")
    save_cube_of_openhsi(tmp_path / "lineless.nc", lines_from(0, 0))
    cases = {
        "missing.nc": r"missing\.nc",
        "empty": "contains no cube",
        "text.nc": r"text\.nc",
        "lineless.nc": "lineless.nc",
    }
    for name, words in cases.items():
        driver = ReplayDriver(CameraSettings(), path=tmp_path / name)
        with pytest.raises(FileError, match=words):
            driver.open()
        with pytest.raises(CameraError, match="is not open"):
            driver.start()


@pytest.mark.parametrize(("shape", "dtype"), [((6, 9), np.uint16), (SHAPE, np.uint8)])
def test_cubes_of_different_frames_cannot_be_one_stream(tmp_path, shape, dtype):
    save_cube(tmp_path, lines_from(0, 2))
    save_cube(tmp_path, lines_from(0, 2, shape, dtype), begin_ns=MORNING_NS + 10**9)
    with pytest.raises(
        FileError, match=r"has lines of uint.*, but .* of uint16 \(6, 8\): replay cubes of one kind only"
    ):
        ReplayDriver(CameraSettings(), path=tmp_path).open()


def test_a_cube_without_times_needs_a_rate(replayed, tmp_path):
    path = save_cube_of_openhsi(tmp_path / "timeless.nc", lines_from(0, 3))
    with pytest.raises(FileError, match=r"timeless\.nc has no times of lines: pass a rate in lines/s"):
        replayed(path, "recorded")
    _, stamps = read(replayed(path), 3)
    assert [stamp.camera_ns for stamp in stamps] == [None] * 3


@pytest.mark.parametrize("rate", ["recordet", 0, -1.0, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ArgumentError, match="rate must be lines/s > 0, 'recorded', or None"):
        ReplayDriver(CameraSettings(), path="x.nc", rate=rate)
