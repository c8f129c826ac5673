"""Recordings of events: the seconds before them are saved without a gap, and what is not wanted is not lost."""

import itertools
import json
import math
import os
import signal
import threading
import time

import numpy as np
import pytest

from openhsi_shared import SharedSimulatedCamera, open_flight, record
from openhsi_shared.channels import CallbackChannel, SimulatedChannel
from openhsi_shared.channels.gps_fields import FIELDS
from openhsi_shared.errors import ArgumentError, CameraLost, FileError
from openhsi_shared.files.flight_log import FlightLog
from tests.support.flow import COUNTING, cubes_in, processes_in, program, read
from tests.support.helpers import wait_for
from tests.support.process_faults import writers_of
from tests.support.products import some

RATE, N_LINES = 200, 20
KEYWORDS = {**COUNTING, "n_lines": N_LINES, "n_buffers": 16, "progress": False, "rate": RATE, "queue": 9999}
KEYWORDS["when_full"] = "block"
LATITUDE, LONGITUDE = -33.8, 151.2


def events_in(directory):
    """Cubes of each event, after checks of all that must hold of any files."""
    cubes = cubes_in(directory)
    found = {}
    next_id = 0
    for cube in cubes:
        assert cube.numbers == cube.ids
        between = cube.ids[0] - next_id
        before = cube.attributes.get("frames_not_wanted", 0) + cube.attributes.get("frames_paused", 0)
        assert between == before + cube.attributes["lines_lost_before"]
        next_id = cube.ids[-1] + 1
        found.setdefault(cube.attributes.get("event"), []).append(cube)
    for event in found.values():
        for a, b in itertools.pairwise(event):
            assert b.ids[0] == a.ids[-1] + 1 + b.attributes["lines_lost_before"] + b.attributes.get("frames_paused", 0)
    return found


def lines_come(run, n=2 * N_LINES):
    last = run.status().lines + n
    wait_for(lambda: run.status().lines >= last)


def is_waiting(run):
    return run.status().is_waiting


def log_of(directory, kind="event"):
    entries, damaged = FlightLog(directory).entries()
    assert damaged == []
    return [entry for entry in entries if entry["kind"] == kind]


def seconds_before(event, monotonic_ns):
    """From the first line of an event to a moment."""
    about = event[0].attributes
    first_ns = event[0].times_ns[0] - about["clock_anchor_wall_ns"] + about["clock_anchor_monotonic_ns"]
    return (monotonic_ns - first_ns) / 1e9


class Switch:
    """A condition that knows when it was first polled after it had been changed."""

    def __init__(self):
        self._is_on, self._answers = False, []

    def __call__(self):
        answer = self._is_on
        if not self._answers or answer != self._answers[-1][1]:
            self._answers.append((time.monotonic_ns(), answer))
        return answer

    def turn(self, is_on):
        """Change it, and return when that was seen."""
        self._is_on = is_on
        wait_for(lambda: self._answers and self._answers[-1][1] == is_on)
        return self._answers[-1][0]


def test_the_seconds_before_events_are_saved_without_a_gap_and_an_event_goes_on_when_it_holds_again(tmp_path):
    on, begun_ns, before_s, after_s = Switch(), [], 1.5, 1.0
    more = {"save_when": on, "keep_before_s": before_s, "keep_after_s": after_s, "n_buffers": 64}
    with record(SharedSimulatedCamera, tmp_path, script={30: "gap", 31: "gap"}, **KEYWORDS | more) as run:
        lines_come(run, RATE * 2)
        n_before = run.status().lines
        assert (run.status().is_waiting, run.status().event, run.status().cubes) == (True, 0, 0)
        for number in (1, 2):
            begun_ns.append(on.turn(True))
            wait_for(lambda number=number: run.status().event == number)
            lines_come(run)
            on.turn(False)
            on.turn(True)  # within the time after it
            lines_come(run, int(RATE * after_s * 1.5))
            assert (run.status().is_waiting, run.status().event) == (False, number)
            on.turn(False)
            wait_for(lambda: is_waiting(run))
            lines_come(run, N_LINES if number == 1 else RATE)  # the second one begins while the first one is saved
        n_cubes = run.status().cubes
        status = run.status()
    summary = run.summary
    events = events_in(tmp_path)
    assert list(events) == [1, 2]
    assert seconds_before(events[1], begun_ns[0]) > before_s - 1 / RATE
    is_next = events[2][0].ids[0] == events[1][-1].ids[-1] + 1
    assert is_next or seconds_before(events[2], begun_ns[1]) > before_s - 1 / RATE, "nothing is missing between events"
    assert summary.lines == sum(len(cube.ids) for cube in cubes_in(tmp_path))
    assert summary.lines_lost == 0, "what the camera skipped was not wanted"
    assert len(summary.paths) == n_cubes, "what was taken after the last event is not saved"
    assert (summary.events, summary.lines_not_wanted >= status.lines_not_wanted > 0) == (2, True)
    assert f"2 events, {summary.lines_not_wanted} lines not wanted" in str(summary)
    assert (log_of(tmp_path, "stop")[0]["events"], str(status)[-21:]) == (2, "; waiting for event 3")
    with open_flight(tmp_path) as flight:
        assert flight.gaps == ()
    entries = log_of(tmp_path)
    assert [(entry["number"], entry["state"]) for entry in entries] == [
        *[(1, "begun"), (1, "ended"), (2, "begun"), (2, "ended")]
    ]
    assert entries[1]["n_cubes"] == len(events[1])
    assert entries[0]["lines_before"] >= n_before + 2 - events[1][0].ids[0], "two are missing"


def test_a_mark_saves_its_line_and_the_seconds_before_it_and_saved_cubes_count(tmp_path):
    more = {"save_when": "mark", "keep_before_s": 2.0, "n_cubes": 40, "n_buffers": 64}
    with record(SharedSimulatedCamera, tmp_path, **KEYWORDS | more) as run:
        lines_come(run, RATE * 2 + N_LINES)
        run.mark("leak")
        moment_ns = time.monotonic_ns()
        wait_for(lambda: run.status().event == 1 and is_waiting(run))
        lines_come(run, RATE * 2 + N_LINES)
        run.mark("another leak")
        summary = run.wait(60)
    events = events_in(tmp_path)
    assert (len(summary.paths), list(events)) == (40, [1, 2]), "no more, although the second one has more before it"
    assert seconds_before(events[1], moment_ns) > 2.0 - 1 / RATE
    marks = [mark["text"] for cube in events[1] for mark in json.loads(cube.attributes.get("marks", "[]"))]
    assert marks == ["leak"]
    assert summary.lines_lost == 0


def test_cubes_whose_lines_are_all_lost_do_not_count_as_saved(tmp_path):
    keywords = {**KEYWORDS, "n_buffers": 3, "when_full": "drop", "queue": 4, "n_cubes": 8}
    with record(SharedSimulatedCamera, tmp_path, **keywords, save_when=lambda: True) as run:
        lines_come(run)
        (writer,) = writers_of(run.process_id)
        writer.suspend()
        wait_for(lambda: run.status().lines_lost > 3 * N_LINES)
        writer.resume()
        summary = run.wait(60)
    assert (len(summary.paths), log_of(tmp_path)[-1]["n_cubes"]) == (8, 8)


def test_a_condition_on_a_channel_that_is_not_known_saves_lines(tmp_path):
    lamp = CallbackChannel("lamp")
    with record(SharedSimulatedCamera, tmp_path, **KEYWORDS, channels={"lamp": lamp}, save_when="lamp > 3.5") as run:
        lamp.push(1.0)
        wait_for(lambda: run.channels["lamp"].delivered)
        lines_come(run)
        assert (is_waiting(run), run.status().event) == (True, 0)
        lamp.push(4.0)
        wait_for(lambda: not is_waiting(run))
        lamp.push(2.0)
        wait_for(lambda: is_waiting(run))
        lamp.push(math.nan)
        wait_for(lambda: not is_waiting(run))
        wait_for(lambda: any("event in doubt: lamp" in error for error in run.status().errors))
        lamp.push(2.0)
        wait_for(lambda: is_waiting(run) and not run.status().errors)
    assert list(events_in(tmp_path)) == [1, 2]
    doubts = [entry["doubt"] for entry in log_of(tmp_path) if "doubt" in entry]
    assert doubts
    assert all("lamp" in doubt for doubt in doubts)


def test_a_channel_whose_process_has_died_saves_lines(tmp_path):
    channels = {"wave": SimulatedChannel("wave", rate=50.0)}
    with record(SharedSimulatedCamera, tmp_path, **KEYWORDS, channels=channels, save_when="wave > 100") as run:
        lines_come(run)
        before = run.status().event
        wait_for(lambda: is_waiting(run))
        os.kill(run._channels.process_id, signal.SIGKILL)
        wait_for(lambda: run.status().event > before)
        wait_for(lambda: is_waiting(run))
    assert run.summary.lines_lost == 0


def test_while_a_condition_raises_lines_are_saved_and_the_recording_goes_on(tmp_path, caplog):
    state = {"fails": True}

    def condition():
        if state["fails"]:
            raise ZeroDivisionError("no lamp")
        return False

    with record(SharedSimulatedCamera, tmp_path, **KEYWORDS, save_when=condition) as run:
        lines_come(run, 3 * N_LINES)
        assert (is_waiting(run), run.status().event) == (False, 1)
        assert any("save_when has raised ZeroDivisionError: no lamp" in error for error in run.status().errors)
        state["fails"] = False
        wait_for(lambda: is_waiting(run))
    summary = run.wait()
    assert [event[0].ids[0] for event in events_in(tmp_path).values()] == [0], "from the first line on"
    (error,) = summary.errors
    assert error.startswith("save_when has raised ZeroDivisionError: no lamp")
    assert sum("save_when has raised" in message.getMessage() for message in caplog.records) <= 2


def test_too_few_slots_are_refused_with_the_figures_as_soon_as_the_rate_is_known(tmp_path):
    few = {**KEYWORDS, "n_buffers": 4, "keep_before_s": 10, "save_when": bool}
    words = (
        r"keep_before_s=10 needs 101 slots of 20 lines at 200 lines/s, there are 4, which keep 0\.3 s: use n_buffers"
    )
    with pytest.raises(ArgumentError, match=words):
        record(SharedSimulatedCamera, tmp_path / "a", **few)
    assert not (tmp_path / "a").exists()
    with (
        pytest.raises(ArgumentError, match=r"needs \d+ slots of 20 lines at \d+ lines/s, there are 4"),
        record(SharedSimulatedCamera, tmp_path / "b", **{**few, "rate": None}) as run,
    ):
        run.wait(60)
    assert all(cube.attributes["recovered"] for cube in cubes_in(tmp_path / "b"))


@pytest.mark.parametrize(
    ("keywords", "error", "words"),
    [
        ({"save_when": 3}, ArgumentError, "save_when must be a callable, or a text"),
        ({"save_when": "lamp > 3"}, ArgumentError, "there is no channel 'lamp'"),
        ({"save_when": bool, "keep_before_s": -1}, ArgumentError, "keep_before_s must be a number >= 0, got -1"),
        ({"save_when": bool, "keep_after_s": math.nan}, ArgumentError, "keep_after_s must be a number >= 0, got nan"),
        ({"keep_before_s": 3}, ArgumentError, "keep_before_s and keep_after_s are for events: give save_when="),
        ({"save_when": bool, "margin_m": 5}, ArgumentError, "margin_m and at_least_s are for a polygon"),
        ({"inside": "x.kml"}, ArgumentError, "inside needs a channel with a position, .*; there are none"),
        ({"inside": "x.kml", "save_when": "mark"}, ArgumentError, "save_when='mark' and inside exclude each other"),
        ({"inside": "x.kml", "channels": {"gps": CallbackChannel("gps", fields=FIELDS)}}, FileError, "x.kml cannot"),
    ],
)
def test_what_is_wrong_is_told_before_the_recording_begins(tmp_path, keywords, error, words):
    with pytest.raises(error, match=words):
        record(SharedSimulatedCamera, tmp_path / "a", **KEYWORDS, **keywords)
    assert not (tmp_path / "a").exists()


def test_a_pause_and_a_reference_while_it_waits_lose_nothing(tmp_path):
    on = threading.Event()
    more = {"save_when": on.is_set, "keep_before_s": 1.5, "n_buffers": 64}
    lit = {"light": 600.0, "mode": "flat", "noise": 0, "dark": (100, 2), "exposure_ms": 2.0}
    with record(SharedSimulatedCamera, tmp_path, **KEYWORDS | lit | more) as run:
        lines_come(run)
        run.take_reference("white", 5)
        lines_come(run, 2 * RATE)
        run.pause()
        wait_for(lambda: run.status().is_paused)
        on.set()
        wait_for(lambda: run.status().event == 1)
        assert run.status().is_paused
        run.resume()
        lines_come(run)
        on.clear()
        wait_for(lambda: is_waiting(run))
    cubes = list(map(read, run.summary.paths))
    assert run.summary.lines_lost == 0
    between = [b.ids[0] - a.ids[-1] - 1 for a, b in itertools.pairwise(cubes)]
    assert between == [cube.attributes.get("frames_paused", 0) for cube in cubes[1:]]
    assert sum(n > 0 for n in between) == 1
    assert "white" in json.loads(cubes[0].attributes["reference_files"])
    assert run.summary.lines == sum(len(cube.ids) for cube in cubes)


PROGRAM = """
import time
from openhsi_shared import SharedSimulatedCamera, record
if __name__ == "__main__":
    with record(SharedSimulatedCamera, "out", mode="counting", resolution=(16, 32), row_slice=None, cal_path="",
                n_lines=20, n_buffers=16, rate=200, queue=9999, progress=False, when_full="block",
                save_when=bool, keep_before_s=1) as run:
        while True:
            print(run.status().lines, run.process_id, flush=True)
            time.sleep(0.1)
"""


@pytest.mark.parametrize(
    "who", some("both", "the writer", all_of=("the program", "the recording", "both", "the writer"))
)
def test_whoever_dies_while_it_waits_what_lies_in_memory_is_saved(tmp_path, who):
    with program(PROGRAM, tmp_path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            n_lines, recording = map(int, line.split())
            if n_lines > 420:
                break
        if who == "the writer":
            (writer,) = writers_of(recording)
            writer.kill()
            wait_for(lambda: writers_of(recording) not in ([], [writer]))
            for line in process.stdout:
                if int(line.split()[0]) > n_lines + 100:
                    break
        for victim, pid in (("the recording", recording), ("the program", process.pid)):
            if who in (victim, "both", "the writer"):
                os.kill(pid, signal.SIGKILL)
        process.stdout.read()
        wait_for(lambda: not processes_in(tmp_path))
    cubes = cubes_in(tmp_path / "out")
    assert {cube.attributes["recovered"] for cube in cubes} == {1}
    assert all("event" not in cube.attributes and cube.attributes["lines_lost"] == 0 for cube in cubes)
    ids = [number for cube in cubes for number in cube.numbers]
    assert ids == list(range(ids[0], ids[-1] + 1))
    assert len(ids) >= 15 * N_LINES
    assert cubes[0].attributes["frames_not_wanted"] == ids[0]


def test_a_camera_that_fails_while_it_waits_and_a_stop(tmp_path):
    more = {"save_when": bool, "keep_before_s": 0.5}
    with (
        pytest.raises(CameraLost),
        record(SharedSimulatedCamera, tmp_path / "a", script={100: "unplug"}, **KEYWORDS, **more) as run,
    ):
        run.wait(60)
    cubes = cubes_in(tmp_path / "a")
    assert sum(len(cube.ids) for cube in cubes) == 100, "in doubt, all of it"
    assert {cube.attributes["recovered"] for cube in cubes} == {1}
    assert all(cube.attributes["ended_by"].startswith("CameraLost") for cube in cubes)
    with record(SharedSimulatedCamera, tmp_path / "b", script={30: "gap"}, seconds=1, **KEYWORDS, **more) as run:
        summary = run.wait()
    assert (summary.paths, summary.lines_lost, summary.errors, cubes_in(tmp_path / "b")) == ((), 0, (), [])


# ---- inside of a polygon ----


@pytest.fixture
def field(tmp_path):
    path, d = tmp_path / "field.geojson", 0.001
    ring = [[LONGITUDE + x * d, LATITUDE + y * d] for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))]
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    return path


class Plane:
    """A GPS that tells where it is 20 times a second, if it knows."""

    def __init__(self):
        self.channel = CallbackChannel("gps", fields=FIELDS)
        self.place = (LATITUDE + 0.002, LONGITUDE)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._tell)

    def _tell(self):
        while not self._stopped.wait(0.05):
            self.channel.push((*self.place, *[math.nan] * (len(FIELDS) - 2)))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._thread.join()


def test_only_lines_over_the_polygon_are_saved_and_its_edges_are_marks(tmp_path, field):
    with (
        Plane() as plane,
        record(
            SharedSimulatedCamera,
            tmp_path / "out",
            **KEYWORDS,
            channels={"gps": plane.channel},
            inside=field,
            at_least_s=0.4,
        ) as run,
    ):
        wait_for(lambda: run.channels["gps"].delivered > 3)
        lines_come(run)
        assert (is_waiting(run), run.status().event) == (True, 0)
        plane.place = (LATITUDE + 0.00115, LONGITUDE)  # 17 m away
        wait_for(lambda: not is_waiting(run))
        plane.place = (LATITUDE + 0.002, LONGITUDE)
        wait_for(lambda: is_waiting(run))
        plane.place = (math.nan, math.nan)
        wait_for(lambda: not is_waiting(run))
        wait_for(lambda: any("no position: gps is" in error for error in run.status().errors))
    events = events_in(tmp_path / "out")
    assert list(events) == [1, 2]
    marks = [mark for cube in events[1] for mark in json.loads(cube.attributes.get("marks", "[]"))]
    edge_ns = np.datetime64(marks[0]["time"].removesuffix("Z"), "ns").astype(int)
    assert events[1][0].times_ns[0] <= edge_ns + 1000, "from the edge on, which counts only later"
    assert [mark["text"] for mark in marks] == ["inside field.geojson", "outside field.geojson"]
    assert run.summary.errors == ()
    assert run.summary.lines_lost == 0


def test_a_polygon_that_is_never_met_is_told_with_the_nearest_distance(tmp_path, field, caplog):
    with (
        Plane() as plane,
        record(
            SharedSimulatedCamera, tmp_path / "out", **KEYWORDS, channels={"gps": plane.channel}, inside=field
        ) as run,
    ):
        plane.place = (LATITUDE + 0.011, LONGITUDE)
        wait_for(lambda: run.channels["gps"].delivered > 3)
        lines_come(run)
    words = "the flight has never met field.geojson: the nearest distance was "
    (error,) = run.summary.errors
    assert error.startswith(words)
    assert 100 < float(error.removeprefix(words).removesuffix(" m").replace(",", "")) < 1110
    assert [entry["text"] for entry in log_of(tmp_path / "out", "error")] == [error]
    assert any(words in message.getMessage() for message in caplog.records)
    assert (run.summary.paths, run.summary.lines_lost) == ((), 0)


@pytest.mark.parametrize("where", ["save_when", "thread"])
def test_if_a_condition_leaves_its_thread_lines_are_saved_and_the_summary_has_the_cause(tmp_path, monkeypatch, where):
    has_failed = threading.Event()

    def fail(*_):
        raise SystemExit("of the test")

    def save_when():
        if has_failed.is_set():
            fail()
        return False

    with record(SharedSimulatedCamera, tmp_path, save_when=save_when, **KEYWORDS) as run:
        wait_for(lambda: run.status().is_waiting)
        if where == "thread":
            monkeypatch.setattr(run._events, "_step", fail)
        else:
            has_failed.set()
        wait_for(lambda: not is_waiting(run))
        lines_come(run)
    (error,) = run.summary.errors
    assert "SystemExit: of the test" in error
    assert "from then on all was saved" in error
    assert len(events_in(tmp_path)[1]) > 1
    assert "SystemExit: of the test" in log_of(tmp_path)[0]["doubt"]
