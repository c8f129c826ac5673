"""The clock is set, or everything is suspended: times of a cube stay even, the next one follows, steps are reported.

No test may set the machine's clock. A library of ours, compiled here and loaded before the others, gives the program
and its writer a wall clock of their own; the monotonic clock and the kernel's times of files stay as they are. A real
suspend cannot be had in a test either: a process that is stopped stands for it.
"""

import signal
import threading
from itertools import pairwise

import numpy as np
import psutil
import pytest

from openhsi_shared import SharedSimulatedCamera, record
from tests.support.clock_shim import SETTING, SteppedClock
from tests.support.flow import CAMERA, COUNTING, cubes_in, run
from tests.support.helpers import wait_for
from tests.support.oracle import prove, prove_summary
from tests.support.products import some


@pytest.fixture
def clock(tmp_path):
    try:
        return SteppedClock(tmp_path)
    except RuntimeError as error:
        pytest.skip(str(error))


FLIGHT = (
    CAMERA
    + SETTING
    + """
set_clock(BEGIN)
cam = camera(n_buffers=4)
seen = time.time()
cam.collect()
cam.save("out").join()
def step(n, n_lines):
    AT_EACH_LINE
cam.collect(step)
cam.save("out")
cam.collect()
cam.save("out")
print(time.time() - seen)
cam.close()
"""
)
HOUR = 3600.0
SUMMER_ENDS = 1792889998.0  # 2026-10-25T00:59:58Z: two seconds later, Europe/London goes back by an hour

STEPS = {
    "an hour back": ("0", "n == 4 and set_clock(-3600)", -HOUR),
    "an hour on": ("0", "n == 4 and set_clock(3600)", HOUR),
    "a day back": ("0", "n == 4 and set_clock(-86400)", -24 * HOUR),
    "a leap second, smeared": ("0", "set_clock(-n / 8)", -1.0),
    "back and forth": ("0", "set_clock(3600 * (-1) ** n)", HOUR),
    "over the end of summer time": (f"(base := {SUMMER_ENDS} - time.time())", "n == 4 and set_clock(base + 3)", 3.0),
}


DIFFERENT = ("an hour back", "a leap second, smeared", "over the end of summer time")


@pytest.mark.parametrize("step", some(*DIFFERENT, all_of=STEPS))
def test_a_clock_that_is_set_in_the_middle_of_a_cube_moves_no_line(clock, tmp_path, step):
    """K1: the next cube follows the clock; both files contain the step; no name clashes."""
    begin, at_each_line, expected = STEPS[step]
    code = FLIGHT.replace("BEGIN", begin).replace("AT_EACH_LINE", at_each_line)
    found, output, errors = run(code, tmp_path, TZ="Europe/London", **clock.environment)
    assert found == 0, errors
    assert abs(float(output) - expected) < 30, "else the clock was never set"
    prove(tmp_path / "out", 24)
    cubes = cubes_in(tmp_path / "out")
    times = np.concatenate([cube.times_ns for cube in cubes[:2]])
    assert (np.diff(times) >= 0).all()
    assert times[-1] - times[0] < 60e9
    assert abs((cubes[2].times_ns[0] - times[-1]) / 1e9 - expected) < 30
    after = [float(cube.attributes["clock_step_ns"]) / 1e9 for cube in cubes]
    before = [float(cube.attributes["clock_step_before_ns"]) / 1e9 for cube in cubes]
    assert np.allclose(after, [0, expected, 0], atol=0.05)
    assert np.allclose(before, [0, 0, expected], atol=0.05)
    assert len({cube.path.name for cube in cubes}) == 3
    assert len({cube.attributes["clock_anchor_wall_ns"] for cube in cubes}) == 2
    assert errors.count("the wall clock was set by") == errors.count("while a cube was filled") == 1


def test_a_second_camera_after_the_clock_was_set_back_overwrites_nothing(clock, tmp_path):
    """K1: it lives through the same minute again; its names may be those of the first."""
    code = f"""{CAMERA}{SETTING}
for n in range(3):
    set_clock(-n * 0.7)  # about the time that one takes
    with camera() as cam:
        cam.will_save_to("out")
        cam.collect()
        cam.save("out")
"""
    found, _, errors = run(code, tmp_path, **clock.environment)
    assert found == 0, errors
    cubes = cubes_in(tmp_path / "out")
    assert len({cube.attributes["run_id"] for cube in cubes}) == len(cubes) == 3
    assert all(cube.numbers == list(range(8)) for cube in cubes)


def test_nobody_waits_longer_than_asked_because_the_clock_was_set_back(clock, tmp_path):
    """K1: a result awaited with a timeout, while the clock is set back an hour."""
    (tmp_path / "marks").mkdir()
    fault = {"OPENHSI_SHARED_FAULT": "created:stop:1", "OPENHSI_SHARED_FAULT_MARKS": str(tmp_path / "marks")}
    code = f"""{CAMERA}{SETTING}
import glob, signal, threading
cam = camera()
cam.collect()
handle = cam.save("out")
while not (marks := glob.glob("marks/fault-*")):
    pass
threading.Timer(0.1, set_clock, [-3600]).start()
begun = time.monotonic()
try:
    handle.result(0.5)
except TimeoutError:
    print("patient" if time.monotonic() - begun < 30 else "too patient")
handle.join(0.1)
os.kill(int(marks[0].split("-")[1]), signal.SIGCONT)
print(handle.result(60).n_lines)
cam.close()
"""
    assert run(code, tmp_path, **fault, **clock.environment)[:2] == (0, "patient\n8\n")


def test_a_recording_that_stood_still_shows_the_gap_and_goes_on(tmp_path, runtime):
    """K2: as after a suspend; what the camera's queue could not hold is lost, by its ids, and times still grow."""
    keywords = {**COUNTING, "n_lines": 16, "n_buffers": 6, "rate": 500, "queue": 10, "progress": False}
    with record(SharedSimulatedCamera, tmp_path / "out", **keywords) as run_:
        wait_for(lambda: run_.status().cubes_saved >= 2)
        before = run_.status().lines_lost
        stopped = psutil.Process(run_.process_id)
        begun = run_.status().seconds
        stopped.send_signal(signal.SIGSTOP)
        wait_for(lambda: stopped.status() == psutil.STATUS_STOPPED)
        threading.Event().wait(0.3)
        stopped.send_signal(signal.SIGCONT)
        wait_for(lambda: run_.status().lines_lost > before and run_.status().seconds > begun)
        saved = run_.status().cubes_saved
        wait_for(lambda: run_.status().cubes_saved >= saved + 3)
        run_.stop()
        summary = run_.wait(60)
    assert prove_summary(tmp_path / "out", summary).declared_lost >= 100
    times = [time for cube in cubes_in(tmp_path / "out") for time in cube.times_ns]
    assert all(later > earlier for earlier, later in pairwise(times))
