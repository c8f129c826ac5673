"""Tap: reads lines of another process's slots without blocking it, and exports slots for that.

The memory is mapped read-only, by descriptors that its owner sends. There are no locks: a line that was read is valid
only if its slot still holds the same cube afterwards, and the line was not overwritten meanwhile. A tap may miss lines;
it never returns a torn line. (On ARM the last line may be visible before all of its bytes; it is only displayed.) The
mapping outlives the recording, and keeps its memory until it is closed.
"""

import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.memory import PAGE, arena_of
from openhsi_shared.buffers.slot_memory import SlotLayout, SlotMemory, SlotState, Word
from openhsi_shared.buffers.slot_view import SlotView
from openhsi_shared.buffers.times import Anchor
from openhsi_shared.errors import ClosedError, RecordingError
from openhsi_shared.file_calls import close_all

__all__ = ["LineName", "SlotExport", "SlotStatus", "Tap", "export_slots"]

Read = TypeVar("Read")


class LineName(NamedTuple):
    """Identifies a line; the order of names is chronological."""

    cube: int
    """Number of the cube, from 1 on."""
    line: int
    """Number of lines in the cube before it; beyond `n_lines` if the cube wraps around."""


class SlotStatus(NamedTuple):
    """Control words of a slot."""

    slot: int
    state: SlotState
    cube: int
    n_put: int
    n_lost: int


# ---- in the process that owns the slots ----------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SlotExport:
    """What a tap needs besides the descriptors: the layout, and the offset of each array in its mapping."""

    layout: SlotLayout
    starts: Mapping[str, int]
    """Bytes from the start of the mapped file, in the order of the descriptors."""


def export_slots(memory: SlotMemory) -> tuple[SlotExport, list[int]]:
    """Open read-only descriptors of lines, words and columns; the caller closes them.

    RecordingError where the system has no descriptors of shared memory.
    """
    starts: dict[str, int] = {}
    descriptors: list[int] = []
    try:
        for name, array in memory.arrays.items():
            if name not in ("labels", "discarded") and not name.startswith("side "):
                arena, starts[name] = arena_of(array)
                descriptors.append(os.open(f"/proc/self/fd/{arena.fd}", os.O_RDONLY))
    except (OSError, AttributeError) as error:
        close_all(descriptors)
        raise RecordingError(f"the memory of the slots cannot be shared: {error}") from error
    return SlotExport(layout=memory.layout, starts=starts), descriptors


# ---- in the process that looks -------------------------------------------------------


class Tap:
    """Reads the slots of another process. `close` it, or use it in a `with` block."""

    def __init__(self, export: SlotExport, descriptors: Sequence[int]) -> None:
        """Map the memory. The descriptors are closed. RecordingError if some are missing."""
        try:
            if len(descriptors) != len(export.starts):
                come = f"{len(descriptors)} of {len(export.starts)} descriptors have come"
                raise RecordingError(f"the slots cannot be read: {come}")
            self._maps = [mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) for descriptor in descriptors]
        finally:
            close_all(descriptors)
        self.layout = export.layout
        sizes = self.layout.array_bytes()
        views = {}
        for (name, start), mapped in zip(export.starts.items(), self._maps, strict=True):
            begin = -(-start // PAGE) * PAGE if name == "lines" else start
            views[name] = np.frombuffer(mapped, np.uint8, sizes[name], begin)
        self._slots = SlotView(self.layout, views)

    def close(self) -> None:
        """Release the memory; nothing can be read afterwards. Idempotent."""
        self._slots.release()
        maps, self._maps = self._maps, []
        for mapped in maps:
            try:
                mapped.close()
            except BufferError:  # another thread is reading: unmapped when that one is done
                continue

    @property
    def view(self) -> SlotView:
        """The slots themselves: what is read may be overwritten meanwhile. Nothing can be read after `close`."""
        return self._slots

    @property
    def is_closed(self) -> bool:
        """Whether it is closed."""
        return not self._maps

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- slots and names of lines ----

    def slots(self) -> list[SlotStatus]:
        """Current status of each slot, in order; empty when closed."""
        if self.is_closed:
            return []
        read = self._slots.word
        return [
            SlotStatus(
                slot, self._slots.state(slot), read(slot, Word.CUBE), read(slot, Word.N_PUT), read(slot, Word.N_LOST)
            )
            for slot in range(self.layout.n_slots)
        ]

    def newest(self) -> LineName | None:
        """Name of the last line that was committed, or None if there is none yet."""
        found = [LineName(view.cube, view.n_put - 1) for view in self.slots() if view.n_put]
        return max(found, default=None)

    def since(self, last: LineName | None, at_most: int) -> list[LineName]:
        """Names of lines after `last`, in order, evenly subsampled to `at_most`, including the newest one.

        Only of lines that are in memory now. None: from the beginning of the newest cube.
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

    # ---- contents of a line ----

    def read(self, name: LineName, look: Callable[[NDArray[Any]], Read]) -> Read | None:
        """Return `look(line)`, which must be a copy; None if the line, (cross-track, wavelength), is overwritten.

        `look` reads the shared memory itself, which may change meanwhile: then its result is discarded.
        """
        slot = self._slot_of(name)
        if slot is None:
            return None
        result = look(self._slots.lines(slot)[name.line % self.layout.n_lines])
        return result if self._is_there(slot, name) else None

    def column(self, name: LineName, column: str) -> Any:
        """Value of a column for a line, such as "time_ns"; None if the line is overwritten."""
        slot = self._slot_of(name)
        if slot is None:
            return None
        value = self._slots.column_of_line(slot, name.line % self.layout.n_lines, column)
        return value if self._is_there(slot, name) else None

    def anchor(self, name: LineName) -> Anchor | None:
        """Relates the monotonic clock to the time of a line; None if the line is overwritten."""
        slot = self._slot_of(name)
        if slot is None:
            return None
        anchor = self._slots.times(slot).anchor
        return anchor if self._is_there(slot, name) else None

    def _slot_of(self, name: LineName) -> int | None:
        if self.is_closed:
            raise ClosedError("this tap is closed: make a new one")
        slots = (slot for slot in range(self.layout.n_slots) if self._slots.word(slot, Word.CUBE) == name.cube)
        slot = next(slots, None)
        return slot if slot is not None and self._is_there(slot, name) else None

    def _is_there(self, slot: int, name: LineName) -> bool:
        return self._slots.has_line(slot, name.cube, name.line)
