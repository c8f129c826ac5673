"""The survey: a first pass over the lines that a stage must see before it is applied to any."""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

from openhsi_shared.errors import JobError
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.workers.blocks import Block, BlockRegister
from openhsi_shared.jobs.workers.chain import Failure, failures_named
from openhsi_shared.jobs.workers.control import Control
from openhsi_shared.jobs.workers.failures import Failures
from openhsi_shared.jobs.workers.progress import Progress
from openhsi_shared.jobs.workers.work import LineWorker, Work

__all__ = ["Survey", "surveys_of"]

AT_ONCE_BYTES = 8 << 20
"""Of lines that a worker surveys at once, before and after the stages that come first."""


def surveys_of(plan: CubePlan) -> Iterator[tuple[int, range]]:
    """The stages, by their number, that need a survey, and the lines of their input for it."""
    for at, (stage, given) in enumerate(zip(plan.stages, plan.formats, strict=False)):
        lines = stage.survey_lines(given)
        if lines is not None:
            yield at, lines


class Survey(Work):
    """The survey of one stage: its extracts of parts of the lines, each of which has `survey_size` of them."""

    stages = ("survey",)

    def __init__(
        self, plan: CubePlan, at: int, lines: range, control: Control, progress: Progress, *, n_workers: int
    ) -> None:
        self._plan, self._at, self._progress = plan, at, progress
        size = plan.stages[at].survey_size
        self._parts = [lines[first : first + size] for first in range(0, len(lines), size)]
        before, given = plan.formats[0], plan.formats[at]
        part_bytes = size * (before.line_bytes * -(-before.n_lines // given.n_lines) + given.line_bytes)
        self._n_together = max(1, AT_ONCE_BYTES // part_bytes)
        firsts = range(0, len(self._parts), self._n_together)
        lengths = [(min(self._n_together, len(self._parts) - first),) for first in firsts]
        register = BlockRegister(lengths, n_workers, control, progress, stages=self.stages, whole=self.stages)
        super().__init__(plan.source.path, register)
        self._failures = Failures(plan)
        self._extracts: dict[int, list[Any]] = {}
        """By the number of the part."""
        progress.survey = 0.0

    def do(self, worker: LineWorker, block: Block, first: int, stop: int) -> None:
        """Show the stage reserved parts."""
        begin = block.number * self._n_together
        found = worker.survey(self._at, self._parts[begin + first : begin + stop])
        self._failures.note_damaged(found.damaged)
        for failure in found.failures:
            self._failures.note(failure)
        self._extracts[begin + first] = found.extracts
        self._progress.survey = sum(map(len, list(self._extracts.values()))) / len(self._parts)

    def give_up(self, block: Block, first: int, stop: int, why: str) -> None:  # noqa: ARG002 - part of the interface
        """Leave them out."""
        lines = self._parts[block.number * self._n_together + first]
        self._failures.note(Failure(self._plan.lines.start + lines.start, "survey", f"{lines}: {why}", ""))

    def surveyed(self) -> CubePlan:
        """The plan, whose stage knows what it has seen. JobError if no line was good."""
        self._failures.log_number()
        parts = [part for first in sorted(self._extracts) for part in self._extracts[first] if part is not None]
        stage = copy.deepcopy(self._plan.stages[self._at])
        if not parts:
            raise JobError(
                f"{self._plan.source.path}: stage {stage.code!r} has no good line to survey", stage=stage.code
            )
        with failures_named(self._plan, stage, "failed to combine its survey"):
            found = stage.combine(parts)
        object.__setattr__(stage, "surveyed", found)  # a stage may be a frozen dataclass
        self._progress.survey = 1.0
        stages = (*self._plan.stages[: self._at], stage, *self._plan.stages[self._at + 1 :])
        return dataclasses.replace(self._plan, stages=stages)
