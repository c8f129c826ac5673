"""A call of a camera that never returns keeps neither a recording nor its lines."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared import SharedOpenHSI, record
from openhsi_shared.errors import CameraLost, RecordingError
from tests.support.flow import cubes_in, environment, processes_in
from tests.support.helpers import ROOT, wait_for
from tests.support.products import each_value_once

SHAPE = (4, 16)
KEYWORDS = {"resolution": SHAPE, "exposure_ms": 1, "progress": False, "n_buffers": 3, "n_lines": 5}


@pytest.fixture(autouse=True)
def _own_runtime_directory(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


def _hanging(method: str, in_c: bool = False, holds_lock: bool = False) -> type:
    """Make a camera of which one method does not return: `get_img` at its 7th call."""

    def hang() -> None:
        import ctypes

        Path(os.environ["XDG_RUNTIME_DIR"], "hanging").touch()
        if in_c or holds_lock:  # no handler of a signal runs meanwhile
            wait = (ctypes.PyDLL if holds_lock else ctypes.CDLL)(None).poll
            while True:
                wait(None, 0, 1_000_000)
        time.sleep(1000)

    class Base:
        n = 0

        def start_cam(self) -> None:
            if method == "start_cam":
                hang()

        def stop_cam(self) -> None:
            if method == "stop_cam":
                hang()

        def get_img(self) -> np.ndarray:
            self.n += 1
            if method == "get_img" and self.n == 7:
                hang()
            time.sleep(0.002)
            return np.full(SHAPE, self.n, np.uint16)

    class SharedHanging(Base, SharedOpenHSI):
        def __init__(self, **keywords: object) -> None:
            super().__init__(**keywords)
            if method == "__init__":
                hang()

    return SharedHanging


def _numbers(directory) -> list[int]:
    return [int(line[0, 0]) for cube in cubes_in(directory) for line in cube.lines]


@pytest.mark.parametrize(("how", "in_c"), each_value_once(["stop", "SIGTERM"], [False, True]))
def test_a_get_img_that_never_returns_is_ended_after_a_timeout_and_its_lines_are_saved(tmp_path, how, in_c):
    """The camera is unplugged, and its SDK waits for ever: only `kill -9` ended the recording."""
    with record(_hanging("get_img", in_c), tmp_path / "out", **KEYWORDS) as run:
        wait_for((tmp_path / "run" / "hanging").exists)
        if how == "stop":
            run.stop()
        else:
            os.kill(run.process_id, signal.SIGTERM)
        with pytest.raises(CameraLost, match="SharedHanging: get_img has not returned within 3 s") as raised:
            run.wait(60)
        summary = run.summary
        assert "in hang" in "".join(raised.value.__notes__), "the place where it hangs"
        assert run.status().lines == 6
    assert (summary.lines, summary.lines_lost, len(summary.paths)) == (6, 0, 2)
    assert _numbers(tmp_path / "out") == [1, 2, 3, 4, 5, 6]
    assert not list((tmp_path / "run").rglob("*.sock"))


def test_a_recording_of_some_seconds_ends_though_get_img_never_returns(tmp_path):
    with (
        record(_hanging("get_img", False), tmp_path / "out", **KEYWORDS, seconds=5) as run,
        pytest.raises(CameraLost, match="get_img has not returned within 3 s"),
    ):
        run.wait(60)
    assert _numbers(tmp_path / "out") == [1, 2, 3, 4, 5, 6]


def test_a_package_that_hangs_and_holds_the_lock_of_python_is_killed_and_its_lines_are_saved(tmp_path, monkeypatch):
    monkeypatch.setattr("openhsi_shared.recording.run.UNRESPONSIVE_S", 2.0)
    with record(_hanging("get_img", holds_lock=True), tmp_path / "out", **KEYWORDS) as run:
        wait_for((tmp_path / "run" / "hanging").exists)
        run.stop()
        with pytest.raises(RecordingError, match="SharedHanging did not return within 2 s: its process was killed"):
            run.wait(60)
    wait_for(lambda: len(_numbers(tmp_path / "out")) == 6)
    assert _numbers(tmp_path / "out") == [1, 2, 3, 4, 5, 6]


def test_a_stop_cam_that_never_returns_does_not_keep_a_recording(tmp_path):
    with record(_hanging("stop_cam"), tmp_path / "out", n_cubes=2, **KEYWORDS) as run:
        with pytest.raises(CameraLost, match="SharedHanging: stop_cam has not returned"):
            run.wait(60)
        summary = run.summary
    assert (summary.lines, summary.lines_lost, len(summary.paths)) == (10, 0, 2)
    assert _numbers(tmp_path / "out") == list(range(1, 11))


def _has_received(process_id: int) -> bool:
    """Whether no SIGINT is pending."""
    try:
        status = Path(f"/proc/{process_id}/status").read_text()
    except FileNotFoundError:
        return True
    pending = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
    return not any(mask >> (signal.SIGINT - 1) & 1 for mask in pending)


START = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.field.test_cameras_that_hang import KEYWORDS, _hanging
from openhsi_shared import record
print("begun", flush=True)
with record(_hanging(sys.argv[2]), "out", **KEYWORDS) as run:
    print("recording", flush=True)
    run.wait()
"""


@pytest.mark.parametrize(("method", "n"), [("__init__", 2), ("get_img", 1)])
def test_ctrl_c_ends_a_program_whose_camera_hangs(tmp_path, method, n):
    """Twice while it starts: nothing is left."""
    (tmp_path / "program.py").write_text(START)
    with subprocess.Popen(
        [sys.executable, "program.py", str(ROOT), method],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        if method == "get_img":
            assert process.stdout.readline() == "recording\n"
        wait_for((tmp_path / "temporary" / "hanging").exists)
        for _ in range(n):
            os.kill(process.pid, signal.SIGINT)
            wait_for(lambda: _has_received(process.pid))
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert ("CameraLost" if method == "get_img" else "KeyboardInterrupt") in errors
    wait_for(lambda: not processes_in(tmp_path), 60)
    if method == "get_img":
        assert _numbers(tmp_path / "out") == [1, 2, 3, 4, 5, 6]
