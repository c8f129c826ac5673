"""Log of events that fail: the first one with its traceback, then one line a second."""

import time

from openhsi_shared.analysis.work.messages import EventFailure
from openhsi_shared.errors import AnalysisError
from openhsi_shared.loggers import safe_logger

__all__ = ["FailureLog", "error_of"]

logger = safe_logger(__name__)

INTERVAL_S = 1.0


def error_of(failure: EventFailure, who: str) -> AnalysisError:
    """An error for an event that failed; `who`: class of the user."""
    where = f"event {failure.event_number}" if failure.event_number >= 0 else "its timer or close"
    return AnalysisError(
        f"{who} failed at {where}: {failure.error}", event_number=failure.event_number, where=failure.traceback
    )


class FailureLog:
    """Failures of a run. For one thread."""

    def __init__(self) -> None:
        self.n_failed = 0
        """Events for which the worker or the reducer failed."""
        self._n_untold = 0
        self._last_logged = 0.0

    def add(self, failures: list[EventFailure], who: str) -> None:
        """Count and log failures of the class `who`."""
        for failure in failures:
            self.n_failed += 1
            self._n_untold += 1
            now = time.monotonic()
            if self.n_failed == 1:
                trace = f"\n{failure.traceback.rstrip()}" if failure.traceback else ""
                logger.error("%s%s", error_of(failure, who), trace)
            elif now - self._last_logged >= INTERVAL_S:
                more = f" (and {self._n_untold - 1} more since the last message)" if self._n_untold > 1 else ""
                logger.error("%s%s", error_of(failure, who), more)
            else:
                continue
            self._last_logged, self._n_untold = now, 0

    def end(self) -> None:
        """Log how many failed in all, if not each was logged."""
        if self._n_untold:
            logger.error("%d events failed in all", self.n_failed)
            self._n_untold = 0
