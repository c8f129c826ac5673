"""One thread at a time has the turn; a call within it neither waits for itself nor changes the line."""

import threading

import pytest

from openhsi_shared.capture.line_turn import LineTurn
from openhsi_shared.errors import ClosedError, ReentryError
from tests.support.helpers import wait_for


@pytest.fixture
def turn():
    return LineTurn()


class Other:
    """Another thread that is at a line until it is let go."""

    def __init__(self, turn):
        self.is_at_it, self._may_end, self.error = threading.Event(), threading.Event(), None
        self._turn = turn
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self.is_at_it.wait(60)

    def _run(self):
        try:
            self._turn.line(self._fill)
        except ClosedError as error:
            self.error = error

    def _fill(self):
        self.is_at_it.set()
        assert self._may_end.wait(60)
        if self.error is None and self._turn.is_closed:
            raise KeyError("of a camera that was closed")

    def end(self):
        self._may_end.set()
        self.thread.join(60)


def test_a_line_within_a_line_of_the_same_thread_is_refused_and_the_next_one_is_not(turn):
    with pytest.raises(ReentryError, match="would hold two frames"):
        turn.line(turn.line, list)
    assert turn.line(list) == []
    assert not turn.is_mine()


def test_what_is_deferred_within_a_line_is_done_at_its_end_also_if_it_fails(turn):
    done = []

    def fill(fails):
        turn.defer(lambda: done.append(turn.doing))
        assert done == []
        return 1 // (not fails)

    turn.line(fill, False)
    assert done == [""]
    done.clear()
    with pytest.raises(ZeroDivisionError):
        turn.line(fill, True)
    assert done == [""]


def test_work_between_lines_within_a_line_of_the_same_thread_does_not_wait(turn):
    assert turn.line(turn.between_lines, "stop", turn.is_mine) is True


def test_work_of_another_thread_waits_for_the_end_of_the_line(turn):
    other = Other(turn)
    done = []
    worker = threading.Thread(target=turn.between_lines, args=("swap", done.append, 1))
    worker.start()
    wait_for(lambda: turn._is_awaited)
    assert done == []
    assert not turn.is_mine()
    other.end()
    worker.join(60)
    assert done == [1]


def test_work_is_not_starved_by_a_thread_that_takes_lines_without_pause(turn):
    stop, n_lines = threading.Event(), 0

    def collect():
        nonlocal n_lines
        while not stop.is_set():
            turn.line(sum, range(50))
            n_lines += 1

    collecting = threading.Thread(target=collect, daemon=True)
    collecting.start()
    wait_for(lambda: n_lines)
    for _ in range(200):
        turn.between_lines("swap", list)
    n_then = n_lines
    wait_for(lambda: n_lines > n_then)
    stop.set()
    collecting.join(60)


def test_other_threads_are_refused_while_one_closes_and_all_of_them_afterwards(turn):
    errors = []

    def use():
        for call in (lambda: turn.line(list), lambda: turn.between_lines("swap", list)):
            try:
                call()
            except ClosedError as error:
                errors.append(str(error))

    def use_in_a_thread():
        errors.clear()
        thread = threading.Thread(target=use)
        thread.start()
        thread.join(60)
        return len(errors)

    turn.refuse_others()
    assert use_in_a_thread() == 2
    assert turn.line(list) == []
    turn.end_lines()
    with pytest.raises(ClosedError, match="is being closed"):
        turn.line(list)
    turn.reopen()
    assert use_in_a_thread() == 0
    turn.close()
    use()
    assert len(errors) == 2
    turn.refuse_others()
    with pytest.raises(ClosedError):
        turn.line(list)


def test_a_line_that_does_not_end_is_not_waited_for_and_gets_the_error_of_a_closed_camera(turn, caplog):
    other = Other(turn)
    turn.refuse_others()
    turn.wait_for_line(0.01)
    assert "closing without it" in caplog.text
    turn.close()
    other.end()
    assert "closed while a line was taken" in str(other.error)
    assert isinstance(other.error.__cause__, KeyError)
