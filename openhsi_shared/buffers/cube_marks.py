"""Which cube a mark or a pause belongs to: decided by the acquiring process, and stored in the words of the slots.

A mark belongs to the first line that is not before it. A cube has the marks after the last line of the cube before it,
up to its own last line; one that arrives when its cube is closed goes to the next cube, so each is in one file at most.
"""

from collections.abc import Iterable

from openhsi_shared.buffers.marks import MARKS, Mark, MarkRing
from openhsi_shared.buffers.slot_memory import SlotState, Word
from openhsi_shared.buffers.slot_view import SlotView

__all__ = ["CubeMarks", "end_of_lines_ns"]

Words = Iterable[tuple[Word, int]]
MAX_NS = 2**63 - 1
SUMMED = (Word.N_MARKS_PUSHED_OUT, Word.PAUSED_NS, Word.N_FRAMES_PAUSED, Word.N_NOT_WANTED)


class CubeMarks:
    """Marks and pauses of the cubes of one owner of slots, which calls all this while it holds its lock.

    Returned words are to be set in a slot.
    """

    def __init__(self) -> None:
        self._from_ns = self._until_ns = 0
        """Where marks of the next cube begin; the last line of all closed cubes. By the monotonic clock."""
        self._kept = dict.fromkeys(SUMMED, 0)
        """What happened while no cube was begun."""

    def of_next(self) -> Words:
        """Words of a cube that is begun."""
        kept, self._kept = self._kept, dict.fromkeys(SUMMED, 0)
        return ((Word.MARKS_FROM_NS, self._from_ns), (Word.MARKS_UNTIL_NS, 0), *kept.items())

    def of_closed(self, slots: SlotView, slot: int) -> Words:
        """Words of the cube in `slot`, which is closed."""
        self._from_ns = self._until_ns = max(self._until_ns, end_of_lines_ns(slots, slot))
        return ((Word.MARKS_UNTIL_NS, self._until_ns),)

    def pass_on(self, slots: SlotView, slot: int, wanted_before: int) -> tuple[int | None, Words]:
        """The slot of the cube after that in `slot`, which is dropped, with the words by which it takes them over.

        Of the lost frames that it declares, those from `wanted_before` on were not wanted.
        """
        cube, from_ns = slots.word(slot, Word.CUBE), slots.word(slot, Word.MARKS_FROM_NS)
        counts = {word: slots.word(slot, word) for word in SUMMED}
        before = slots.discarded_before(slot)
        counts[Word.N_NOT_WANTED] += len(slots.lost_with(slot)[0]) + before.n_lost - before.before(wanted_before).n_lost
        for later in slots.slots_in(SlotState.FILLING, SlotState.FULL):
            if slots.word(later, Word.CUBE) == cube + 1:
                counts = {word: n + slots.word(later, word) for word, n in counts.items()}
                return later, ((Word.MARKS_FROM_NS, from_ns), *counts.items())
        self._from_ns = from_ns
        self._kept = {word: n + self._kept[word] for word, n in counts.items()}
        return None, ()

    def put(self, slots: SlotView, text: str, time_ns: int, lead_ns: int) -> tuple[int | None, Words]:
        """Put a mark into the ring. Returns words to be set, which count the one that it overwrites.

        `time_ns` by the monotonic clock; a line ends `lead_ns` after its time, which is that of mid-exposure.
        """
        ring = MarkRing(slots.side(MARKS.name))
        unsent = [slots.word(slot, Word.MARKS_FROM_NS) for slot in slots.slots_in(SlotState.FULL)]
        overwritten = ring.put(max(time_ns - lead_ns, min([self._until_ns, *unsent]) + 1), time_ns, text)
        return (None, ()) if overwritten is None else self._add(slots, overwritten, {Word.N_MARKS_PUSHED_OUT: 1})

    def behind_lines(self, slots: SlotView) -> list[Mark]:
        """Marks that came after the last line so far: in no file, unless another line comes."""
        ends = [end_of_lines_ns(slots, slot) for slot in slots.slots_in(SlotState.FILLING)]
        return MarkRing(slots.side(MARKS.name)).between(max([self._until_ns, *ends]), MAX_NS)

    def add_pause(self, slots: SlotView, paused_ns: int, n_frames: int) -> tuple[int | None, Words]:
        """Add to the pause before the next line. Returns words to be set."""
        return self._add(slots, None, {Word.PAUSED_NS: paused_ns, Word.N_FRAMES_PAUSED: n_frames})

    def add_wanted(self, slots: SlotView, slot: int | None, n_frames: int) -> tuple[int | None, Words]:
        """Count fewer frames as not wanted before the cube in `slot`, or the next one. Returns words to be set."""
        if slot is not None:
            return slot, ((Word.N_NOT_WANTED, slots.word(slot, Word.N_NOT_WANTED) - n_frames),)
        self._kept[Word.N_NOT_WANTED] -= n_frames
        return None, ()

    def _add(self, slots: SlotView, position_ns: int | None, counts: dict[Word, int]) -> tuple[int | None, Words]:
        """Add to the counts of the cube with the mark at `position_ns`, or of the one that is filled."""
        for slot in slots.slots_in(SlotState.FILLING, SlotState.FULL, SlotState.SAVING, SlotState.HELD):
            begin, end = slots.word(slot, Word.MARKS_FROM_NS), slots.word(slot, Word.MARKS_UNTIL_NS)
            is_filled = slots.state(slot) is SlotState.FILLING
            if is_filled if position_ns is None else begin < position_ns and (is_filled or position_ns <= end):
                return slot, [(word, slots.word(slot, word) + n) for word, n in counts.items()]
        if position_ns is None or position_ns > self._until_ns:
            self._kept |= {word: n + self._kept[word] for word, n in counts.items()}
        return None, ()


def end_of_lines_ns(slots: SlotView, slot: int) -> int:
    """Time of the last line of the cube in `slot`, by the monotonic clock; 0 without lines."""
    n_put = slots.word(slot, Word.N_PUT)
    if not n_put:
        return 0
    anchor = slots.times(slot).anchor
    last_ns: int = slots.column_of_line(slot, (n_put - 1) % slots.layout.n_lines, "time_ns")
    return last_ns - anchor.wall_ns + anchor.monotonic_ns
