"""Lines that fail: they end the job, or are counted and logged, as the job says."""

import threading

from openhsi_shared.errors import JobError
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.workers.chain import Failure
from openhsi_shared.loggers import safe_logger

__all__ = ["DAMAGED_TEXT", "Failures"]

logger = safe_logger(__name__)

DAMAGED_TEXT = "damaged in the source: its checksum is wrong"
MAX_WARNINGS = 10
"""Failures of a cube that are logged one by one."""


class Failures:
    """Failures of the lines of one cube. Thread-safe."""

    def __init__(self, plan: CubePlan) -> None:
        self._path, self._ends_job = plan.source.path, plan.job.on_error == "raise"
        self._counting = threading.Lock()
        self.n = 0

    def note(self, failure: Failure) -> None:
        """JobError, unless failed lines are only marked."""
        message = f"{self._path}: line {failure.line}, stage {failure.stage!r}: {failure.text}"
        if self._ends_job:
            raise JobError(
                f"{message}; on_error='nan' marks such lines and goes on",
                path=str(self._path),
                line=failure.line,
                stage=failure.stage,
                where=failure.where,
            )
        with self._counting:
            self.n += 1
            is_logged = self.n <= MAX_WARNINGS
        if is_logged:
            logger.warning("%s%s", message, f"\n{failure.where}" if failure.where else "")

    def note_damaged(self, lines: list[int]) -> None:
        """The same for lines that are damaged in the file, by their numbers in it."""
        for line in lines:
            self.note(Failure(line, "load", DAMAGED_TEXT, ""))

    def note_around(self, failure: Failure) -> None:
        """The same for a line that others are made without; if lines are only marked, its own block counts it."""
        if self._ends_job:
            self.note(failure)

    def warn_of_others(self, line: int) -> None:
        """Log that a line, by its number in the file, failed only where others needed it."""
        logger.warning("%s: line %d failed once: lines around it are made without it", self._path, line)

    def log_number(self) -> None:
        """Log how many there were, if not all were logged."""
        if self.n > MAX_WARNINGS:
            logger.warning("%s: %d failures of lines, of which %d were logged", self._path, self.n, MAX_WARNINGS)
