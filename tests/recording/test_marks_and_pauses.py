"""Marks and pauses of a recording: each mark in one file, no frame of a pause is lost, whichever process dies."""

import itertools
import json
import os
import signal
import time
from datetime import datetime

import numpy as np
import pytest

from openhsi_shared import SharedSimulatedCamera, open_flight, record
from openhsi_shared.control.control_socket import request, socket_path
from openhsi_shared.control.messages import Mark, Pause, Resume
from openhsi_shared.errors import ArgumentError, IllegalMove, RecordingError
from openhsi_shared.files.flight_log import FlightLog
from tests.support.disks import mounted, needs_disks
from tests.support.flow import COUNTING, cubes_in, processes_in
from tests.support.helpers import wait_for
from tests.support.process_faults import writers_of
from tests.support.products import some

KEYWORDS = {**COUNTING, "n_lines": 20, "n_buffers": 8, "progress": False, "rate": 200, "queue": 9999}
KEYWORDS["when_full"] = "block"


@pytest.fixture(autouse=True)
def _own_runtime_directory(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


def marks_in(directory):
    """(cube, mark) of all marks in the files."""
    found = [(cube, mark) for cube in cubes_in(directory) for mark in json.loads(cube.attributes.get("marks", "[]"))]
    return sorted(found, key=lambda one: one[1]["time"])


def ns_of(text):
    return int(np.datetime64(text.removesuffix("Z"), "ns").astype(np.int64))


def kinds(directory):
    entries, damaged = FlightLog(directory).entries()
    assert damaged == []
    return [entry["kind"] for entry in entries]


def test_each_mark_is_on_the_line_of_its_call_in_one_file_and_in_the_log(tmp_path):
    called = []
    with record(SharedSimulatedCamera, tmp_path, **KEYWORDS) as run:
        for k in range(100):
            before_ns = time.time_ns()
            run.mark(f"mark {k}")
            called.append((before_ns // 1000 * 1000 - 1000, time.time_ns()))
            wait_for(lambda: time.time_ns() > called[-1][1] + 7_000_000)
        path = socket_path(f"recording-{run.process_id}")
        request(path, Mark("two\nlines \u2192 \u00fcber " + "x" * 10_000, time.monotonic_ns()))
        last = run.status().lines
        wait_for(lambda: run.status().lines > last + 25)
    marks = marks_in(tmp_path)
    assert [mark["text"][:12] for _, mark in marks] == [f"mark {k}" for k in range(100)] + ["two\nlines \u2192 "]
    period_ns, half_ns = 5_000_000, 1_000_000
    for (cube, mark), (before_ns, after_ns) in zip(marks, called, strict=False):
        time_ns = ns_of(mark["time"])
        assert before_ns <= time_ns <= after_ns, "microseconds in the file"
        if mark["line"]:
            assert cube.times_ns[mark["line"] - 1] + half_ns < time_ns
        assert time_ns - 1000 <= cube.times_ns[mark["line"]] + half_ns
        assert cube.times_ns[mark["line"]] - time_ns < period_ns or mark["line"] == 0
    entries, _ = FlightLog(tmp_path).entries()
    assert [entry["kind"] for entry in entries] == ["start", *["mark"] * 101, "stop"]
    assert [entry["time"] for entry in entries[1:101]] == [mark["time"] for _, mark in marks[:100]]
    assert len(entries[101]["text"]) == 10_017, "the log has all of it"
    start, stop = entries[0], entries[-1]
    assert {entry["run_id"] for entry in entries} == {cubes_in(tmp_path)[0].attributes["run_id"]}
    assert (start["camera"], start["n_lines"], start["settings"]["exposure_ms"]) == ("SharedSimulatedCamera", 20, 2.0)
    assert (stop["lines"], stop["lines_lost"], stop["ended_by"]) == (run.summary.lines, 0, "")


def test_a_pause_closes_the_cube_and_none_of_its_frames_is_lost(tmp_path):
    with record(SharedSimulatedCamera, tmp_path, script={60: "gap"}, **KEYWORDS) as run:
        run.resume()
        wait_for(lambda: run.status().lines > 30)
        moments_s = [time.monotonic()]
        run.pause()
        run.pause()
        wait_for(lambda: run.status().cubes_saved == run.status().cubes and run.status().is_paused)
        moments_s.append(time.monotonic())
        n_before = run.status().lines
        run.mark("in the pause")
        wait_for(lambda: time.time_ns() / 1e9 > cubes_in(tmp_path)[-1].times_ns[-1] / 1e9 + 0.3)
        assert run.status().lines == n_before
        moments_s.append(time.monotonic())
        run.resume()
        wait_for(lambda: run.status().lines > n_before + 30)
        moments_s.append(time.monotonic())
        path = socket_path(f"recording-{run.process_id}")
        assert request(path, Pause()).answer.is_paused
        wait_for(lambda: run.status().is_paused)
        n_before = run.status().lines
        assert not request(path, Resume()).answer.is_paused
        wait_for(lambda: run.status().lines > n_before + 5)
    assert run.summary.lines_lost <= 1, "the frame that was skipped by the camera"
    cubes = cubes_in(tmp_path)
    assert sum(len(cube.ids) for cube in cubes) == run.summary.lines
    for before, after in itertools.pairwise(cubes):
        between = after.ids[0] - before.ids[-1] - 1
        assert after.attributes.get("frames_paused", 0) == between
        assert (after.attributes.get("paused_before_s", 0) > 0) == (between > 0)
        assert after.attributes["lines_lost_before"] == 0
    first, *_ = paused = [cube for cube in cubes if "frames_paused" in cube.attributes]
    assert len(paused) == 2
    pause, is_paused, resume, resumed = moments_s
    assert resume - is_paused <= first.attributes["paused_before_s"] <= resumed - pause
    assert [(mark["line"], mark["text"]) for mark in json.loads(first.attributes["marks"])] == [(0, "in the pause")]
    with open_flight(tmp_path) as flight:
        assert sum(gap.n_lines for gap in flight.gaps) == run.summary.lines_lost
    assert kinds(tmp_path)[:4] == ["start", "pause", "mark", "resume"]
    assert kinds(tmp_path)[-3:] == ["pause", "resume", "stop"]
    entries, _ = FlightLog(tmp_path).entries()
    assert entries[3]["frames_paused"] == first.attributes["frames_paused"]


class Gated(SharedSimulatedCamera):
    """Takes some lines, and the others when there is the file `gate`."""

    N_BEFORE = 5

    def __init__(self, *, gate, **keywords):
        self.gate, self.n = gate, 0
        super().__init__(**keywords)

    def take_line(self):
        self.n += 1
        if self.n > self.N_BEFORE:
            wait_for(self.gate.exists)
        return super().take_line()


def test_a_recording_can_be_stopped_and_reaches_its_number_of_cubes_with_a_pause(tmp_path):
    with record(SharedSimulatedCamera, tmp_path / "a", **KEYWORDS) as run:
        run.pause()
        wait_for(lambda: run.status().is_paused)
    assert run.summary.errors == ()
    with record(Gated, tmp_path / "b", n_cubes=3, gate=tmp_path / "gate", **KEYWORDS) as run:
        wait_for(lambda: run.status().lines == Gated.N_BEFORE)
        request(socket_path(f"recording-{run.process_id}"), Pause())
        (tmp_path / "gate").touch()
        wait_for(lambda: run.status().is_paused)
        run.resume()
        summary = run.wait()
    lengths = [len(cube.ids) for cube in cubes_in(tmp_path / "b")]
    assert lengths == [Gated.N_BEFORE + 1, 20, 20, 20], "full ones count"
    assert (len(summary.paths), summary.lines_lost) == (4, 0)
    for call in (lambda: run.mark("late"), run.pause, run.resume):
        with pytest.raises(RecordingError, match="this recording has ended; start another one"):
            call()


@pytest.mark.parametrize("who", some("both", all_of=("recording", "both")))
def test_marks_outlive_everybody_but_the_writer(tmp_path, who):
    keywords = KEYWORDS | {"n_lines": 5000}
    with record(SharedSimulatedCamera, tmp_path, **keywords) as run:
        run.pause()
        wait_for(lambda: run.status().is_paused)
        lines = run.status().lines
        run.resume()
        wait_for(lambda: run.status().lines > lines + 20)
        run.mark("before it dies")
        lines = run.status().lines
        wait_for(lambda: run.status().lines > lines + 20)
        (writer,) = writers_of(run.process_id)
        if who == "both":
            os.kill(writer.pid, signal.SIGKILL)
            wait_for(lambda: run.status().writer_restarts == 1)
        os.kill(run.process_id, signal.SIGKILL)
        with pytest.raises(RecordingError, match="died"):
            run.wait()
    wait_for(lambda: [cube for cube in cubes_in(tmp_path) if cube.attributes["recovered"]])
    ((cube, mark),) = marks_in(tmp_path)
    assert (mark["text"], cube.attributes["recovered"]) == ("before it dies", 1)
    assert 0 <= cube.times_ns[mark["line"]] + 1_000_000 - ns_of(mark["time"]) < 5_001_000
    assert cube.attributes["frames_paused"] > 0
    assert cube.attributes["lines_lost"] == 0
    assert kinds(tmp_path)[-1] == "error"


def test_a_recording_killed_in_a_pause_has_lost_nothing(tmp_path):
    with record(SharedSimulatedCamera, tmp_path, **KEYWORDS) as run:
        wait_for(lambda: run.status().lines > 30)
        run.pause()
        wait_for(lambda: run.status().is_paused and not run.status().cubes_pending)
        status = run.status()
        os.kill(run.process_id, signal.SIGKILL)
        with pytest.raises(RecordingError, match="died"):
            run.wait()
    cubes = cubes_in(tmp_path)
    assert sum(len(cube.ids) for cube in cubes) == status.lines
    assert {cube.attributes["lines_lost"] for cube in cubes} == {0}


def test_what_is_no_text_is_refused():
    with SharedSimulatedCamera(**COUNTING) as cam:
        for given in (None, 7, b"bytes"):
            with pytest.raises(ArgumentError, match="mark needs a text, got"):
                cam.mark(given)


def test_a_camera_without_a_recording_takes_marks_and_passes_frames_over(tmp_path):
    with SharedSimulatedCamera(**COUNTING, n_lines=8) as cam:
        cam.collect()
        cam.mark("behind the last line")
        with pytest.raises(IllegalMove, match="8 lines are collected: save"):
            cam.pass_over_frame()
        first = cam.save(tmp_path)
        left = iter(range(5))
        assert cam.pass_over_frames(lambda: next(left, None) is not None) == 5
        assert cam.pass_over_frame().shape == (16, 32)
        cam.collect()
        paths = [first.result(60).path, cam.save(tmp_path).result(60).path]
        assert cam.status().lines_lost == 0
    before, after = cubes_in(tmp_path)
    assert [before.path, after.path] == paths
    assert "marks" not in before.attributes
    (mark,) = json.loads(after.attributes["marks"])
    assert (mark["line"], mark["text"]) == (0, "behind the last line")
    assert datetime.fromisoformat(mark["time"]).timestamp() == pytest.approx(time.time(), abs=60)
    assert after.ids == list(range(14, 22))
    assert (after.attributes["frames_paused"], after.attributes["lines_lost"]) == (5, 0)


def test_a_mark_before_the_camera_is_started_is_on_the_first_line(tmp_path):
    with SharedSimulatedCamera(**COUNTING, n_lines=2, exposure_ms=2000) as camera:
        camera.mark("ready")  # the middle of the exposure of both lines, which are made at once, is before it
        camera.collect(progress=False)
        camera.save(tmp_path)
    (cube,) = cubes_in(tmp_path)
    assert [(mark["line"], mark["text"]) for mark in json.loads(cube.attributes["marks"])] == [(0, "ready")]


@pytest.mark.parametrize("n_marks", [0, 1, 6])
def test_marks_that_no_line_follows_are_named_when_the_camera_is_closed(tmp_path, caplog, n_marks):
    with SharedSimulatedCamera(**COUNTING, n_lines=2) as camera:
        camera.mark("before")
        camera.collect(progress=False)
        camera.save(tmp_path)
        for number in range(n_marks):
            camera.mark(f"end {number}")
    said = [record.message for record in caplog.records if "these marks" in record.message]
    names = {0: [], 1: ["(1): end 0"], 6: ["(6): end 0, end 1, end 2, end 3, end 4, ..."]}[n_marks]
    assert said == [f"no line followed, so no cube has these marks {name}" for name in names]


def test_a_mark_that_cannot_be_kept_whole_is_said_without_what_controls_a_terminal(tmp_path, caplog):
    with SharedSimulatedCamera(**COUNTING, n_lines=2) as camera:
        camera.mark("sea\x1b[2J\udc80")
        camera.collect(progress=False)
        camera.save(tmp_path)
    (cube,) = cubes_in(tmp_path)
    assert json.loads(cube.attributes["marks"])[0]["text"] == "sea\x1b[2J?"
    (message,) = [record.message for record in caplog.records if "200 bytes of UTF-8" in record.message]
    assert message.isprintable()
    assert r"sea\x1b[2J" in message


@needs_disks
def test_a_full_log_costs_no_cube_and_is_one_warning(tmp_path, caplog):
    with mounted("tmpfs", tmp_path / "disk", "size=4096k") as disk:
        (disk / "flight_log.jsonl").symlink_to("/dev/full")
        with record(SharedSimulatedCamera, disk, **KEYWORDS) as run:
            for _ in range(1000):
                run.mark("x" * 100)
            run.stop()
            summary = run.wait()
        assert (summary.errors, summary.lines_lost) == ((), 0)
        assert [record.levelname for record in caplog.records if "is not complete" in record.message] == ["WARNING"]
    assert not processes_in(tmp_path)
