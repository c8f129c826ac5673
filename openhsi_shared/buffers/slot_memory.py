"""The shared memory of all slots: its layout, its control words, its allocation.

A slot stores one cube: its lines, the columns of its lines, its control words, its label. Changes of its state:
`slot_owner`. Reading: `slot_view`.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.discarded_cubes import n_numbers
from openhsi_shared.buffers.memory import PAGE, aligned_bytes, require_memory, shared_array
from openhsi_shared.columns import COLUMNS, FRAMES_USED, Column
from openhsi_shared.errors import ArgumentError

__all__ = [
    "LABEL_BYTES",
    "N_WORDS",
    "SideBuffer",
    "SlotLayout",
    "SlotMemory",
    "SlotState",
    "Word",
    "check_label",
]

LABEL_BYTES = 2 << 20
"""Size of each slot's label: where and how its cube is to be saved, as JSON."""

ALIGNED_FROM = 1 << 16
"""Lines of at least this many bytes are page-aligned, in memory and in the file, for direct I/O."""


class SlotState(IntEnum):
    """What a slot is used for. Only the acquiring process changes it, by the moves of `slot_owner`."""

    FREE = 0
    """Unused: may be taken for filling."""
    FILLING = 1
    """The capture loop writes lines into it."""
    FULL = 2
    """Closed, not sent to the writer yet, or retained."""
    SAVING = 3
    """Sent to the writer, no answer received yet."""
    HELD = 4
    """A save failed: the cube stays until `retry` or `discard`."""
    LENT = 5
    """Saved or discarded, but a reader's lease has not been released."""


class Word(IntEnum):
    """The control words of a slot, 64 bits each."""

    STATE = 0
    CUBE = 1
    """Number of the cube, from 1 on; 0 = never used."""
    N_PUT = 2
    """Lines committed; beyond `n_lines` they wrap around."""
    N_BEGUN = 3
    """Lines begun: while a line that wraps around is copied, the oldest line is incomplete."""
    EXPECTED_ID = 4
    """The frame id after the last line of the previous cube: ids from here to the first line's are lost."""
    N_LOST = 5
    """Lines lost from `EXPECTED_ID` to the last line of the cube."""
    LABEL_LENGTH = 6
    """Bytes of the label; 0 while it is written."""
    ANCHOR_WALL_NS = 7
    """This word and the next five are `CubeTimes`, which are set before the first line is committed."""
    ANCHOR_MONOTONIC_NS = 8
    ANCHOR_SUSPENDED_NS = 9
    STEP_NS = 10
    STEP_SUSPENDED_NS = 11
    EARLIER_UNTIL_NS = 12
    MARKS_FROM_NS = 13
    """The cube has the marks after this time, by the monotonic clock; this word and the next five: see `cube_marks`."""
    MARKS_UNTIL_NS = 14
    """Up to this time; 0 until the cube is closed."""
    N_MARKS_PUSHED_OUT = 15
    """Marks of the cube that later ones have overwritten."""
    PAUSED_NS = 16
    """How long the recording was paused before the cube."""
    N_FRAMES_PAUSED = 17
    """Frames in the pauses before the cube, which were not wanted."""
    N_NOT_WANTED = 18
    """Frames of the recycled cubes before it, since the last cube that was saved."""


N_WORDS = len(Word)


@dataclass(frozen=True)
class SideBuffer:
    """Shared bytes beside the slots, for what has no fixed length per line, such as marks."""

    name: str
    n_bytes: int
    is_per_slot: bool
    """One for each slot, or one for all."""


@dataclass(frozen=True, kw_only=True)
class SlotLayout:
    """Layout of the slots: number of slots and lines, shape and type of a line, columns and side buffers."""

    n_slots: int
    n_lines: int
    line_shape: tuple[int, int]
    """(cross-track, wavelength)"""
    dtype: str
    """A numpy type string, such as "uint16"."""
    columns: tuple[Column, ...] = COLUMNS
    """`COLUMNS`, and optionally more after them."""
    side_buffers: tuple[SideBuffer, ...] = ()

    def __post_init__(self) -> None:
        for name in ("n_slots", "n_lines"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                shown = "n_buffers" if name == "n_slots" else name
                raise ArgumentError(f"{shown} must be a whole number > 0, got {value!r}")
        if self.n_slots < 2:
            raise ArgumentError(
                f"n_buffers must be 2 or more, so that one can be filled while one is saved, got {self.n_slots}"
            )
        if self.columns[: len(COLUMNS)] != COLUMNS:
            raise ArgumentError(f"columns must begin with {[c.name for c in COLUMNS]}, got {self.columns!r}")
        names = Counter([column.name for column in self.columns] + [side.name for side in self.side_buffers])
        for name, n in names.items():
            if n > 1:
                raise ArgumentError(f"columns and side buffers need names of their own, got {name!r}, {n} times")
        for side in self.side_buffers:
            if side.n_bytes < 1:
                raise ArgumentError(f"side buffer {side.name!r} needs at least 1 byte, got {side.n_bytes}")

    @property
    def is_averaged(self) -> bool:
        """Whether lines are means of frames."""
        return FRAMES_USED in self.columns

    @property
    def line_bytes(self) -> int:
        """Bytes of a line."""
        return int(self.line_shape[0] * self.line_shape[1] * np.dtype(self.dtype).itemsize)

    @property
    def stride(self) -> int:
        """Bytes from one line to the next."""
        return self.line_bytes if self.line_bytes < ALIGNED_FROM else -(-self.line_bytes // PAGE) * PAGE

    @property
    def slot_bytes(self) -> int:
        """Bytes of the lines of one slot, up to the next page."""
        return -(-int(self.n_lines) * self.stride // PAGE) * PAGE

    def array_bytes(self) -> dict[str, int]:
        """Bytes of each shared array: "lines", "words", "labels", "discarded", "column NAME", "side NAME"."""
        n_slots, n_all = int(self.n_slots), int(self.n_slots) * int(self.n_lines)
        found = {"lines": n_slots * self.slot_bytes, "words": 8 * n_slots * N_WORDS}
        found |= {"labels": n_slots * LABEL_BYTES, "discarded": 8 * n_numbers(n_slots)}
        found |= {f"column {column.name}": n_all * np.dtype(column.dtype).itemsize for column in self.columns}
        for side in self.side_buffers:
            found[f"side {side.name}"] = side.n_bytes * (n_slots if side.is_per_slot else 1)
        return found


@dataclass(frozen=True)
class SlotMemory:
    """The shared memory of all slots, which is passed to a child when it is started. Views are made where used."""

    layout: SlotLayout
    arrays: Mapping[str, Any]
    """Shared arrays of bytes by the names of `SlotLayout.array_bytes`."""

    @classmethod
    def make(cls, layout: SlotLayout) -> "SlotMemory":
        """Allocate and zero the arrays, which takes 2 s per GB. MemoryShortage, with figures, if it does not fit."""
        what = f"{layout.n_slots} slots of {layout.n_lines:,} lines of {layout.line_shape} {layout.dtype}"
        sizes = layout.array_bytes()
        require_memory(sum(sizes.values()) + 2 * PAGE, what)
        sizes["lines"] += PAGE  # they begin at the first page boundary
        return cls(layout, {name: shared_array("B", n_bytes, what) for name, n_bytes in sizes.items()})

    def views(self, *, writeable: bool) -> dict[str, NDArray[np.uint8]]:
        """View the bytes of each array; "lines" begins at a page."""
        found = {name: np.frombuffer(array, np.uint8) for name, array in self.arrays.items()}
        found["lines"] = aligned_bytes(self.arrays["lines"], self.layout.array_bytes()["lines"])
        for view in found.values():
            view.flags.writeable = writeable
        return found


def check_label(label: bytes) -> None:
    """Raise ArgumentError unless `label` fits into a slot."""
    if len(label) > LABEL_BYTES:
        raise ArgumentError(f"metadata and settings of {len(label):,} bytes: at most {LABEL_BYTES:,} fit into a slot")
