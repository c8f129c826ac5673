"""Read-only view of the slots, for any process: lines, columns, words, labels.

A line is committed when `N_PUT` is incremented, after its bytes and its columns are in place; lines after that are
undefined.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.discarded_cubes import Discarded, DiscardedCubes
from openhsi_shared.buffers.slot_memory import LABEL_BYTES, N_WORDS, SlotLayout, SlotMemory, SlotState, Word
from openhsi_shared.buffers.times import Anchor, ClockStep, CubeTimes
from openhsi_shared.columns import FRAMES_USED
from openhsi_shared.frames.averaged import frames_of, frames_per_line
from openhsi_shared.frames.losses import IdRange

__all__ = ["SlotView"]


class SlotView:
    """All slots of a camera, read-only. The only decoder of their layout, for any memory that holds the bytes."""

    def __init__(self, layout: SlotLayout, views: Mapping[str, NDArray[np.uint8]]) -> None:
        """Decode the arrays named by `SlotLayout.array_bytes`; "labels" and "discarded" may be absent, then empty."""
        self.layout = layout
        size = np.dtype(layout.dtype).itemsize
        strides = (layout.stride, layout.line_shape[1] * size, size)
        self._lines: list[NDArray[Any]] = [
            np.ndarray(
                (layout.n_lines, *layout.line_shape), layout.dtype, views["lines"], slot * layout.slot_bytes, strides
            )
            for slot in range(layout.n_slots)
        ]
        self._columns: dict[str, NDArray[Any]] = {
            column.name: views[f"column {column.name}"].view(column.dtype).reshape(layout.n_slots, layout.n_lines)
            for column in layout.columns
        }
        self._words = memoryview(views["words"].data).cast("q")
        empty = np.zeros(0, np.uint8)
        self._labels = views.get("labels", empty).reshape(-1, LABEL_BYTES)
        self._discarded_cubes = DiscardedCubes(views.get("discarded", np.zeros(8, np.uint8)))
        self._sides = {
            side.name: views[f"side {side.name}"].reshape(-1, side.n_bytes)
            for side in layout.side_buffers
            if f"side {side.name}" in views
        }

    @classmethod
    def of(cls, memory: SlotMemory) -> Self:
        """View the slots of a camera of this process, or of its parent."""
        return cls(memory.layout, memory.views(writeable=False))

    def release(self) -> None:
        """Drop the views, so that their memory can be released. Nothing can be read afterwards."""
        self._lines, self._columns, self._sides = [], {}, {}
        self._words, self._labels = memoryview(b""), np.empty((0, 0), np.uint8)
        self._discarded_cubes.release()

    def word(self, slot: int, word: Word) -> int:
        """One control word of a slot."""
        return int(self._words[slot * N_WORDS + word])

    def has_cube(self, slot: int, cube: int) -> bool:
        """Whether the slot still holds that cube, also if it is free; False once the memory is released."""
        return len(self._words) > 0 and self.word(slot, Word.CUBE) == cube

    def state(self, slot: int) -> SlotState:
        """What the slot is used for now."""
        return SlotState(self.word(slot, Word.STATE))

    def slots_in(self, *states: SlotState) -> list[int]:
        """Slots in one of `states`, the one with the oldest cube first."""
        found = [slot for slot in range(self.layout.n_slots) if self.word(slot, Word.STATE) in states]
        return sorted(found, key=lambda slot: self.word(slot, Word.CUBE))

    def lines(self, slot: int) -> NDArray[Any]:
        """View all lines of a slot, (along-track, cross-track, wavelength), as they are stored."""
        return self._lines[slot]

    def extent(self, slot: int) -> tuple[int, int]:
        """(first, n): index of the oldest complete line, and the number of lines from it on, wrapping around."""
        n_put = self.word(slot, Word.N_PUT)
        oldest = self.n_overwritten(slot)
        return oldest % self.layout.n_lines, n_put - oldest

    def n_overwritten(self, slot: int) -> int:
        """Number of lines of the cube that were overwritten because it wrapped around.

        Starting a line overwrites the oldest line, even if it is never committed: when the camera fails or sends a
        duplicate.
        """
        return max(0, max(self.word(slot, Word.N_BEGUN), self.word(slot, Word.N_PUT)) - self.layout.n_lines)

    def column(self, slot: int, name: str) -> NDArray[Any]:
        """Copy of one column of the cube's lines, in time order."""
        first, n = self.extent(slot)
        column = self._columns[name][slot]
        return np.concatenate([column[first : first + n], column[: max(0, first + n - self.layout.n_lines)]])

    def frame_ids(self, slot: int) -> NDArray[np.int64]:
        """Ids of the frames of the cube's lines, in order; of several for each line, if lines are means."""
        ids = self.column(slot, "frame_id")
        return frames_of(ids, self.column(slot, FRAMES_USED.name)) if self.layout.is_averaged else ids

    def lost_before(self, slot: int, first: int, stop: int) -> list[int]:
        """Frames lost after the line before each of the lines from `first` to `stop` (excluded), and within it."""
        from_line = max(0, first - 1)
        last = ids = self.column_of_lines(slot, from_line, stop, "frame_id")
        n: NDArray[np.int64] = np.ones_like(ids)
        if self.layout.is_averaged:
            last, n = frames_per_line(ids, self.column_of_lines(slot, from_line, stop, FRAMES_USED.name))
        if not first:
            last, n = np.insert(last, 0, self.word(slot, Word.EXPECTED_ID) - 1), np.insert(n, 0, 0)
        lost: list[int] = np.maximum(0, np.diff(last) - n[1:]).tolist()
        return lost

    def column_of_lines(self, slot: int, first: int, stop: int, name: str) -> NDArray[Any]:
        """Copy of one column of the lines from `first` to `stop` (excluded), numbered as they were committed."""
        column: NDArray[Any] = self._columns[name][slot].take(np.arange(first, stop), mode="wrap")
        return column

    def has_line(self, slot: int, cube: int, line: int) -> bool:
        """Whether the slot still holds that line of that cube, whole."""
        is_there = self.n_overwritten(slot) <= line < self.word(slot, Word.N_PUT)
        return is_there and self.word(slot, Word.CUBE) == cube  # last, as `begin` writes it last

    def column_of_line(self, slot: int, line: int, name: str) -> Any:
        """One value of a column: of the line that is stored at index `line`."""
        return self._columns[name][slot, line].item()

    def times(self, slot: int) -> CubeTimes:
        """What is known of the clock of the cube in a slot that has lines."""
        at = slot * N_WORDS + Word.ANCHOR_WALL_NS
        wall, monotonic, suspended, step, step_suspended, earlier_until = self._words[at : at + 6]
        return CubeTimes(Anchor(wall, monotonic, suspended), ClockStep(step, step_suspended), earlier_until)

    def side(self, name: str, slot: int = 0) -> NDArray[np.uint8]:
        """The bytes of a side buffer: that of `slot`, or the one for all slots."""
        side: NDArray[np.uint8] = self._sides[name][slot]
        return side

    def label(self, slot: int) -> bytes:
        """The label of a slot; empty while it is written."""
        return self._labels[slot, : self.word(slot, Word.LABEL_LENGTH)].tobytes()

    def discarded_before(self, slot: int) -> Discarded:
        """Frames of cubes discarded since the previous cube was closed: this cube's file declares them."""
        cubes = self._discarded_cubes
        return cubes.open if self.state(slot) is SlotState.FILLING else cubes.of(slot)

    def lost_with(self, slot: int) -> tuple[IdRange, Discarded]:
        """Frame ids of a cube with lines, lost ones included, and what the next file must declare if it is discarded.

        Overwritten lines are not included, since they are counted separately.
        """
        ids, n_overwritten = self.frame_ids(slot), self.n_overwritten(slot)
        own = IdRange(int(ids[0]) if n_overwritten else self.word(slot, Word.EXPECTED_ID), int(ids[-1]))
        n_without_id = self.word(slot, Word.N_LOST) + len(ids) - len(own)
        return own, self.discarded_before(slot) + Discarded((own,), n_without_id)

    def is_discarded(self, slot: int) -> bool:
        """Whether the cube was discarded: it must not be saved, although its slot may not be free yet."""
        return self._discarded_cubes.has(self.word(slot, Word.CUBE))
