"""Logging handlers that raise or block have no effect on the caller; see `test_child` for logs of children."""

import gc
import logging
import sys
import threading
import weakref

import pytest

from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.supervision import GuardedThread
from tests.support.flow import account
from tests.support.helpers import ROOT, wait_for
from tests.support.process_faults import camera, newest_writer


@pytest.mark.usefixtures("broken_handler")
def test_what_a_handler_raises_goes_to_stderr_with_the_record(capsys):
    safe_logger("openhsi_shared.x").warning("lost %d lines", 5)
    error = capsys.readouterr().err
    assert "lost 5 lines" in error
    assert "RuntimeError: the widget is gone" in error


@pytest.mark.usefixtures("broken_handler")
def test_a_program_without_stderr_goes_on(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    safe_logger("openhsi_shared.x").error("lost", exc_info=ValueError())


@pytest.mark.usefixtures("broken_handler")
def test_a_program_that_wants_no_complaints_of_handlers_gets_none(monkeypatch, capsys):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    safe_logger("openhsi_shared.x").error("lost")
    assert capsys.readouterr().err == ""


def test_a_record_says_where_it_was_logged(caplog):
    safe_logger("openhsi_shared.x").warning("here")
    assert [(record.name, record.filename, record.message) for record in caplog.records] == [
        ("openhsi_shared.x", "test_loggers.py", "here")
    ]


def test_every_module_logs_in_a_way_that_cannot_end_it():
    plain = [path for path in (ROOT / "openhsi_shared").rglob("*.py") if "getLogger(__name__)" in path.read_text()]
    assert plain == []


def test_a_factory_of_records_that_raises_costs_nothing(caplog):
    usual = logging.getLogRecordFactory()
    logging.setLogRecordFactory(lambda *_, **__: 1 / 0)
    try:
        safe_logger("openhsi_shared.x").warning("lost %d lines", 5)
    finally:
        logging.setLogRecordFactory(usual)
    assert caplog.messages == ["lost 5 lines"]


class _Handler(logging.Handler):
    """Of a program that does not read what is sent to it, or that exits."""

    def __init__(self):
        super().__init__()
        self.may_go_on, self.texts, self.error = threading.Event(), [], None

    def emit(self, record):
        self.may_go_on.wait(60)
        if self.error is not None:
            raise self.error
        self.texts.append(record.getMessage())


@pytest.fixture
def handler():
    ours, handler = logging.getLogger("openhsi_shared"), _Handler()
    ours.addHandler(handler)
    yield handler
    handler.may_go_on.set()
    ours.removeHandler(handler)


def _in_thread(function):
    thread = GuardedThread(function, name="of the test", failure="nothing is tested")
    thread.start()
    return thread


def test_a_handler_that_blocks_delays_a_thread_of_this_library_only_for_a_short_time(handler):
    logger = safe_logger("openhsi_shared.x")
    thread = _in_thread(lambda: [logger.warning("text %d", n) for n in range(20)])
    thread.join(60)
    assert not thread.is_alive()
    assert handler.texts == []
    handler.may_go_on.set()
    wait_for(lambda: len(handler.texts) == 20)
    assert handler.texts == [f"text {n}" for n in range(20)]


def test_the_main_thread_does_not_wait_for_a_handler_that_has_a_record_of_a_thread(handler):
    """As one that shows texts in a window, and so waits for the main thread, which logs in `close`."""
    logger = safe_logger("openhsi_shared.x")
    _in_thread(lambda: logger.warning("of a thread")).join(60)
    logger.warning("of the main thread")
    assert handler.texts == []
    handler.may_go_on.set()
    wait_for(lambda: handler.texts == ["of a thread", "of the main thread"])


def test_in_time_a_record_is_handled_before_the_thread_goes_on(handler):
    handler.may_go_on.set()
    logger, seen = safe_logger("openhsi_shared.x"), []
    thread = _in_thread(lambda: [(logger.warning("%d", n), seen.append(len(handler.texts))) for n in range(20)])
    thread.join(60)
    assert seen == list(range(1, 21))


def test_a_handler_that_exits_ends_no_thread_of_this_library(handler, capsys):
    handler.error = SystemExit("of the test")
    handler.may_go_on.set()
    logger, done = safe_logger("openhsi_shared.x"), []
    _in_thread(lambda: (logger.warning("lost"), logger.warning("lost"), done.append(1))).join(60)
    assert done == [1]
    assert "lost" in capsys.readouterr().err


def test_cubes_are_saved_while_a_handler_blocks(handler, tmp_path):
    (tmp_path / "blocked").touch()
    with camera(n_buffers=4) as cam:
        cam.collect()
        held = cam.save(tmp_path / "blocked" / "inside")
        held.join(60)
        assert held.exitcode == 1
        newest_writer().kill()
        cam.collect()
        cam.save(tmp_path / "out").result(60)
        held.retry(tmp_path / "out").result(60)
    assert handler.texts == []
    assert account(tmp_path / "out") == (list(range(16)), [])


def test_a_failure_that_was_logged_keeps_nothing_alive_that_its_traceback_names(handler, monkeypatch):
    """Such as the memory of slots, until another record comes."""
    handler.may_go_on.set()
    monkeypatch.setattr(logging.getLogger("openhsi_shared"), "propagate", False)  # pytest keeps records
    logger = safe_logger("openhsi_shared.x")

    class Large:
        pass

    def fail():
        large = Large()
        kept.append(weakref.ref(large))
        try:
            raise ValueError
        except ValueError as error:
            logger.error("failed", exc_info=error)

    kept = []
    _in_thread(fail).join(60)
    assert handler.texts == ["failed"]
    wait_for(lambda: gc.collect() >= 0 and kept[0]() is None)
