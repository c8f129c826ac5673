"""The rate of the simulated camera: a free-running sensor, with a queue that overflows."""

import math

import numpy as np
import pytest

from openhsi_shared.drivers.simulated.free_run import FreeRun
from openhsi_shared.errors import FrameTimeout, SourceEnded
from tests.support.simulating import ids_of, read, settings, started


def test_a_source_without_a_rate_loses_nothing():
    assert ids_of(read(started(), 100)[1]) == list(range(100))


def take_all(run, now_ns):
    return list(iter(lambda: run.take(now_ns), None))


def test_frames_come_at_their_times():
    run = FreeRun(1000.0, 30, 5_000, None, ())
    assert [run.exposed_ns(k) for k in range(3)] == [1_005_000, 2_005_000, 3_005_000]
    assert run.take(1_004_999) is None
    assert run.next_ns() == 1_005_000
    assert take_all(run, 1_005_000) == [0]
    assert run.next_ns() == 2_005_000
    assert take_all(run, 4_500_000) == [1, 2, 3]


def test_a_full_queue_drops_the_newest_and_their_ids_are_never_seen():
    run = FreeRun(1000.0, 4, 0, None, ())
    assert run.take(10_500_000) == 0  # frames 0 to 9 came, 4 found room
    assert run.take(11_500_000) == 1  # frame 10 took the place of frame 0
    assert take_all(run, 11_500_000) == [2, 3, 10]
    assert take_all(run, 13_500_000) == [11, 12]


def test_the_model_of_the_queue_equals_a_sensor_played_frame_by_frame():
    random = np.random.default_rng(3)
    for _ in range(50):
        rate, size, n_frames = random.uniform(1, 5000), int(random.integers(1, 8)), int(random.integers(0, 200))
        missing = set(random.integers(0, 200, 10).tolist())
        run = FreeRun(rate, size, 0, n_frames, missing)
        waiting, n_exposed, now = [], 0, 0
        for _ in range(120):
            now += int(random.exponential(random.choice([0.3, 3.0]) * 1e9 / rate))
            while n_exposed < n_frames and run.exposed_ns(n_exposed) <= now:
                if n_exposed not in missing and len(waiting) < size:
                    waiting.append(n_exposed)
                n_exposed += 1
            assert run.take(now) == (waiting.pop(0) if waiting else None)


@pytest.mark.parametrize("rate", [0.37, 499.999, 1500.0, 1e6 / 3])
def test_a_frame_is_there_at_its_nanosecond_and_not_before(rate):
    for frame_id in (0, 1, 29):
        run = FreeRun(rate, 30, 7, None, range(frame_id))
        exposed_ns = run.exposed_ns(frame_id)
        assert run.take(exposed_ns - 1) is None
        assert run.take(exposed_ns) == frame_id


@pytest.mark.parametrize("rate", [0.37, 499.999, 1500.0, 1e6 / 3])
def test_the_pace_does_not_drift(rate):
    run = FreeRun(rate, 30, 7, None, ())
    for n_frames in (1, 1000, 10**8):
        assert math.isclose(run.exposed_ns(n_frames - 1) - 7, n_frames * 1e9 / rate, rel_tol=1e-9, abs_tol=1)


def test_a_paced_camera_stamps_the_middle_of_each_exposure():
    driver = started(settings(exposure_ms=2), rate=400.0, queue=9999)
    stamps = read(driver, 20)[1]
    middles = np.array([stamp.monotonic_ns for stamp in stamps])
    assert ids_of(stamps) == list(range(20))
    assert set(np.diff(middles).tolist()) == {2_500_000}
    assert set(np.diff([stamp.camera_ns for stamp in stamps]).tolist()) == {2_500_000}
    assert driver.set_exposure(1.0) == 1.0
    later = read(driver)[1][0]
    assert later.monotonic_ns == middles[-1] + (later.frame_id - 19) * 2_500_000 + 500_000


def test_an_exposure_is_never_longer_than_its_period():
    driver = started(settings(exposure_ms=2), rate=2000.0)
    assert driver.set_exposure(10.0) == 0.5
    assert driver.set_exposure(0.25) == 0.25
    assert started().set_exposure(10.0) == 10.0


def test_a_slow_reader_loses_what_the_queue_cannot_hold():
    driver = started(settings(64, 256), rate=1e6, queue=3)
    ids = ids_of(read(driver, 50)[1])
    assert all(np.diff(ids) > 0)
    assert ids[-1] > 100


def test_a_new_start_begins_with_an_empty_queue_and_frame_0():
    driver = started(rate=1e5, queue=5)
    first = read(driver, 20)[1]
    driver.stop()
    driver.start()
    again = read(driver)[1][0]
    assert again.frame_id == 0
    assert again.monotonic_ns > first[-1].monotonic_ns
    assert again.camera_ns > first[-1].camera_ns


def test_a_frame_that_takes_longer_than_one_waits_is_a_timeout_and_still_comes():
    driver = started(rate=0.5)
    with pytest.raises(FrameTimeout, match=r"within 0\.001 s: its rate is 0\.5 lines/s"):
        driver.read_into(np.empty(driver.frame_shape, driver.frame_dtype), 0.001)
    frame = np.empty(driver.frame_shape, driver.frame_dtype)
    assert driver.read_into(frame, math.inf).frame_id == 0


@pytest.mark.parametrize("rate", [None, 5000.0])
def test_a_source_with_an_end_has_one(rate):
    driver = started(rate=rate, n_frames=5, script={4: "gap"})
    assert ids_of(read(driver, 4)[1]) == [0, 1, 2, 3]
    for _ in range(2):
        with pytest.raises(SourceEnded, match=r"its 5 frames \(n_frames\)"):
            read(driver)
    driver.stop()
    driver.start()
    assert ids_of(read(driver, 4)[1]) == [0, 1, 2, 3]
