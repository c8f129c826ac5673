"""Threads that watch children, whose failure leaves no caller waiting; progress and replacement of a child."""

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
        """It runs `target(*args)`. An exception that escapes is given to `on_failure`, and logged with its traceback.

        `failure` tells the user what the end of this thread means. `on_failure` runs in the thread itself, before the
        log, and must let everybody go who waits for what the thread would have done.
        """
        super().__init__(target=target, args=args, name=f"openhsi_shared {name}", daemon=True)
        self._failure, self._on_failure = failure, on_failure

    def run(self) -> None:
        """Run the target; called by `start`."""
        try:
            super().run()
        except BaseException as error:  # noqa: BLE001 - not swallowed: `on_failure` hands it on, and it is logged
            self._fail(error)
        finally:
            self._on_failure = None  # its owner may hold this thread

    def _fail(self, error: BaseException) -> None:
        try:
            if self._on_failure is not None:
                self._on_failure(error)
        except Exception as other:  # there is no one else left to tell
            logger.error("%s, and that could not be handled: %s", self._failure, other, exc_info=other)
        logger.error("%s: %s: %s", self._failure, type(error).__name__, error, exc_info=error)


class Listener(GuardedThread):
    """Hears children until `stop`."""

    def __init__(
        self,
        watched: Callable[[], Iterable[Any]],
        hear: Callable[[], object],
        interval_s: float,
        *,
        name: str,
        failure: str,
        on_failure: Callable[[BaseException], object],
    ) -> None:
        """It calls `hear()` when one of `watched()`, asked again each time, is ready, and at least every `interval_s`.

        See `Child.waitables` and `GuardedThread`. OSError if the system has no descriptors left.
        """
        super().__init__(self._listen, name=name, failure=failure, on_failure=on_failure)
        self.is_stopping = False
        self._watched, self._hear, self._interval_s = watched, hear, interval_s
        self._wake_up, self._wake = SPAWN.Pipe(duplex=False)

    def wake(self) -> None:
        """Let it ask at once what is to be watched."""
        self._wake.send_bytes(b"wake up")

    def stop(self) -> None:
        """Let it hear what is there, and end; blocks until it has, also after it has failed. Idempotent."""
        if self.is_stopping:
            return
        self.is_stopping = True
        self.wake()
        self.join()
        self._wake.close()
        self._wake_up.close()

    def _listen(self) -> None:
        while not self.is_stopping:
            if self._wake_up in wait([*self._watched(), self._wake_up], self._interval_s):
                self._wake_up.recv_bytes()
            self._hear()


class Heartbeat:
    """Whether a child makes progress: a number in shared memory that it raises, and when that was seen to change."""

    def __init__(self) -> None:
        self.counter: Any = SPAWN.RawArray("q", 1)
        """Given to the child, which increments `counter[0]`."""
        self._last_count, self._last_time = 0, time.monotonic()

    def expect(self) -> None:
        """Count from now on: the child was given work."""
        self._last_time = time.monotonic()

    def release(self) -> None:
        """Give the shared memory back: the child has ended. The last count stays."""
        self.counter = [self.counter[0]]

    def silent_s(self) -> float:
        """Seconds since the last progress that was seen, or the last `expect`."""
        now, count = time.monotonic(), self.counter[0]
        if count != self._last_count:
            self._last_count, self._last_time = count, now
        return now - self._last_time


class StartLimit:
    """Ends the replacement of children that die before they are up: after so many failed starts in a row."""

    def __init__(self, n_most: int = 3) -> None:
        self._n_most, self._n_failed = n_most, 0

    @property
    def is_reached(self) -> bool:
        """Whether another start would be of no use."""
        return self._n_failed >= self._n_most

    def note(self, is_up: bool) -> None:
        """A child has come up, or has died before it did."""
        self._n_failed = 0 if is_up else self._n_failed + 1

    def note_impossible(self) -> None:
        """The system refuses to start any."""
        self._n_failed = self._n_most
