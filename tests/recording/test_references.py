"""`run.take_reference`: the cube is closed, frames are taken, it goes on, and nothing is called lost for it."""

import os
import signal
import threading

import numpy as np
import pytest

from openhsi_shared import SharedSimulatedCamera, open_cube, record
from openhsi_shared.errors import ArgumentError, RecordingError, ReferenceRefused
from tests.support.helpers import wait_for

LIT = {"resolution": (16, 32), "row_slice": None, "cal_path": "", "mode": "flat", "noise": 0, "dark": (100, 2)}
LIT |= {"light": 600.0, "exposure_ms": 2.0, "n_lines": 32, "progress": False, "rate": 300, "queue": 9999}
LIT["when_full"] = "block"


@pytest.fixture(autouse=True)
def _own_runtime_directory(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


def cubes_of(paths):
    for path in paths:
        with open_cube(path) as cube:
            groups = sorted(cube.groups["references"].groups) if "references" in cube.groups else []
            yield cube.frame_ids.tolist(), cube.attributes["lines_lost"], cube.attributes["lost_frame_ids"], groups


def lines_come(run):
    before = run.status().lines
    wait_for(lambda: run.status().lines > before + 40)


def test_a_reference_is_taken_while_the_recording_is_paused(tmp_path):
    with record(SharedSimulatedCamera, tmp_path, **LIT) as run:
        lines_come(run)
        run.pause()
        wait_for(lambda: run.status().is_paused)
        lines = run.status().lines
        assert run.take_reference("white", 10).n_frames == 10
        wait_for(lambda: run.status().is_paused)
        assert run.status().lines == lines, "it goes on to be paused"
        run.resume()
        lines_come(run)
    assert run.summary.lines_lost == 0


def test_references_are_taken_between_cubes_and_the_next_recording_uses_them(tmp_path):
    out = tmp_path / "flight"
    with record(SharedSimulatedCamera, out, **LIT) as run:
        lines_come(run)
        white = run.take_reference("white", 30)
        assert (white.kind, white.n_frames, white.path.parent) == ("white", 30, out / "references")
        lines_come(run)
        with pytest.raises(ReferenceRefused, match="the dark reference is bright"):
            run.take_reference("dark", 10)
        with pytest.raises(ArgumentError, match="n must be a whole number"):
            run.take_reference("dark", 0)
        lines_come(run)
        run.stop()
        summary = run.wait()
        with pytest.raises(RecordingError, match="the recording has ended"):
            run.take_reference("white")
    assert (summary.lines_lost, summary.lost_ids) == (0, ())
    cubes = list(cubes_of(summary.paths))
    steps = np.diff(np.concatenate([ids for ids, *_ in cubes]))
    jumps = steps[steps > 1]
    assert len(jumps) == 2, "one for each reference"
    assert jumps[0] > 30
    assert {(n_lost, ids) for _, n_lost, ids, _ in cubes} == {(0, "")}
    groups = [groups for *_, groups in cubes]
    first = groups.index(["white"])
    assert first > 0
    assert groups == [[]] * first + [["white"]] * (len(groups) - first)
    with record(SharedSimulatedCamera, out, n_cubes=1, **LIT) as run:
        [(_, _, _, found)] = cubes_of(run.wait().paths)
    assert found == ["white"], "the newest one beside the flight"


def test_who_waits_for_a_reference_is_told_when_the_recording_is_killed(tmp_path):
    run = record(SharedSimulatedCamera, tmp_path, **LIT)
    lines_come(run)
    errors = []

    def take():
        try:
            run.take_reference("white", 100_000)
        except RecordingError as error:
            errors.append(str(error))

    taking = threading.Thread(target=take)
    n_before = run.status().cubes
    taking.start()
    wait_for(lambda: run.status().cubes > n_before)
    os.kill(run.process_id, signal.SIGKILL)
    taking.join(60)
    assert errors == ["the white reference was not taken: the recording has ended"]
    with pytest.raises(RecordingError, match="process died"):
        run.wait()
    wait_for(lambda: not list(tmp_path.rglob("*.part")))
    saved = [ids for path in sorted(tmp_path.rglob("2*.nc")) for ids, *_ in cubes_of([path])]
    assert np.diff(np.concatenate(saved)).tolist() == [1] * (sum(map(len, saved)) - 1), "all lines, none is missing"
