"""Averaging by a camera, from its frames to the files, and to what reads them."""

import json
import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from openhsi_shared import (
    SharedDataCube,
    SharedReplayCamera,
    SharedSimulatedCamera,
    open_cube,
    open_flight,
    record,
    verify,
)
from openhsi_shared.errors import ArgumentError, LevelError, RecordingError, SourceEnded, UnknownKeyword
from openhsi_shared.files.flight_log import FlightLog
from openhsi_shared.frames.averaged import frames_of
from tests.support.helpers import wait_for

LIT = {"light": 100.0, "dark": (300.0, 10.0), "noise": 3.0, "exposure_ms": 2.0, "resolution": (20, 48)}
LOST = {3: "gap", 4: "gap", 9: "incomplete", 15: "gap", **dict.fromkeys(range(19, 25), "gap")}


def frames(n, **options):
    """Frames of the simulated camera, by their ids."""
    with SharedSimulatedCamera(n_lines=n, n_frames=n, **LIT, **options) as cam:
        cam.collect(progress=False)
        return np.array(cam.dc.data).transpose(1, 0, 2)


class Read(NamedTuple):
    path: Path
    attributes: dict
    frame_ids: np.ndarray
    used: np.ndarray
    lines: np.ndarray


def cubes_in(directory):
    found = []
    for path in sorted(directory.rglob("*.nc")):
        with open_cube(path) as cube:
            found.append(Read(path, dict(cube.attributes), cube.frame_ids, cube.column("frames_used"), cube.lines[:]))
    return found


def check_lines(cube, raw, average=4):
    """Whether each line is the mean of the frames that it names."""
    for frame_id, bits, line in zip(cube.frame_ids, cube.used, cube.lines, strict=True):
        ids = frames_of(np.array([frame_id]), np.array([bits]))
        assert len({one // average for one in ids.tolist()}) == 1
        total = raw[ids].astype(np.int64).sum(axis=0)
        assert np.array_equal(line, (2 * total + len(ids)) // (2 * len(ids)))


def account(cubes):
    """All ids that the files name: those of lines, and lost ones."""
    lines = [one for cube in cubes for one in frames_of(cube.frame_ids, cube.used).tolist()]
    lost = []
    for cube in cubes:
        for part in str(cube.attributes["lost_frame_ids"]).split():
            first, _, last = part.partition("-")
            lost += range(int(first), int(last or first) + 1)
    assert len(lost) == sum(int(cube.attributes["lines_lost"]) for cube in cubes)
    return lines, lost


def test_lines_of_files_are_means_and_all_frames_are_in_the_files_or_declared_lost(tmp_path):
    raw = frames(46)
    with SharedSimulatedCamera(n_lines=4, average=4, n_frames=46, script=LOST, **LIT) as cam, suppress(SourceEnded):
        while True:
            cam.collect(progress=False)
            cam.save(tmp_path)
    status = cam.status()
    cubes = cubes_in(tmp_path)
    lines, lost = account(cubes)
    assert sorted(lines + lost) == list(range(46))
    assert lost == sorted(LOST)
    assert (status.lines, status.lines_lost) == (sum(len(cube.lines) for cube in cubes), len(LOST))
    for cube in cubes:
        check_lines(cube, raw)
        assert (cube.attributes["average"], cube.attributes["saturated_unknown"]) == (4, "lines are means of 4 frames")
        assert verify(cube.path).ok
    missing = [(gap.first_id, gap.last_id, gap.n_lines) for gap in open_flight(tmp_path).gaps]
    assert missing == [(20, 23, 1)], "a group without any frame is a line that is missing"

    with SharedReplayCamera(n_lines=11, path=tmp_path, rate=None) as camera:
        camera.collect(progress=False)
        path = camera.save(tmp_path / "again").result().path
        assert camera.status().lines_lost == 1, "a replayed line is a frame, and one is missing"
    with open_cube(path) as again:
        assert np.array_equal(again.lines[:], np.concatenate([cube.lines for cube in cubes]))


def test_lines_are_averaged_behind_their_processing(tmp_path):
    squares = {"custom_tfms": [lambda frame: frame[:, ::2].astype(np.float32) ** 2]}
    raw = frames(8, **squares).astype(np.float64)
    with SharedSimulatedCamera(n_lines=2, average=4, n_frames=8, **squares, **LIT) as cam:
        cam.collect(progress=False)
        path = cam.save(tmp_path).result().path
    with open_cube(path) as cube:
        expected = np.stack([raw[:4].mean(axis=0), raw[4:].mean(axis=0)]).astype(np.float32)
        assert cube.lines.dtype == np.float32
        np.testing.assert_array_equal(cube.lines[:], expected)


def test_bad_numbers_are_one_error_before_the_camera_opens(tmp_path):
    opened = []

    class Camera(SharedSimulatedCamera):
        def _open_source(self, options):
            opened.append(options)
            return super()._open_source(options)

    for average in (1, 65, True, 4.0, "4"):
        for make in (Camera, partial(record, Camera, tmp_path)):
            with pytest.raises(ArgumentError, match="average must be a whole number of frames from 2 to 64"):
                make(average=average)
    assert not opened
    with pytest.raises(UnknownKeyword, match="average"):
        SharedDataCube(average=4, resolution=(4, 8))
    with pytest.raises(LevelError, match="sums of int64 overflow"):
        SharedSimulatedCamera(average=4, custom_tfms=[lambda frame: frame.astype(np.int64)], **LIT)
    with SharedSimulatedCamera(**LIT) as cam:
        with pytest.raises(ArgumentError):
            cam.reinitialise(average=1)
        cam.reinitialise(average=2, n_lines=3, n_frames=6)
        cam.collect(progress=False)
        assert cam.n_collected == 3


def test_a_recording_saves_what_has_come_of_a_line_when_it_pauses_and_stops(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    directory = tmp_path / "flight"
    keywords = {**LIT, "n_lines": 6, "n_buffers": 8, "when_full": "block", "queue": 99_999, "progress": False}
    with record(SharedSimulatedCamera, directory, rate=400.0, average=16, **keywords) as run:
        wait_for(lambda: run.status().lines > 8)
        run.pause()
        wait_for(lambda: run.status().is_paused)
        n_before = run.status().lines
        run.resume()
        wait_for(lambda: run.status().lines > n_before + 3)
        run.mark("now")
        run.stop()
        summary = run.wait()
    cubes = cubes_in(directory)
    lines, lost = account(cubes)
    paused = sum(int(cube.attributes.get("frames_paused", 0)) for cube in cubes)
    assert lost == []
    assert summary.lines_lost == 0
    assert summary.lines == sum(len(cube.lines) for cube in cubes)
    assert len(lines) + paused == lines[-1] + 1
    assert max(len(cube.lines) for cube in cubes) == 6
    raw = frames(lines[-1] + 1)
    for cube in cubes:
        check_lines(cube, raw, 16)
    entries, damaged = FlightLog(directory).entries()
    assert not damaged
    assert [entry["kind"] for entry in entries] == ["start", "pause", "resume", "mark", "stop"]
    marks = [json.loads(cube.attributes["marks"]) for cube in cubes if "marks" in cube.attributes]
    assert [mark["text"] for one in marks for mark in one] == ["now"]


def test_a_recording_that_is_killed_leaves_lines_whose_frames_are_named(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    directory = tmp_path / "flight"
    keywords = {**LIT, "n_lines": 500, "queue": 99_999, "progress": False, "script": {9: "gap", 12: "gap"}}
    with record(SharedSimulatedCamera, directory, rate=400.0, average=4, **keywords) as run:
        wait_for(lambda: run.status().lines > 8)
        os.kill(run.process_id, signal.SIGKILL)
        with pytest.raises(RecordingError):
            run.wait()
    wait_for(lambda: len(cubes_in(directory)) == 1)
    (cube,) = cubes_in(directory)
    lines, lost = account([cube])
    assert cube.attributes["recovered"] == 1
    assert lost == [9, 12]
    assert sorted(lines + lost) == list(range(lines[-1] + 1))
    assert verify(cube.path).ok
    check_lines(cube, frames(lines[-1] + 1))
