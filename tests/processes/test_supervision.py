"""A thread that watches children may fail: callers that wait for it are released, and get the cause."""

import logging
import os
import re
import threading

import pytest

from openhsi_shared.processes.child import Child
from openhsi_shared.processes.liveness import GONE
from openhsi_shared.processes.supervision import GuardedThread, Heartbeat, Listener, StartLimit
from tests.processes.in_children import echo
from tests.support.helpers import ROOT, TIMEOUT_S, wait_for


def guarded(target, on_failure=None):
    thread = GuardedThread(target, name="of the test", failure="nothing is tested", on_failure=on_failure)
    thread.start()
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()


def fail(error=ZeroDivisionError):
    def raise_it(*_):
        raise error("of the test")

    return raise_it


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_what_escapes_a_thread_is_handed_on_and_logged_with_its_traceback(caplog, error):
    caught = []
    guarded(fail(error), caught.append)
    assert [type(one) for one in caught] == [error]
    (record,) = caplog.records
    assert (record.levelno, record.exc_info[1]) == (logging.ERROR, caught[0])
    assert record.getMessage() == f"nothing is tested: {error.__name__}: of the test"


def test_a_thread_that_ends_in_good_order_says_nothing(caplog):
    caught = []
    guarded(lambda: None, caught.append)
    assert (caught, caplog.records) == ([], [])


def test_a_handler_of_the_failure_that_fails_itself_is_told(caplog):
    guarded(fail(), fail(KeyError))
    assert "nothing is tested, and the handler of this failure failed: 'of the test'" in caplog.text
    assert "nothing is tested: ZeroDivisionError" in caplog.text


@pytest.mark.usefixtures("broken_handler")
def test_a_failure_is_handed_on_although_it_cannot_be_logged():
    caught = []
    guarded(fail(), caught.append)
    assert len(caught) == 1


@pytest.fixture
def listen_to():
    """Start a listener that is stopped after the test."""
    listeners = []

    def start(watched, hear, interval_s=TIMEOUT_S, on_failure=lambda _: None):
        listener = Listener(watched, hear, interval_s, name="listener", failure="deaf", on_failure=on_failure)
        listeners.append(listener)
        listener.start()
        return listener

    yield start
    for listener in listeners:
        listener.stop()


def test_a_listener_hears_a_child_and_its_end(listen_to):
    child, heard = Child(echo, name="helper", logger=logging.getLogger(__name__)), []
    listen_to(lambda: [] if GONE in heard else child.waitables, lambda: heard.append(child.receive(0)))
    child.send("hello")
    wait_for(lambda: "hello" in heard)
    child.kill()
    wait_for(lambda: GONE in heard)
    child.close()


def test_a_listener_can_be_woken_to_watch_something_else(listen_to):
    ends, looked = os.pipe(), threading.Semaphore(0)
    watched = []

    def look():
        looked.release()
        return list(watched)

    heard = threading.Event()
    listener = listen_to(look, lambda: heard.set() if watched else None)
    assert looked.acquire(timeout=TIMEOUT_S)
    os.write(ends[1], b"x")
    watched.append(ends[0])
    assert not heard.is_set()
    listener.wake()
    assert heard.wait(TIMEOUT_S)
    listener.stop()
    for end in ends:
        os.close(end)


def test_a_listener_hears_now_and_then_although_nothing_is_ready(listen_to):
    heard = threading.Semaphore(0)
    listen_to(list, heard.release, interval_s=0.001)
    assert all(heard.acquire(timeout=TIMEOUT_S) for _ in range(3))


def test_a_listener_that_fails_hands_that_on_and_can_be_stopped_all_the_same(listen_to):
    failed = threading.Event()
    listener = listen_to(list, fail(), interval_s=0.001, on_failure=lambda _: failed.set())
    assert failed.wait(TIMEOUT_S)
    listener.join(TIMEOUT_S)
    assert not listener.is_alive()


def test_a_heartbeat_is_silent_from_the_last_progress_on():
    heartbeat = Heartbeat()
    wait_for(lambda: heartbeat.silent_s() > 0.05)
    heartbeat.counter[0] += 1
    assert heartbeat.silent_s() < 0.05
    wait_for(lambda: heartbeat.silent_s() > 0.05)
    heartbeat.expect()
    assert heartbeat.silent_s() < 0.05


def test_starts_end_after_three_failures_in_a_row():
    starts = StartLimit()
    for is_up in (False, False, True, False, False):
        starts.note(is_up)
        assert not starts.is_reached
    starts.note(is_up=False)
    assert starts.is_reached
    starts.note(is_up=True)
    assert not starts.is_reached
    starts.note_impossible()
    assert starts.is_reached


THREADS_WITH_ANOTHER_HANDLER = {
    "openhsi_shared/loggers.py": "writes what it catches to stderr: it is what others log with",
    "openhsi_shared/jobs/runner.py": "`join` raises what the job raises",
    "openhsi_shared/jobs/workers/team.py": "`Work.work` notes what is raised in the register",
    "openhsi_shared/processes/supervision.py": "this is the handler",
    "openhsi_shared/testing/camera_contract.py": "a test, which misses the result",
}


def test_every_thread_of_the_package_has_an_outermost_handler():
    thread = re.compile(r"\bThread\(|\bthreading\.Thread\)|\bTimer\(|start_new_thread")
    paths = (ROOT / "openhsi_shared").rglob("*.py")
    found = {path.relative_to(ROOT).as_posix() for path in paths if thread.search(path.read_text(encoding="utf-8"))}
    assert found == THREADS_WITH_ANOTHER_HANDLER.keys()


def test_a_thread_that_could_not_be_started_can_be_joined(monkeypatch):
    thread = GuardedThread(fail(), name="of the test", failure="nothing is tested")
    monkeypatch.setattr(threading.Thread, "start", fail(RuntimeError))
    with pytest.raises(RuntimeError):
        thread.start()
    thread.join()
    listener = Listener(list, list, 1.0, name="listener", failure="deaf", on_failure=lambda _: None)
    with pytest.raises(RuntimeError):
        listener.start()
    listener.stop()
