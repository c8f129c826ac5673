"""Cubes in shared memory, each with one owner at a time.

Every word in shared memory has one writer: while the acquiring process lives, only it changes slots and their states;
the writer of files only reads, and answers on its pipe. A line exists when `N_PUT` is incremented, after its bytes and
its columns are in place; whatever lies behind that is garbage by definition::

    FREE ──next line──▶ FILLING ──save()──▶ FULL ──sent──▶ SAVING ──answer──▶ FREE
                                                             └──it failed──▶ HELD ──retry──▶ SAVING
                                                                              └──discard──▶ FREE
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.arrays import SharedCircArrayBuffer
from openhsi_shared.buffers.discarded_cubes import N_NUMBERS, Discarded, DiscardedCubes
from openhsi_shared.buffers.memory import PAGE, aligned_bytes, require_memory, shared_array
from openhsi_shared.columns import COLUMNS
from openhsi_shared.errors import ArgumentError
from openhsi_shared.frames.losses import IdRange

__all__ = [
    "LABEL_BYTES",
    "SlotArray",
    "SlotLayout",
    "SlotMemory",
    "SlotRegister",
    "SlotState",
    "Word",
    "check_label",
]

LABEL_BYTES = 2 << 20
"""Room in each slot for its label: where and how its cube is to be saved, as JSON."""

ALIGNED_FROM = 1 << 16
"""Lines of so many bytes and more begin at pages, in memory as in the file: the disk takes them straight from here."""


class SlotState(IntEnum):
    """Who may touch a slot. Only the acquiring process ever changes it."""

    FREE = 0
    """Nobody's; may be taken for filling."""
    FILLING = 1
    """The capture loop's."""
    FULL = 2
    """Closed, not yet sent to the writer."""
    SAVING = 3
    """The writer's, which only reads, until its answer has come."""
    HELD = 4
    """A save failed: the cube stays until `retry` or `discard`."""


class Word(IntEnum):
    """The control words of a slot, 64 bits each."""

    STATE = 0
    CUBE = 1
    """Number of the cube, from 1 on; 0 = never used."""
    N_PUT = 2
    """Lines committed; beyond `n_lines` they go round."""
    N_BEGUN = 3
    """Lines begun: while one that goes round is copied, the oldest line is not whole."""
    EXPECTED_ID = 4
    """The frame id that followed the last line before this cube: ids from here to the first line's are lost."""
    N_LOST = 5
    """Lines lost from `EXPECTED_ID` to the last line of the cube."""
    LABEL_LENGTH = 6
    """Bytes of the label; 0 while it is written."""
    DECLARES_FROM = 7
    """Of the cubes that were given up, the first one that this cube's file must tell of."""
    DECLARES_TO = 8
    """And the one behind the last; -1 while the cube is being filled: all there are."""


N_WORDS = len(Word)


@dataclass(frozen=True, kw_only=True)
class SlotLayout:
    """Shape of the slots: how many, how many lines each, and what a line is."""

    n_slots: int
    n_lines: int
    line_shape: tuple[int, int]
    """(cross-track, wavelength)"""
    dtype: str
    """A numpy type string, such as "uint16"."""

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

    @property
    def total_bytes(self) -> int:
        """Bytes of shared memory in all."""
        columns = sum(np.dtype(column.dtype).itemsize for column in COLUMNS) * int(self.n_lines)
        return int(self.n_slots) * (self.slot_bytes + columns + LABEL_BYTES) + 8 * N_NUMBERS


@dataclass(frozen=True)
class SlotMemory:
    """The shared memory of all slots: what travels to the writer at its birth. Views are made where they are used."""

    layout: SlotLayout
    lines: Any
    columns: Mapping[str, Any]
    words: Any
    labels: Any
    discarded: Any

    @classmethod
    def make(cls, layout: SlotLayout) -> "SlotMemory":
        """Allocate and zero it all, which takes 2 s for a new GB. MemoryShortage, with figures, if it does not fit."""
        what = f"{layout.n_slots} slots of {layout.n_lines:,} lines of {layout.line_shape} {layout.dtype}"
        require_memory(layout.total_bytes + 2 * PAGE, what)
        n_all = layout.n_slots * int(layout.n_lines)
        return cls(
            layout,
            shared_array("B", layout.n_slots * layout.slot_bytes + PAGE, what),
            {
                column.name: shared_array("B", n_all * np.dtype(column.dtype).itemsize, column.name)
                for column in COLUMNS
            },
            shared_array("q", layout.n_slots * N_WORDS, "control words"),
            shared_array("B", layout.n_slots * LABEL_BYTES, "labels"),
            shared_array("q", N_NUMBERS, "cubes given up"),
        )


@dataclass
class SlotRegister:
    """All slots of a camera, and who may touch each. With two slots it is the classic double buffer.

    The acquiring process calls what changes; everybody may call what reads.
    """

    memory: SlotMemory
    _lines: list[NDArray[Any]] = field(init=False, repr=False)
    _columns: dict[str, NDArray[Any]] = field(init=False, repr=False)
    _words: memoryview = field(init=False, repr=False)
    _n_cubes: int = field(default=0, init=False, repr=False)
    _n_declared: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        layout = self.layout
        size = np.dtype(layout.dtype).itemsize
        flat = aligned_bytes(self.memory.lines, layout.n_slots * layout.slot_bytes)
        strides = (layout.stride, layout.line_shape[1] * size, size)
        self._lines = [
            np.ndarray((layout.n_lines, *layout.line_shape), layout.dtype, flat.data, slot * layout.slot_bytes, strides)
            for slot in range(layout.n_slots)
        ]
        self._columns = {
            column.name: np.frombuffer(self.memory.columns[column.name], column.dtype).reshape(
                layout.n_slots, layout.n_lines
            )
            for column in COLUMNS
        }
        self._flat_columns: dict[str, Any] = {
            name: memoryview(column.reshape(-1).data) for name, column in self._columns.items()
        }
        self._words = memoryview(self.memory.words).cast("B").cast("q")
        self._labels = np.frombuffer(self.memory.labels, np.uint8).reshape(layout.n_slots, LABEL_BYTES)
        self._discarded_cubes = DiscardedCubes(self.memory.discarded)
        self._written: list[bytes | None] = [None] * layout.n_slots

    def __reduce__(self) -> Any:
        """Travel as the memory alone: pickled, a view would become a silent copy."""
        return SlotRegister, (self.memory,)

    @property
    def layout(self) -> SlotLayout:
        """Shape of the slots."""
        return self.memory.layout

    def release(self) -> None:
        """Give the memory back, as far as nobody else holds a view of it. Nothing can be asked any more."""
        self._lines, self._columns, self._flat_columns = [], {}, {}
        self._words, self._labels = memoryview(b""), np.empty((0, 0), np.uint8)
        self._discarded_cubes.release()
        self.memory = dataclasses.replace(self.memory, lines=None, columns={}, words=None, labels=None, discarded=None)

    # ---- what reads ----

    def word(self, slot: int, word: Word) -> int:
        """One control word of a slot."""
        return int(self._words[slot * N_WORDS + word])

    def state(self, slot: int) -> SlotState:
        """Who may touch the slot now."""
        return SlotState(self.word(slot, Word.STATE))

    def slots_in(self, *states: SlotState) -> list[int]:
        """Slots in one of `states`, that of the oldest cube first."""
        found = [slot for slot in range(self.layout.n_slots) if self.word(slot, Word.STATE) in states]
        return sorted(found, key=lambda slot: self.word(slot, Word.CUBE))

    def lines(self, slot: int) -> NDArray[Any]:
        """View all lines of a slot, (along-track, cross-track, wavelength), as they lie in memory."""
        return self._lines[slot]

    def extent(self, slot: int) -> tuple[int, int]:
        """(first, n): index of the oldest whole line, and how many there are from it on, going round."""
        n_put = self.word(slot, Word.N_PUT)
        oldest = self.n_overwritten(slot)
        return oldest % self.layout.n_lines, n_put - oldest

    def n_overwritten(self, slot: int) -> int:
        """How many lines of the cube are gone because it went round.

        With the one that a begun line lies over: that may stay so, when the camera fails or sends a frame twice.
        """
        return max(0, max(self.word(slot, Word.N_BEGUN), self.word(slot, Word.N_PUT)) - self.layout.n_lines)

    def column(self, slot: int, name: str) -> NDArray[Any]:
        """Copy of one column of the lines there are, in time order."""
        first, n = self.extent(slot)
        return np.concatenate(
            [
                self._columns[name][slot, first : first + n],
                self._columns[name][slot, : max(0, first + n - self.layout.n_lines)],
            ]
        )

    def label(self, slot: int) -> bytes:
        """The label of a slot, or nothing while it is written."""
        return self._labels[slot, : self.word(slot, Word.LABEL_LENGTH)].tobytes()

    def discarded_before(self, slot: int) -> Discarded:
        """What was given up since the cube before was closed: the file of this one must tell of it."""
        end = self.word(slot, Word.DECLARES_TO)
        return self._discarded_cubes.between(
            self.word(slot, Word.DECLARES_FROM), self._discarded_cubes.n_noted if end < 0 else end
        )

    def is_discarded(self, slot: int) -> bool:
        """Whether the cube was given up: nobody must save it any more, although its slot may not be free yet."""
        return self._discarded_cubes.has(self.word(slot, Word.CUBE))

    # ---- what changes: the acquiring process alone ----

    def _set(self, slot: int, word: Word, value: int) -> None:
        self._words[slot * N_WORDS + word] = value

    def mark(self, slot: int, state: SlotState) -> None:
        """Give the slot to somebody else."""
        self._set(slot, Word.STATE, state)

    def take_free(self, expected_id: int, label: bytes = b"") -> int | None:
        """Begin a new cube in a free slot and return the slot, or None if none is free. Never blocks."""
        free = self.slots_in(SlotState.FREE)
        if not free:
            return None
        slot = free[0]
        self._n_cubes += 1
        for word, value in (
            (Word.N_PUT, 0),
            (Word.N_BEGUN, 0),
            (Word.CUBE, self._n_cubes),
            (Word.EXPECTED_ID, expected_id),
            (Word.N_LOST, 0),
            (Word.DECLARES_FROM, self._n_declared),
            (Word.DECLARES_TO, -1),
        ):
            self._set(slot, word, value)
        self.write_label(slot, label)
        self.mark(slot, SlotState.FILLING)  # last: from here on the writer would save it, should we die
        return slot

    def close(self, slot: int) -> None:
        """End the cube being filled: it is FULL. What is given up from now on, the next one tells of."""
        self._n_declared = self._discarded_cubes.n_noted
        self._set(slot, Word.DECLARES_TO, self._n_declared)
        self.mark(slot, SlotState.FULL)

    def discard(self, slot: int) -> IdRange:
        """Note that a cube gets no file, for the next one to tell. Returns its frames, lost ones among them.

        With its lines go the frames lost before and within it, and what was given up before it. Overwritten lines are
        not among them, since they are counted apart.
        """
        ids, n_overwritten = self.column(slot, "frame_id"), self.n_overwritten(slot)
        first = int(ids[0]) if n_overwritten else self.word(slot, Word.EXPECTED_ID)
        own = IdRange(first, int(ids[-1]))
        n_nameless = self.word(slot, Word.N_LOST) + len(ids) - len(own)
        before = self.discarded_before(slot)
        self._discarded_cubes.note(self.word(slot, Word.CUBE), before + Discarded((own,), n_nameless))
        return own

    def expect(self, slot: int, frame_id: int) -> None:
        """Say which id should be the first of a cube that has no lines yet."""
        self._set(slot, Word.EXPECTED_ID, frame_id)

    def would_overwrite(self, slot: int) -> bool:
        """Whether the next line goes over the oldest one: who begins it destroys that, whatever comes then."""
        return self.word(slot, Word.N_PUT) >= self.layout.n_lines

    def line_to_fill(self, slot: int) -> NDArray[Any]:
        """View of the line that the next `commit` makes exist; beyond `n_lines` it is the oldest one's."""
        n_put = self.word(slot, Word.N_PUT)
        self._set(slot, Word.N_BEGUN, n_put + 1)
        line: NDArray[Any] = self._lines[slot][n_put % self.layout.n_lines]
        return line

    def commit(
        self, slot: int, time_ns: int, frame_id: int, camera_time_ns: int, temperature: float, n_lost: int
    ) -> None:
        """Make the line exist, after its bytes are in place; `n_lost` is how many were lost since `EXPECTED_ID`."""
        base = slot * N_WORDS
        n_put = self._words[base + Word.N_PUT]
        n_lines = self.layout.n_lines
        at = slot * n_lines + n_put % n_lines
        columns = self._flat_columns
        columns["time_ns"][at] = time_ns
        columns["frame_id"][at] = frame_id
        columns["camera_time_ns"][at] = camera_time_ns
        columns["temperature"][at] = temperature
        self._words[base + Word.N_LOST] = n_lost
        self._words[base + Word.N_PUT] = n_put + 1  # last, so that no reader counts a half-written line

    def write_label(self, slot: int, label: bytes) -> None:
        """Say where and how the cube is to be saved. ArgumentError if it does not fit."""
        if self._written[slot] is label:
            return  # as for most cubes: nothing has changed since the slot was used before
        check_label(label)
        self._set(slot, Word.LABEL_LENGTH, 0)
        self._labels[slot, : len(label)] = np.frombuffer(label, np.uint8)
        self._set(slot, Word.LABEL_LENGTH, len(label))
        self._written[slot] = label


def check_label(label: bytes) -> None:
    """Raise ArgumentError unless `label` fits into a slot."""
    if len(label) > LABEL_BYTES:
        raise ArgumentError(f"metadata and settings of {len(label):,} bytes: at most {LABEL_BYTES:,} fit into a slot")


class SlotArray(SharedCircArrayBuffer):
    """The circular array of the cube being filled, in openhsi's order: (cross-track, along-track, wavelength)."""

    def __init__(self, register: SlotRegister, slot: int, put: Any, show_func: Any = None) -> None:
        """Look at `slot`; `put(frame)` is the cube's own, because a line needs its time, too."""
        layout = register.layout
        self._describe((layout.line_shape[0], layout.n_lines, layout.line_shape[1]), 1, show_func)
        self.shared_data = register.memory.lines
        self.c_dtype = np.ctypeslib.as_ctypes_type(np.dtype(layout.dtype))
        words = np.frombuffer(register.memory.words, np.int64)
        begin = slot * N_WORDS + Word.N_PUT
        self._attach(register.lines(slot), [_Shared(words, begin), 0])
        self._put = put

    def put(self, line: Any) -> None:
        """The same as the cube's own `put`."""
        self._put(line)


class _Shared:
    """A number that lives in shared memory."""

    def __init__(self, words: NDArray[np.int64], at: int) -> None:
        self._words, self._at = words, at

    def __int__(self) -> int:
        return int(self._words[self._at])
