"""Slot filler: puts lines into slots, applies `when_full` if none is free, and counts lost lines.

The hot path is `next_line`, fill it, `commit`: it allocates nothing, logs nothing, and waits only if `when_full` is
"block".
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.slot_memory import SlotState, Word, check_label
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.buffers.times import EARLIEST_NS
from openhsi_shared.capture.cube_clock import CubeClock
from openhsi_shared.capture.line_turn import LineTurn
from openhsi_shared.errors import ClosedError, NoFreeSlot, OpenHSIError
from openhsi_shared.frames.losses import FrameLedger, IdRange, ranges_in_words
from openhsi_shared.loggers import safe_logger
from openhsi_shared.printable import printable
from openhsi_shared.save_options import WhenFull

__all__ = ["SlotFiller", "Supervisor"]

logger = safe_logger(__name__)


class Supervisor(Protocol):
    """Frees the slots; the supervisor of the writer."""

    changed: Any
    """A Condition, notified whenever a slot becomes free or is held."""

    def held(self) -> list[Any]:
        """Handles of the cubes that failed and are still in memory."""

    def n_pending(self) -> int:
        """Number of cubes that are being saved."""

    def raise_failure(self) -> None:
        """Raise the error because of which no slot will be freed any more, if there is one."""


class SlotFiller:
    """Puts lines into the slots of a camera."""

    def __init__(
        self, slots: SlotOwner, supervisor: Supervisor, when_full: WhenFull = "block", clock: CubeClock | None = None
    ) -> None:
        self.slots = slots
        self.turn = LineTurn()
        """Of the threads that use it: only the one that has the turn may call what changes lines or slots."""
        self.ledger = FrameLedger()
        self.clock = clock or CubeClock()
        self.when_full: WhenFull = when_full
        self.make_room: Callable[[], bool] | None = None
        """While it is not known whether lines are wanted: called when a slot is needed, true if one is free now."""
        self.slot: int | None = None
        """The slot being filled, or None while none is free."""
        self.n_overwritten = 0
        self.lost_to: Counter[str] = Counter()
        """Lines dropped while readers held slots whose use had ended, which would have been free, for each reader."""
        self.times_are_recorded = False
        """Line times are read from a file, whose clock may have been set back: they are not made monotonic."""
        self._label = b""
        self._supervisor = supervisor
        self._last_ns = EARLIEST_NS
        self._is_first_line = True
        """The next line is the first of a cube, or of another turn of one that wraps around."""
        self._warn_at = self._warnings()
        self._rate_from = (time.monotonic_ns(), 0)
        self._rate = 0.0
        self._lost_at_swap = 0
        self._lost_reported = 0
        self._n_lost_known = 0
        """Lost lines with a known cause; any further ones were skipped by the camera."""
        self._n_lost_logged = 0
        self._n_marks_logged = 0
        self._logged_loss_at: dict[str, float] = {}

    @property
    def label(self) -> bytes:
        """Label of a cube, used if this process dies before `save` sets it.

        ArgumentError if it is too large for a slot: here, not at the next swap, which would be left incomplete.
        """
        return self._label

    @label.setter
    def label(self, label: bytes) -> None:
        check_label(label)
        self._label = label

    # ---- the hot path ----

    def next_line(self) -> NDArray[Any] | None:
        """Return the line to fill next, or None if no slot is free and the frame must be counted as lost.

        With `when_full="block"` it blocks until a slot is free. Raises NoFreeSlot with "stop", and the error of a
        failed save if no slot can become free.
        """
        slot = self.slot
        if slot is None:
            slot = self._take_slot()
            if slot is None:
                return None
        return self.slots.line_to_fill(slot)

    def commit(self, frame_id: int, monotonic_ns: int, camera_ns: int | None, temperature: float) -> bool:
        """Commit the filled line. False if the frame is a duplicate: then nothing changes."""
        ledger = self.ledger
        if not ledger.offer(frame_id):
            return False
        slot = self.slot
        if slot is None or self.turn.is_void:
            self._refuse_commit()
        if ledger.n_committed == 0:
            self.slots.expect(slot, ledger.expected)  # the first id of a camera is known with its first frame
        if self._is_first_line:
            self._start_times(slot)
        time_ns = self.clock.wall_ns(monotonic_ns)
        if not self.times_are_recorded:
            self._last_ns = time_ns = max(time_ns, self._last_ns)
        gap = ledger.lost_if_committed()
        if gap:
            self._note_committed(slot)
            gap = ledger.lost_if_committed()
        n_lost = ledger.n_lost_before_last + gap - self._lost_at_swap
        self.slots.commit(slot, time_ns, frame_id, -1 if camera_ns is None else camera_ns, temperature, n_lost)
        ledger.commit()
        if gap:
            self._note_gap(frame_id)
        n_put = self.slots.word(slot, Word.N_PUT)
        if n_put in self._warn_at:
            self._warn_before_loss(n_put)
        elif n_put >= self.slots.layout.n_lines:
            self.n_overwritten += n_put > self.slots.layout.n_lines
            self._is_first_line = n_put % self.slots.layout.n_lines == 0
        return True

    def _refuse_commit(self) -> NoReturn:
        self.turn.check_open()
        if self.turn.is_void:  # its memory may belong to a cube that is saved or gone
            raise ClosedError("close() was called within this line, and has failed: its frame is lost")
        raise OpenHSIError("commit without next_line")

    def _start_times(self, slot: int) -> None:
        """Let the times of a cube follow the wall clock; lines that are overwritten in this turn move with it."""
        self._is_first_line = False
        if self.times_are_recorded:
            self.slots.set_times(slot, self.clock.times)
        elif self.slots.word(slot, Word.N_PUT) == 0:
            if self.clock.start_cube() is not None:
                self._last_ns = EARLIEST_NS
            self.slots.set_times(slot, self.clock.times)
        elif (step := self.clock.start_turn()) is not None:
            set_ns = step.total_ns - step.suspended_ns  # what was recorded before a suspend stays before it
            self._last_ns += set_ns
            self.slots.set_times(slot, self.clock.times, move_ns=set_ns)

    def lose(self, frame_id: int) -> None:
        """Count a frame that arrived and cannot be stored."""
        self.ledger.offer(frame_id)
        self.lost_to.update(self.slots.held_up_by())
        self._log_loss("dropped", self._why_full)

    def skip(self, frame_id: int) -> None:
        """Note a frame that was consumed without being saved.

        Between cubes it is not lost. Within a cube, or after lost frames, the file must report it as lost.
        """
        if self.n_lines() or not self.ledger.skip(frame_id):
            self.ledger.offer(frame_id)
            self._log_loss(
                "consumed",
                lambda: f"frame {frame_id} was consumed without being saved, within a cube or after lost frames",
            )
        elif self.slot is not None:
            self.slots.expect(self.slot, self.ledger.expected)

    def pass_over(self, frame_id: int) -> None:
        """Note a frame that is not wanted, between two cubes: neither it nor any before it since the last line is lost.

        Frames that were lost before such frames are declared by the next file.
        """
        self._settle(self.ledger.pass_over(frame_id))

    def settle_losses(self) -> None:
        """Let the next file declare frames that were lost since the last line, whatever comes. Between two cubes."""
        self._settle(self.ledger.settle())

    def _settle(self, lost: IdRange | None) -> None:
        if lost is not None:
            self._lost_at_swap += len(lost)
            self.slots.note_lost(lost)
        if self.slot is not None:
            self.slots.expect(self.slot, self.ledger.expected)

    def want_no_more(self, ids: IdRange, n_lost: int) -> None:
        """Let `n_lost` frames among `ids`, all before the cube being filled, no longer count as lost."""
        self.ledger.want_no_more(ids, n_lost)
        self._lost_at_swap -= n_lost
        self._lost_reported -= min(n_lost, self._lost_reported)
        self._n_lost_known -= n_lost
        self._n_lost_logged -= min(n_lost, self._n_lost_logged)

    def _note_committed(self, slot: int) -> None:
        """Note the slot's last line in the ledger, unless it was: a signal handler may raise right after the commit."""
        n_put = self.slots.word(slot, Word.N_PUT)
        if n_put:
            last = self.slots.column_of_line(slot, (n_put - 1) % self.slots.layout.n_lines, "frame_id")
            if last >= self.ledger.expected:
                self.ledger.commit(last)

    # ---- swapping ----

    def n_lines(self) -> int:
        """Lines in the cube being filled."""
        return 0 if self.slot is None else self.slots.extent(self.slot)[1]

    def swap(self) -> tuple[int | None, int, int]:
        """Close the cube being filled. Returns (slot to save or None, its lines, lines lost since the last swap).

        Never blocks: only `next_line` needs a free slot. A slot without lines stays the one being filled.
        """
        slot, n = self.slot, self.n_lines()
        if slot is None or n == 0:  # the next file will declare them lost; here they are reported, once
            lost = self.ledger.n_lost - max(self._lost_at_swap, self._lost_reported)
            self._lost_reported = self.ledger.n_lost
            return None, 0, lost
        self._note_committed(slot)
        within = self.slots.word(slot, Word.N_LOST)
        lost = self._lost_at_swap + within - max(self._lost_at_swap, self._lost_reported)
        self._lost_at_swap += within
        # one more than was counted by commits, if a line was begun over the oldest one and never committed
        n_counted = max(0, self.slots.word(slot, Word.N_PUT) - self.slots.layout.n_lines)
        self.n_overwritten += self.slots.n_overwritten(slot) - n_counted
        self.slots.close(slot)
        self._end_times()
        self.slot = self._begin()
        return slot, n, lost

    def _begin(self) -> int | None:
        slot = self.slots.begin(self.ledger.expected, self.label)
        if slot is None and self.make_room is not None and self.make_room():
            slot = self.slots.begin(self.ledger.expected, self.label)
        return slot

    def _end_times(self) -> None:
        self._is_first_line = True
        if not self.times_are_recorded:
            self.clock.end_cube(self._last_ns)

    def nothing_lost_since_swap(self) -> bool:
        """Whether there are no lost lines to report with a cube without lines."""
        return self.ledger.n_lost == max(self._lost_at_swap, self._lost_reported)

    def _take_slot(self) -> int | None:
        begun = self.slots.slots_in(SlotState.FILLING)  # by a call of this that a signal handler ended
        self.slot = begun[0] if begun else self._begin()
        if self.slot is None and self.when_full == "stop":
            raise NoFreeSlot(
                f"{self._why_full()}; when_full='stop' ends here: use more slots, larger cubes or a faster disk"
            )
        if self.slot is None and self.when_full == "block":
            with self._supervisor.changed:
                while self.slot is None:
                    self.turn.check_open()
                    self._raise_if_stalled()
                    self._supervisor.changed.wait(0.5)
                    self.slot = self._begin()
        return self.slot

    def _raise_if_stalled(self) -> None:
        """Raise the error of a failed save if no slot can become free."""
        self._supervisor.raise_failure()
        held = self._supervisor.held()
        if held and not self._supervisor.n_pending() and not self.slots.slots_in(SlotState.FREE):
            held[0].result(0)  # raises the failure

    # ---- logs and status ----

    def _note_gap(self, frame_id: int) -> None:
        """Log frames that the camera skipped before `frame_id`; frames dropped here were logged before."""
        if self.ledger.n_lost > self._n_lost_known:
            self._log_loss("skipped", lambda: f"the camera skipped frames before frame {frame_id}")

    def _log_loss(self, cause: str, why: Callable[[], str]) -> None:
        """Log lost lines: at the first loss of each cause, then at most once a second."""
        self._n_lost_known = self.ledger.n_lost
        if self.make_room is not None:  # it may not be wanted
            return
        now = time.monotonic()
        if now - self._logged_loss_at.get(cause, float("-inf")) > 1.0:
            self._logged_loss_at[cause], self._n_lost_logged = now, self._n_lost_known
            logger.warning("%d lines lost so far: %s", self._n_lost_known, why())

    def log_rest(self) -> None:
        """Log at the end losses held back by rate limiting, and marks that no file will have. Idempotent."""
        marks = self.slots.marks_behind_lines()
        if len(marks) > self._n_marks_logged:
            self._n_marks_logged = len(marks)
            texts = ", ".join(printable(mark.text) for mark in marks[:5]) + (", ..." if len(marks) > 5 else "")
            logger.warning("no line followed, so no cube has these marks (%d): %s", len(marks), texts)
        n_lost = self.ledger.n_lost
        if n_lost > self._n_lost_logged:
            self._n_lost_logged = n_lost
            gaps = self.ledger.lost_ids()
            more = f" and {len(gaps) - 5} more gaps" if len(gaps) > 5 else ""
            logger.warning("%d lines were lost in all: frames %s%s", n_lost, ranges_in_words(gaps[:5]), more)

    def _why_full(self) -> str:
        states = [self.slots.state(slot).name for slot in range(self.slots.layout.n_slots)]
        if "FREE" in states or self.slot is not None:
            return "the camera skipped frames"
        readers = self.slots.held_up_by()
        return f"no slot is free ({', '.join(states)}){(readers and f', slots are held by {_and(readers)}') or ''}"

    def _warnings(self) -> set[int]:
        n = self.slots.layout.n_lines
        return {max(1, n // 2), max(1, n * 4 // 5)} if n >= 8 else set()

    def _warn_before_loss(self, n_put: int) -> None:
        if self.when_full != "block" and not self.slots.slots_in(SlotState.FREE, SlotState.FULL):
            logger.warning(
                "the cube being filled is %d %% full and no other slot is free: "
                "lines will be lost if %s does not catch up",
                100 * n_put // self.slots.layout.n_lines,
                _and(self.slots.held_up_by()) or "the disk",
            )

    def rate(self) -> float:
        """Lines per second, measured over half a second or more."""
        now, n = time.monotonic_ns(), self.ledger.n_committed
        then, n_then = self._rate_from
        if now - then > 500_000_000:
            self._rate = 1e9 * (n - n_then) / (now - then)
            self._rate_from = (now, n)
        elif n_then == 0 and now > then:  # in the first half second
            return 1e9 * n / (now - then)
        return self._rate

    def peek_free(self) -> int | None:
        """The slot that the next line will go into, if one is free."""
        free = self.slots.slots_in(SlotState.FREE)
        return free[0] if free else None

    def lines(self) -> NDArray[Any]:
        """Copy of the lines of the cube being filled, (along-track, cross-track, wavelength), in time order."""
        slot = 0 if self.slot is None else self.slot
        first, n = self.slots.extent(slot) if self.slot is not None else (0, 0)
        lines = self.slots.lines(slot)
        return np.concatenate([lines[first : first + n], lines[: max(0, first + n - len(lines))]])

    def column(self, name: str) -> NDArray[Any]:
        """A column of the cube being filled, in time order."""
        if self.slot is None:
            return np.zeros(0, self.slots.column(0, name).dtype)
        return self.slots.column(self.slot, name)


def _and(readers: list[str]) -> str:
    return " and ".join(readers)
