"""A logging handler that raises has no effect on the caller; see `test_child` for logs of children."""

import logging
import sys

import pytest

from openhsi_shared.processes.logs import safe_logger


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
        ("openhsi_shared.x", "test_logs.py", "here")
    ]
