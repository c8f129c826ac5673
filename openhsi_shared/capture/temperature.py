"""Sensor temperature, read outside the capture loop: a register access takes as long as several lines."""

import threading
from collections.abc import Callable

from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["TemperatureWatch"]

logger = safe_logger(__name__)


class TemperatureWatch:
    """Reads a temperature once a second, in a separate thread, while started."""

    def __init__(self, read: Callable[[], float], period_s: float = 1.0) -> None:
        self.celsius = float("nan")
        """The last reading, in degrees Celsius; NaN before the first and after a failure."""
        self.n_failed = 0
        self._read, self._period_s = read, period_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Read once, then start the thread. Idempotent."""
        if self._thread is None:
            self._read_once()
            self._stop.clear()
            thread = GuardedThread(
                self._run,
                name="temperature",
                failure="the temperature is no longer read, lines will have none",
                on_failure=self._note_failure,
            )
            thread.start()
            self._thread = thread

    def stop(self) -> None:
        """Stop the thread; blocks until a reading in progress is done."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            if thread is not threading.current_thread():  # the garbage collector may drop the camera in this thread
                thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            self._read_once()

    def _read_once(self) -> None:
        try:
            self.celsius = float(self._read())
        except Exception as error:  # noqa: BLE001 - a line without a temperature is better than no line; it is counted
            self._note_failure(error)
            if self.n_failed == 1:
                logger.warning("the temperature cannot be read, lines will have none: %s", error)

    def _note_failure(self, _: BaseException) -> None:
        self.celsius = float("nan")  # else all further lines would get the last reading
        self.n_failed += 1
