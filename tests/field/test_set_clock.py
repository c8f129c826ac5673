"""The clock is set while a camera lives, or the system is suspended, as people report who fly with field computers.

A program has a wall clock of its own (`tests/support/clock_shim`); the clock of the machine is not changed.
"""

import json
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from openhsi_shared import SharedReplayCamera, SharedSimulatedCamera, open_cube, record, verify
from openhsi_shared.cli.info import info
from openhsi_shared.dataset import cube_stem, day_folder
from openhsi_shared.reprocess import ProcessRawDatacube
from tests.support import live_pairs
from tests.support.clock_shim import SETTING, SteppedClock
from tests.support.flow import CAMERA, COUNTING, cubes_in, processes_in, read, run
from tests.support.helpers import ROOT, wait_for
from tests.support.oracle import prove_summary
from tests.support.products import some

HOUR = 3600.0


@pytest.fixture
def clock(tmp_path):
    try:
        return SteppedClock(tmp_path)
    except RuntimeError as error:
        pytest.skip(str(error))


class Case(NamedTuple):
    """A flight, and what its log and the files of its cubes declare."""

    flight: str
    log: tuple[str, ...] = ()
    overlaps_s: tuple[float, ...] = ()
    """By which the times of each cube repeat earlier ones; empty: none does."""
    suspended_s: float = 0.0
    """Before the second cube."""
    begin: str = "0.0"
    """Offset of the clock when the camera is made."""


CASES = {
    "a field computer starts in 1970, GPS sets its clock between two cubes": Case(
        "cube(); set_clock(0.0); cube(); cube()", ("was set by +",), begin="5.0 - NOW"
    ),
    "it is set before the first cube": Case("set_clock(0.0); cube(); cube()", ("was set by +",), begin="5.0 - NOW"),
    "it is set after somebody looked, and saved nothing": Case(
        "cam.collect(); cam.show(quick_imshow=True); set_clock(0.0); cube(); cube()",
        ("was set by +17280000.0",),
        begin="-200 * DAY",
    ),
    "it is set between two looks, of more lines than a cube has": Case(
        "cam.start_streaming(); [cam.take_line() for _ in range(11)]; set_clock(0.0); cube(); cube()",
        ("was set by +17280000.0",),
        begin="-200 * DAY",
    ),
    "a clock that was fast is set back": Case(
        "cube(); set_clock(-HOUR); cube(); cube()", ("was set by -3600.0",), (0, HOUR, HOUR)
    ),
    "it is set back while the camera is set up again": Case(
        "cube(); set_clock(-HOUR); cam.reinitialise(n_buffers=3); cube()", ("was set by -3600.0",), (0, HOUR)
    ),
    "it is set back, then right": Case(
        "cube(); set_clock(-HOUR); cube(); set_clock(HOUR); cube()",
        ("was set by -3600.0", "was set by +7200.0"),
        (0, HOUR, 0),
    ),
    "a laptop sleeps between two cubes": Case(
        "cube(); suspend(900.0); cube()", ("the system was suspended for 900.0",), suspended_s=900.0
    ),
    "a laptop sleeps, then NTP corrects its clock": Case(
        "cube(); suspend(900.0); set_clock(905.0); cube()",
        ("was suspended for 900.000 s and the wall clock was set by +5.0",),
        suspended_s=900.0,
    ),
    "a board whose clock stands still while it sleeps": Case(
        "cube(); set_clock(0.0, 900.0); cube()",
        ("was suspended for 900.000 s and the wall clock was set by -900.0",),
        suspended_s=900.0,
    ),
    "a clock that is corrected by little is followed when it is a tenth of a second": Case(
        "cube(); set_clock(0.04); cube(); set_clock(0.08); cube(); set_clock(0.12); cube()", ("was set by +0.120",)
    ),
    "the real-time clock says 1969": Case("cube(); cube()", begin="-NOW - DAY"),
    "it is set from 1969 to now": Case("cube(); set_clock(0.0); cube()", ("was set by +",), begin="-NOW - DAY"),
}
FLIGHT = (
    CAMERA
    + SETTING
    + """
import json
HOUR, DAY, NOW = 3600.0, 86400.0, time.time()
set_clock(BEGIN)
seen = [[time.time(), time.monotonic()]]
cam = camera(n_buffers=4)
def cube():
    begin = time.time(), time.monotonic()
    cam.collect(progress=False)
    end = time.time()
    seen.append([*begin, end, str(cam.save("out").result().path)])
FLIGHT
cam.close()
print(json.dumps(seen))
"""
)


DIFFERENT = (
    "a field computer starts in 1970, GPS sets its clock between two cubes",
    "it is set between two looks, of more lines than a cube has",
    "it is set back while the camera is set up again",
    "it is set back, then right",
    "a laptop sleeps, then NTP corrects its clock",
    "a clock that is corrected by little is followed when it is a tenth of a second",
    "it is set from 1969 to now",
)


@pytest.mark.parametrize("name", some(*DIFFERENT, all_of=CASES))
def test_a_cube_has_the_times_and_the_name_of_the_clock_at_its_start(clock, tmp_path, name):
    case = CASES[name]
    code = FLIGHT.replace("BEGIN", case.begin).replace("FLIGHT", case.flight)
    found, output, errors = run(code, tmp_path, **clock.environment)
    assert found == 0, errors
    (wall_s, monotonic_s), *seen = json.loads(output.splitlines()[-1])
    overlaps_s = case.overlaps_s or (0.0,) * len(seen)
    for number, (begin_s, begin_monotonic_s, end_s, path) in enumerate(seen):
        cube = read(tmp_path / path)
        first_s, last_s = cube.times_ns[0] / 1e9, cube.times_ns[-1] / 1e9
        assert begin_s - 0.15 < first_s <= last_s < end_s + 0.15
        assert cube.path.parts[-2:] == (day_folder(cube.times_ns[0]), f"{cube_stem(cube.times_ns[0])}.nc")
        attributes = {key: cube.attributes[key] / 1e9 for key in cube.attributes if key.endswith("_ns")}
        step_s = (begin_s - wall_s) - (begin_monotonic_s - monotonic_s)
        wall_s, monotonic_s = begin_s, begin_monotonic_s
        assert attributes["clock_step_before_ns"] == pytest.approx(step_s, abs=0.13)
        assert attributes["clock_suspended_before_ns"] == pytest.approx(case.suspended_s * (number == 1), abs=0.05)
        assert attributes["clock_step_ns"] == pytest.approx(0, abs=0.1)
        assert attributes["time_overlap_ns"] == pytest.approx(overlaps_s[number], abs=30)
        assert (attributes["time_overlap_ns"] == 0) == (overlaps_s[number] == 0)
        with open_cube(cube.path) as opened:
            assert opened.dataset["time"].values.astype("int64").tolist() == cube.times_ns
        assert verify(cube.path).ok
    logged = [line for line in errors.splitlines() if "wall clock was" in line or "was suspended" in line]
    assert len(logged) == len(case.log), errors
    assert [text for text, line in zip(case.log, logged, strict=True) if text not in line] == []
    assert any("times of cubes may overlap" in line for line in logged) == any(overlaps_s)


def test_a_recording_follows_the_clock_from_cube_to_cube(clock, tmp_path, runtime, monkeypatch):
    """Another program sets it forwards and back, and the system sleeps. The judge sees every step declared."""
    for name, value in clock.environment.items():
        monkeypatch.setenv(name, value)
    keywords = {**COUNTING, "n_lines": 16, "n_buffers": 6, "rate": 200, "progress": False}
    analyse = live_pairs.Ticks, live_pairs.Published
    with record(SharedSimulatedCamera, tmp_path / "out", analyse=analyse, **keywords) as run_:
        for change in (lambda: clock.step(2 * HOUR), lambda: clock.step(-HOUR), lambda: clock.suspend(HOUR)):
            saved = run_.status().cubes_saved
            wait_for(lambda saved=saved: run_.status().cubes_saved >= saved + 2)
            change()
            ticks = run_.analysis.status.results  # which also follow no clock that is set
            wait_for(lambda ticks=ticks: run_.analysis.status.results >= ticks + 2)
            assert 0 <= run_.analysis.status.age_s < HOUR / 2
        saved = run_.status().cubes_saved
        wait_for(lambda: run_.status().cubes_saved >= saved + 3)
        run_.stop()
        summary = run_.wait(60)
    prove_summary(tmp_path / "out", summary)
    cubes = cubes_in(tmp_path / "out")
    steps_s = [cube.attributes["clock_step_before_ns"] / 1e9 for cube in cubes]
    assert [round(step_s / HOUR) for step_s in steps_s if step_s] == [2, -3, 1]
    during_s = [cube.attributes["clock_step_ns"] / 1e9 for cube in cubes]
    # in the file of the cube before it, too, unless it came between the two
    assert sum(abs(step_s) > 0.9 * HOUR for step_s in during_s) >= 2
    assert [round(cube.attributes["clock_suspended_before_ns"] / 1e9 / HOUR) for cube in cubes].count(1) == 1


@pytest.mark.parametrize("which", ["program", "program and writer"])
def test_the_writer_that_rescues_a_cube_has_the_clock_of_that_cube(clock, tmp_path, which):
    """Killed after the clock was set, within the second cube."""
    code = f"""{CAMERA}{SETTING}
import signal, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.support.process_faults import writers_of
set_clock(-200 * 86400.0)
cam = camera(writers=2)
cam.will_save_to("out")
cam.collect()
cam.save("out").result()
set_clock(0.0)
for _ in range(3):
    cam.take_line()
if {which == "program and writer"}:
    writers_of()[0].kill()
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run(code, tmp_path, **clock.environment)[0] == -9
    wait_for(lambda: not processes_in(tmp_path))
    first, second = cubes_in(tmp_path / "out")
    assert (first.attributes["recovered"], second.attributes["recovered"]) == (0, 1)
    assert second.attributes["clock_step_before_ns"] / 1e9 == pytest.approx(200 * 86400, abs=1)
    anchors = [cube.attributes["clock_anchor_wall_ns"] for cube in (first, second)]
    assert (anchors[1] - anchors[0]) / 1e9 == pytest.approx(200 * 86400, abs=60)
    assert (second.times_ns[0] - first.times_ns[0]) / 1e9 == pytest.approx(200 * 86400, abs=60)
    assert second.path.parent.name == day_folder(second.times_ns[0])


def test_lines_before_1970_are_processed_shown_and_replayed(clock, tmp_path):
    """A real-time clock with an empty battery."""
    code = FLIGHT.replace("BEGIN", "-NOW - DAY").replace("FLIGHT", "cube()")
    found, output, errors = run(code, tmp_path, **clock.environment)
    assert found == 0, errors
    path = tmp_path / json.loads(output)[1][-1]
    assert path.parent.name == "1969_12_31"
    with ProcessRawDatacube(path, 0) as processing:
        processing.collect()
        made = processing.save(tmp_path / "level_0").result(60).path
    assert read(made).times_ns == read(path).times_ns
    assert (made.parent.name, made.name) == (path.parent.name, path.name)
    assert read(made).attributes["time_overlap_ns"] == 0
    with open_cube(path) as cube:
        assert "1969-12-31" in cube._repr_html_()
    told = CliRunner().invoke(info, [str(path)])
    assert "1969-12-31" in told.output
    with SharedReplayCamera(path=path, n_lines=8, rate=None) as cam:
        cam.collect()
        replayed = cam.save(tmp_path / "replayed").result(60).path
    assert read(replayed).numbers == read(path).numbers


WRAPS = (
    CAMERA
    + SETTING
    + """
import json
from openhsi_shared import SharedDataCube
from tests.support.flow import SMALL, frame
true_ns = []
with SharedDataCube(n_lines=8, **SMALL) as cube:
    def put(n):
        for _ in range(n):
            cube.put(frame(len(true_ns)))
            true_ns.append(time.time_ns())
    put(8)
    suspend(900.0)
    put(4)
    print(json.dumps([true_ns, str(cube.save("out").result().path)]))
"""
)


def test_a_cube_that_wraps_around_keeps_the_times_of_the_lines_before_a_suspend(clock, tmp_path):
    """They were taken before it, and the new anchor says so."""
    code, output, errors = run(WRAPS, tmp_path, **clock.environment)
    assert code == 0, errors
    true_ns, path = json.loads(output.splitlines()[-1])
    cube = read(tmp_path / path)
    assert cube.numbers == list(range(4, 12))
    assert [found / 1e9 for found in cube.times_ns] == pytest.approx([true / 1e9 for true in true_ns[4:]], abs=5)
