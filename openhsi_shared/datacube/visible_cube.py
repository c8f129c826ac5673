"""The cube that one sees: the one being filled, or until its first line the one before it.

That one is read from its slot as long as it is there, then from its file; what was collected and never saved is kept in
ordinary memory when the slots are released.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.arrays import CircArrayBuffer
from openhsi_shared.buffers.memory import free_memory
from openhsi_shared.buffers.slot_array import SlotArray
from openhsi_shared.buffers.slot_copy import SlotCopy
from openhsi_shared.buffers.slot_memory import Word
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.buffers.slot_view import SlotView
from openhsi_shared.dataset import day_folder
from openhsi_shared.errors import OverrunError
from openhsi_shared.rgb import Lines
from openhsi_shared.writer.handle import SaveHandle

__all__ = ["CubeInFile", "CubeInMemory", "CubeInSlot", "LinesSoFar", "SavedCube", "VisibleCube"]

KEPT_BYTES = 1 << 30
"""Largest cube that is kept in ordinary memory."""
COLUMNS_OF_FILE = {"time_ns": "times_ns", "temperature": "temperatures", "frame_id": "frame_ids"}


class VisibleCube(Protocol):
    """A cube that one sees."""

    @property
    def lines(self) -> Lines:
        """Its lines."""

    def column(self, name: str) -> NDArray[Any]:
        """A column of its lines, in time order: "time_ns", "temperature" or "frame_id"."""

    def array(self, put: Callable[[Any], None]) -> CircArrayBuffer:
        """Its lines as a circular array, (cross-track, along-track, wavelength), read-only."""


class LinesSoFar:
    """Lines of a slot. A slice is a copy of what it selects; OverrunError if the slot holds another cube then."""

    def __init__(self, slots: SlotView, slot: int | None) -> None:
        self._slots, self._slot = slots, slot or 0
        self._first, n_lines = (0, 0) if slot is None else slots.extent(slot)
        self._cube = slots.word(self._slot, Word.CUBE)
        self._lines = slots.lines(self._slot)
        self.shape = (n_lines, *slots.layout.line_shape)
        self.dtype: np.dtype[Any] = self._lines.dtype

    def __getitem__(self, lines: Any, /) -> NDArray[Any]:
        """Return a copy of the lines of a slice."""
        copied: NDArray[Any] = self._lines[(self._first + np.arange(self.shape[0])[lines]) % len(self._lines)]
        if not self._slots.has_cube(self._slot, self._cube):
            raise OverrunError(f"the memory of cube {self._cube} was used again while its lines were read: look again")
        return copied


class CubeInSlot:
    """A cube in its slot."""

    def __init__(self, slots: SlotOwner, slot: int) -> None:
        self._slots, self._slot = slots, slot

    @property
    def lines(self) -> LinesSoFar:
        """See `VisibleCube`."""
        return LinesSoFar(self._slots, self._slot)

    def column(self, name: str) -> NDArray[Any]:
        """See `VisibleCube`."""
        return self._slots.column(self._slot, name)

    def array(self, put: Callable[[Any], None]) -> CircArrayBuffer:
        """See `VisibleCube`; lines beyond those of the cube are undefined."""
        return SlotArray(self._slots, self._slot, put)


class CubeInMemory:
    """A copy of a cube that was collected and not saved."""

    def __init__(self, copy: SlotCopy) -> None:
        self.copy = copy

    @classmethod
    def of(cls, slots: SlotOwner, slot: int) -> Self | None:
        """Copy a cube; None if it is larger than `KEPT_BYTES`, or than a quarter of the memory that is free."""
        n_bytes = slots.extent(slot)[1] * slots.layout.line_bytes
        if n_bytes > min(KEPT_BYTES, min((free for _, free, _ in free_memory()), default=KEPT_BYTES) // 4):
            return None
        return cls(slots.copy_of(slot))

    @property
    def lines(self) -> NDArray[Any]:
        """See `VisibleCube`."""
        return self.copy.lines[self.copy.order]

    def column(self, name: str) -> NDArray[Any]:
        """See `VisibleCube`."""
        return self.copy.columns[name][self.copy.order]

    def array(self, put: Callable[[Any], None]) -> CircArrayBuffer:  # noqa: ARG002 - nothing more is put into it
        """See `VisibleCube`."""
        return CircArrayBuffer.of(self.lines, 1)


class SavedCube:
    """The cube that was saved last."""

    def __init__(self, slots: SlotOwner, slot: int, directory: str, handle: SaveHandle) -> None:
        self._slots, self._slot, self._directory, self._handle = slots, slot, directory, handle
        self._cube = slots.word(slot, Word.CUBE)
        self._time_ns = int(slots.column(slot, "time_ns")[0])

    def visible(self) -> VisibleCube | None:
        """The cube in its slot while it is there, then in its file; None if it is in neither."""
        if self._slots.has_cube(self._slot, self._cube):
            return CubeInSlot(self._slots, self._slot)
        return CubeInFile(self._handle.path) if self._handle.path else None

    def folder(self) -> Path:
        """The folder of its file, or before that is written, of its day."""
        path = self._handle.path
        return path.parent if path else Path(self._directory) / day_folder(self._time_ns)


class CubeInFile:
    """A cube in its file, which is read whenever one looks. FileError if it cannot be read any more."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def lines(self) -> NDArray[Any]:
        """See `VisibleCube`."""
        from openhsi_shared.files.reading import open_cube

        with open_cube(self.path) as cube:
            return cube.lines[:]

    def column(self, name: str) -> NDArray[Any]:
        """See `VisibleCube`."""
        from openhsi_shared.files.reading import open_cube

        with open_cube(self.path) as cube:
            values: NDArray[Any] | None = getattr(cube, COLUMNS_OF_FILE[name])
        return np.zeros(0) if values is None else values

    def array(self, put: Callable[[Any], None]) -> CircArrayBuffer:  # noqa: ARG002 - nothing more is put into it
        """See `VisibleCube`."""
        return CircArrayBuffer.of(self.lines, 1)
