"""The account of an analysis: what was processed, skipped, failed, and how fast."""

import time
from collections import Counter
from dataclasses import replace

from openhsi_shared.analysis.streams.slot_ranges import LinesInSlot
from openhsi_shared.analysis.streams.source import Range
from openhsi_shared.analysis.work.failure_log import FailureLog, error_of
from openhsi_shared.analysis.work.messages import BatchResult, EventFailure
from openhsi_shared.analysis.work.workers import SumsLost
from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.frames.losses import IdRange
from openhsi_shared.loggers import safe_logger

__all__ = ["Tally"]

logger = safe_logger(__name__)

RATE_INTERVAL_S = 1.0


class Tally:
    """Counts what became of events."""

    def __init__(self, status: AnalysisStatus, n_workers: int) -> None:
        self._status = status
        self.n_events = self._n_lost = 0
        self._failures = FailureLog()
        self._n_results_before = self.n_results = 0
        self.lines_of: Counter[int] = Counter()
        """Lines that were processed of each cube."""
        self._newest_ns = 0
        """Of the newest line whose result the reducer has, by the monotonic clock."""
        self._error = ""
        self._done = [0] * n_workers
        self._rates_from = time.monotonic(), [0] * n_workers
        self._rates: tuple[float, ...] = (0.0,) * n_workers

    def add(self, result: BatchResult | SumsLost, part: Range | None, who: str) -> None:
        """Count the result of a batch, whose range is `part`, of the class `who`."""
        if isinstance(result, SumsLost):
            self._n_lost += result.n_events
            what = f"{result.n_events} events from {result.first} to {result.last} are in no result: {result.error}"
            self._error = what
            logger.error("%s", what)
            return
        self.n_events += result.n_events
        self._done[_index(result.worker)] += result.n_events
        if part is not None and isinstance(part.where, LinesInSlot):
            self.lines_of[part.where.cube] += result.n_events
        self.fail(result.failures, who)

    def fail(self, failures: list[EventFailure], who: str) -> None:
        """Count and log failures of a class of the user."""
        self._failures.add(failures, who)
        if failures:
            self._error = str(error_of(failures[-1], who))

    def end_run(self, n_results: int) -> None:
        """The reducer has finished; it counts from 0 on if it is made again."""
        self._n_results_before += n_results
        self.n_results = 0

    def taken(self, n_results: int, part: Range | None) -> None:
        """The reducer has processed a batch."""
        self.n_results = n_results
        if part is not None and part.times_ns is not None and isinstance(part.where, LinesInSlot):
            self._newest_ns = max(self._newest_ns, int(part.times_ns[-1]) - part.where.utc_offset_ns)

    def status(
        self, *, waiting: int, n_skipped: int, skipped_ids: tuple[IdRange, ...], n_replaced: int
    ) -> AnalysisStatus:
        """All counts; those of skipped lines are counted by the source, those of replaced workers by the crew."""
        self._measure()
        return replace(
            self._status,
            events=self.n_events,
            results=self._n_results_before + self.n_results,
            failed=self._failures.n_failed + self._n_lost,
            skipped=n_skipped,
            skipped_ids=skipped_ids,
            waiting=waiting,
            rates=self._rates,
            age_s=(time.monotonic_ns() - self._newest_ns) / 1e9 if self._newest_ns else float("nan"),
            restarts=n_replaced,
            error=self._error,
        )

    def _measure(self) -> None:
        began, before = self._rates_from
        passed = time.monotonic() - began
        if passed > RATE_INTERVAL_S:
            self._rates = tuple((now - then) / passed for now, then in zip(self._done, before, strict=True))
            self._rates_from = time.monotonic(), list(self._done)


def _index(worker: str) -> int:
    """Number of a worker by its name, such as "worker3-2"."""
    return int(worker.removeprefix("worker").partition("-")[0])
