"""Memory of blocks: places for some lines of a source and the lines of the result that are made of them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.memory import PAGE
from openhsi_shared.buffers.slot_memory import ALIGNED_FROM
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.stages.stage import LineFormat

__all__ = ["BlockLayout", "BlockMemory"]


@dataclass(frozen=True)
class BlockLayout:
    """Where in the bytes of a memory the lines of blocks are stored: the same in all processes that share it."""

    plan: CubePlan
    n_places: int

    @cached_property
    def n_source(self) -> int:
        """Lines of the source that a block needs at most, with those around it."""
        return max(stop - first for first, stop in (self.plan.needed(b.start, b.stop)[0] for b in self.plan.blocks))

    @property
    def place_bytes(self) -> int:
        """Bytes of a place, whole pages: lines of the source, whether they are good, lines of the result."""
        return sum(self.parts)

    @cached_property
    def parts(self) -> tuple[int, int, int]:
        """Bytes of each part of a place."""
        n_source, source, result = self.n_source, self.plan.formats[0], self.plan.result
        return pages(n_source * source.line_bytes), pages(n_source), pages(self.plan.block_lines * stride_of(result))

    @property
    def n_bytes(self) -> int:
        """Bytes of all places."""
        return self.n_places * self.place_bytes


def pages(n_bytes: int) -> int:
    """Bytes of the pages that are needed."""
    return -(-n_bytes // PAGE) * PAGE


def stride_of(lines: LineFormat) -> int:
    """Bytes from one line of a result to the next: as in files, so that a block is written as it is."""
    return lines.line_bytes if lines.line_bytes < ALIGNED_FROM else pages(lines.line_bytes)


class BlockMemory:
    """Lines of blocks in the bytes of one array, which begins at a page. Views are made where used."""

    def __init__(self, layout: BlockLayout, memory: NDArray[np.uint8]) -> None:
        self._plan, self._parts, self._place_bytes = layout.plan, layout.parts, layout.place_bytes
        self._n_source = layout.n_source
        self._memory = memory

    @classmethod
    def private(cls, layout: BlockLayout) -> Self:
        """Memory of this process alone, of which only what is used is allocated."""
        memory = np.empty(layout.n_bytes + PAGE, np.uint8)
        begin = -memory.ctypes.data % PAGE
        return cls(layout, memory[begin : begin + layout.n_bytes])

    def source(self, place: int) -> NDArray[Any]:
        """Lines of the source (n, x, wavelength), contiguous."""
        lines = self._plan.formats[0]
        part = self._part(place, 0)[: self._n_source * lines.line_bytes]
        return part.view(lines.dtype).reshape(self._n_source, *lines.line_shape)

    def good(self, place: int) -> NDArray[np.bool_]:
        """Whether these lines are undamaged."""
        return self._part(place, 1)[: self._n_source].view(np.bool_)

    def result(self, place: int) -> NDArray[Any]:
        """Lines of the result (n, x, wavelength): each is contiguous, and from 64 KiB on, begins at a page."""
        lines, stride, n = self._plan.result, stride_of(self._plan.result), self._plan.block_lines
        part = self._part(place, 2)[: n * stride].reshape(n, stride)[:, : lines.line_bytes]
        return part.view(lines.dtype).reshape(n, *lines.line_shape)

    def _part(self, place: int, number: int) -> NDArray[np.uint8]:
        begin = place * self._place_bytes + sum(self._parts[:number])
        return self._memory[begin : begin + self._parts[number]]
