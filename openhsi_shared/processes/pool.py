"""A pool of worker processes that tolerates their death: the item that a worker died of gets `Died`."""

import os
import signal
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import wait
from typing import Any, NamedTuple, TypeVar

from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.liveness import GONE, Parent

__all__ = ["Died", "in_processes"]

logger = safe_logger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_PARALLEL = 4
"""Each process reads in several threads and needs about 200 MB; more do not make a disk faster."""
END_TIMEOUT_S = 5.0
"""How long a worker that is no longer needed may finish its item before it is killed."""


class Died(NamedTuple):
    """In place of a result: the worker process died."""

    exit_code: int | None


# ---- in the parent -------------------------------------------------------------------


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], n: int | None = None
) -> Generator[Result | Died, None, None]:
    """Yield `function(item)` of each item, in order, computed by `n` processes; function and items are pickled.

    None: as many as there are processors for this process, `MAX_PARALLEL` at most.

    If a process dies (a file crashes a library, out of memory), its item gives `Died`, and the process is replaced.
    With one process or one item, the function is called here. Closing the iterator and Ctrl-C end the processes.
    """
    n = n or min(MAX_PARALLEL, _n_processors())
    if n == 1 or len(items) <= 1:
        yield from map(function, items)
        return
    pool = _Pool(function, items)
    try:
        for _ in range(min(n, len(items))):
            pool.start_worker()
        for index in range(len(items)):
            while index not in pool.results:
                pool.receive()
            yield pool.results.pop(index)
    finally:
        pool.close()


class _Pool:
    def __init__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self.results: dict[int, Any] = {}
        self._function, self._items = function, items
        self._workers: dict[Child, int] = {}
        """With the index of the item that each works on."""
        self._n_sent = 0

    def start_worker(self) -> None:
        self._send_next(Child(_work, (self._function,), name="command's worker", logger=logger))

    def _send_next(self, worker: Child) -> None:
        """Send the next item, or end the worker if there is none."""
        self._workers.pop(worker, None)
        if self._n_sent == len(self._items):
            _end(worker)
            return
        self._workers[worker] = self._n_sent
        self._n_sent += 1
        worker.send(_Envelope(self._items[self._n_sent - 1]))  # the death of a worker is handled in `receive`

    def receive(self) -> None:
        wait([end for worker in self._workers for end in worker.waitables])
        for worker, number in list(self._workers.items()):
            result = worker.receive(0)
            if result is GONE:
                del self._workers[worker]
                _end(worker)
                self.results[number] = Died(worker.exit_code)
                if self._n_sent < len(self._items):
                    self.start_worker()
            elif result is not None:
                self.results[number] = result.content
                self._send_next(worker)

    def close(self) -> None:
        for worker in self._workers:
            _end(worker)


def _n_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end(worker: Child) -> None:
    worker.hang_up()
    worker.end(END_TIMEOUT_S)
    worker.close()


# ---- in the child --------------------------------------------------------------------


class _Envelope(NamedTuple):
    """An item, or its result, either of which may be None."""

    content: Any


def _work(parent: Parent, function: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group: the parent handles it
    while (item := parent.receive()) is not GONE:
        if item is not None:
            parent.tell(_Envelope(function(item.content)))
