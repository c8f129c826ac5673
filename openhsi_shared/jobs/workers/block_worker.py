"""The work on lines of one cube: reads them, passes them through the stages, computes checksums.

Some lines at a time, so that they are in the caches of the processor from their reading to their checksums.
"""

import copy
import math
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.files.checksums import crc32_of
from openhsi_shared.files.lines import FileLines
from openhsi_shared.jobs.line_flag import LineFlag
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.stages.stage import LineFormat, Stage
from openhsi_shared.jobs.workers.block_memory import BlockMemory, private_bytes
from openhsi_shared.jobs.workers.chain import Chain, ChainResult, Failure, failures_named
from openhsi_shared.jobs.workers.failures import DAMAGED_TEXT

__all__ = ["BlockWorker", "Processed", "Surveyed"]

PIECE_BYTES = 4 << 20
"""Of lines of the source that are read and processed at a time: with their results they fit into a cache."""


class Processed(NamedTuple):
    """What is known of some lines of the result, besides their values."""

    flags: NDArray[np.uint8]
    """`LineFlag` of each."""
    crcs: NDArray[np.uint32]
    """CRC-32 of each."""
    rows: list[NDArray[Any]] | None
    """Rows of a table that each gave."""
    failures: list[Failure]
    """Also of lines that are damaged in the source, as those of a stage "load"."""
    seconds: dict[str, float]
    """By code of the stage, "load", and "prepare": before the first line, such as for compiling."""
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

    def process(self, number: int, place: int, first: int, stop: int) -> Processed:
        """Read what lines of the result are made of, and compute them, numbered from the first one of the block.

        If the result has only rows, the lines are not computed, and their checksums are 0. FileError, OSError if the
        source cannot be read.
        """
        before = dict(self._chain.seconds)
        start = self._plan.blocks[number].start
        out = self._memory.result(place)[first:stop] if self._plan.makes_lines else None
        crcs, load_s = np.zeros(stop - first, np.uint32), 0.0
        parts: list[ChainResult] = []
        for begin, end in self._pieces(start + first, start + stop):
            begun = time.perf_counter()
            lines, good, damaged = self._load(begin, end)
            load_s += time.perf_counter() - begun
            made = None if out is None else out[begin - start - first : end - start - first]
            part = self._chain.run(lines, good, begin, end, made)
            parts.append(self._with_damaged(part, damaged, begin, end))
            if made is not None:
                crcs[begin - start - first : end - start - first] = [crc32_of(line) for line in made]
        seconds = {code: spent - before.get(code, 0.0) for code, spent in self._chain.seconds.items()}
        seconds["load"], seconds["prepare"], self._prepare_s = load_s, self._prepare_s, 0.0
        rows = None if parts[0].rows is None else [rows for part in parts for rows in part.rows or []]
        failures = [failure for part in parts for failure in part.failures]
        around = [failure for part in parts for failure in part.around]
        return Processed(np.concatenate([part.flags for part in parts]), crcs, rows, failures, seconds, around)

    def _pieces(self, first: int, stop: int) -> Iterator[tuple[int, int]]:
        """Ranges of lines of the result that are made at a time: all of them if they need lines around them."""
        n = stop - first
        if not any(any(stage.halo) for stage in self._plan.stages):
            n = max(1, PIECE_BYTES // (self._n_per_result * self._plan.formats[0].line_bytes))
        return ((begin, min(begin + n, stop)) for begin in range(first, stop, n))

    def _load(self, first: int, stop: int) -> tuple[NDArray[Any], NDArray[np.bool_], list[int]]:
        """What lines of the result need of the source, in memory that is used again; which are good; the damaged."""
        begin, end = self._plan.needed(first, stop)[0]
        lines, good = self._room("source", self._plan.formats[0], end - begin), np.empty(end - begin, np.bool_)
        return lines, good, self._read(begin, end, lines, good)

    def _with_damaged(self, made: ChainResult, damaged: list[int], first: int, stop: int) -> ChainResult:
        """With the lines that are damaged in the file, by their numbers in it, as failures."""
        begin, n = self._plan.lines.start, self._n_per_result
        own = range(begin + first * n, begin + stop * n)
        found = [Failure(line, "load", DAMAGED_TEXT, "") for line in damaged]
        return made._replace(
            failures=[*(failure for failure in found if failure.line in own), *made.failures],
            around=[*(failure for failure in found if failure.line not in own), *made.around],
        )

    @cached_property
    def _n_per_result(self) -> int:
        """Lines of the source that a line of the result is made of, without those around them."""
        return math.prod(stage.lines_per_result for stage in self._plan.stages)

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
            self._rooms[name] = private_bytes(n * lines.line_bytes)
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


def _runs(lines: range) -> list[tuple[int, range]]:
    """Consecutive lines, each with the number of those before them."""
    if lines.step == 1:
        return [(0, lines)]
    return [(number, range(line, line + 1)) for number, line in enumerate(lines)]
