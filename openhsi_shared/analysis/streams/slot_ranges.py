"""Follows the slots of a running recording: which lines are new, which were skipped, which slots are done with.

Only control words, frame ids and times are read. The last line may be visible before its bytes on processors that
reorder stores (ARM): a range travels through a pipe to the process that reads, which takes longer and is a barrier.
"""

import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.analysis.streams.source import Range, Ranges
from openhsi_shared.buffers.slot_memory import SlotState, Word
from openhsi_shared.buffers.slot_view import SlotView
from openhsi_shared.control.analysis_status import Mode
from openhsi_shared.control.messages import About
from openhsi_shared.dataset import cube_stem, day_folder
from openhsi_shared.frames.losses import MAX_RANGES, IdRange, merged, ranges_in_words

__all__ = ["LinesInSlot", "SkippedLines", "SlotRanges"]

BACKLOG_NS = 200_000_000
"""A tap that is further behind the newest line skips to it."""
ALIVE_INTERVAL_S = 2.0


class LinesInSlot(NamedTuple):
    """Where the lines of a range are."""

    slot: int
    cube: int
    first: int
    """Number of lines in the cube before it; beyond `n_lines` if the cube wraps around."""
    frame_ids: NDArray[np.int64]
    utc_offset_ns: int
    """Of the times of the cube, over the monotonic clock."""


class SkippedLines:
    """Lines that no worker was given, or that were overwritten before they were read."""

    def __init__(self) -> None:
        self.n = 0
        """Exact."""
        self._ranges: list[IdRange] = []

    @property
    def ids(self) -> tuple[IdRange, ...]:
        """Their frame ids, at most MAX_RANGES ranges."""
        return merged(self._ranges)

    def __str__(self) -> str:
        ids = self.ids
        more = f" and {len(ids) - 5} more gaps" if len(ids) > 5 else ""
        return f"{self.n} lines were skipped: frames {ranges_in_words(ids[:5])}{more}"

    def add(self, frame_ids: NDArray[np.int64]) -> None:
        """Count these, in rising order."""
        self.n += len(frame_ids)
        for ids in np.split(frame_ids, np.flatnonzero(np.diff(frame_ids) != 1) + 1):
            if len(ids):
                self._add(IdRange(int(ids[0]), int(ids[-1])))

    def add_unseen(self, n: int, ids: IdRange) -> None:
        """Count `n` lines that are among these ids."""
        self.n += n
        if n:
            self._add(ids)

    def _add(self, ids: IdRange) -> None:
        if self._ranges and self._ranges[-1].last + 1 == ids.first:
            self._ranges[-1] = IdRange(self._ranges[-1].first, ids.last)
        elif len(self._ranges) < MAX_RANGES:
            self._ranges.append(ids)


@dataclass
class _Lines:
    """Lines of one cube that are waiting."""

    slot: int
    cube: int
    first: int
    number: int
    """Of the event of its first line."""
    frame_ids: NDArray[np.int64]
    times_ns: NDArray[np.int64]
    utc_offset_ns: int
    """As in `LinesInSlot`."""

    def __len__(self) -> int:
        return len(self.frame_ids)

    def take(self, n: int) -> "_Lines":
        """Remove the first `n` lines, and return them."""
        taken = replace(self, frame_ids=self.frame_ids[:n], times_ns=self.times_ns[:n])
        self.first, self.number = self.first + n, self.number + n
        self.frame_ids, self.times_ns = self.frame_ids[n:], self.times_ns[n:]
        return taken


class SlotRanges(Ranges):
    """Ranges of the lines of a recording. After `end` it gives those that are left, and the end of the stream."""

    def __init__(
        self, slots: SlotView, release: Callable[[], None], about: About, mode: Mode, attached_to: Path | None
    ) -> None:
        """Follow `slots`, which `release` releases; `attached_to`: control socket of the recording of a tap."""
        self._slots, self._release, self._about, self._mode = slots, release, about, mode
        self._attached_to = attached_to
        self._n_lines = self._slots.layout.n_lines
        self.skipped = SkippedLines()
        """Lines that were not given, or that `note_overwritten` reports."""
        self.released: list[tuple[int, int]] = []
        """Slots, with the numbers of their cubes, of which no line is needed any more. The caller removes them."""
        self.first_file = ""
        """Path of the file of the first cube of which lines are given; empty before, or if nothing is saved."""
        self._waiting: deque[_Lines] = deque()
        self._n_left: dict[tuple[int, int], int] = {}
        """Lines that are waiting or given, by slot and cube."""
        self._cube, self._n_seen, self._n_before = 1, 0, 0
        """The cube that is followed, its lines so far, and lines of all cubes before it."""
        self._last_id, self._last_ns = -1, 0
        self._has_header = self._has_ended = False
        self._alive_at = time.monotonic()
        if attached_to is not None:
            self._start_at_newest()

    def _start_at_newest(self) -> None:
        slots = self._slots
        cube, n = max((slots.word(slot, Word.CUBE), slots.word(slot, Word.N_PUT)) for slot in self._all_slots)
        self._cube, self._n_seen = max(1, cube), n if cube else 0
        self._n_before = (self._cube - 1) * self._n_lines

    @property
    def n_waiting(self) -> int:
        """Lines that are seen and not yet given."""
        return sum(len(lines) for lines in self._waiting)

    def end(self) -> None:
        """No line comes any more: the recording has ended."""
        self._has_ended = True

    def look(self) -> None:
        """Note all lines that are new, while no range is wanted: of cubes that are gone less would be known."""
        if not self.is_ended:
            self._follow()

    def next(self, at_most: int) -> Range | None:
        """The next range, within one cube; never blocks."""
        if self.is_ended:
            return None
        if not self._has_ended and self._attached_to is not None and self._is_over(self._attached_to):
            self._has_ended = True
        has_ended = self._has_ended  # before the words are read
        self._follow()
        if not self._has_header:
            return self._header() if self._waiting or has_ended else None
        self._skip(at_most)
        if self._waiting:
            return self._given(at_most)
        if has_ended:
            self.is_ended = True
            number = self._n_before + self._n_seen + 1
            return Range(numbers=np.array([number]), times_ns=np.array([self._last_ns]))
        return None

    def _header(self) -> Range:
        self._has_header = True
        first_ns = self._began_ns(self._waiting[0]) if self._waiting else 0
        self.first_file = self.file_of(first_ns) if self._waiting else ""
        return Range(
            numbers=np.zeros(1, np.int64), times_ns=np.array([first_ns]), is_for_all=True, where=self.first_file
        )

    def _began_ns(self, lines: _Lines) -> int:
        """Time of the first line of the cube of these, after which its file is named; theirs if that is overwritten."""
        first_ns = int(self._slots.column_of_lines(lines.slot, 0, 1, "time_ns")[0])
        is_there = self._slots.has_line(lines.slot, lines.cube, 0)  # after the copy
        return first_ns if is_there else int(lines.times_ns[0])

    def _given(self, at_most: int) -> Range:
        lines = self._waiting[0].take(at_most)
        if not len(self._waiting[0]):
            self._waiting.popleft()
        numbers = np.arange(lines.number, lines.number + len(lines))
        where = LinesInSlot(lines.slot, lines.cube, lines.first, lines.frame_ids, lines.utc_offset_ns)
        return Range(numbers=numbers, times_ns=lines.times_ns, where=where)

    def file_of(self, first_ns: int) -> str:
        """Path of the file of a cube whose first line has this time; empty if nothing is saved."""
        about = self._about
        stem = cube_stem(first_ns, about.prefix, about.suffix)
        return str(Path(about.save_dir, day_folder(first_ns), f"{stem}.nc")) if about.save_dir else ""

    def release(self, part: Range) -> None:
        """All events of a range are processed, or given up."""
        if isinstance(part.where, LinesInSlot):
            self._count_off(part.where.slot, part.where.cube, len(part))

    def note_overwritten(self, frame_ids: Iterable[int]) -> None:
        """Count lines that were given, and overwritten before they were read."""
        self.skipped.add(np.array(sorted(frame_ids), np.int64))

    def close(self) -> None:
        """Release the memory. Idempotent."""
        self._release()

    # ---- what the slots hold ----

    @property
    def _all_slots(self) -> range:
        return range(self._slots.layout.n_slots)

    def _follow(self) -> None:
        """Note all lines that are new."""
        slots = self._slots
        while True:
            # before the cube is looked for: it was begun before these, and is gone if it is not found now
            later = [cube for slot in self._all_slots if (cube := slots.word(slot, Word.CUBE)) > self._cube]
            slot = next((slot for slot in self._all_slots if slots.word(slot, Word.CUBE) == self._cube), None)
            if slot is None:
                if not later or not self._pass_over(min(later)):
                    return
                continue
            is_closed = self._is_closed_in(slot, self._cube)
            n = slots.word(slot, Word.N_PUT)  # afterwards: no line is added to a cube that is closed
            if n < self._n_seen:
                return  # `begin` is using the slot again: it is found to be gone when that is done
            if n > self._n_seen:
                self._note(slot, n)
            if not is_closed:
                return
            if slots.has_cube(slot, self._cube):
                self._n_before, self._n_seen, self._cube = self._n_before + n, 0, self._cube + 1
                self._n_left.setdefault((slot, self._cube - 1), 0)
                self._release_if_done(slot, self._cube - 1)

    def _is_closed_in(self, slot: int, cube: int) -> bool:
        """Whether no line is added to the cube that this slot holds.

        A slot is free before all words of its cube are set, and free again when the cube is over. What distinguishes
        the two is read before the state: read after it, it may belong to a cube that was begun meanwhile.
        """
        slots = self._slots
        is_begun = slots.word(slot, Word.N_PUT) > 0
        is_closed = any(slots.word(other, Word.CUBE) > cube for other in self._all_slots)
        state = slots.state(slot)
        return state is not SlotState.FILLING and (is_closed or is_begun or state is not SlotState.FREE)

    def _is_begun_in(self, slot: int, cube: int) -> bool:
        """Whether all words of the cube are set."""
        return self._slots.state(slot) is SlotState.FILLING or self._is_closed_in(slot, cube)

    def _note(self, slot: int, n: int) -> None:
        """Let the lines of the cube up to `n` wait; those that are overwritten are skipped."""
        slots = self._slots
        first = max(self._n_seen, slots.n_overwritten(slot))
        ids = slots.column_of_lines(slot, first, n, "frame_id")
        times = slots.column_of_lines(slot, first, n, "time_ns")
        anchor = slots.times(slot).anchor
        if not len(ids) or not slots.has_line(slot, self._cube, first):
            return  # overwritten meanwhile: seen at the next look
        if first > self._n_seen:
            self.skipped.add_unseen(first - self._n_seen, IdRange(self._last_id + 1, int(ids[0]) - 1))
        last = self._waiting[-1] if self._waiting else None
        if last is not None and (last.cube, last.first + len(last)) == (self._cube, first):
            last.frame_ids = np.concatenate([last.frame_ids, ids])
            last.times_ns = np.concatenate([last.times_ns, times])
        else:
            number, utc_offset_ns = self._n_before + first + 1, anchor.wall_ns - anchor.monotonic_ns
            self._waiting.append(_Lines(slot, self._cube, first, number, ids, times, utc_offset_ns))
        self._n_left[slot, self._cube] = self._n_left.get((slot, self._cube), 0) + len(ids)
        self._n_seen, self._last_id, self._last_ns = n, int(ids[-1]), int(times[-1])

    def _pass_over(self, cube: int) -> bool:
        """Go on at a later cube: the slot of the one that was followed was used again. False if that is gone, too.

        How many lines were not seen is exact if no frame was lost among them.
        """
        slots = self._slots
        slot = next((slot for slot in self._all_slots if slots.word(slot, Word.CUBE) == cube), None)
        if slot is None or not self._is_begun_in(slot, cube):
            return False
        expected = slots.word(slot, Word.EXPECTED_ID)
        if not slots.has_cube(slot, cube):
            return False
        ids = IdRange(self._last_id + 1, expected - 1)
        n = max(0, min(len(ids), (cube - self._cube) * self._n_lines - self._n_seen))
        self.skipped.add_unseen(n, ids)
        self._n_before, self._n_seen, self._cube = self._n_before + self._n_seen + n, 0, cube
        for key in [key for key in self._n_left if key[1] < cube]:
            self._release_if_done(*key)
        return True

    # ---- lines that are not given ----

    def _skip(self, at_most: int) -> None:
        """Skip lines that are overwritten, unless slots are lent, and in a tap those that are old."""
        if self._mode == "lossless":
            return
        while self._waiting and not self._slots.has_line(
            self._waiting[0].slot, self._waiting[0].cube, self._waiting[0].first
        ):
            self._skip_first(self._n_overwritten(self._waiting[0]))
        if self._mode == "tap" and self._waiting:
            n_old = self.n_waiting - at_most
            if self._last_ns - int(self._waiting[0].times_ns[0]) > BACKLOG_NS:
                while n_old > 0:
                    n_old -= self._skip_first(n_old)

    def _n_overwritten(self, lines: _Lines) -> int:
        """How many of these are not in memory any more."""
        if not self._slots.has_cube(lines.slot, lines.cube):
            return len(lines)
        return max(1, min(len(lines), self._slots.n_overwritten(lines.slot) - lines.first))

    def _skip_first(self, n: int) -> int:
        """Skip at most `n` lines of the first cube that waits; returns how many."""
        lines = self._waiting[0].take(n)
        if not len(self._waiting[0]):
            self._waiting.popleft()
        self.skipped.add(lines.frame_ids)
        self._count_off(lines.slot, lines.cube, len(lines))
        return len(lines)

    def _count_off(self, slot: int, cube: int, n: int) -> None:
        self._n_left[slot, cube] -= n
        self._release_if_done(slot, cube)

    def _release_if_done(self, slot: int, cube: int) -> None:
        """Report a slot whose cube is closed, and of which no line is waiting or given."""
        if cube < self._cube and self._n_left.get((slot, cube)) == 0:
            del self._n_left[slot, cube]
            self.released.append((slot, cube))

    def _is_over(self, path: Path) -> bool:
        """Whether no process answers at a control socket any more: its owner removes it, unless it was killed."""
        if not path.exists():
            return True
        if time.monotonic() - self._alive_at < ALIVE_INTERVAL_S:
            return False
        self._alive_at = time.monotonic()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.setblocking(False)
            try:
                connection.connect(str(path))
            except (ConnectionRefusedError, FileNotFoundError):
                return True
            except OSError:  # it is busy
                return False
        return False
