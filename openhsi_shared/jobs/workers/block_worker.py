"""The work on lines of one cube: reads them, passes them through the stages, computes checksums."""

import copy
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.files.checksums import crc32_of
from openhsi_shared.files.lines import FileLines
from openhsi_shared.jobs.line_flag import LineFlag
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.stages.stage import LineFormat, Stage
from openhsi_shared.jobs.workers.block_memory import BlockMemory
from openhsi_shared.jobs.workers.chain import Chain, Failure, failures_named

__all__ = ["BlockWorker", "Processed", "Surveyed"]


class Processed(NamedTuple):
    """What is known of some lines of the result, besides their values."""

    flags: NDArray[np.uint8]
    """`LineFlag` of each."""
    crcs: NDArray[np.uint32]
    """CRC-32 of each."""
    rows: list[NDArray[Any]] | None
    """Rows of a table that each gave."""
    failures: list[Failure]
    seconds: dict[str, float]
    """By code of the stage, and "prepare": before the first line, such as for compiling."""
    around: list[Failure] = []  # noqa: RUF012 - of a NamedTuple
    """Of lines around these, which they are made without."""


class Surveyed(NamedTuple):
    """What a stage has seen of some lines in its survey."""

    extracts: list[Any]
    """For each part of the lines; None if all of them are damaged or failed."""
    damaged: list[int]
    """Numbers in the file of lines that are damaged."""
    failures: list[Failure]


class BlockWorker:
    """One worker's own chain of stages, which works in memory that all workers share."""

    def __init__(self, plan: CubePlan, lines: FileLines, memory: BlockMemory) -> None:
        self._plan, self._lines, self._memory = plan, lines, memory
        self._surveys: dict[int, tuple[Chain, Stage]] = {}
        self._rooms: dict[str, NDArray[np.uint8]] = {}
        self._prepare_s = 0.0

    @cached_property
    def _chain(self) -> Chain:  # when it is needed: stages cannot be prepared before the survey
        begin = time.perf_counter()
        chain = Chain(self._plan)
        self._prepare_s = time.perf_counter() - begin
        return chain

    def load(self, number: int, place: int, first: int, stop: int) -> list[int]:
        """Read lines of the source that a block needs, numbered from the first one that it needs.

        Returns the numbers in the file of those that are damaged. FileError, OSError if it cannot be read.
        """
        begin = self._needed(number)[0]
        good = self._memory.good(place)[first:stop]
        return self._read(begin + first, begin + stop, self._memory.source(place)[first:stop], good)

    def process(self, number: int, place: int, first: int, stop: int) -> Processed:
        """Compute lines of the result, numbered from the first one of the block.

        If the result has only rows, the lines are not computed, and their checksums are 0.
        """
        before = dict(self._chain.seconds)
        begin, start = self._needed(number)[0], self._plan.blocks[number].start
        needed = self._plan.needed(start + first, start + stop)[0]
        part = slice(needed[0] - begin, needed[1] - begin)
        out = self._memory.result(place)[first:stop] if self._plan.makes_lines else None
        lines, good = self._memory.source(place)[part], self._memory.good(place)[part]
        flags, rows, failures, around = self._chain.run(lines, good, start + first, start + stop, out)
        crcs = np.zeros(stop - first, np.uint32)
        if out is not None:
            crcs[:] = [crc32_of(line) for line in out]
        seconds = {code: spent - before.get(code, 0.0) for code, spent in self._chain.seconds.items()}
        seconds["prepare"], self._prepare_s = self._prepare_s, 0.0
        return Processed(flags, crcs, rows, failures, seconds, around)

    def survey(self, at: int, parts: Sequence[range]) -> Surveyed:
        """Show stage number `at` these parts of its input, as far as they are undamaged and no earlier stage failed."""
        if at not in self._surveys:
            self._surveys[at] = Chain(self._plan, until=at), copy.deepcopy(self._plan.stages[at])
        stage, given = self._surveys[at][1], self._plan.formats[at]
        found = Surveyed([], [], [])
        for lines in parts:
            out = self._room("out", given, len(lines))
            flags = np.empty(len(lines), np.uint8)
            for done, run in _runs(lines):
                part = slice(done, done + len(run))
                flags[part] = self._run_until(at, run, out[part], found)
            is_good = flags == LineFlag.GOOD
            seen = out if is_good.all() else out[is_good]
            with failures_named(self._plan, stage, f"failed in its survey of {lines}"):
                found.extracts.append(stage.survey(seen) if len(seen) else None)
        return found

    def _run_until(self, at: int, lines: range, out: NDArray[Any], found: Surveyed) -> NDArray[np.uint8]:
        """Compute consecutive lines as they are before stage number `at`; returns their flags."""
        first, stop = self._plan.needed(lines.start, lines.stop, until=at)[0]
        source = self._room("source", self._plan.formats[0], stop - first)
        good = np.empty(stop - first, np.bool_)
        found.damaged.extend(self._read(first, stop, source, good))
        made = self._surveys[at][0].run(source, good, lines.start, lines.stop, out)
        found.failures.extend([*made.failures, *made.around])
        return made.flags

    def _room(self, name: str, lines: LineFormat, n: int) -> NDArray[Any]:
        """Memory for n lines, which is used again: new pages would take longer than to read the lines."""
        if len(self._rooms.get(name, ())) < n * lines.line_bytes:
            self._rooms[name] = np.empty(n * lines.line_bytes, np.uint8)
        return self._rooms[name][: n * lines.line_bytes].view(lines.dtype).reshape(n, *lines.line_shape)

    def _read(self, first: int, stop: int, out: NDArray[Any], good: NDArray[np.bool_]) -> list[int]:
        """Read lines, numbered from the first one that the job takes. Returns the damaged ones.

        Not good are also those that an earlier job marked.
        """
        begin = self._plan.lines.start
        good[:] = self._lines.read_into(begin + first, begin + stop, out)
        damaged = [begin + first + int(index) for index in np.flatnonzero(~good)]
        if (flags := self._plan.source.line_flags) is not None:
            good &= flags[begin + first : begin + stop] == LineFlag.GOOD
        return damaged

    def _needed(self, number: int) -> tuple[int, int]:
        block = self._plan.blocks[number]
        return self._plan.needed(block.start, block.stop)[0]


def _runs(lines: range) -> list[tuple[int, range]]:
    """Consecutive lines, each with the number of those before them."""
    if lines.step == 1:
        return [(0, lines)]
    return [(number, range(line, line + 1)) for number, line in enumerate(lines)]
