"""The stages of a job in a row, for some lines at a time: as one worker runs them."""

import copy
import math
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, JobError, OpenHSIError
from openhsi_shared.jobs.line_flag import LineFlag
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.stages.stage import LineFormat, Stage
from openhsi_shared.loggers import safe_logger

__all__ = ["Chain", "ChainResult", "Failure", "failures_named"]

logger = safe_logger(__name__)

Flags = NDArray[np.uint8]


class Failure(NamedTuple):
    """A line that a stage failed at. Picklable."""

    line: int
    """Of the file that is read; the first one, if several lines are made into one."""
    stage: str
    """Its code."""
    text: str
    """Type and message of the exception."""
    where: str
    """Its traceback; "" for all but the first one of a stage in one call of `run`."""


class ChainResult(NamedTuple):
    """What is known of some lines of the result."""

    flags: Flags
    """`LineFlag` of each."""
    rows: list[NDArray[Any]] | None
    """The rows of each, if the last stage gives rows."""
    failures: list[Failure]
    """Of lines that these are made of, without those of halos."""
    around: list[Failure]
    """Of lines of halos: these lines are made without them."""


@contextmanager
def failures_named(plan: CubePlan, stage: Stage, what: str) -> Iterator[None]:
    """Raise what a stage raises, also SystemExit, as a JobError that names it, unless it is one of our errors."""
    try:
        yield
    except OpenHSIError:
        raise
    except (Exception, SystemExit) as error:
        raise JobError(
            f"{plan.source.path}: stage {stage.code!r} {what}: {_text(error)}",
            path=str(plan.source.path),
            stage=stage.code,
            where=traceback.format_exc(),
        ) from error


class Chain:
    """The stages of a plan, prepared, with memory of their own: for one thread at a time.

    Creating it blocks while stages prepare. Raises what they raise if it is one of our errors, else JobError.
    """

    def __init__(self, plan: CubePlan, until: int | None = None) -> None:
        """`until`: only the first so many stages, such as before a survey."""
        self._plan, self._until = plan, until
        self._stages = tuple(copy.deepcopy(stage) for stage in plan.stages[:until])
        self._formats = plan.formats[: len(self._stages) + 1]
        self._memory = _Memory(), _Memory()  # for the lines before and behind a stage
        self.seconds = dict.fromkeys((stage.code for stage in self._stages), 0.0)
        """Time spent in the stages of each code."""
        for stage, source in zip(self._stages, self._formats, strict=False):
            with failures_named(plan, stage, "could not be prepared"):
                stage.prepare(source)

    def run(
        self, lines: NDArray[Any], good: NDArray[np.bool_], first: int, stop: int, out: NDArray[Any] | None
    ) -> ChainResult:
        """Make the lines `first` to `stop` of the result of the source's lines `plan.needed(first, stop)[0]`.

        `good`: False for lines of the source that are damaged. `out` (n, x, wavelength): each line is contiguous; None
        if only the rows are wanted. Where a flag is not GOOD, the line is NaN, or 0 if its type has no NaN. A line that
        a stage raises for, also SystemExit, is FAILED; KeyboardInterrupt is raised.
        """
        spans = self._plan.needed(first, stop, self._until)
        if not len(lines) == len(good) == spans[0][1] - spans[0][0] or (out is not None and len(out) != stop - first):
            raise ArgumentError(
                f"lines {first} to {stop - 1} are made of lines {spans[0][0]} to {spans[0][1] - 1} of the source, got "
                f"{len(lines)}, {len(good)} marks, and room for {'none' if out is None else len(out)}"
            )
        flags = self._flags_before(good, spans[0][0])
        failures: list[Failure] = []
        around: list[Failure] = []
        rows: list[NDArray[Any]] | None = None
        for number, stage in enumerate(self._stages):
            begin = time.perf_counter()
            part = _Part(stage, lines, flags, spans[number], spans[number + 1])
            if stage.row_dtype is not None:
                rows, found = part.rows()
            else:
                made = self._room(number, out, part.n_made)
                found = part.lines_into(made)
                lines = made
            flags = part.flags_made
            of_these, of_others = self._failures(number, found, range(first, stop))
            failures, around = failures + of_these, around + of_others
            self.seconds[stage.code] += time.perf_counter() - begin
        if out is not None:
            if lines is not out:
                np.copyto(out, lines)
            if flags.any():
                out[flags != LineFlag.GOOD] = np.nan if out.dtype.kind in "fc" else 0
        return ChainResult(flags, rows, failures, around)

    def _flags_before(self, good: NDArray[np.bool_], first: int) -> Flags:
        """Flags of lines of the source, from number `first` of the job on: those of an earlier job are kept."""
        flags = np.where(good, LineFlag.GOOD, LineFlag.DAMAGED).astype(np.uint8)
        if (earlier := self._plan.source.line_flags) is not None:
            known = earlier[self._plan.lines.start + first :][: len(flags)]
            flags = np.where(known, known, flags)
        return flags

    def _room(self, number: int, out: NDArray[Any] | None, n: int) -> NDArray[Any]:
        """Memory for the lines behind a stage: `out` itself, if it is the last one that gives lines."""
        stage, made = self._stages[number], self._formats[number + 1]
        is_last = all(later.row_dtype is not None for later in self._stages[number + 1 :])
        if is_last and out is not None and (out.flags.c_contiguous or stage.takes_strided_out):
            return out
        return self._memory[number % 2].of(made, n)

    def _failures(
        self, number: int, found: list[tuple[int, BaseException]], made: range
    ) -> tuple[list[Failure], list[Failure]]:
        """Failures at lines that stage `number` makes: those of lines of the result, and those in their halo."""
        to_source = math.prod(stage.lines_per_result for stage in self._stages[: number + 1])
        to_result = math.prod(stage.lines_per_result for stage in self._stages[number + 1 :])
        failures: tuple[list[Failure], list[Failure]] = [], []
        for line, error in found:
            those = failures[0] if line // to_result in made else failures[1]
            where = "" if those else "".join(traceback.format_exception(error))  # of the first one
            those.append(
                Failure(self._plan.lines.start + line * to_source, self._stages[number].code, _text(error), where)
            )
        return failures


class _Part:
    """One stage and the lines it is given at once. Lines are numbered as the stage's own input and result."""

    def __init__(
        self, stage: Stage, lines: NDArray[Any], flags: Flags, given: tuple[int, int], made: tuple[int, int]
    ) -> None:
        self._stage, self._flags = stage, flags
        self._lines = lines.view()
        self._lines.flags.writeable = False  # halos, and lines that are tried again, must be as they were
        self._made, self._given = made, given
        self.n_made = made[1] - made[0]
        self._k = stage.lines_per_result
        self._before = made[0] * self._k - given[0]
        """Lines of the halo before those of the result."""
        self._takes_more = self._k > 1 or stage.halo != (0, 0)
        self.flags_made = self._worst()

    def _worst(self) -> Flags:
        """The worst flag of the lines that each line of the result is made of; halos do not count."""
        own = self._flags[self._before : self._before + self.n_made * self._k]
        if self._k == 1:
            return own.copy()
        worst: Flags = np.maximum.reduceat(own, np.arange(0, len(own), self._k))
        return worst

    def lines_into(self, out: NDArray[Any]) -> list[tuple[int, BaseException]]:
        """Make the lines that are good; return what failed, and mark it."""

        def make(first: int, stop: int) -> None:
            if not self._takes_more:
                self._stage.apply(self._lines[first:stop], out[first:stop])
                return
            begin = max(0, self._before + first * self._k - self._stage.halo[0])
            end = self._before + stop * self._k + self._stage.halo[1]
            good = self._flags[begin:end] == LineFlag.GOOD
            before = self._before + first * self._k - begin
            self._stage.apply_within(self._lines[begin:end], out[first:stop], before, good)

        return self._isolating(make)

    def rows(self) -> tuple[list[NDArray[Any]], list[tuple[int, BaseException]]]:
        """The rows of each line; none of lines that are not good."""
        nothing = np.empty(0, self._stage.row_dtype)
        rows = [nothing] * self.n_made

        def make(first: int, stop: int) -> None:
            found = self._stage.rows(self._lines[first:stop])
            rows[first:stop] = _checked(found, stop - first, nothing.dtype)

        failed = self._isolating(make)
        return rows, failed

    def _isolating(self, make: Callable[[int, int], None]) -> list[tuple[int, BaseException]]:
        """Call it for all lines together, and line by line where that failed."""
        failed: list[tuple[int, BaseException]] = []
        for first, stop in _runs(self.flags_made):
            if self._stage.takes_one_line:
                failed += self._one_by_one(make, first, stop)
                continue
            try:
                make(first, stop)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - not swallowed: returned, with the line
                if stop - first == 1:
                    failed.append((first, error))
                    continue
                alone = self._one_by_one(make, first, stop)
                if not alone:
                    logger.warning(
                        "stage %s failed for lines together, but for none alone: %r", self._stage.code, error
                    )
                failed += alone
        for index, _ in failed:
            self.flags_made[index] = LineFlag.FAILED
        return [(self._made[0] + index, error) for index, error in failed]

    def _one_by_one(self, make: Callable[[int, int], None], first: int, stop: int) -> list[tuple[int, BaseException]]:
        failed: list[tuple[int, BaseException]] = []
        for index in range(first, stop):
            try:
                make(index, index + 1)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - not swallowed: returned
                failed.append((index, error))
        return failed


class _Memory:
    """Memory that is used again for each block."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def of(self, lines: LineFormat, n: int) -> NDArray[Any]:
        """Room for n lines, contiguous. What was there is overwritten."""
        n_bytes = n * lines.line_bytes
        if len(self._bytes) < n_bytes:
            self._bytes = np.empty(n_bytes, np.uint8)
        return self._bytes[:n_bytes].view(lines.dtype).reshape(n, *lines.line_shape)


def _runs(flags: Flags) -> Iterator[tuple[int, int]]:
    """First and stop of lines in a row that are good."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags == LineFlag.GOOD, [False])).view(np.int8)))
    return zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _checked(found: Any, n: int, dtype: np.dtype[Any]) -> list[NDArray[Any]]:
    """The rows of n lines, as a stage gave them. TypeError if they are others."""
    rows = list(found)
    if len(rows) != n:
        raise TypeError(f"the rows of {n} lines were expected, as {n} arrays, got {len(rows)}")
    for one in rows:
        if not isinstance(one, np.ndarray) or one.dtype != dtype or one.ndim != 1:
            raise TypeError(f"rows of a line are a structured array with one axis of {dtype}, got {one!r:.200}")
    return rows


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
