"""A real notebook kernel is interrupted, restarted and shut down while it records."""

import queue
from itertools import product
from pathlib import Path

import pytest

from tests.support.flow import environment, parts_in, processes_in
from tests.support.helpers import wait_for
from tests.support.oracle import prove, prove_after_death
from tests.support.products import some

BEGIN = """
from tests.support.commit_log import COUNTING_KEYWORDS, CommitLogCamera
from openhsi_shared import record
keywords = dict(**COUNTING_KEYWORDS, resolution=(16, 32), n_lines=25, commit_log="commit_log")
"""
COLLECT = """
cam = CommitLogCamera(**keywords, n_buffers=4)
cam.will_save_to("out")
while True:
    cam.collect(progress=False)
    cam.save("out")
    print(cam.status().cubes_saved, flush=True)
"""
RECORD = """
run = record(CommitLogCamera, "out", rate=1000, queue=9999, when_full="block", progress=False, **keywords)
while run.status().cubes_saved < 4:
    pass
print("running", flush=True)
print(run.wait().lines)
"""


class Kernel:
    """A kernel in a process group of its own, as a notebook server starts it."""

    def __init__(self, directory: Path) -> None:
        from jupyter_client.manager import KernelManager

        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(directory), env=environment(directory))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def read_until(self, words: str) -> str:
        """What is printed until `words` came; of errors their names."""
        printed = ""
        while words not in printed:
            try:
                message = self.client.get_iopub_msg(timeout=60)
            except queue.Empty:
                raise AssertionError(f"the kernel says no more than {printed!r}") from None
            content = message["content"]
            if message["msg_type"] == "stream":
                printed += content["text"]
            elif message["msg_type"] == "error":
                printed += f"{content['ename']}: {content['evalue']}\n"
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                printed += "<idle>"
        return printed


@pytest.fixture
def kernel(tmp_path):
    kernel = Kernel(tmp_path)
    kernel.client.execute(BEGIN)
    kernel.read_until("<idle>")
    try:
        yield kernel
    finally:
        kernel.client.stop_channels()
        kernel.manager.shutdown_kernel(now=True)
        kernel.manager.cleanup_resources()


pytestmark = pytest.mark.filterwarnings("default")  # of the notebook's own packages


def test_an_interrupt_while_collecting_is_raised_and_the_next_cell_goes_on(kernel, tmp_path):
    """P11: no line is lost by it."""
    kernel.client.execute(COLLECT)
    kernel.read_until("5\n")
    kernel.manager.interrupt_kernel()
    assert "KeyboardInterrupt" in kernel.read_until("<idle>")
    kernel.client.execute(
        "cam.n_collected and cam.save('out')\ncam.collect(progress=False)\ncam.save('out').join()\nprint('on')"
    )
    assert "on" in kernel.read_until("<idle>")
    kernel.client.execute("cam.close()")
    kernel.read_until("<idle>")
    lines = prove_after_death(tmp_path / "out", tmp_path / "commit_log")
    assert lines.declared_lost == 0


def test_an_interrupt_while_a_recording_is_awaited_stops_it_in_good_order(kernel, tmp_path):
    """P11: the cell ends with the summary, which can be asked for again."""
    kernel.client.execute(RECORD)
    kernel.read_until("running\n")
    kernel.manager.interrupt_kernel()
    kernel.read_until("<idle>")
    kernel.client.execute("run.stop()\nprint('summary', run.wait().lines)")
    n_lines = int(kernel.read_until("<idle>").split("summary ")[1].split()[0])
    assert prove(tmp_path / "out", n_lines).saved == n_lines


WAYS = product(["collect", "record"], ["restart", "restart at once", "shutdown", "kill"])
DIFFERENT = ("collect", "restart"), ("record", "restart at once")
"""A restart begins as a shutdown does, and one at once with SIGKILL."""


@pytest.mark.parametrize(("what", "how"), some(*DIFFERENT, all_of=WAYS))
def test_a_kernel_that_ends_while_it_records_leaves_every_committed_line_in_a_file(kernel, tmp_path, what, how):
    """P11: the server kills the kernel's whole process group; writer and recording have sessions of their own."""
    kernel.client.execute(COLLECT if what == "collect" else RECORD)
    kernel.read_until("5\n" if what == "collect" else "running\n")
    before = set(processes_in(tmp_path))
    match how:
        case "restart" | "restart at once":
            kernel.manager.restart_kernel(now=how == "restart at once")
        case "shutdown":
            kernel.manager.shutdown_kernel()
        case "kill":
            kernel.manager.signal_kernel(9)
    wait_for(lambda: not before & set(processes_in(tmp_path)))
    assert prove_after_death(tmp_path / "out", tmp_path / "commit_log").saved >= 100
    assert parts_in(tmp_path / "out") == []
