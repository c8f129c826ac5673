"""Work on many things at once, each in a process that may die of it."""

import signal
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import wait
from typing import Any, NamedTuple, TypeVar

from openhsi_shared.processes.child import Child
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.logs import safe_logger

__all__ = ["Died", "in_processes"]

logger = safe_logger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE_S = 5.0
"""A worker that is not needed any more may so long finish what it does."""


class Died(NamedTuple):
    """In place of a result: the process that worked on it is dead."""

    exit_code: int | None


# ---- in the parent -------------------------------------------------------------------


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], n: int
) -> Generator[Result | Died, None, None]:
    """Give `function(item)` of each item, in their order, from `n` processes at once; function and items are pickled.

    Where a process dies (of a file that breaks a library, for want of memory), its item gives `Died`, and another
    takes its place. One at a time is done here. When the iterator is closed, or Ctrl-C comes, processes end.
    """
    if n == 1 or len(items) <= 1:
        yield from map(function, items)
        return
    crew = _Crew(function, items)
    try:
        for _ in range(min(n, len(items))):
            crew.hire()
        for index in range(len(items)):
            while index not in crew.results:
                crew.listen()
            yield crew.results.pop(index)
    finally:
        crew.dismiss()


class _Crew:
    def __init__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self.results: dict[int, Any] = {}
        self._function, self._items = function, items
        self._workers: dict[Child, int] = {}
        """With the number of the item that each works on."""
        self._n_given = 0

    def hire(self) -> None:
        self._give(Child(_work, (self._function,), name="command's worker", logger=logger))

    def _give(self, worker: Child) -> None:
        """Hand out the next item, or let the worker go if there is none."""
        self._workers.pop(worker, None)
        if self._n_given == len(self._items):
            _let_go(worker)
            return
        self._workers[worker] = self._n_given
        self._n_given += 1
        worker.send(_Parcel(self._items[self._n_given - 1]))  # one that has died is heard in `listen`

    def listen(self) -> None:
        wait([end for worker in self._workers for end in worker.waitables])
        for worker, number in list(self._workers.items()):
            result = worker.receive(0)
            if result is GONE:
                del self._workers[worker]
                _let_go(worker)
                self.results[number] = Died(worker.exit_code)
                if self._n_given < len(self._items):
                    self.hire()
            elif result is not None:
                self.results[number] = result.content
                self._give(worker)

    def dismiss(self) -> None:
        for worker in self._workers:
            _let_go(worker)


def _let_go(worker: Child) -> None:
    worker.hang_up()
    worker.end(PATIENCE_S)
    worker.close()


# ---- in the child --------------------------------------------------------------------


class _Parcel(NamedTuple):
    """An item, or its result, so that both may be None."""

    content: Any


def _work(parent: Parent, function: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of the terminal: our parent says what to do
    while (item := parent.receive()) is not GONE:
        if item is not None:
            parent.tell(_Parcel(function(item.content)))
