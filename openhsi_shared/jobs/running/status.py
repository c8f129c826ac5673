"""How far a job is: a frozen snapshot, and the account it is made of."""

import math
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.workers.progress import Progress

__all__ = ["Account", "CubeAccount", "JobState", "JobStatus"]

JobState = Literal[
    "created",
    "checking",
    "preparing",
    "surveying",
    "processing",
    "publishing",
    "paused",
    "stopping",
    "done",
    "failed",
    "stopped",
]

SURVEY_PART, PUBLISHING_PART = 0.2, 0.02
"""Of the progress of a cube."""
NAMES = {
    "load": "the disk that is read from",
    "write": "the disk that is written to",
    "prepare": "preparing the stages",
    "survey": "the survey of the lines before the first stage",
}
"""What a job may wait for most, by what its workers spend their time with; else a stage."""
BESIDE = ("write", "survey", "prepare")
"""What is no part of "process"."""


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """Lines and cubes processed so far."""

    state: JobState
    """In one word; "done", "failed" and "stopped" are final."""
    progress: float
    """0 to 1: never falls, and is 1 only when all is done."""
    cube: Path | None
    """The cube that is processed now."""
    n_cubes: int
    """Cubes that are known so far."""
    cubes_done: int
    """Cubes whose result exists, with those that were skipped."""
    cubes_failed: int
    """Cubes that have no result."""
    n_lines: int
    """Lines of the results of these cubes."""
    lines: int
    """Lines that are written, or were by an earlier run."""
    n_failed: int
    """Lines that failed, or are damaged in the source."""
    n_rows: int
    """Rows of tables."""
    lines_per_s: float
    """Lines processed per second of work, without pauses; NaN before the first one."""
    seconds: float
    """Since the start, without pauses."""
    seconds_left: float
    """NaN while it cannot be known."""
    blocks: Mapping[str, int]
    """Blocks of the present cube by what is done with them next, and "free" places for blocks."""
    seconds_per_stage: Mapping[str, float]
    """Of all workers together: "prepare" (stages), "process", "write", "survey", and "load" (read) and the code of each
    stage, which are parts of "process"."""
    bottleneck: str
    """What takes the workers' time, in words: "the disk that is written to: 78 % of the time"; "" at first."""

    def __str__(self) -> str:
        parts = [f"{self.state}, {math.floor(100 * self.progress)} %, {self.lines} of {self.n_lines} lines"]
        parts += [f"{self.lines_per_s:.0f} lines/s"] if math.isfinite(self.lines_per_s) else []
        parts += [f"{self.seconds_left:.0f} s left"] if math.isfinite(self.seconds_left) else []
        parts += [f"{self.n_failed} lines failed"] if self.n_failed else []
        parts += [f"{self.cubes_failed} cubes failed"] if self.cubes_failed else []
        return ", ".join([*parts, self.bottleneck] if self.bottleneck else parts)


@dataclass(eq=False)
class CubeAccount:
    """One cube's part."""

    path: Path
    n_lines: int
    has_survey: bool
    progress: Progress = field(default_factory=Progress)
    n_resumed: int = 0
    """Lines that were written by an earlier run."""
    is_done = is_failed = is_begun = False

    @property
    def share_done(self) -> float:
        """0 to 1; 1 also if it failed."""
        if self.is_done or self.is_failed:
            return 1.0
        lines = self.progress.n_done / self.n_lines
        survey = 1.0 if lines else self.progress.survey or 0.0
        before = SURVEY_PART if self.has_survey else 0.0
        return (before * survey + (1 - before) * lines) * (1 - PUBLISHING_PART)


class Account:
    """What is known of the cubes of a job. One thread changes it, all may read."""

    def __init__(self) -> None:
        self._cubes: list[CubeAccount] = []
        self._n_failed_early = 0
        self._present: CubeAccount | None = None
        self._highest = 0.0
        self._reading = threading.Lock()
        self._begun_at: float | None = None
        self._ended_at: float | None = None
        self._worked_from: float | None = None
        self._paused_since: float | None = None
        self._paused_s = 0.0

    # ---- what happens ----

    def begin(self) -> None:
        """The job begins."""
        self._begun_at = time.monotonic()

    def end(self) -> None:
        """The job has ended: its time stands still."""
        self._ended_at = time.monotonic()

    def pause(self) -> None:
        """Time stands still from now on. Idempotent."""
        self._paused_since = self._paused_since or time.monotonic()

    def resume(self) -> None:
        """Time goes on. Idempotent."""
        since, self._paused_since = self._paused_since, None
        if since is not None:
            self._paused_s += time.monotonic() - since

    def add(self, plan: CubePlan) -> CubeAccount:
        """One more cube is known."""
        survey = any(
            stage.survey_lines(lines) is not None for stage, lines in zip(plan.stages, plan.formats, strict=False)
        )
        cube = CubeAccount(plan.source.path, plan.result.n_lines, survey)
        self._cubes.append(cube)
        return cube

    def add_failed(self) -> None:
        """One more cube is known, and cannot be processed."""
        self._n_failed_early += 1

    def begin_cube(self, cube: CubeAccount, n_resumed: int) -> Progress:
        """It is processed now; the workers change the result. `n_resumed`: lines that are there already."""
        self._worked_from = self._worked_from or time.monotonic()
        cube.is_begun, cube.n_resumed, self._present = True, n_resumed, cube
        return cube.progress

    # ---- what is read ----

    @property
    def is_surveying(self) -> bool:
        """Whether a first pass over the lines of the present cube is made."""
        present = self._present
        return present is not None and present.has_survey and (present.progress.survey or 0.0) < 1

    def status(self, state: JobState) -> JobStatus:
        """A snapshot."""
        cubes, present = list(self._cubes), self._present
        begun = [cube.progress for cube in cubes if cube.is_begun]
        lines = sum(cube.n_lines if cube.is_done else cube.progress.n_done for cube in cubes)
        n_lines = sum(cube.n_lines for cube in cubes)
        share = sum(cube.share_done * cube.n_lines for cube in cubes) / n_lines if n_lines else 0.0
        seconds = sum((Counter(progress.seconds) for progress in begun), Counter[str]())
        n_processed = sum(max(0, cube.progress.n_done - cube.n_resumed) for cube in cubes if cube.is_begun)
        worked_s = self._seconds_since(self._worked_from)
        rate = n_processed / worked_s if n_processed and worked_s > 0 else math.nan
        n_left = sum(cube.n_lines - cube.progress.n_done for cube in cubes if not (cube.is_done or cube.is_failed))
        return JobStatus(
            state=state,
            progress=self._never_less(1.0 if state == "done" else min(share, 0.999)),
            cube=present.path if present is not None and not (present.is_done or present.is_failed) else None,
            n_cubes=len(cubes) + self._n_failed_early,
            cubes_done=sum(cube.is_done for cube in cubes),
            cubes_failed=sum(cube.is_failed for cube in cubes) + self._n_failed_early,
            n_lines=n_lines,
            lines=lines,
            n_failed=sum(progress.n_failed for progress in begun),
            n_rows=sum(progress.n_rows for progress in begun),
            lines_per_s=rate,
            seconds=self._seconds_since(self._begun_at),
            seconds_left=0.0 if state == "done" else n_left / rate,
            blocks=dict(present.progress.blocks) if present is not None else {},
            seconds_per_stage=dict(seconds),
            bottleneck=bottleneck(seconds),
        )

    def _never_less(self, progress: float) -> float:
        with self._reading:
            self._highest = max(self._highest, progress)
            return self._highest

    def _seconds_since(self, begin: float | None) -> float:
        if begin is None:
            return 0.0
        end = self._ended_at or self._paused_since or time.monotonic()
        return max(0.0, end - begin - self._paused_s)


def bottleneck(seconds: Mapping[str, float]) -> str:
    """What takes most of the time that workers spend, in words; "" if they have spent none.

    >>> bottleneck({"load": 1.0, "process": 3.0, "level": 1.9, "write": 7.0})
    'the disk that is written to: 70 % of the time'
    >>> bottleneck({"load": 1.0, "process": 3.0, "level": 0.4, "function": 1.6, "write": 1.0})
    "the stage 'function': 40 % of the time"
    """
    parts = {name: spent for name, spent in seconds.items() if name != "process"}
    of_process = sum(spent for name, spent in parts.items() if name not in BESIDE)
    parts["checksums and copies"] = max(0.0, seconds.get("process", 0.0) - of_process)
    total = sum(parts.values())
    if total <= 0:
        return ""
    largest = max(parts, key=lambda name: parts[name])
    is_stage = largest not in NAMES and largest != "checksums and copies"
    words = f"the stage {largest!r}" if is_stage else NAMES.get(largest, largest)
    return f"{words}: {parts[largest] / total:.0%} of the time".replace("%", " %")
