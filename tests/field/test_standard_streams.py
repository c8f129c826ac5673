"""Standard streams that are missing, closed or broken: a library prints into the lines, a progress bar raises."""

import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from openhsi_shared import open_cube
from openhsi_shared.cli import main
from openhsi_shared.files import CubeWriter
from tests.support.cubes import make_cube
from tests.support.flow import CAMERA, SHAPE, account, cubes_in, environment, run
from tests.support.products import each_value_once, some

PRINTING = """
import numpy as np
def print_in_c():
    import ctypes
    libc = ctypes.CDLL(None)
    for descriptor in range(3):
        libc.dprintf(descriptor, b"xiAPI: ---- xiOpenDevice, and more of what a vendor prints" * 9)
"""
CUBE = """
from openhsi_shared import SharedDataCube
with SharedDataCube(n_lines=4, resolution=(16, 32)) as cube:
    print_in_c()
    for n in range(4):
        cube.put(np.full((16, 32), n, np.uint16))
        print_in_c()
    cube.save("out").result()
"""
RECORDING = """
from openhsi_shared import SharedOpenHSI, record
class Camera:
    n = -1
    def start_cam(self): print_in_c()
    def stop_cam(self): print_in_c()
    def get_img(self):
        print_in_c()
        self.n += 1
        return np.full((16, 32), self.n, np.uint16)
class SharedCamera(Camera, SharedOpenHSI): pass
with record(SharedCamera, "out", n_lines=4, n_cubes=1, resolution=(16, 32), exposure_ms=1) as run:
    run.wait()
"""
AFTER_CLOSING_IN_PYTHON = "import os\nos.closerange(0, 3)\n"
OTHERS = """
import ctypes
from openhsi_shared import SharedCircArrayBuffer, SharedRing
buffer = SharedCircArrayBuffer((4, 16, 32), 0, ctypes.c_uint16)
buffer.put(np.zeros((16, 32), np.uint16))
with SharedRing(4096, create=True, dtype="uint8") as ring:
    ring.put(np.zeros(4096, np.uint8))
    print_in_c()
    assert not np.asarray(ring).any() and not np.asarray(buffer.get()).any()
"""


def _closed(*descriptors: int) -> str:
    return " ".join(f"{n}>&-" if n else "0<&-" for n in descriptors)


def _run_with(streams: str, code: str, tmp_path) -> int:
    (tmp_path / "program.py").write_text(code)
    command = f'"{sys.executable}" program.py {streams}'
    ended = subprocess.run(command, shell=True, cwd=tmp_path, env=environment(tmp_path), timeout=60, check=False)
    return ended.returncode


CODES = {"cube": CUBE, "recording": RECORDING, "daemon": AFTER_CLOSING_IN_PYTHON + CUBE}


@pytest.mark.parametrize(("what", "closed"), each_value_once([*CODES], [(1,), (0, 1, 2), (2,)]))
def test_what_a_vendors_library_prints_into_a_closed_descriptor_is_not_in_the_lines(tmp_path, what, closed):
    """xiAPI prints when a camera is opened; the program was started with `>&-`."""
    assert _run_with(_closed(*closed), PRINTING + CODES[what], tmp_path) == 0
    (path,) = (tmp_path / "out").rglob("*.nc")
    with open_cube(path) as cube:
        expected = np.broadcast_to(np.arange(4, dtype=np.uint16)[:, None, None], (4, *SHAPE))
        np.testing.assert_array_equal(cube.lines[:], expected)


def test_nor_is_it_in_buffers_and_rings(tmp_path):
    assert _run_with(_closed(1, 2), PRINTING + OTHERS, tmp_path) == 0


NO_STREAM = "sys.stderr = None"
CLOSED = "sys.stderr = open(os.devnull, 'w'); sys.stderr.close()"
WITHOUT_ISATTY = """
class Widget:
    def write(self, text): raise RuntimeError("the widget is gone")
sys.stderr = sys.stdout = Widget()
"""
DIES = """
class Terminal:
    n = 0
    def isatty(self): return True
    def write(self, text):
        self.n += 1
        if self.n > 2: raise BrokenPipeError(32, "Broken pipe")
    def flush(self):
        if self.n > 2: raise RuntimeError("the terminal is gone")
sys.stderr = sys.stdout = Terminal()
"""
LOGS = """
from openhsi_shared.loggers import safe_logger
safe_logger("openhsi_shared").error("in a program without a logging handler")
"""


STREAMS = {"None": NO_STREAM, "closed": CLOSED, "no isatty": WITHOUT_ISATTY, "dies in the middle": DIES}


@pytest.mark.parametrize("streams", some("None", "dies in the middle", all_of=STREAMS))
def test_a_stream_that_cannot_show_a_progress_bar_does_not_end_a_collection(tmp_path, streams):
    """`'NoneType' object has no attribute 'isatty'`: with pythonw, in a service, in the console of an editor."""
    used = f"import os, sys\n{CAMERA}{STREAMS[streams]}{LOGS}with camera(rate=100, queue=9999) as cam:\n"
    used += "    for _ in range(3):\n        cam.collect()\n        cam.save('out')\n"
    code, _, errors = run(used, tmp_path)
    assert code in (0, 120), errors  # the interpreter itself returns 120 if it cannot flush a stream at its end
    assert account(tmp_path / "out") == (list(range(24)), [])


def test_a_writer_starts_although_standard_output_is_a_closed_pipe(tmp_path):
    """`python flight.py | head`: what was printed before is still in the buffer of Python."""
    code = f"{CAMERA}import os\nprint('begun')\n"
    code += "with camera() as cam:\n    cam.collect(); cam.save('out').result()\nos._exit(0)\n"
    (tmp_path / "program.py").write_text(code)
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed_pipe:
        ended = subprocess.run(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            env=environment(tmp_path, PYTHONUNBUFFERED=""),
            stdout=closed_pipe,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    assert [len(cube.lines) for cube in cubes_in(tmp_path / "out")] == [8]


def test_shared_memory_of_a_user_in_a_standard_descriptor_is_not_used_for_lines(tmp_path):
    """The memory of `multiprocessing` that a program made before may have room for more."""
    code = """
import os, sys
os.close(0)
import multiprocessing
kept = multiprocessing.get_context("spawn").RawArray("B", 4096)
from openhsi_shared import SharedDataCube
from openhsi_shared.errors import MemoryShortage
from openhsi_shared.buffers.memory import arena_of, shared_array
assert arena_of(kept)[0].fd == 0
del kept
try:
    shared_array("B", 2048, "lines")
except MemoryShortage as error:
    print(error)
"""
    _, output, errors = run(code, tmp_path)
    assert "its memory has descriptor 0, into which libraries print" in output, errors


BATCHES = {  # commands that show their progress
    "verify": ["verify", "cube.nc"],
    "preview": ["preview", "cube.nc", "--out", "pictures"],
    "export": ["export", "cube.nc", "--to", "netcdf", "--out", "exported"],
    "process": ["process", "cube.nc", "--procs", "1", "--out", "processed"],
    "capture": ["capture", "cube.nc", "--out", "lines.cbors"],
    "recover": ["recover", "."],
    "replay": ["replay", "-w", "worker:Worker", "-f", "cube.nc"],
}


@pytest.mark.parametrize("command", BATCHES)
def test_a_command_whose_streams_are_closed_does_its_work(tmp_path, monkeypatch, command):
    """Of a timer with `>&- 2>&-`: whole cubes ended with exit code 1, which means damaged."""
    with CubeWriter(6, (5, 7), np.uint16) as writer:
        writer.write(make_cube(), [tmp_path]).path.rename(tmp_path / "cube.nc")
    (tmp_path / "worker.py").write_text("class Worker:\n    def process_event(self, event, parameters=None): pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # the command closes those that it finds
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(SystemExit) as ended:
        main(BATCHES[command])
    sys.stdout.close()
    sys.stderr.close()
    assert ended.value.code == 0
