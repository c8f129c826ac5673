"""A copy of a cube in ordinary memory, which outlives the slots."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.discarded_cubes import Discarded
from openhsi_shared.buffers.slot_memory import Word

__all__ = ["COPIED_WORDS", "SlotCopy"]

OF_THE_CLOCK = tuple(word for word in Word if Word.ANCHOR_WALL_NS <= word <= Word.EARLIER_UNTIL_NS)
OF_MARKS = tuple(word for word in Word if word >= Word.MARKS_FROM_NS)
COPIED_WORDS = (Word.CUBE, Word.EXPECTED_ID, Word.N_LOST, *OF_THE_CLOCK, *OF_MARKS, Word.N_BEGUN, Word.N_PUT)


@dataclasses.dataclass(frozen=True)
class SlotCopy:
    """A cube in ordinary memory, as it was stored in its slot."""

    lines: NDArray[Any]
    columns: Mapping[str, NDArray[Any]]
    sides: Mapping[str, NDArray[np.uint8]]
    """The side buffers that are one for all slots."""
    words: Mapping[Word, int]
    extent: tuple[int, int]
    """As that of `SlotView`."""
    declared: Discarded
    """Frames of cubes discarded before it."""

    @property
    def order(self) -> NDArray[np.intp]:
        """Indices of the lines in time order."""
        first, n = self.extent
        return (first + np.arange(n)) % max(1, len(self.lines))
