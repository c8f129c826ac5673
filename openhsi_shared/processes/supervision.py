"""Supervision of children: threads whose failure leaves no caller waiting, heartbeats, and a limit of restarts."""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

from openhsi_shared.loggers import must_not_block, safe_logger
from openhsi_shared.processes.descriptors import Owned
from openhsi_shared.processes.spawning import SPAWN
from openhsi_shared.standard_streams import fill_standard_descriptors

__all__ = ["GuardedThread", "Heartbeat", "Listener", "StartLimit"]

logger = safe_logger(__name__)


class GuardedThread(threading.Thread):
    """A daemon thread with an outermost handler, which no logging handler of the user can block."""

    def __init__(
        self,
        target: Callable[..., object],
        *args: Any,
        name: str,
        failure: str,
        on_failure: Callable[[BaseException], object] | None = None,
    ) -> None:
        """It runs `target(*args)`. An unhandled exception is passed to `on_failure`, and logged with its traceback.

        `failure` is the log text: what the end of this thread means to the user. `on_failure` runs in the thread
        itself, before the log call, and must release every caller that waits for this thread.
        """
        super().__init__(target=target, args=args, name=f"openhsi_shared {name}", daemon=True)
        self._failure, self._on_failure = failure, on_failure

    def run(self) -> None:
        """Run the target; called by `start`."""
        must_not_block()
        try:
            super().run()
        except BaseException as error:  # noqa: BLE001 - not swallowed: passed to `on_failure`, and logged
            self._fail(error)
        finally:
            self._on_failure = None  # its owner may reference this thread

    def join(self, timeout: float | None = None) -> None:
        """Block until it has ended, as `Thread.join`; one that could not be started has."""
        if self.ident is not None:
            super().join(timeout)

    def _fail(self, error: BaseException) -> None:
        try:
            if self._on_failure is not None:
                self._on_failure(error)
        except Exception as other:  # no other handler is left
            logger.error("%s, and the handler of this failure failed: %s", self._failure, other, exc_info=other)
        logger.error("%s: %s: %s", self._failure, type(error).__name__, error, exc_info=error)


class Listener(GuardedThread):
    """Receives from children until `stop`."""

    def __init__(
        self,
        waitables: Callable[[], Iterable[Any]],
        receive: Callable[[], object],
        interval_s: float,
        *,
        name: str,
        failure: str,
        on_failure: Callable[[BaseException], object],
    ) -> None:
        """It calls `receive()` when one of `waitables()` is ready, and at least every `interval_s`.

        `waitables()` is called again each time; see `Child.waitables` and `GuardedThread`. OSError if the system has no
        descriptors left.
        """
        super().__init__(self._listen, name=name, failure=failure, on_failure=on_failure)
        self.is_stopping = False
        self._waitables, self._receive, self._interval_s = waitables, receive, interval_s
        self._wake_up, self._wake = SPAWN.Pipe(duplex=False)
        self._woken, self._waking = Owned(self._wake_up), Owned(self._wake)

    def start(self) -> None:
        """Start it. RuntimeError if the system has no threads left; then its pipe is closed."""
        try:
            super().start()
        except RuntimeError:
            self._close()
            raise

    def wake(self) -> None:
        """Make it call `receive` and `waitables` at once; without its pipe it does so after `interval_s`."""
        with suppress(OSError):  # the thread has ended, or is not listening to this pipe any more
            if self._waking.is_open():
                self._wake.send_bytes(b"wake up")

    def stop(self) -> None:
        """Let it call `receive` once more, and end it; blocks until it has ended, also after a failure. Idempotent."""
        if self.is_stopping:
            return
        self.is_stopping = True
        self.wake()
        self.join()
        self._close()

    def _close(self) -> None:
        self._waking.close()
        self._woken.close()

    def _listen(self) -> None:
        while not self.is_stopping:
            # other code may have closed an end of the pipe: then this only polls
            ready = wait([*self._waitables(), *self._woken.if_open()], self._interval_s)
            if self._wake_up in ready and self._woken.is_open():
                try:
                    self._wake_up.recv_bytes()
                except (OSError, EOFError):
                    self._woken.close()
            self._receive()


class Heartbeat:
    """Heartbeat of a child: a counter in shared memory that it increments, and the time of the last change seen."""

    def __init__(self) -> None:
        fill_standard_descriptors()
        self.counter: Any = SPAWN.RawArray("q", 3)
        """Passed to the child, which increments `counter[0]`; the others are for what it works on."""
        self._last_count, self._last_time = 0, time.monotonic()

    def expect(self) -> None:
        """Restart the timeout: the child was given work."""
        self._last_time = time.monotonic()

    def release(self) -> None:
        """Release the shared memory: the child has exited. The last count stays."""
        self.counter = list(self.counter)

    def silent_s(self) -> float:
        """Seconds since the last heartbeat, or the last `expect`."""
        now, count = time.monotonic(), self.counter[0]
        if count != self._last_count:
            self._last_count, self._last_time = count, now
        return now - self._last_time


class StartLimit:
    """Stops the replacement of children that die before they are ready: after `max_failed` failed starts in a row.

    Then another start is due from time to time: what the system lacks may be there again.
    """

    FIRST_PAUSE_S, MAX_PAUSE_S = 1.0, 30.0

    def __init__(self, max_failed: int = 3) -> None:
        self._max_failed = max_failed
        self.n_failed = 0
        """Failed starts in a row."""
        self._due = 0.0

    @property
    def is_reached(self) -> bool:
        """Whether no further start is to be tried at once."""
        return self.n_failed >= self._max_failed

    @property
    def is_due(self) -> bool:
        """Whether the pause since the last failed start is over."""
        return time.monotonic() >= self._due

    def note(self, is_up: bool) -> None:
        """A child is ready, or has died before it was."""
        self.n_failed = 0 if is_up else self.n_failed + 1
        if self.is_reached:  # it costs the time of a start, half a second of a processor: less and less often
            pause_s = self.FIRST_PAUSE_S * 2 ** min(self.n_failed - self._max_failed, 5)
            self._due = time.monotonic() + min(self.MAX_PAUSE_S, pause_s)

    def note_impossible(self) -> None:
        """The system cannot start any child."""
        self.n_failed = max(self.n_failed, self._max_failed)
        self._due = time.monotonic() + self.FIRST_PAUSE_S
