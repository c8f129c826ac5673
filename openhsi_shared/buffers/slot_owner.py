"""The slot owner: the only class that changes the states of slots, by a table of legal moves.

Every word in shared memory is written by one process only: the acquiring one. All other processes read (`slot_view`);
the writer answers on its pipe. The state of a slot (what it is used for) and its leases (which readers may still read
it) are independent: a slot is free when its use is over and its last lease is released. The moves are in `slot_moves`.
Without a lease, a slot passes through LENT at once. A standing reader is lent each slot that is begun.
"""

import dataclasses
import sys
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.cube_marks import CubeMarks, Words
from openhsi_shared.buffers.discarded_cubes import Discarded
from openhsi_shared.buffers.lease import Lease
from openhsi_shared.buffers.marks import Mark
from openhsi_shared.buffers.memory import arena_of
from openhsi_shared.buffers.resident import make_resident
from openhsi_shared.buffers.slot_copy import COPIED_WORDS, SlotCopy
from openhsi_shared.buffers.slot_memory import N_WORDS, SlotMemory, SlotState, Word, check_label
from openhsi_shared.buffers.slot_moves import FILLING, FREE, FULL, LENDABLE, LENT, MOVES
from openhsi_shared.buffers.slot_view import SlotView
from openhsi_shared.buffers.times import CubeTimes
from openhsi_shared.errors import ArgumentError, IllegalMove
from openhsi_shared.frames.losses import IdRange
from openhsi_shared.processes.descriptors import Owned

__all__ = ["SlotOwner"]


class SlotOwner(SlotView):
    """All slots of a camera, in the process that fills them. With two slots it is a double buffer.

    Thread-safe, except that only one thread may fill lines.
    """

    def __init__(self, memory: SlotMemory) -> None:
        views = memory.views(writeable=True)
        make_resident(views)
        super().__init__(memory.layout, views)
        self.memory = memory
        """Passed to a child; without arrays after `release`."""
        self.changed = threading.Condition()
        """Held while a state changes; notified when a slot may have become free."""
        self._flat_columns: list[Any] = [
            memoryview(views[f"column {column.name}"].view(column.dtype).data) for column in memory.layout.columns
        ]
        self._leases: set[Lease] = set()
        self._standing: dict[str, bool] = {}
        """Standing readers by name, and whether their leases are taken back when no slot is free."""
        self._n_cubes = 0
        self._marks = CubeMarks()
        self._written: list[bytes | None] = [None] * memory.layout.n_slots
        arenas = {id(arena): arena for arena, _ in map(arena_of, memory.arrays.values())}
        self._descriptors = [Owned(arena.fd) for arena in arenas.values() if hasattr(arena, "fd")]

    def __reduce__(self) -> Any:
        """Refuse to be pickled: there is one owner. Pass the memory to a child, and make a SlotView there."""
        raise TypeError("a SlotOwner belongs to one process: give its memory to a child, and make a SlotView there")

    def can_be_passed_on(self) -> bool:
        """Whether a child can get the memory: not if other code has closed its descriptors.

        Their numbers may belong to files of other code by now, which a child would take for the slots.
        """
        return all(descriptor.is_open() for descriptor in self._descriptors)

    def release(self) -> None:
        """Release the memory, as far as it has no other views. Nothing can be read or changed afterwards."""
        super().release()
        self._flat_columns = []
        self._leases.clear()
        self.memory = dataclasses.replace(self.memory, arrays={})

    # ---- states ----

    def begin(self, expected_id: int, label: bytes = b"") -> int | None:
        """Begin a new cube in a free slot and return the slot, or None if none is free. Never waits for one."""
        with self.changed:
            free = self.slots_in(FREE) or self._taken_back()
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
                *self._marks.of_next(),
            ):
                self._set(slot, word, value)
            self.write_label(slot, label)
            self._move(slot, "begin")  # last: from now on the writer saves it if this process dies
            for reader in self._standing:
                self.lend(slot, reader)
            return slot

    def close(self, slot: int) -> None:
        """Close the cube being filled. Cubes discarded from now on are declared by the next cube."""
        with self.changed:
            self._require(slot, "close")
            self._discarded_cubes.assign(slot)
            self._set_words(slot, self._marks.of_closed(self, slot))
            self._move(slot, "close")
            self._discarded_cubes.clear()  # last: while a cube is filled, it declares the open set

    def save(self, slot: int) -> None:
        """Mark the cube as sent to the writer, for the first time or again."""
        with self.changed:
            self._move(slot, "save")

    def hold(self, slot: int) -> None:
        """Keep a cube whose save failed."""
        with self.changed:
            self._move(slot, "hold")

    def free(self, slot: int) -> None:
        """End the use of a cube, which is saved, discarded or empty. The slot is free after its last lease."""
        with self.changed:
            self._move(slot, "free")
            self._free_if_last(slot)

    def recycle(self, wanted_before: int = sys.maxsize, slot: int | None = None) -> int | None:
        """Free the oldest cube that is FULL and not lent, or that in `slot`; None if there is none.

        For recording before an event. Its lines count as neither saved nor lost. The next cube declares the lost frames
        that it declares, those with ids before `wanted_before`.
        """
        with self.changed:
            slot = self._first_unread(FULL) if slot is None else slot
            if slot is None:
                return None
            if (declared := self.discarded_before(slot).before(wanted_before)).n_lost:
                self._declare(declared, self.word(slot, Word.CUBE))
            self._set_words(*self._marks.pass_on(self, slot, wanted_before))
            self._move(slot, "recycle")
            self._free_if_last(slot)
            return slot

    def _declare(self, lost: Discarded, cube: int) -> int | None:
        """Let the first cube after `cube` that is not sent declare lost frames. Returns its slot, None if not begun."""
        for slot in self.slots_in(FULL, FILLING):
            if self.word(slot, Word.CUBE) > cube and self.state(slot) is FULL:
                self._discarded_cubes.add(slot, lost)
                return slot
        self._discarded_cubes.note(cube, lost)
        return next(iter(self.slots_in(FILLING)), None)

    def _require(self, slot: int, move: str) -> SlotState:
        """The state after `move`. IllegalMove if the move is not allowed in the state of the slot."""
        state = self.state(slot)
        if state not in MOVES[move]:
            needed = " or ".join(known.name for known in MOVES[move])
            raise self._illegal(slot, f"'{move}' needs {needed}")
        return MOVES[move][state]

    def _move(self, slot: int, move: str) -> None:
        self._set(slot, Word.STATE, self._require(slot, move))

    def _illegal(self, slot: int, why: str) -> IllegalMove:
        return IllegalMove(f"slot {slot} (cube {self.word(slot, Word.CUBE)}) is {self.state(slot).name}: {why}")

    # ---- leases ----

    def lend(self, slot: int, reader: str) -> Lease:
        """Lend a slot to a reader: its cube does not change until `give_back`. IllegalMove if its use is over."""
        with self.changed:
            if self.state(slot) not in LENDABLE:
                raise self._illegal(slot, f"it cannot be lent to {reader}: there is no cube to be read")
            lease = Lease(reader, slot, self.word(slot, Word.CUBE), time.monotonic())
            self._leases.add(lease)
            return lease

    def give_back(self, lease: Lease) -> None:
        """Release a lease. IllegalMove if it was released before."""
        with self.changed:
            if lease not in self._leases:
                raise self._illegal(lease.slot, f"the lease of cube {lease.cube} to {lease.reader} ended before")
            self._leases.remove(lease)
            self._free_if_last(lease.slot)

    def give_back_all(self, reader: str) -> None:
        """Release all leases of a reader that has died, and lend nothing more to a standing one. Idempotent."""
        with self.changed:
            self._standing.pop(reader, None)
            for lease in [lease for lease in self._leases if lease.reader == reader]:
                self.give_back(lease)

    def lend_each(self, reader: str, *, yields: bool = False) -> None:
        """Lend each slot that is begun from now on to a standing reader, until `give_back_all`.

        `yields`: when a slot is needed and none is free, its lease of the oldest cube that only such readers still read
        is taken back. It must check after reading that the slot still contains the cube.
        """
        with self.changed:
            self._standing[reader] = yields

    def end_lease(self, reader: str, slot: int, cube: int) -> bool:
        """Release a lease of a standing reader; False if it was taken back. IllegalMove if there is none."""
        with self.changed:
            found = [lease for lease in self.leases(slot) if (lease.reader, lease.cube) == (reader, cube)]
            if not found and self._standing.get(reader, True):
                return False
            if not found:
                raise self._illegal(slot, f"{reader} has no lease of cube {cube}")
            self.give_back(found[0])
            return True

    def held_up_by(self) -> list[str]:
        """Readers without which more slots would be free: the uses of the slots that they read have ended.

        Not those whose leases are taken back when a slot is needed.
        """
        leases = (lease for slot in self.slots_in(LENT) for lease in self.leases(slot))
        return sorted({lease.reader for lease in leases if not self._standing.get(lease.reader, False)})

    def _taken_back(self) -> list[int]:
        """The oldest slot that only yielding readers still read, which is free now."""
        slot = self._first_unread(LENT)
        if slot is not None:
            self._free_if_last(slot)
        return [] if slot is None else [slot]

    def _first_unread(self, state: SlotState) -> int | None:
        """The oldest slot in `state` that at most yielding readers still read, whose leases are taken back."""
        for slot in self.slots_in(state):
            leases = self.leases(slot)
            if all(self._standing.get(lease.reader, False) for lease in leases):
                self._leases.difference_update(leases)
                return slot
        return None

    def leases(self, slot: int | None = None) -> list[Lease]:
        """Active leases, oldest first: of one slot, or of all."""
        with self.changed:
            found = [lease for lease in self._leases if slot is None or lease.slot == slot]
        return sorted(found, key=lambda lease: lease.since)

    def _free_if_last(self, slot: int) -> None:
        if self.state(slot) is LENT and not self.leases(slot):
            self._move(slot, "last lease")
            self.changed.notify_all()

    # ---- lines ----

    def _set(self, slot: int, word: Word, value: int) -> None:
        self._words[slot * N_WORDS + word] = value

    def _set_words(self, slot: int | None, words: Words) -> None:
        if slot is not None:
            for word, value in words:
                self._set(slot, word, value)

    def expect(self, slot: int, frame_id: int) -> None:
        """Set the expected first frame id of a cube that has no lines yet."""
        self._set(slot, Word.EXPECTED_ID, frame_id)

    def set_times(self, slot: int, times: CubeTimes, move_ns: int = 0) -> None:
        """Set what is known of the cube's clock, before its first line; move the times of lines that it has."""
        if move_ns:
            self._columns["time_ns"][slot] += move_ns
        values = (*times.anchor, *times.step, times.earlier_until_ns)
        for word, value in enumerate(values, Word.ANCHOR_WALL_NS):
            self._set(slot, Word(word), value)

    def would_overwrite(self, slot: int) -> bool:
        """Whether starting the next line overwrites the oldest line, even if it is never committed."""
        return self.word(slot, Word.N_PUT) >= self.layout.n_lines

    def line_to_fill(self, slot: int) -> NDArray[Any]:
        """View of the line that the next `commit` commits; beyond `n_lines` that of the oldest line.

        IllegalMove if the slot is not FILLING.
        """
        base = slot * N_WORDS
        if self._words[base] != 1:  # FILLING, as a number for the hot path
            raise self._illegal(slot, "no line can be begun in it")
        n_put = self._words[base + Word.N_PUT]
        self._words[base + Word.N_BEGUN] = n_put + 1
        line: NDArray[Any] = self._lines[slot][n_put % self.layout.n_lines]
        return line

    def commit(
        self,
        slot: int,
        time_ns: int,
        frame_id: int,
        camera_time_ns: int,
        temperature: float,
        n_lost: int,
        more: tuple[float, ...] = (),
    ) -> None:
        """Commit the line, after its bytes are in place; `n_lost` is the number of lines lost since `EXPECTED_ID`.

        `more` are the values of the layout's further columns, in their order. ArgumentError if their number is
        another one, IllegalMove if the slot is not FILLING.
        """
        base = slot * N_WORDS
        if self._words[base] != 1:  # FILLING
            raise self._illegal(slot, "no line can be committed in it")
        if len(more) != len(self._flat_columns) - 4:
            raise ArgumentError(f"{len(more)} values for {len(self._flat_columns) - 4} columns besides the first four")
        n_put = self._words[base + Word.N_PUT]
        n_lines = self.layout.n_lines
        at = slot * n_lines + n_put % n_lines
        columns = self._flat_columns
        columns[0][at] = time_ns
        columns[1][at] = frame_id
        columns[2][at] = camera_time_ns
        columns[3][at] = temperature
        for number, value in enumerate(more, 4):
            columns[number][at] = value
        self._words[base + Word.N_LOST] = n_lost
        self._words[base + Word.N_PUT] = n_put + 1  # last, so that no reader counts a half-written line

    # ---- a cube in ordinary memory ----

    def copy_of(self, slot: int) -> SlotCopy:
        """Copy a cube that outlives the slots."""
        n = min(self.layout.n_lines, max(self.word(slot, Word.N_PUT), self.word(slot, Word.N_BEGUN)))
        columns = {name: column[slot, :n].copy() for name, column in self._columns.items()}
        words = {word: self.word(slot, word) for word in COPIED_WORDS}
        sides = {one.name: self.side(one.name).copy() for one in self.layout.side_buffers if not one.is_per_slot}
        lines, declared = np.array(self._lines[slot][:n]), self.discarded_before(slot)
        return SlotCopy(lines, columns, sides, words, self.extent(slot), declared)

    def fill_from(self, copy: SlotCopy) -> int:
        """Begin the cube of a copy again, with its number, in slots of the same layout that held none before."""
        if copy.declared.ranges:
            self._discarded_cubes.note(0, copy.declared)
        slot = self.begin(copy.words[Word.EXPECTED_ID])
        if slot is None:
            raise IllegalMove("no slot is free for the copy of a cube")
        self._lines[slot][: len(copy.lines)] = copy.lines
        for name, values in copy.columns.items():
            self._columns[name][slot, : len(values)] = values
        for name, side in copy.sides.items():
            self.side(name)[:] = side
        for word, value in copy.words.items():
            self._set(slot, word, value)
        return slot

    # ---- what is stored beside the lines ----

    def mark(self, text: str, time_ns: int, lead_ns: int = 0) -> None:
        """Put a mark, at a time by the monotonic clock; the file of the first line that is not before it has it.

        A line ends `lead_ns` after its time. Texts are cut to `MAX_TEXT_BYTES`.
        """
        with self.changed:
            self._set_words(*self._marks.put(self, text, time_ns, lead_ns))

    def marks_behind_lines(self) -> list[Mark]:
        """Marks that no cube has, unless another line comes."""
        with self.changed:
            return self._marks.behind_lines(self)

    def add_pause(self, paused_ns: int, n_frames: int) -> None:
        """Note for the cube being filled, or the next one, that frames before it were not wanted."""
        with self.changed:
            self._set_words(*self._marks.add_pause(self, paused_ns, n_frames))

    def note_lost(self, ids: IdRange) -> None:
        """Let the cube that is closed next declare frames lost before it."""
        with self.changed:
            self._discarded_cubes.note(self._discarded_cubes.last_cube, Discarded((ids,)))

    def note_recycled(self, cube: int, ids: IdRange) -> None:
        """Let the first cube after a recycled one that is not sent declare its frames lost, which were wanted."""
        with self.changed:
            slot = self._declare(Discarded((ids,)), cube)
            self._set_words(*self._marks.add_wanted(self, slot, len(ids)))

    def write_label(self, slot: int, label: bytes) -> None:
        """Set where and how the cube is to be saved. ArgumentError if it does not fit."""
        if self._written[slot] is label:
            return  # the common case: unchanged since the slot was last used
        check_label(label)
        self._set(slot, Word.LABEL_LENGTH, 0)
        self._labels[slot, : len(label)] = np.frombuffer(label, np.uint8)
        self._set(slot, Word.LABEL_LENGTH, len(label))
        self._written[slot] = label

    def note_discarded(self, slot: int) -> IdRange:
        """Note a discarded cube, to be declared by the next one. Returns its frame ids, including lost ones.

        The note includes the frames lost before and within it, and cubes discarded before it.
        """
        own, discarded = self.lost_with(slot)
        self._discarded_cubes.note(self.word(slot, Word.CUBE), discarded)
        return own
