"""What one cube's part of a job is, once all is known: its source, stages, formats, blocks and target."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from openhsi_shared.files.source_cube import SourceCube
from openhsi_shared.jobs.recipes.arguments import JobArguments
from openhsi_shared.jobs.stages.stage import LineFormat, Stage

__all__ = ["CubePlan"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CubePlan:
    """One cube of a job. Picklable: workers are given it."""

    job: JobArguments
    """The recipe for this cube alone: `path_in` is its file."""
    source: SourceCube
    lines: range
    """The lines of the source that are taken, without gaps."""
    stages: tuple[Stage, ...]
    """In order; the processing level, and what `rows=` cuts out, are the first ones."""
    formats: tuple[LineFormat, ...]
    """What the lines are before each stage, and at the end."""
    block_lines: int
    """Lines of the result in a block; the last block may have fewer."""
    n_blocks: int
    """Blocks in memory at a time."""
    target: Path
    """File, or folder, of the result."""
    ppid: str
    ppid_hash: str

    @property
    def result(self) -> LineFormat:
        """What the lines of the result are."""
        return self.formats[-1]

    @property
    def row_dtype(self) -> np.dtype[Any] | None:
        """Type of the rows that the last stage gives, or None."""
        return self.stages[-1].row_dtype if self.stages else None

    @property
    def makes_lines(self) -> bool:
        """Whether the result has lines of its own; else it has rows, and at most refers to the lines of the source."""
        is_rounded = self.job.significant_bits is not None
        only_rows = not is_rounded and all(stage.row_dtype is not None for stage in self.stages)
        return self.job.output != "table" and not (self.job.link_to_input and only_rows)

    @cached_property
    def blocks(self) -> tuple[range, ...]:
        """The lines of the result of each block, in order."""
        n, size = self.result.n_lines, self.block_lines
        return tuple(range(first, min(first + size, n)) for first in range(0, n, size))

    def of_first_lines(self, n: int) -> "CubePlan":
        """The plan of the first n lines of its result alone, which are the same as in the whole: surveys see all."""
        n_lines = min(n, self.result.n_lines)
        formats = (*self.formats[:-1], self.result.replace(n_lines=n_lines))
        return replace(self, formats=formats, n_blocks=min(self.n_blocks, math.ceil(n_lines / self.block_lines)))

    def needed(self, first: int, stop: int, until: int | None = None) -> list[tuple[int, int]]:
        """Lines (first, stop) needed before each stage, and at the end, for these lines at the end.

        Numbered from the first line that the job takes. `until`: only the first so many stages are run.
        """
        stages = self.stages[:until]
        found = [(first, stop)]
        for stage, source in zip(reversed(stages), reversed(self.formats[: len(stages)]), strict=True):
            before, behind = stage.halo
            n = stage.lines_per_result
            first, stop = max(0, first * n - before), min(source.n_lines, stop * n + behind)
            found.append((first, stop))
        return found[::-1]
