"""A cube in a slot as openhsi's circular array."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.arrays import SharedCircArrayBuffer, read_only
from openhsi_shared.buffers.slot_memory import SlotState, Word
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.errors import OverrunError

__all__ = ["SlotArray"]


class SlotArray(SharedCircArrayBuffer):
    """The circular array of a cube in a slot, in openhsi's order: (cross-track, along-track, wavelength).

    `data` and lines are read-only views: a line that was committed is not changed any more.
    """

    def __init__(self, slots: SlotOwner, slot: int, put: Any, show_func: Any = None) -> None:
        """View `slot`; `put(frame)` is the cube's method, because a line also needs its time."""
        layout = slots.layout
        self._describe((layout.line_shape[0], layout.n_lines, layout.line_shape[1]), 1, show_func)
        self.shared_data = memoryview(slots.memory.arrays["lines"]).toreadonly()
        self.c_dtype = np.ctypeslib.as_ctypes_type(np.dtype(layout.dtype))
        self._count = _LinesPut(slots, slot)
        self._attach(read_only(slots.lines(slot)), [self._count, 0])
        self._put = put

    @property
    def data(self) -> NDArray[Any]:
        """Read-only view of all lines of the slot. OverrunError once the slot holds another cube."""
        self._count.check()
        return super().data

    def get(self) -> Any:
        """See `CircArrayBuffer`; the line is read-only. OverrunError once the slot holds another cube."""
        self._count.check()
        return super().get()

    def put(self, line: Any) -> None:
        """Same as the cube's `put`."""
        self._put(line)


class _LinesPut:
    """Number of lines in the slot, read at each conversion to int."""

    def __init__(self, slots: SlotOwner, slot: int) -> None:
        self._slots, self._slot, self._cubes = slots, slot, [slots.word(slot, Word.CUBE)]
        if slots.state(slot) is SlotState.FREE:  # or the cube that will be begun in it
            self._cubes.append(1 + max(slots.word(other, Word.CUBE) for other in range(slots.layout.n_slots)))

    def __int__(self) -> int:
        return self._slots.word(self._slot, Word.N_PUT)

    def check(self) -> None:
        if not any(self._slots.has_cube(self._slot, cube) for cube in self._cubes):
            raise OverrunError(
                f"this array is of cube {self._cubes[-1]}, whose memory is reused: read the camera's `dc` again, or "
                f"open the saved file"
            )
