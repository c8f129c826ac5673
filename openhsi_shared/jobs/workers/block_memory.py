"""Memory of blocks: places for some lines of the result each."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.memory import PAGE
from openhsi_shared.buffers.slot_memory import ALIGNED_FROM
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.stages.stage import LineFormat

__all__ = ["BlockLayout", "BlockMemory", "private_bytes"]


@dataclass(frozen=True)
class BlockLayout:
    """Where in the bytes of a memory the lines of blocks are stored: the same in all processes that share it."""

    plan: CubePlan
    n_places: int

    @property
    def place_bytes(self) -> int:
        """Bytes of a place, whole pages."""
        return pages(self.plan.block_lines * stride_of(self.plan.result))

    @property
    def n_bytes(self) -> int:
        """Bytes of all places."""
        return self.n_places * self.place_bytes


def pages(n_bytes: int) -> int:
    """Bytes of the pages that are needed."""
    return -(-n_bytes // PAGE) * PAGE


def private_bytes(n_bytes: int) -> NDArray[np.uint8]:
    """Bytes from a page on, of which only what is used is allocated. Copies into them are faster than into others."""
    memory = np.empty(n_bytes + PAGE, np.uint8)
    begin = -memory.ctypes.data % PAGE
    return memory[begin : begin + n_bytes]


def stride_of(lines: LineFormat) -> int:
    """Bytes from one line of a result to the next: as in files, so that a block is written as it is."""
    return lines.line_bytes if lines.line_bytes < ALIGNED_FROM else pages(lines.line_bytes)


class BlockMemory:
    """Lines of blocks in the bytes of one array, which begins at a page. Views are made where used."""

    def __init__(self, layout: BlockLayout, memory: NDArray[np.uint8]) -> None:
        self._plan, self._place_bytes, self._memory = layout.plan, layout.place_bytes, memory

    @classmethod
    def private(cls, layout: BlockLayout) -> Self:
        """Memory of this process alone, of which only what is used is allocated."""
        return cls(layout, private_bytes(layout.n_bytes))

    def result(self, place: int) -> NDArray[Any]:
        """Lines of the result (n, x, wavelength): each is contiguous, and from 64 KiB on, begins at a page."""
        lines, stride, n = self._plan.result, stride_of(self._plan.result), self._plan.block_lines
        begin = place * self._place_bytes
        part = self._memory[begin : begin + n * stride].reshape(n, stride)[:, : lines.line_bytes]
        return part.view(lines.dtype).reshape(n, *lines.line_shape)
