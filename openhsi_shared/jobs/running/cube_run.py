"""The way of one cube through a job: its journal, its output, the work, and what is published with it."""

import errno
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from openhsi_shared.errors import SaveError
from openhsi_shared.files.journal import Journal
from openhsi_shared.jobs.line_flag import LineFlag
from openhsi_shared.jobs.outputs import open_output
from openhsi_shared.jobs.outputs.output import Done, Output
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.planning.existing import folders_made, is_result_of
from openhsi_shared.jobs.result import JobResult, yield_text
from openhsi_shared.jobs.running.continuing import open_journal
from openhsi_shared.jobs.running.log import JobLog, versions
from openhsi_shared.jobs.workers.cube_work import Worked
from openhsi_shared.jobs.workers.progress import Progress
from openhsi_shared.jobs.workers.team import Team
from openhsi_shared.loggers import safe_logger

__all__ = ["CubeRun"]

logger = safe_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class CubeRun:
    """One cube, whose result does not exist."""

    plan: CubePlan
    log: JobLog
    tmp_suffix: str | None
    resume: bool
    is_first: bool
    is_last: bool
    """Of the cubes of the job: the workers start with the first one, and end with the last one."""
    working: Callable[[int], Progress]
    """Called before the work, with the number of lines that an earlier run has written."""
    publishing: Callable[[], None]
    """Called after it."""

    def run(self, team: Team) -> JobResult:
        """Process the cube. Blocks. Raises what fails; then nothing is left of the result, unless it can be resumed."""
        begin = time.monotonic()
        with ExitStack() as stack:
            if self.is_first:
                team.start(self.plan)
            stack.enter_context(folders_made(self.plan.target.parent))
            journal = open_journal(self.plan, resume=self.resume, tmp_suffix=self.tmp_suffix)
            leftovers = _Leftovers(journal)
            stack.callback(leftovers.close)
            output = leftovers.output = open_output(
                self.plan, tmp_suffix=self.tmp_suffix or "", resume=self.resume, journal=journal
            )
            worked = self._work(team, output, journal)
            if self.is_last:
                team.release()  # while the file is finished, which takes memory for its preview
            self.publishing()
            try:
                self.plan.source.check_unchanged()
            except BaseException:
                leftovers.is_useless = True
                raise
            seconds = time.monotonic() - begin
            try:
                published = output.finish(self._done(worked, seconds))
            except SaveError as error:
                if error.errno != errno.EEXIST:
                    raise
                leftovers.is_useless = is_result_of(self.plan)
                raise _came_to_exist(self.plan, is_same=leftovers.is_useless) from error
            leftovers.is_useless = True
        n_rows = 0 if worked.rows is None else len(worked.rows)
        return JobResult(
            path=published.path,
            preview_path=published.preview_path,
            n_lines=len(worked.line_flag),
            n_rows=n_rows,
            n_failed=worked.n_failed,
            ppid=self.plan.ppid,
            ppid_hash=self.plan.ppid_hash,
            skipped=False,
            seconds=time.monotonic() - begin,
            times=worked.times,
            counters=worked.counters,
            line_rows=worked.line_rows,
        )

    def _work(self, team: Team, output: Output, journal: Journal | None) -> Worked:
        plan = self.plan
        skip = output.finished_blocks()
        n_resumed = sum(len(block) for block in plan.blocks if block.start in skip)
        if n_resumed:
            logger.info("%s: %d of %d lines are written already", plan.target, n_resumed, plan.result.n_lines)
        progress = self.working(n_resumed)
        if journal is None:
            return team.run(plan, output, progress=progress)
        worked = team.run(plan, output, skip=skip, progress=progress, finished=journal.note_known)
        return _with_resumed(worked, journal, skip)

    def _done(self, worked: Worked, seconds: float) -> Done:
        plan = self.plan
        n_lines, n_rows = len(worked.line_flag), 0 if worked.rows is None else len(worked.rows)
        what = f"{n_lines} lines, {worked.n_failed} failed, {n_rows} rows in {seconds:.2f} s"
        times = ", ".join(f"{name} {spent:.2f} s" for name, spent in worked.times.items())
        log = [versions(), f"{plan.source.path}: {plan.ppid}", self.log.text, f"{what}; of all workers: {times}"]
        attributes: dict[str, Any] = {
            "pipeline_id": plan.ppid,
            "pipeline_hash": plan.ppid_hash,
            "pipeline_job": plan.job.to_json(),
            "pipeline_log": "\n".join(part for part in log if part),
            "pipeline_yield": yield_text(n_lines, worked.n_failed, n_rows),
        }
        return Done(line_flag=worked.line_flag, rows=worked.rows, attributes=attributes)


def _came_to_exist(plan: CubePlan, *, is_same: bool) -> SaveError:
    if is_same:
        text = "another run of the same job has made it while this one worked"
    else:
        text = "it came to exist while this run worked, and is not overwritten: move it away, or give another path_out"
    return SaveError(errno.EEXIST, text, str(plan.target))


class _Leftovers:
    """What is closed at the end of a cube's run, and kept if the next run can go on with it."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self.output: Output | None = None
        self.is_useless = False
        """Published, by this run or by another one, or of an input that has changed."""

    def close(self) -> None:
        keep = self._journal is not None and self._journal.has_finished and not self.is_useless
        try:
            if self.output is not None:
                self.output.close(keep=keep)
        finally:
            if self._journal is not None:
                self._journal.close(keep=keep)


def _with_resumed(worked: Worked, journal: Journal, skip: frozenset[int]) -> Worked:
    """With what the journal knows of blocks that an earlier run has written."""
    tables = [] if worked.rows is None else [worked.rows]
    for first in skip:
        block = journal.blocks[first]
        span = slice(first, first + len(block.line_flag))
        worked.line_flag[span] = block.line_flag
        worked.line_rows[span] = block.line_rows
        tables += [] if block.rows is None else [block.rows]
    rows = worked.rows
    if rows is not None:
        rows = np.concatenate(tables).astype(rows.dtype, copy=False)
        rows = rows[np.argsort(rows["y"], kind="stable")]
    n_failed = int(np.count_nonzero(worked.line_flag != LineFlag.GOOD))
    return worked._replace(rows=rows, n_failed=n_failed)
