"""Free space is asked in a thread of its own; see `tests/field/test_hung_disks` for disks that hang."""

import math
import os

import pytest

from openhsi_shared.processes.disk_watch import DiskWatch, Space, within
from tests.support.helpers import wait_for


def test_the_free_space_of_a_directory_and_of_none(tmp_path):
    watch = DiskWatch()
    space = watch.space(str(tmp_path))
    assert space.silent_s == 0
    assert 0 < space.minutes_left(1e6) < math.inf
    assert space.minutes_left(0.0) == math.inf
    assert watch.space(str(tmp_path / "vanished")).minutes_left(1e6) == 0
    assert space.complaint("there") == ()


def test_without_an_answer_it_is_not_known_and_that_is_said():
    silent = Space(None, 12.3)
    assert math.isnan(silent.minutes_left(1e6))
    assert silent.complaint("there") == ("there has not responded for 12 s; the free space is that of before",)


def test_a_directory_responds_once_it_has_answered(tmp_path):
    watch = DiskWatch()
    wait_for(lambda: watch.responds(str(tmp_path)))


def test_a_call_has_a_limit_and_its_error_is_raised():
    assert within(20, len, "abc") == 3
    with pytest.raises(ZeroDivisionError):
        within(20, lambda: 1 / 0)
    reading, writing = os.pipe()
    with pytest.raises(TimeoutError, match="no answer within 0 s"):
        within(0.01, os.read, reading, 1)
    os.close(writing)
    os.close(reading)


def test_without_threads_the_last_answer_counts(tmp_path, monkeypatch):
    def fail(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("openhsi_shared.processes.disk_watch.GuardedThread.start", fail)
    assert DiskWatch().space(str(tmp_path)) == Space(None, 0.0)


def test_whatever_a_question_raises_it_is_over(monkeypatch, caplog):
    monkeypatch.setattr("shutil.disk_usage", lambda _: 1 / 0)
    watch = DiskWatch()
    wait_for(lambda: watch.responds("there"))
    assert math.isnan(watch.space("there").minutes_left(1e6))
    wait_for(lambda: "the free space of there is not known: ZeroDivisionError" in caplog.text)
