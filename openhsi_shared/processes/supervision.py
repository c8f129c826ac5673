"""Supervision of children: threads whose failure leaves no caller waiting, heartbeats, and a limit of restarts."""

import threading
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import wait
from typing import Any

from openhsi_shared.processes.logs import safe_logger
from openhsi_shared.processes.spawning import SPAWN

__all__ = ["GuardedThread", "Heartbeat", "Listener", "StartLimit"]

logger = safe_logger(__name__)


class GuardedThread(threading.Thread):
    """A daemon thread with an outermost handler."""

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
        try:
            super().run()
        except BaseException as error:  # noqa: BLE001 - not swallowed: passed to `on_failure`, and logged
            self._fail(error)
        finally:
            self._on_failure = None  # its owner may reference this thread

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

    def wake(self) -> None:
        """Make it call `receive` and `waitables` at once."""
        self._wake.send_bytes(b"wake up")

    def stop(self) -> None:
        """Let it call `receive` once more, and end it; blocks until it has ended, also after a failure. Idempotent."""
        if self.is_stopping:
            return
        self.is_stopping = True
        self.wake()
        self.join()
        self._wake.close()
        self._wake_up.close()

    def _listen(self) -> None:
        while not self.is_stopping:
            if self._wake_up in wait([*self._waitables(), self._wake_up], self._interval_s):
                self._wake_up.recv_bytes()
            self._receive()


class Heartbeat:
    """Heartbeat of a child: a counter in shared memory that it increments, and the time of the last change seen."""

    def __init__(self) -> None:
        self.counter: Any = SPAWN.RawArray("q", 1)
        """Passed to the child, which increments `counter[0]`."""
        self._last_count, self._last_time = 0, time.monotonic()

    def expect(self) -> None:
        """Restart the timeout: the child was given work."""
        self._last_time = time.monotonic()

    def release(self) -> None:
        """Release the shared memory: the child has exited. The last count stays."""
        self.counter = [self.counter[0]]

    def silent_s(self) -> float:
        """Seconds since the last heartbeat, or the last `expect`."""
        now, count = time.monotonic(), self.counter[0]
        if count != self._last_count:
            self._last_count, self._last_time = count, now
        return now - self._last_time


class StartLimit:
    """Stops the replacement of children that die before they are ready: after `max_failed` failed starts in a row."""

    def __init__(self, max_failed: int = 3) -> None:
        self._max_failed, self._n_failed = max_failed, 0

    @property
    def is_reached(self) -> bool:
        """Whether no further start is to be tried."""
        return self._n_failed >= self._max_failed

    def note(self, is_up: bool) -> None:
        """A child is ready, or has died before it was."""
        self._n_failed = 0 if is_up else self._n_failed + 1

    def note_impossible(self) -> None:
        """The system cannot start any child."""
        self._n_failed = self._max_failed
