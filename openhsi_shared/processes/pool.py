"""Work on many things at once, each in a process that may die of it."""

import signal
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, TypeVar

from openhsi_shared.processes.spawning import SPAWN, spawn

__all__ = ["Died", "in_processes"]

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE_S = 5.0
"""A worker that is not needed any more may so long finish what it does."""


class Died(NamedTuple):
    """In place of a result: the process that worked on it is dead."""

    exit_code: int | None


class _Worker(NamedTuple):
    process: BaseProcess
    number: int
    """Of the item that it works on."""


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
        self._workers: dict[Connection, _Worker] = {}
        self._n_given = 0

    def hire(self) -> None:
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=_work, args=(self._function, theirs), name="openhsi_shared command's worker")
        spawn(process)
        theirs.close()  # else a dead worker would not show as end-of-file
        self._give(ours, process)

    def _give(self, connection: Any, process: BaseProcess) -> None:
        """Hand out the next item, or let the worker go if there is none."""
        if self._n_given == len(self._items):
            _let_go(connection, process)
            return
        self._workers[connection] = _Worker(process, self._n_given)
        self._n_given += 1
        try:
            connection.send(self._items[self._n_given - 1])
        except OSError:
            return  # it has died: that is heard in `listen`

    def listen(self) -> None:
        heard = wait(list(self._workers))
        for connection in [connection for connection in self._workers if connection in heard]:
            worker = self._workers.pop(connection)
            try:
                self.results[worker.number] = connection.recv()
            except (EOFError, OSError):
                _let_go(connection, worker.process)
                self.results[worker.number] = Died(worker.process.exitcode)
                if self._n_given < len(self._items):
                    self.hire()
            else:
                self._give(connection, worker.process)

    def dismiss(self) -> None:
        for connection, worker in self._workers.items():
            _let_go(connection, worker.process)


def _let_go(connection: Any, process: BaseProcess) -> None:
    connection.close()
    process.join(PATIENCE_S)
    if process.exitcode is None:
        process.kill()
        process.join()


# ---- in the child --------------------------------------------------------------------


def _work(function: Callable[[Any], Any], connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of the terminal: our parent says what to do
    try:
        while True:
            connection.send(function(connection.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
