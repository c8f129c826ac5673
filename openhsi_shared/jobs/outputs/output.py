"""What the result of one cube is while it is written: common to files of all formats."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.files.journal import Journal

__all__ = ["Done", "Output", "Published"]


@dataclass(frozen=True, kw_only=True)
class Done:
    """What is known when all lines are put."""

    line_flag: NDArray[np.uint8]
    """`LineFlag` of each line of the result."""
    rows: NDArray[Any] | None = None
    """Structured array with the rows of a table in the order of lines; its first field is `y` (int64), the line."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """Attributes of the result from the runner: pipeline_id, pipeline_hash, pipeline_job, pipeline_log, ..."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A result on the disk."""

    path: Path
    preview_path: Path | None = None


class Output(ABC):
    """The result of one cube, under a temporary name until `finish`. SaveError from all methods."""

    is_ordered: bool
    """Whether `put` must be called in the order of lines, by one thread at a time; else any order, several threads."""
    only_waits = False
    """Whether `put` hardly computes, but waits for the disk: then a thread of its own does it beside the workers."""

    @abstractmethod
    def put(self, first: int, lines: NDArray[Any], crcs: NDArray[np.uint32]) -> None:
        """Write a block of lines from number `first` on. `crcs`: the CRC-32 of each, as `line_crc32`. Blocks.

        If the plan `makes_lines` not, lines and CRCs mean nothing: the block is done.
        """

    @abstractmethod
    def finish(self, done: Done) -> Published:
        """Write all else, make it durable, and publish it."""

    def finished_blocks(self) -> frozenset[int]:
        """With `resume`: first lines of blocks that an earlier run has written, whose CRCs are right."""
        return frozenset()

    def _begin(self, journal: Journal | None, part: Path) -> None:
        """Let the journal, if there is one, name the temporary file; what fails closes the output."""
        try:
            if journal is not None:
                journal.begin(part)
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def close(self, *, keep: bool = False) -> None:
        """End. What is not published is removed, unless it is to be resumed (`keep`). Idempotent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
