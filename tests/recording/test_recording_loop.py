"""The processes of a recording die, one by one, and all at once; and where a recording can be started from."""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil
import pytest

from openhsi_shared import SharedSimulatedCamera, record
from openhsi_shared.control.control_socket import find_sockets, request
from openhsi_shared.control.messages import AskSlots, AskStatus, Stop
from openhsi_shared.errors import RecordingError, SaveError
from openhsi_shared.recording.loop import _RecordingLoop
from openhsi_shared.recording.space import check_space
from openhsi_shared.writer.handle import SaveHandle
from tests.support.flow import COUNTING, account, cubes_in, environment, processes_in, program, run
from tests.support.helpers import wait_for
from tests.support.process_faults import writers_of
from tests.support.products import some

KEYWORDS = {**COUNTING, "n_lines": 8, "progress": False, "rate": 400, "queue": 9999, "when_full": "block"}

RECORDING = """
import logging, os, signal, sys, time
from openhsi_shared import SharedSimulatedCamera, record
run = record(SharedSimulatedCamera, "out", mode="counting", resolution=(16, 32), row_slice=None, cal_path="",
             n_lines=8, n_buffers=40, rate=50, queue=9999, when_full="block", progress=False)
while run.status().lines < 20:
    time.sleep(0.01)
print(run.process_id, flush=True)
"""


@pytest.fixture(autouse=True)
def _own_runtime_directory(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "temporary"))


@pytest.mark.parametrize(
    "end", some("", "del run", all_of=("", "sys.exit(0)", "with run: pass", "run.stop()", "del run"))
)
def test_a_program_that_ends_stops_its_recording_in_good_order(tmp_path, end):
    code, _, errors = run(f"{RECORDING}\n{end}", tmp_path)
    assert (code, errors) == (0, "")
    assert not processes_in(tmp_path)
    saved, lost = account(tmp_path / "out")
    assert (len(saved) >= 20, lost) == (True, [])


def test_a_failure_that_nobody_was_told_is_told_when_the_program_ends(tmp_path):
    code, _, errors = run(
        """
from openhsi_shared import SharedSimulatedCamera, record
class Broken(SharedSimulatedCamera):
    def take_line(self):
        return 1 / 0
run = record(Broken, "out", resolution=(16, 32), n_lines=8, progress=False, row_slice=None)
while run.is_running:
    pass
""",
        tmp_path,
    )
    assert code == 1
    assert "ZeroDivisionError" in errors


def test_ctrl_c_stops_it_in_good_order(tmp_path):
    code = f"{RECORDING}\ntry:\n    print(run.wait().lines)\nexcept KeyboardInterrupt:\n    print('raised')"
    with program(code, tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        wait_for(lambda: len(list((tmp_path / "out").rglob("*.nc"))) > 5)  # by then it waits
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    saved, lost = account(tmp_path / "out")
    assert (len(saved), lost) == (int(output), [])


def test_ctrl_c_while_it_starts_leaves_nothing_running(tmp_path):
    code = """
import os, signal, threading, time
from openhsi_shared import SharedSimulatedCamera, record
class Slow(SharedSimulatedCamera):
    def __init__(self, **keywords):
        print("starting", flush=True)
        while not os.path.exists("interrupted"):
            time.sleep(0.005)
        super().__init__(**keywords)
record(Slow, "out", resolution=(16, 32), row_slice=None, n_lines=8, rate=100, progress=False)
"""
    with program(code, tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        (tmp_path / "interrupted").touch()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGINT
        wait_for(lambda: not processes_in(tmp_path))


def test_results_are_named_after_the_first_cube_that_has_a_file():
    """Cubes before it may have no lines, since all were lost."""
    loop = _RecordingLoop(None, None)
    assert loop._first_file() == ""
    loop.cubes += [SaveHandle("cube without lines", 0, 8), SaveHandle("cube 1", 8, 0), SaveHandle("cube 2", 8, 0)]
    loop.cubes[0].settle()
    loop.cubes[1].settle(error=SaveError("full"))
    assert loop._first_file() == ""
    loop.cubes[2].settle(Path("2.nc"))
    assert loop._first_file() == "2.nc"


def test_a_recording_that_is_killed_is_told_and_its_writer_saves_what_there_was(tmp_path):
    with record(SharedSimulatedCamera, tmp_path / "out", **KEYWORDS) as run:
        wait_for(lambda: run.status().lines > 20)
        writers = psutil.Process(run.process_id).children()
        os.kill(run.process_id, signal.SIGKILL)
        with pytest.raises(RecordingError, match="died, exit code -9; its writer saves the collected lines"):
            run.wait()
        with pytest.raises(RecordingError, match="does not respond"):
            run.status()
    wait_for(lambda: not any(writer.is_running() for writer in writers))
    saved, lost = account(tmp_path / "out")
    assert (saved, lost) == (list(range(len(saved))), [])
    assert len(saved) > 20


def test_a_recording_ends_in_good_order_when_the_system_asks_it_to(tmp_path):
    with record(SharedSimulatedCamera, tmp_path, **KEYWORDS) as run:
        wait_for(lambda: run.status().lines > 20)
        os.kill(run.process_id, signal.SIGTERM)
        summary = run.wait()
    assert account(tmp_path) == (list(range(summary.lines)), [])


def test_everything_killed_at_once_leaves_only_whole_files(tmp_path):
    with program(f"{RECORDING}\nrun.wait()", tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for process_id in processes_in(tmp_path):
            os.kill(process_id, signal.SIGKILL)
        process.wait(60)
    saved, _ = account(tmp_path / "out")
    assert saved == list(range(len(saved)))


def test_its_writer_killed_costs_no_line(tmp_path):
    with record(SharedSimulatedCamera, tmp_path, **KEYWORDS) as run:
        for n in range(1, 4):
            n_saved = run.status().cubes_saved
            wait_for(lambda n=n_saved: run.status().cubes_saved >= n + 3)
            (writer,) = writers_of(run.process_id)
            writer.kill()
            wait_for(lambda n=n: run.status().writer_restarts == n)
        run.stop()
        lines = run.wait().lines
        assert run.status().writer_restarts == 3
    assert account(tmp_path) == (list(range(lines)), [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_forked_child_does_not_stop_the_recording(tmp_path):
    code = f"""{RECORDING}
if os.fork() == 0:
    try:
        run.status()
    except ClosedError:
        run.stop()
        run.__exit__(None, None, None)
        sys.exit(5)
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 5
before = run.status().lines
while run.status().lines < before + 10:
    time.sleep(0.01)
"""
    code, _, errors = run(
        f"from openhsi_shared.errors import ClosedError\n{code}", tmp_path
    )  # multiprocessing's own hook complains in such a child
    assert code == 0, errors


def test_its_control_socket_answers_while_it_runs_and_is_gone_afterwards(tmp_path, monkeypatch):
    runtime = tempfile.TemporaryDirectory()  # the path of a socket must be short
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime.name)
    with runtime, record(SharedSimulatedCamera, tmp_path / "out", **KEYWORDS) as run:
        wait_for(lambda: run.status().cubes >= 2)
        (path,) = find_sockets()
        status = request(path, AskStatus()).answer.status
        assert type(status) is type(run.status())
        assert (status.lines_lost, status.slots.keys()) == (0, run.status().slots.keys())
        assert status.lines >= 16
        slots, descriptors = request(path, AskSlots())
        assert slots.export.layout.n_lines == 8
        assert len(descriptors) == len(slots.export.starts)
        for descriptor in descriptors:
            with pytest.raises(OSError, match=r"Operation not permitted|Bad file descriptor|denied"):
                os.pwrite(descriptor, b"x", 0)
            os.close(descriptor)
        request(path, Stop())
        run.wait()
        assert find_sockets() == []


def test_a_disk_that_cannot_hold_one_cube_is_refused(tmp_path):
    with pytest.raises(OSError, match=r"one cube needs 1,000,000,000 MB, .* are free: choose another disk") as caught:
        check_space(tmp_path, 10**15, None, 1.0)
    assert caught.value.errno == 28


@pytest.mark.root
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_a_disk_that_is_small_or_read_only_is_refused_before_the_first_line_or_warned_about_and_survived(tmp_path):
    code = """
import logging, subprocess, sys
logging.basicConfig(format="%(name)s: %(message)s", stream=sys.stdout)
from openhsi_shared import SharedSimulatedCamera, record
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", "disk"], check=True)
keywords = dict(mode="counting", resolution=(16, 32), row_slice=None, cal_path="", progress=False, rate=500, queue=9999)
try:
    record(SharedSimulatedCamera, "disk", n_lines=1000, **keywords)
except OSError as error:
    print(error.errno, error)
with record(SharedSimulatedCamera, "disk", n_lines=32, n_cubes=20, when_full="stop", **keywords) as run:
    try:
        run.wait()
    except OSError as error:
        print(error.errno, error)
    except Exception as error:
        print(type(error).__name__)
    print(len(run.summary.errors), [p.exists() for p in run.summary.paths])
subprocess.run(["cp", "-r", "disk", "kept"], check=True)
subprocess.run(["mount", "-o", "remount,ro", "disk"], check=True)
try:
    record(SharedSimulatedCamera, "disk", n_lines=8, **keywords)
except PermissionError:
    print("another error")
except OSError as error:
    print(error.errno, error)
"""
    (tmp_path / "disk").mkdir()
    (tmp_path / "program.py").write_text(code)
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "program.py"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "28 [Errno 28] one cube needs 1 MB, 0 MB are free: choose another disk or fewer lines" in done.stdout
    assert "openhsi_shared.recording.run: recording: " in done.stdout
    assert "has room for 9 of 20 cubes, about 0.0 minutes" in done.stdout
    assert "\n13 not writeable: no recording can be saved there: " in done.stdout.replace("[Errno 13] ", "")
    wait_for(lambda: not processes_in(tmp_path))
    saved = [number for cube in cubes_in(tmp_path / "kept") for number in cube.numbers]
    rescued = [number for cube in cubes_in(tmp_path / "temporary") for number in cube.numbers]
    assert saved
    assert sorted(saved + rescued) == list(range(len(saved) + len(rescued)))


IN_A_NOTEBOOK = """
from openhsi_shared import SharedOpenHSI, record
import numpy as np
class Hardware:
    def __init__(self, **keywords):
        super().__init__(**keywords)
        self.n = 0
    def start_cam(self): pass
    def stop_cam(self): pass
    def get_img(self):
        self.n += 1
        return np.full((16, 32), self.n, np.uint16)
class SharedMine(Hardware, SharedOpenHSI):
    pass
"""

THEN = """
with record(SharedMine, "out", n_lines=8, n_cubes=4, resolution=(16, 32), when_full="block", progress=False) as run:
    print(run.wait().lines)
"""


@pytest.mark.parametrize("how", some("script", all_of=("script", "stdin", "-c")))  # a notebook has no file, as -c
def test_a_camera_class_of_a_script_without_a_guard_is_recorded(tmp_path, how):
    code, output, errors = run(f"{IN_A_NOTEBOOK}\n{THEN}", tmp_path, how)
    assert (code, output) == (0, "32\n"), errors
    lines = np.concatenate([saved.lines for saved in cubes_in(tmp_path / "out")])
    assert lines[:, 0, 0].tolist() == list(range(1, 33))


ENDLESS_CELL = """
import time
def tell(n, n_lines):
    time.sleep(0.01)
    print(f"<{n}>", flush=True)
while True:
    cam.collect(tell)
"""


class Kernel:
    """A real notebook kernel."""

    def __init__(self, directory: Path) -> None:
        from jupyter_client.manager import KernelManager

        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(directory), env=environment(directory))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str, interrupt_at: str = "") -> str:
        """What a cell prints; errors as well."""
        self.client.execute(code)
        printed = ""
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=60)
            except queue.Empty:
                raise AssertionError(f"the kernel says no more than {printed!r}") from None
            content = message["content"]
            if message["msg_type"] == "stream":
                printed += content["text"]
                if interrupt_at and interrupt_at in printed:
                    self.manager.interrupt_kernel()
                    interrupt_at = ""
            elif message["msg_type"] == "error":
                printed += f"{content['ename']}: {content['evalue']}"
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return printed

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.mark.filterwarnings("default")
def test_a_notebook_collects_records_and_is_interrupted(tmp_path):
    kernel = Kernel(tmp_path)
    try:
        assert kernel.run(IN_A_NOTEBOOK) == ""
        assert kernel.run(THEN) == "32\n"
        kernel.run("cam = SharedMine(n_lines=8, resolution=(16, 32))")
        cell = "cam.collect()\np = cam.save('mine')\nprint(p.result().n_lines)"
        assert "8" in kernel.run(cell)
        printed = kernel.run(ENDLESS_CELL, interrupt_at="<5>")
        assert "KeyboardInterrupt" in printed
        assert int(kernel.run("print(cam.n_collected)")) >= 5
        kernel.run("p = cam.save('mine')\np.join()")
        kernel.run("cam.collect()")
        kernel.manager.restart_kernel(now=True)  # kills the whole group
        wait_for(lambda: len(list((tmp_path / "mine").rglob("*.nc"))) == 3)
    finally:
        kernel.close()
    wait_for(lambda: not processes_in(tmp_path))
    last = cubes_in(tmp_path / "mine")[-1]
    assert last.attributes["recovered"] == 1
    assert len(last.lines) == 8
    assert json.loads(cubes_in(tmp_path / "mine")[0].attributes["settings"])["n_lines"] == 8
