"""A pool of worker processes, some of which die."""

import os
import signal
from contextlib import closing, suppress

import psutil
import pytest

from openhsi_shared.processes.pool import Died, in_processes
from tests.processes.in_children import mixed, nothing, square_or_die
from tests.support.helpers import wait_for


def test_results_come_in_the_order_of_their_items() -> None:
    results = list(in_processes(square_or_die, range(20), 3))
    assert [result[0] for result in results if not isinstance(result, Died)] == [n * n for n in range(20)]
    assert len({result[1] for result in results}) <= 3


def test_a_process_that_dies_costs_its_own_item_only() -> None:
    items = [1, -1, 2, -1, -1, 3, 4, -1]
    results = [result if isinstance(result, Died) else result[0] for result in in_processes(square_or_die, items, 2)]
    dead = Died(-signal.SIGKILL)
    assert results == [1, dead, 4, dead, dead, 9, 16, dead]


def test_one_at_a_time_needs_no_process() -> None:
    assert {result[1] for result in in_processes(square_or_die, range(3), 1)} == {os.getpid()}
    assert [result[1] for result in in_processes(square_or_die, [2], 4)] == [os.getpid()]
    assert list(in_processes(square_or_die, [], 4)) == []


def test_who_loses_interest_leaves_no_process(monkeypatch) -> None:
    monkeypatch.setattr("openhsi_shared.processes.pool.END_TIMEOUT_S", 0.1)
    before = set(psutil.Process().children())
    with closing(in_processes(square_or_die, [*range(8)], 2)) as results:
        next(results)
    with closing(in_processes(mixed, [0, 1, 1, 1], 2)) as others:
        assert next(others) == 0
    wait_for(lambda: not {child for child in psutil.Process().children() if child not in before and is_ours(child)})


def is_ours(child: psutil.Process) -> bool:
    with suppress(psutil.Error):  # it has just died
        return child.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(child.cmdline())
    return False


def test_what_fails_while_results_are_awaited_is_raised_and_leaves_no_process(monkeypatch) -> None:
    monkeypatch.setattr("openhsi_shared.processes.pool.wait", lambda _: 1 / 0)
    before = set(psutil.Process().children())
    with pytest.raises(ZeroDivisionError):
        list(in_processes(square_or_die, [*range(8)], 2))
    wait_for(lambda: not {child for child in psutil.Process().children() if child not in before and is_ours(child)})


def test_items_and_results_may_be_none() -> None:
    assert list(in_processes(nothing, [None] * 4, 2)) == [None] * 4
