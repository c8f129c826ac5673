"""A child is started, received from, terminated and killed, whatever it does."""

import atexit
import gc
import logging
import os
import signal
import subprocess
import sys
from multiprocessing import resource_tracker

import psutil
import pytest

from openhsi_shared.errors import WriterFailed
from openhsi_shared.processes.child import STATUS_TAKEN, Child
from openhsi_shared.processes.liveness import GONE
from tests.processes.in_children import (
    echo,
    fail,
    fail_in_a_thread,
    fork_and_exit,
    ignore_all,
    log_and_say,
    say_and_exit,
)
from tests.support.helpers import ROOT, TIMEOUT_S, environment, wait_for

logger = logging.getLogger("openhsi_shared.tests")


@pytest.fixture
def start():
    """Start a child that is ended after the test."""
    children = []

    def start(target, *args, **keywords):
        children.append(Child(target, args, name="helper", logger=logger, **keywords))
        return children[-1]

    yield start
    for child in children:
        child.end()
        child.close()


def test_messages_go_both_ways(start):
    child = start(echo)
    for message in ("a", None, {"b": [1, 2]}):
        assert child.send((message,))
        assert child.receive(TIMEOUT_S) == (message,)
    assert child.exit_code is None
    assert psutil.Process(child.pid).ppid() == os.getpid()


def test_without_a_message_receive_ends_in_time(start):
    child = start(echo)
    assert child.receive(0) is None
    assert child.receive(0.01) is None


def test_the_end_comes_behind_the_last_message_and_tells_the_exit_code(start):
    child = start(say_and_exit, range(100), 3)
    assert child.join(TIMEOUT_S)
    assert [child.receive(TIMEOUT_S) for _ in range(100)] == list(range(100))
    assert child.receive(TIMEOUT_S) is GONE
    assert child.receive() is GONE
    assert child.exit_code == 3


def test_what_it_logs_is_logged_here_and_is_no_message(start, caplog):
    child = start(log_and_say)
    assert child.receive(TIMEOUT_S) == "said"
    assert ("openhsi_shared.tests", logging.WARNING, "helper: too warm") in caplog.record_tuples
    assert "a detail" not in caplog.text


@pytest.mark.parametrize("level", [logging.DEBUG, logging.ERROR])
def test_it_logs_the_details_that_are_logged_here_and_always_warnings(start, caplog, level):
    with caplog.at_level(level, "openhsi_shared"):
        child = start(log_and_say)
    with caplog.at_level(logging.DEBUG, "openhsi_shared"):
        assert child.receive(TIMEOUT_S) == "said"
    assert "helper: too warm" in caplog.text
    assert ("helper: a detail" in caplog.text) == (level == logging.DEBUG)


def test_a_killed_child_is_gone(start):
    child = start(echo)
    os.kill(child.pid, signal.SIGKILL)
    assert child.receive(TIMEOUT_S) is GONE
    wait_for(lambda: child.exit_code == -signal.SIGKILL)
    assert not child.send("are you there?")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are of Unix")
def test_a_dead_child_is_gone_although_a_process_that_it_forked_holds_its_pipes_open(start):
    child = start(fork_and_exit)
    grandchild = child.receive(TIMEOUT_S)
    try:
        assert child.receive(TIMEOUT_S) is GONE
        assert child.join(TIMEOUT_S)
        assert child.exit_code == 7
        assert psutil.pid_exists(grandchild), "it was there all the time"
    finally:
        os.kill(grandchild, signal.SIGKILL)


@pytest.mark.skipif(os.name != "posix", reason="only there another can take the status")
def test_a_child_whose_status_another_takes_is_not_waited_for_for_ever(start):
    child = start(say_and_exit, ["said"], 3)
    os.waitpid(child.pid, 0)
    assert child.join(TIMEOUT_S)
    assert (child.receive(), child.receive()) == ("said", GONE)
    assert child.exit_code == STATUS_TAKEN
    child.close()


def test_the_first_message_is_waited_for(start):
    assert start(say_and_exit, ["up"]).first_message(WriterFailed, TIMEOUT_S) == "up"


def test_a_child_that_dies_before_it_is_up_is_an_error(start):
    child = start(say_and_exit, [], 5)
    with pytest.raises(WriterFailed, match="the helper did not start: exit code 5; see its message"):
        child.first_message(WriterFailed)


def test_a_child_that_is_too_slow_is_an_error(start):
    with pytest.raises(WriterFailed, match="the helper did not start within 0 s: is the machine overloaded"):
        start(echo).first_message(WriterFailed, 0.01)


def test_one_that_is_hung_up_on_believes_that_its_parent_has_died(start):
    child = start(echo)
    child.hang_up()
    child.hang_up()
    assert child.join(TIMEOUT_S)
    assert child.exit_code == 0
    assert child.receive() is GONE
    assert not child.send("anything")


def test_it_can_be_asked_to_end(start):
    child = start(echo)
    child.terminate()
    assert child.join(TIMEOUT_S)
    assert child.exit_code == -signal.SIGTERM


@pytest.mark.parametrize("is_stopped", [True, False])
def test_one_that_does_not_end_is_killed(start, is_stopped):
    child = start(ignore_all)
    child.first_message(WriterFailed, TIMEOUT_S)
    if is_stopped:
        os.kill(child.pid, signal.SIGSTOP)
    child.terminate()
    child.end(0.05)
    assert child.exit_code == -signal.SIGKILL


def test_closed_twice_is_closed_once_and_its_exit_code_stays_known(start):
    child = start(echo)
    child.end()
    child.close()
    child.close()
    child.terminate()
    assert (child.kill(), child.join(), child.exit_code) == (True, True, -signal.SIGKILL)


def test_children_leave_no_descriptor(start):
    me = psutil.Process()
    start(say_and_exit, []).join()
    before = me.num_fds()
    for _ in range(3):
        child = start(echo)
        child.end()
        child.close()
    assert me.num_fds() <= before


def test_what_cannot_be_given_to_it_is_an_error_that_leaves_nothing(start):
    resource_tracker.ensure_running()  # by the first child, and for ever
    me = psutil.Process()
    before = me.num_fds()
    with pytest.raises(Exception, match="pickle"):
        start(echo, lambda: None)
    assert me.num_fds() <= before


LEFT = """
import logging
from openhsi_shared.processes.child import Child
from tests.processes.in_children import echo
if __name__ == "__main__":
    child = Child(echo, name="helper", logger=logging.getLogger())
    child.send("a")
    print(child.receive())
"""


def test_a_program_ends_though_it_has_left_a_child(tmp_path):
    (tmp_path / "program.py").write_text(LEFT)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"],
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "a\n"), done.stderr


AS_IMPORTED = gc.isenabled(), os.environ.get("OPENBLAS_THREAD_TIMEOUT")
"""In a child: when its target and arguments are unpickled, which imports them and numpy."""


def tell_how_it_started(parent):
    frozen, existing = gc.get_freeze_count(), len(gc.get_objects())
    parent.tell((AS_IMPORTED, gc.isenabled(), frozen > existing > 0))


def test_a_child_is_told_how_to_import_before_it_imports_anything_large(start, monkeypatch):
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT", raising=False)
    assert start(tell_how_it_started).receive(TIMEOUT_S) == ((False, "4"), True, True)
    assert "OPENBLAS_THREAD_TIMEOUT" not in os.environ, "the program of the user keeps its own"


class InACircle:
    def __init__(self, path):
        self.me, self.path = self, path

    def __del__(self):
        self.path.write_text("given back")


def leave_a_circle(parent, path):
    gc.disable()
    InACircle(path)
    parent.tell("left")


def test_what_a_child_leaves_in_circles_of_references_is_finalised(start, tmp_path):
    child = start(leave_a_circle, tmp_path / "log.txt")
    assert child.receive(TIMEOUT_S) == "left"
    assert child.join(TIMEOUT_S)
    assert (tmp_path / "log.txt").read_text() == "given back"


def note_what_the_exit_scans(path):
    path.write_text(f"{len(gc.get_objects())} {gc.get_freeze_count()}")


def unfreeze_all(parent, path):
    atexit.register(note_what_the_exit_scans, path)
    gc.unfreeze()
    parent.tell(len(gc.get_objects()))


def test_the_exit_of_a_child_does_not_scan_what_was_imported(start, tmp_path):
    child = start(unfreeze_all, tmp_path / "counts.txt")
    n_objects = child.receive(TIMEOUT_S)
    assert child.join(TIMEOUT_S)
    scanned, frozen = map(int, (tmp_path / "counts.txt").read_text().split())
    assert scanned < n_objects / 10
    assert frozen > n_objects / 2


def test_a_child_leaves_what_the_user_has_set_for_blas(start, monkeypatch):
    monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", "20")
    (_, timeout), *_ = start(tell_how_it_started).receive(TIMEOUT_S)
    assert timeout == "20"


def test_the_code_that_starts_a_child_does_not_import_numpy():
    code = "import openhsi_shared.processes.child, sys; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_what_a_child_raises_is_logged_here_with_its_traceback_and_is_its_end(start, caplog, capfd):
    child = start(fail, "of the test")
    assert child.receive(TIMEOUT_S) is GONE
    assert child.join(TIMEOUT_S)
    assert child.exit_code == 1
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("helper: failed: ZeroDivisionError: of the test\nTraceback")
    assert "in_children.py" in record.getMessage()
    assert "Traceback" not in capfd.readouterr().err


def test_what_a_child_raises_goes_to_the_terminal_if_its_parent_does_not_listen(start, capfd):
    child = start(fail, "of the test", True)
    child.hang_up()
    assert child.join(TIMEOUT_S)
    assert "ZeroDivisionError: of the test" in capfd.readouterr().err


def test_a_failure_of_a_thread_of_a_child_is_logged_here_with_its_traceback(start, caplog):
    child = start(fail_in_a_thread)
    assert child.receive(TIMEOUT_S) == "failed"
    (record,) = caplog.records
    assert record.getMessage().startswith("helper: nothing is done: ZeroDivisionError: of a thread\nTraceback")
    assert "in_children.py" in record.getMessage()
