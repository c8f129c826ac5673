"""A child process as seen by its parent: start, receive, terminate, kill, reap."""

import gc
import logging
import multiprocessing
import multiprocessing.process
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from typing import Any

from openhsi_shared.loggers import AnyLogger
from openhsi_shared.processes.blas import quieten_blas
from openhsi_shared.processes.descriptors import Owned
from openhsi_shared.processes.interpreter import what_is_no_python
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.logs import Log, package_level, set_package_level, traceback_text
from openhsi_shared.processes.spawning import SPAWN, spawn
from openhsi_shared.standard_streams import fill_standard_descriptors

__all__ = ["Child", "is_in_child"]

NAME = "openhsi_shared "
"""Beginning of the names that `multiprocessing` has for children."""
KILL_TIMEOUT_S = 2.0
"""A killed process exits at once, unless it hangs in the kernel, waiting for a disk that does not respond."""
POLL_INTERVAL_S = 0.25
"""How often the exit code is polled: pipe and sentinel report no end while a process that the child forked lives."""
STATUS_TAKEN = 255
"""Exit code of a child that other code has reaped, for instance a handler of SIGCHLD, or whose SIGCHLD is ignored."""


# ---- in the parent -------------------------------------------------------------------


class Child:
    """A spawned process that runs `target(parent, *args)`, and the parent's end of the pipe to it.

    Only one thread may receive; all other methods are thread-safe.
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
        """Start it; returns before it is ready. In the child, `parent` is a `Parent`; `args` are pickled.

        Its warnings, and other log records if they are logged here now, go to `logger`, prefixed with `name`. At exit
        the interpreter waits for a child unless it is a `daemon`, which is terminated. OSError if the system cannot
        start it, WriterFailed where children are not allowed.
        """
        self.name = name
        self._logger = logger
        self._sending, self._reaping = threading.Lock(), threading.Lock()
        self._exit_code: int | None = None
        self._is_closed = False
        fill_standard_descriptors()
        self._connection, child_end = SPAWN.Pipe()
        try:
            self._process = SPAWN.Process(
                target=_run,
                args=(_BeforeImports(), child_end, os.getpid(), package_level(), target, *args),
                name=f"{NAME}{name}",
                daemon=daemon,
            )
            spawn(self._process)
        except BaseException:
            self._connection.close()
            raise
        finally:
            child_end.close()  # else a dead child would not show as end-of-file
        self.pid = self._process.pid
        self._pipe, self._ending = Owned(self._connection), Owned(self._process.sentinel)
        # the interpreter waits for it at exit, also if a second Ctrl-C interrupted the code that would have ended it
        util.Finalize(self, self._pipe.close, exitpriority=0)

    # ---- messages ----

    @property
    def waitables(self) -> list[Any]:
        """Objects for `multiprocessing.connection.wait`; one is ready when a message arrives or the child exits."""
        return [*self._pipe.if_open(), *self.sentinels]

    @property
    def sentinels(self) -> list[Any]:
        """Object that becomes ready when the child exits, for the same function; none if other code has closed it."""
        return self._ending.if_open()

    def send(self, message: Any) -> bool:
        """Send `message`; False if the child is gone, or other code has closed the pipe."""
        text = pickle.dumps(message)  # `Connection.send` takes three times as long
        try:
            with self._sending:
                if not self._pipe.is_open():
                    return False
                self._connection.send_bytes(text)
        except OSError:
            return False
        return True

    def receive(self, timeout_s: float | None = None) -> Any:
        """Return the next message, None if there was none for `timeout_s`, or GONE after the last one of a dead child.

        GONE as well if other code of this program has closed the pipe: then the child may live. Log records of the
        child are logged, not returned.
        """
        end = _time_after(timeout_s)
        try:
            while True:
                has_exited = self.exit_code is not None  # read before polling, so that its last message is received
                if not self._pipe.is_open():
                    return GONE
                if self._connection.poll():
                    message = self._connection.recv()
                    if not isinstance(message, Log):
                        return message
                    self._logger.log(message.level, "%s: %s", self.name, message.text)
                elif has_exited:
                    return GONE
                elif (left := end - time.monotonic()) <= 0:
                    return None
                else:
                    wait(self.waitables, min(left, POLL_INTERVAL_S))
        except (EOFError, OSError):
            return GONE

    def first_message(self, error: Callable[[str], Exception], timeout_s: float | None = None) -> Any:
        """Block until it sends its first message; returns that. Raises `error(text)` if it dies, or at the timeout."""
        message = self.receive(timeout_s)
        if message is None:
            limit = f"within {timeout_s:.0f} s: is the machine overloaded?"
            raise error(f"the {self.name} did not start {limit}{what_is_no_python()}")
        if message is GONE:
            self.join(5)
            code = f"exit code {self.exit_code}; see its message in the log, or on the terminal"
            raise error(f"the {self.name} did not start: {code}{what_is_no_python()}")
        return message

    def hang_up(self) -> None:
        """Close this end of the pipe. Nothing is received afterwards. Idempotent."""
        self._pipe.close()

    # ---- shutdown ----

    @property
    def exit_code(self) -> int | None:
        """None while it lives."""
        with self._reaping:  # if two threads reap at the same time, one gets no status
            if self._exit_code is None and not self._is_closed:
                self._exit_code = self._process.exitcode
                if self._exit_code is None and _is_reaped(self.pid):
                    self._exit_code = STATUS_TAKEN
                    # else multiprocessing believes for ever that it lives
                    self._process._popen.returncode = STATUS_TAKEN  # type: ignore[attr-defined] # noqa: SLF001
            return self._exit_code

    def join(self, timeout_s: float | None = None) -> bool:
        """Block until it has exited; False at the timeout."""
        end = _time_after(timeout_s)
        while self.exit_code is None:
            left = end - time.monotonic()
            if left <= 0:
                return False
            try:
                is_ready = bool(wait(self.sentinels, min(left, POLL_INTERVAL_S)))
            except (OSError, ValueError):  # another thread has just closed it
                is_ready = True
            if is_ready:  # it cannot be reaped yet, or its status was taken: do not spin
                time.sleep(0.001)
        return True

    def terminate(self) -> None:
        """Send SIGTERM. Does not block."""
        self._signal("terminate")

    def kill(self) -> bool:
        """Kill it; False if it does not exit: then it hangs in the kernel, and may still read shared memory."""
        self._signal("kill")
        return self.join(KILL_TIMEOUT_S)

    def end(self, timeout_s: float = 0.0) -> None:
        """Kill it unless it exits within `timeout_s`. One that hangs in the kernel is forgotten."""
        if not self.join(timeout_s) and not self.kill():
            self.forget()

    def forget(self) -> None:
        """Do not wait for it when the interpreter ends: it is unknown when the kernel releases it."""
        # what multiprocessing joins at exit, with no public access to it; without this the interpreter would hang, too
        multiprocessing.process._children.discard(self._process)  # type: ignore[attr-defined] # noqa: SLF001 - see above

    def close(self) -> None:
        """Close the pipe, and release the resources of a child that has exited. Idempotent; `exit_code` stays valid."""
        self.hang_up()
        if self.exit_code is None:
            return
        with self._reaping, suppress(OSError):  # other code has closed its descriptors
            if not self._is_closed and not self._ending.is_open():  # its number may be that of a file of other code
                self._process._popen.finalizer.cancel()  # type: ignore[attr-defined] # noqa: SLF001 - no public access
            self._is_closed = True
            self._process.close()

    def _signal(self, how: str) -> None:
        with self._reaping:
            if not self._is_closed:
                getattr(self._process, how)()


def _time_after(timeout_s: float | None) -> float:
    return float("inf") if timeout_s is None else time.monotonic() + timeout_s


def _is_reaped(pid: int | None) -> bool:
    """Whether the child has exited and its status was taken: by other code, or by the kernel if SIGCHLD is ignored.

    False where the system cannot tell.
    """
    try:
        if pid is not None and hasattr(os, "waitid"):  # exact, also if another process has got this id since
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        elif pid is not None and os.name == "posix":
            os.kill(pid, 0)
    except (ChildProcessError, ProcessLookupError):
        return True
    return False


# ---- in the child --------------------------------------------------------------------


def is_in_child() -> bool:
    """Whether this process is a `Child`, also while its arguments are unpickled."""
    return multiprocessing.current_process().name.startswith(NAME)


class _BeforeImports:
    """Unpickled first of all arguments: with the others, this process imports nearly all that it will use."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _before_imports, ()


def _before_imports() -> None:
    gc.disable()  # what is imported stays: to scan it for garbage meanwhile takes a tenth of the time
    quieten_blas()


def _run(
    _: None, connection: Connection, parent_id: int, level: int, target: Callable[..., object], *args: Any
) -> None:
    gc.enable()
    gc.freeze()  # what is imported is never scanned, neither while this process works nor, three times, when it exits
    set_package_level(level)
    parent = Parent(connection, parent_id)
    try:
        target(parent, *args)
    except Exception as error:
        text = f"failed: {type(error).__name__}: {error}\n{traceback_text(error)}"
        if not (parent.is_writable() and parent.tell(Log(logging.ERROR, text))):
            raise  # to stderr
        sys.exit(1)
    gc.collect()  # finalises what is in circles of references, which the exit then would not
    gc.freeze()
