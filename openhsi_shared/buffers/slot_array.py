"""The slot being filled as openhsi's circular array."""

from typing import Any

import numpy as np

from openhsi_shared.buffers.arrays import SharedCircArrayBuffer
from openhsi_shared.buffers.slot_memory import Word
from openhsi_shared.buffers.slot_owner import SlotOwner

__all__ = ["SlotArray"]


class SlotArray(SharedCircArrayBuffer):
    """The circular array of the cube being filled, in openhsi's order: (cross-track, along-track, wavelength)."""

    def __init__(self, slots: SlotOwner, slot: int, put: Any, show_func: Any = None) -> None:
        """View `slot`; `put(frame)` is the cube's method, because a line also needs its time."""
        layout = slots.layout
        self._describe((layout.line_shape[0], layout.n_lines, layout.line_shape[1]), 1, show_func)
        self.shared_data = slots.memory.arrays["lines"]
        self.c_dtype = np.ctypeslib.as_ctypes_type(np.dtype(layout.dtype))
        self._attach(slots.lines(slot), [_LinesPut(slots, slot), 0])
        self._put = put

    def put(self, line: Any) -> None:
        """Same as the cube's `put`."""
        self._put(line)


class _LinesPut:
    """Number of lines in the slot, read at each conversion to int."""

    def __init__(self, slots: SlotOwner, slot: int) -> None:
        self._slots, self._slot = slots, slot

    def __int__(self) -> int:
        return self._slots.word(self._slot, Word.N_PUT)
