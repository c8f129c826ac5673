"""A tap: reads lines out of the slots of a recording, which does not notice, whatever becomes of the reader.

The memory is mapped read-only, by the descriptors that a recording hands out at its door. Nothing is locked and nobody
waits: what is read is believed only if its slot still holds the same cube afterwards, and the line was not begun anew.
A tap may miss lines; it never sees half a one. (On ARM the last line may be seen before all of its bytes; it is only
looked at.) The mapping outlives the recording, and holds its memory until it is closed.
"""

import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.memory import PAGE
from openhsi_shared.buffers.slots import N_WORDS, SlotLayout, SlotState, Word
from openhsi_shared.columns import COLUMNS
from openhsi_shared.errors import ClosedError, RecordingError

__all__ = ["LineName", "SlotView", "Tap"]

Read = TypeVar("Read")


class LineName(NamedTuple):
    """Which line: names grow with time."""

    cube: int
    """Number of the cube, from 1 on."""
    line: int
    """Lines put into the cube before it; beyond `n_lines` where the cube goes round."""


class SlotView(NamedTuple):
    """What a slot says of itself."""

    slot: int
    state: SlotState
    cube: int
    n_put: int
    n_lost: int


class Tap:
    """Read-only eyes on the slots of another process. `close` it, or use it in a `with` block."""

    def __init__(self, words: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Map what a door answered to "slots". The descriptors are closed. RecordingError if it handed out none."""
        try:
            if "layout" not in words or not descriptors:
                raise RecordingError(f"its slots cannot be looked at: {words.get('error', 'it handed out no memory')}")
            layout = dict(words["layout"])
            layout["line_shape"] = tuple(layout["line_shape"])
            self.layout = SlotLayout(**layout)
            self._maps = {
                name: (mmap.mmap(descriptor, 0, prot=mmap.PROT_READ), int(place["start"]))
                for (name, place), descriptor in zip(words["arrays"].items(), descriptors, strict=True)
            }
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        n_slots, n_lines = self.layout.n_slots, self.layout.n_lines
        self._words = self._view("words", np.dtype(np.int64), n_slots * N_WORDS).reshape(n_slots, N_WORDS)
        self._columns = {
            column.name: self._view(column.name, np.dtype(column.dtype), n_slots * n_lines).reshape(n_slots, n_lines)
            for column in COLUMNS
        }
        self._lines = [self._lines_of(slot) for slot in range(n_slots)]

    def _view(self, name: str, dtype: np.dtype[Any], n: int) -> NDArray[Any]:
        mapped, start = self._maps[name]
        return np.frombuffer(mapped, dtype, n, start)

    def _lines_of(self, slot: int) -> NDArray[Any]:
        layout = self.layout
        size = np.dtype(layout.dtype).itemsize
        mapped, start = self._maps["lines"]
        begin = -(-start // PAGE) * PAGE + slot * layout.slot_bytes
        strides = (layout.stride, layout.line_shape[1] * size, size)
        lines: NDArray[Any] = np.ndarray((layout.n_lines, *layout.line_shape), layout.dtype, mapped, begin, strides)
        return lines

    def close(self) -> None:
        """Give the memory back; nothing can be read any more. Twice is once."""
        self._words, self._columns, self._lines = np.empty((0, N_WORDS), np.int64), {}, []
        for mapped, _ in self._maps.values():
            try:
                mapped.close()
            except BufferError:  # somebody reads just now, in another thread: it goes when he is done
                continue
        self._maps = {}

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be read any more."""
        return not self._maps

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- what there is ----

    def slots(self) -> list[SlotView]:
        """What each slot says now, in their order; empty when closed."""
        return [
            SlotView(
                slot,
                SlotState(int(words[Word.STATE])),
                int(words[Word.CUBE]),
                int(words[Word.N_PUT]),
                int(words[Word.N_LOST]),
            )
            for slot, words in enumerate(self._words)
        ]

    def newest(self) -> LineName | None:
        """Name of the last line that was committed, or None if there is none yet."""
        found = [LineName(view.cube, view.n_put - 1) for view in self.slots() if view.n_put]
        return max(found, default=None)

    def since(self, last: LineName | None, at_most: int) -> list[LineName]:
        """Names of lines that came after `last`, in order, evenly thinned out to `at_most`; the newest is among them.

        Only of those that are in memory now. None: from the beginning of the newest cube.
        """
        ranges = []
        views = sorted((view for view in self.slots() if view.n_put), key=lambda view: view.cube)
        for view in views[-1:] if last is None else views:
            begin = max(0, view.n_put - self.layout.n_lines)
            if last is not None and view.cube <= last.cube:
                begin = max(begin, last.line + 1) if view.cube == last.cube else view.n_put
            ranges.append((view.cube, begin, view.n_put))
        n = sum(end - begin for _, begin, end in ranges)
        step = -(-n // at_most) if n else 1
        names: list[LineName] = []
        skip = (n - 1) % step  # so that the newest is one of them
        for cube, begin, end in ranges:
            names += [LineName(cube, line) for line in range(begin + skip, end, step)]
            skip = (skip - (end - begin)) % step
        return names

    # ---- what is in a line ----

    def read(self, name: LineName, look: Callable[[NDArray[Any]], Read]) -> Read | None:
        """Return what `look` makes of a line, (cross-track, wavelength), which must be a copy; None if it is gone.

        `look` sees the shared memory itself, and may see it change: what it returns is given up in this case.
        """
        slot = self._slot_of(name)
        if slot is None:
            return None
        result = look(self._lines[slot][name.line % self.layout.n_lines])
        return result if self._is_there(slot, name) else None

    def column(self, name: LineName, column: str) -> Any:
        """What is noted of a line, such as "time_ns"; None if the line is gone."""
        slot = self._slot_of(name)
        if slot is None:
            return None
        value = self._columns[column][slot, name.line % self.layout.n_lines].item()
        return value if self._is_there(slot, name) else None

    def _slot_of(self, name: LineName) -> int | None:
        if self.is_closed:
            raise ClosedError("this tap is closed: make a new one")
        (slots,) = np.nonzero(self._words[:, Word.CUBE] == name.cube)
        return int(slots[0]) if slots.size and self._is_there(int(slots[0]), name) else None

    def _is_there(self, slot: int, name: LineName) -> bool:
        words = self._words[slot]
        n_put, n_begun = int(words[Word.N_PUT]), int(words[Word.N_BEGUN])
        is_whole = max(n_put, n_begun) - self.layout.n_lines <= name.line < n_put
        return is_whole and int(words[Word.CUBE]) == name.cube  # the cube last: a slot that is taken says that last
