"""The cube being filled as the circular array that users of openhsi know."""

from typing import Any

import numpy as np

from openhsi_shared.buffers.arrays import SharedCircArrayBuffer
from openhsi_shared.buffers.slot_memory import Word
from openhsi_shared.buffers.slot_owner import SlotOwner

__all__ = ["SlotArray"]


class SlotArray(SharedCircArrayBuffer):
    """The circular array of the cube being filled, in openhsi's order: (cross-track, along-track, wavelength)."""

    def __init__(self, slots: SlotOwner, slot: int, put: Any, show_func: Any = None) -> None:
        """Look at `slot`; `put(frame)` is the cube's own, because a line needs its time, too."""
        layout = slots.layout
        self._describe((layout.line_shape[0], layout.n_lines, layout.line_shape[1]), 1, show_func)
        self.shared_data = slots.memory.arrays["lines"]
        self.c_dtype = np.ctypeslib.as_ctypes_type(np.dtype(layout.dtype))
        self._attach(slots.lines(slot), [_LinesPut(slots, slot), 0])
        self._put = put

    def put(self, line: Any) -> None:
        """The same as the cube's own `put`."""
        self._put(line)


class _LinesPut:
    """How many lines the slot has, read whenever it is asked for."""

    def __init__(self, slots: SlotOwner, slot: int) -> None:
        self._slots, self._slot = slots, slot

    def __int__(self) -> int:
        return self._slots.word(self._slot, Word.N_PUT)
