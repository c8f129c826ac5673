"""A child process as its parent sees it: started, heard, asked to end, killed, forgotten."""

import multiprocessing.process
import os
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.logs import AnyLogger, Log
from openhsi_shared.processes.spawning import SPAWN, spawn

__all__ = ["Child"]

KILL_TIMEOUT_S = 2.0
"""A process that is killed ends at once, unless the kernel waits for a disk that does not answer."""
POLL_INTERVAL_S = 0.25
"""How often its exit code is asked for: pipe and sentinel stay silent while a process that the child forked lives."""
STATUS_TAKEN = 255
"""The exit code of a child whose status another part of the program has taken: a handler of SIGCHLD, for instance."""


# ---- in the parent -------------------------------------------------------------------


class Child:
    """A spawned process that runs `target(parent, *args)`, and this side of the pipe to it.

    One thread receives, any thread may do the rest.
    """

    def __init__(
        self,
        target: Callable[..., object],
        args: Sequence[Any] = (),
        *,
        name: str,
        logger: AnyLogger,
        daemon: bool = False,
    ) -> None:
        """Start it; returns before it is up. In the child, `parent` is a `Parent`; `args` are pickled.

        What it logs goes to `logger`, behind `name`. The interpreter waits at its end for a child that is no `daemon`,
        and ends one that is. OSError if the system cannot start it, WriterFailed where children are not allowed.
        """
        self.name = name
        self._logger = logger
        self._sending, self._reaping = threading.Lock(), threading.Lock()
        self._exit_code: int | None = None
        self._is_closed = False
        self._connection, theirs = SPAWN.Pipe()
        try:
            self._process = SPAWN.Process(
                target=_run, args=(theirs, os.getpid(), target, *args), name=f"openhsi_shared {name}", daemon=daemon
            )
            spawn(self._process)
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()  # else a dead child would not show as end-of-file
        self.pid = self._process.pid

    # ---- messages ----

    @property
    def waitables(self) -> list[Any]:
        """What `multiprocessing.connection.wait` needs to notice a message, or the end."""
        return [self._connection, self.sentinel]

    @property
    def sentinel(self) -> int:
        """What becomes ready when it ends, for the same function."""
        return self._process.sentinel

    def send(self, message: Any) -> bool:
        """Send `message`; False if the child is gone."""
        text = pickle.dumps(message)  # `Connection.send` takes three times as long
        try:
            with self._sending:
                self._connection.send_bytes(text)
        except OSError:
            return False
        return True

    def receive(self, timeout_s: float | None = None) -> Any:
        """Return the next message, None if there was none for `timeout_s`, or GONE behind the last one of a dead child.

        What the child logs is logged here, and is no message.
        """
        end = _time_after(timeout_s)
        try:
            while True:
                has_ended = self.exit_code is not None  # asked first: what it said last is heard
                if self._connection.poll():
                    message = self._connection.recv()
                    if not isinstance(message, Log):
                        return message
                    self._logger.log(message.level, "%s: %s", self.name, message.text)
                elif has_ended:
                    return GONE
                elif (left := end - time.monotonic()) <= 0:
                    return None
                else:
                    wait(self.waitables, min(left, POLL_INTERVAL_S))
        except (EOFError, OSError):
            return GONE

    def first_message(self, error: Callable[[str], Exception], timeout_s: float | None = None) -> Any:
        """Block until it is up and has sent something; returns that. Raises `error(text)` if it dies or is too slow."""
        message = self.receive(timeout_s)
        if message is None:
            raise error(f"the {self.name} did not come up within {timeout_s:.0f} s: is the machine overloaded?")
        if message is GONE:
            self.join(5)
            raise error(f"the {self.name} did not come up: exit code {self.exit_code}; see its message on the terminal")
        return message

    def hang_up(self) -> None:
        """Close this side of the pipe: to the child it looks as if its parent had died. Nothing is received after."""
        self._connection.close()

    # ---- its end ----

    @property
    def exit_code(self) -> int | None:
        """None while it lives."""
        with self._reaping:  # of two threads that ask the system at the same time, one would be told nothing
            if self._exit_code is None and not self._is_closed:
                self._exit_code = self._process.exitcode
                if self._exit_code is None and not _exists(self.pid):
                    self._exit_code = STATUS_TAKEN
            return self._exit_code

    def join(self, timeout_s: float | None = None) -> bool:
        """Block until it has ended; False if it has not after `timeout_s`."""
        end = _time_after(timeout_s)
        while self.exit_code is None:
            left = end - time.monotonic()
            if left <= 0:
                return False
            try:
                wait([self.sentinel], min(left, POLL_INTERVAL_S))
            except (OSError, ValueError):  # another thread has just closed it
                time.sleep(0.01)
        return True

    def terminate(self) -> None:
        """Ask it to end, by SIGTERM. Does not block."""
        self._signal("terminate")

    def kill(self) -> bool:
        """Kill it; False if it does not end: then it hangs in the kernel, and may still read what it was given."""
        self._signal("kill")
        return self.join(KILL_TIMEOUT_S)

    def end(self, timeout_s: float = 0.0) -> None:
        """Kill it unless it ends within `timeout_s`. One that hangs in the kernel is forgotten."""
        if not self.join(timeout_s) and not self.kill():
            self.forget()

    def forget(self) -> None:
        """Do not wait for it when the interpreter ends: nobody knows when the kernel lets it go."""
        # what multiprocessing joins at exit, with no public access to it; without this the interpreter would hang, too
        multiprocessing.process._children.discard(self._process)  # type: ignore[attr-defined] # noqa: SLF001 - see above

    def close(self) -> None:
        """Give back what belongs to a child that has ended. Idempotent; `exit_code` is still known."""
        self.hang_up()
        if self.exit_code is not None:
            with self._reaping, suppress(ValueError):  # it does not know of an end whose status was taken
                self._is_closed = True
                self._process.close()

    def _signal(self, how: str) -> None:
        with self._reaping:
            if not self._is_closed:
                getattr(self._process, how)()


def _time_after(timeout_s: float | None) -> float:
    return float("inf") if timeout_s is None else time.monotonic() + timeout_s


def _exists(pid: int | None) -> bool:
    """Whether there is such a process, be it a dead one; true where the system cannot be asked."""
    try:
        if os.name == "posix" and pid is not None:
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# ---- in the child --------------------------------------------------------------------


def _run(connection: Connection, parent_id: int, target: Callable[..., object], *args: Any) -> None:
    target(Parent(connection, parent_id), *args)
