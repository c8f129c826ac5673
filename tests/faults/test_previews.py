"""Previews and readers: whatever happens to them, the recording is not affected."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil
import pytest

from openhsi_shared import SharedDataCube, SharedSimulatedCamera, record
from openhsi_shared.control.control_socket import find_sockets, request
from openhsi_shared.control.messages import AskSlots, AskStatus, encode
from openhsi_shared.files.preview import write_preview
from openhsi_shared.rgb import picture
from tests.support.flow import COUNTING, SHAPE, cubes_in, read
from tests.support.helpers import environment, wait_for
from tests.support.oracle import prove

# ---- R1: pictures ----


def test_a_cube_without_any_contrast_is_saved_with_a_picture(tmp_path):
    """R1: dark, saturated."""
    with SharedDataCube(n_lines=6, resolution=SHAPE) as cube:
        for value in (0, 1, 65535):
            for _ in range(6):
                cube.put(np.full(SHAPE, value, np.uint16))
            result = cube.save(tmp_path).result(60)
            assert (read(result.path).lines == value).all()
            assert result.preview_path.stat().st_size > 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_still_gives_a_picture(tmp_path, value):
    """R1: of levels whose calibration divides by nothing."""
    means = np.full((6, 16, 3), value, np.float32)
    write_preview(picture(means), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 0


@pytest.mark.parametrize("what", ["a directory", "a foreign file", "a dangling link"])
def test_a_picture_that_cannot_be_written_is_a_warning_and_the_cube_is_there(tmp_path, caplog, what):
    """R1: its name is taken; the data file is unaffected, the save is a success."""
    with SharedDataCube(n_lines=6, resolution=SHAPE) as cube:
        cube.put(np.zeros(SHAPE, np.uint16))
        first = cube.save(tmp_path, prefix="a").result(60)
        stem = first.preview_path.name.removeprefix("a")
        assert stem.endswith(".png")
        # of the next one only the folder is known: nothing can be written into it any more but files that are there
        folder = first.path.parent
        cube.put(np.zeros(SHAPE, np.uint16))
        cube.will_save_to(tmp_path)
        time_ns = int(cube.timestamps.data[0].astype(np.int64))
        from openhsi_shared.dataset import cube_stem

        taken = folder / f"{cube_stem(time_ns)}.png"
        if what == "a directory":
            taken.mkdir()
        elif what == "a foreign file":
            taken.write_text("mine")
        else:
            taken.symlink_to("nowhere")
        result = cube.save(tmp_path).result(60)
    assert read(result.path).attributes["complete"] == 1
    assert result.path.with_suffix(".png") == taken
    assert result.preview_path is None
    assert "is saved, but its preview is not" in caplog.text


# ---- lookers ----

KEYWORDS = {**COUNTING, "n_lines": 20, "rate": 400, "queue": 9999, "when_full": "block", "progress": False}

FATES = (signal.SIGKILL, signal.SIGSTOP, None)

LOOKER = """
import os, sys
from pathlib import Path
from openhsi_shared.control.control_socket import request
from openhsi_shared.control.messages import AskSlots, AskStatus
path = Path(sys.argv[1])
while True:
    for descriptor in request(path, AskSlots()).descriptors:
        os.close(descriptor)
    request(path, AskStatus())
    print("looked", flush=True)
"""


@pytest.fixture
def runtime_folder(monkeypatch):
    with tempfile.TemporaryDirectory() as folder:  # the path of a socket must be short
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


def _wait_for_more(run_, n=4):
    saved = run_.status().cubes_saved
    wait_for(lambda: run_.status().cubes_saved >= saved + n, 60)


def test_lookers_that_are_killed_stopped_greedy_or_never_read_change_nothing(tmp_path, runtime_folder):
    """S2: they look as often as they can, fifty more ask and say no more; all they get is read-only."""
    import mmap

    with record(SharedSimulatedCamera, tmp_path / "out", n_buffers=8, **KEYWORDS) as run_:
        (path,) = find_sockets()
        for descriptor in request(path, AskSlots()).descriptors:
            with pytest.raises(PermissionError):
                mmap.mmap(descriptor, 0, access=mmap.ACCESS_WRITE)
            with pytest.raises(OSError, match=r"denied|not permitted|Invalid|Bad file"):
                os.ftruncate(descriptor, 0)
            os.close(descriptor)
        recording = psutil.Process(run_.process_id)
        before = recording.num_fds()
        lookers = [
            subprocess.Popen(
                [sys.executable, "-c", LOOKER, str(path)],
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for _ in FATES
        ]
        clients = [socket.socket(socket.AF_UNIX) for _ in range(50)]
        try:
            for looker in lookers:
                assert looker.stdout.readline() == b"looked\n"
            for client in clients:
                client.connect(str(path))
                client.sendall(encode(AskSlots()))
            for looker, fate in zip(lookers, FATES, strict=True):
                if fate is not None:
                    looker.send_signal(fate)
            _wait_for_more(run_, 2)
            assert request(path, AskStatus()).answer.status.lines_lost == run_.status().lines_lost
        finally:
            for client in clients:
                client.close()
            for looker in lookers:
                looker.kill()
                looker.communicate()
        wait_for(lambda: recording.num_fds() <= before + 2)
        run_.stop()
        summary = run_.wait(60)
    assert prove(tmp_path / "out", summary.lines + summary.lines_lost).declared_lost == 0
    assert len(cubes_in(tmp_path / "out")) >= 4
