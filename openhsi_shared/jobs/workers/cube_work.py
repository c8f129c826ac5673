"""The work on one cube: its blocks are read, processed and written; what is known of its lines is gathered."""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.files.checksums import crc32_of
from openhsi_shared.jobs.line_flag import LineFlag
from openhsi_shared.jobs.outputs.output import Output
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.workers.block_memory import BlockMemory
from openhsi_shared.jobs.workers.block_worker import Processed
from openhsi_shared.jobs.workers.blocks import Block, BlockRegister
from openhsi_shared.jobs.workers.chain import Failure
from openhsi_shared.jobs.workers.control import Control
from openhsi_shared.jobs.workers.failures import Failures
from openhsi_shared.jobs.workers.progress import Progress
from openhsi_shared.jobs.workers.work import LineWorker, Work

__all__ = ["CubeWork", "Finished", "Worked"]

BATCH_S = 0.5
"""A worker takes about as many lines as it computes in this time: then it notices that the job has ended."""
NOT_PROCESSED, FAILED = -1, -2


class Worked(NamedTuple):
    """What is known of a cube whose lines are all written."""

    line_flag: NDArray[np.uint8]
    """`LineFlag` of each line of the result; GOOD for what was skipped."""
    rows: NDArray[Any] | None
    """Rows of the table, in the order of lines; the first field is `y`. None if the job makes no table."""
    n_failed: int
    line_rows: NDArray[np.int64]
    """Rows that each line gave; -1: it was skipped, -2: it failed."""
    times: dict[str, float]
    """Seconds of all workers together: see `Progress.seconds`."""
    counters: dict[str, int]


Finished = Callable[[int, NDArray[np.uint8], NDArray[np.int64], NDArray[Any] | None], None]
"""Called with the first line of a block, `line_flag`, `line_rows` and the rows of its lines."""


class CubeWork(Work):
    """The blocks of one cube."""

    stages = ("write", "process")

    def __init__(
        self,
        plan: CubePlan,
        memory: BlockMemory,
        output: Output,
        control: Control,
        progress: Progress,
        *,
        n_places: int,
        skip: frozenset[int] = frozenset(),
        finished: Finished | None = None,
        whole_blocks: bool = False,
    ) -> None:
        """`skip`: first lines of blocks that are written already. `finished`: called when a block is written."""
        self._plan, self._memory, self._output, self._progress = plan, memory, output, progress
        self._finished = finished
        lengths = [(len(block), len(block)) for block in plan.blocks]
        skipped = {number for number, block in enumerate(plan.blocks) if block.start in skip}
        register = BlockRegister(
            lengths,
            n_places,
            control,
            progress,
            whole=("process", "write") if whole_blocks else ("write",),
            in_order=("write",) if output.is_ordered else (),
            skip=skipped,
        )
        super().__init__(plan.source.path, register)
        if output.only_waits:
            self.stages, self.stages_beside = ("process", "write"), ("write",)
        self.n_at_once = 1  # until it is known how long a line takes
        self._failures = Failures(plan)
        self._around: set[int] = set()
        """Lines of the source that failed where others needed them."""
        self._incomplete: set[int] = set()
        """Blocks that are made without a line of another one, because it failed."""
        self._counting = control.changed
        self._flags = np.full(plan.result.n_lines, LineFlag.GOOD, np.uint8)
        self._line_rows = np.full(plan.result.n_lines, NOT_PROCESSED, np.int64)
        self._rows: dict[int, dict[int, NDArray[Any]]] = {number: {} for number in range(len(plan.blocks))}
        """Of each block, by the first one of lines that were processed together."""
        self._crcs = np.zeros((n_places, plan.block_lines), np.uint32)
        self._n_blocks, self._n_rows_dropped = len(plan.blocks) - len(skipped), 0
        progress.n_lines = plan.result.n_lines
        progress.n_done = progress.n_processed = sum(lengths[number][0] for number in skipped)
        for code in ("load", "prepare", *(stage.code for stage in plan.stages)):
            progress.seconds.setdefault(code, 0.0)

    # ---- the stages of a block ----

    def do(self, worker: LineWorker, block: Block, first: int, stop: int) -> None:
        """Read and process, or write, reserved lines."""
        if block.stage == "process":
            self._process(worker, block, first, stop)
        else:
            self._write(block)

    def _process(self, worker: LineWorker, block: Block, first: int, stop: int) -> None:
        done = worker.process(block.number, block.place, first, stop)
        for failure in done.failures:
            self._failures.note(failure)
        self._note_around(block, done.around)
        self._note(block, first, done)
        prepare_s = done.seconds.get("prepare", 0.0)
        self.register.leave_out(block, first, prepare_s)
        spent = sum(done.seconds.values()) - prepare_s
        self.n_at_once = max(1, int((stop - first) * BATCH_S / max(spent, 1e-9)))

    def _write(self, block: Block) -> None:
        lines = self._plan.blocks[block.number]
        n = len(lines)
        self._output.put(lines.start, self._memory.result(block.place)[:n], self._crcs[block.place, :n])
        with self._counting:
            self._progress.n_done += n
        if self._finished is not None and block.number not in self._incomplete:
            of_block = slice(lines.start, lines.stop)
            rows = self._rows_of([block.number])
            self._finished(lines.start, self._flags[of_block], self._line_rows[of_block], rows)

    def _note_around(self, block: Block, failures: Iterable[Failure]) -> None:
        """Failures of lines that lines of a block are made without.

        If they are of another block, a later run does not take over this one: they may not fail then.
        """
        for failure in failures:
            self._failures.note_around(failure)
            with self._counting:
                self._around.add(failure.line)
                if failure.line not in self._source_of(block):
                    self._incomplete.add(block.number)

    def _note(self, block: Block, first: int, done: Processed) -> None:
        n = len(done.flags)
        start = self._plan.blocks[block.number].start + first
        self._crcs[block.place, first : first + n] = done.crcs
        self._flags[start : start + n] = done.flags
        is_failed = done.flags != LineFlag.GOOD
        rows = done.rows or []
        n_rows = np.array([len(of_line) for of_line in rows] if rows else [0] * n, np.int64)
        kept = np.where(is_failed, 0, n_rows)
        self._line_rows[start : start + n] = np.where(is_failed, FAILED, kept)
        if kept.any():
            y = np.repeat(np.arange(start, start + n), kept)
            self._rows[block.number][first] = _with_lines(np.concatenate([rows[i] for i in np.flatnonzero(kept)]), y)
        with self._counting:
            self._n_rows_dropped += int((n_rows - kept).sum())
            self._progress.n_processed += n
            self._progress.n_failed += int(is_failed.sum())
            self._progress.n_rows += int(kept.sum())
            for code, seconds in done.seconds.items():
                self._progress.seconds[code] += seconds

    def give_up(self, block: Block, first: int, stop: int, why: str) -> None:
        """Count them as failed in "process"."""
        own = self._source_of(block)
        line = own.start + first * (len(own) // len(self._plan.blocks[block.number]))
        self._failures.note(Failure(line, block.stage, why, ""))
        if block.stage == "process":
            out = self._memory.result(block.place)[first:stop]
            out[:] = np.nan if out.dtype.kind in "fc" else 0
            crcs = np.array([crc32_of(line) for line in out], np.uint32)
            self._note(block, first, Processed(np.full(stop - first, LineFlag.FAILED, np.uint8), crcs, None, [], {}))

    def _source_of(self, block: Block) -> range:
        """Lines of the file, by their numbers in it, that a block is made of, without those around them."""
        lines, n = self._plan.blocks[block.number], math.prod(stage.lines_per_result for stage in self._plan.stages)
        return range(self._plan.lines.start + lines.start * n, self._plan.lines.start + lines.stop * n)

    # ---- at the end ----

    def worked(self) -> Worked:
        """What is known of all lines, when they are done."""
        self._failures.log_number()
        self._warn_of_others()
        rows = self._rows_of(range(len(self._plan.blocks)))
        counters = {
            "blocks_loaded": self._n_blocks,
            "rows_dropped": self._n_rows_dropped,
            "blocks_waiting_for_writer": self._progress.blocks["write"],
        }
        n_failed = int(np.count_nonzero(self._flags))
        return Worked(self._flags, rows, n_failed, self._line_rows, dict(self._progress.seconds), counters)

    def _warn_of_others(self) -> None:
        """Warn of lines that failed where others needed them, but not by themselves."""
        n = math.prod(stage.lines_per_result for stage in self._plan.stages)
        made = set(np.flatnonzero((self._flags == LineFlag.GOOD) & (self._line_rows != NOT_PROCESSED)).tolist())
        for line in sorted(self._around):
            if (line - self._plan.lines.start) // n in made:
                self._failures.warn_of_others(line)

    def _rows_of(self, blocks: Iterable[int]) -> NDArray[Any] | None:
        """Rows of these blocks, in the order of lines."""
        if self._plan.row_dtype is None:
            return None
        none = _with_lines(np.empty(0, self._plan.row_dtype), np.empty(0, np.int64))
        found = [self._rows[number][first] for number in blocks for first in sorted(self._rows[number])]
        return np.concatenate([none, *found])


def _with_lines(rows: NDArray[Any], y: NDArray[np.int64]) -> NDArray[Any]:
    """Rows with the line of each as first field."""
    found = np.empty(len(rows), np.dtype([("y", np.int64), *rows.dtype.descr]))
    found["y"] = y
    for name in rows.dtype.names or ():
        found[name] = rows[name]
    return found
