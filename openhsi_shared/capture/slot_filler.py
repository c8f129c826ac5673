"""The way of a line into a slot: what is done when none is free, and the account of what was lost.

The hot path is `next_line`, fill it, `commit`: it allocates nothing, logs nothing, and waits only where `when_full`
says so.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.slot_memory import SlotState, Word, check_label
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.buffers.times import Clock
from openhsi_shared.errors import NoFreeSlot, OpenHSIError
from openhsi_shared.frames.losses import FrameLedger, ranges_in_words
from openhsi_shared.processes.logs import safe_logger
from openhsi_shared.save_options import WhenFull

__all__ = ["Keeper", "SlotFiller"]

logger = safe_logger(__name__)


class Keeper(Protocol):
    """Who empties the slots; the supervisor of the writer."""

    changed: Any
    """A Condition, notified whenever a slot becomes free or is held."""

    def held(self) -> list[Any]:
        """Handles of the cubes that failed and are still in memory."""

    def n_pending(self) -> int:
        """How many cubes are being saved."""

    def raise_failure(self) -> None:
        """Raise why no slot will become free any more, if that is so."""


class SlotFiller:
    """Takes lines into the slots of a camera."""

    def __init__(
        self, slots: SlotOwner, keeper: Keeper, when_full: WhenFull = "block", clock: Clock | None = None
    ) -> None:
        self.slots = slots
        self.ledger = FrameLedger()
        self.clock = clock or Clock()
        self.when_full: WhenFull = when_full
        self.slot: int | None = None
        """The slot being filled, or None while none is free."""
        self.n_overwritten = 0
        self.times_are_recorded = False
        """Line times are those of a file, whose clock may have been set back: they are kept as they are."""
        self._label = b""
        self._keeper = keeper
        self._last_ns = 0
        self._warn_at = self._warnings()
        self._rate_from = (time.monotonic_ns(), 0)
        self._rate = 0.0
        self._lost_at_swap = 0
        self._lost_told = 0
        self._n_lost_known = 0
        """Lost lines of which it is known why; what comes on top of that, the camera skipped."""
        self._n_lost_logged = 0
        self._logged_loss_at: dict[str, float] = {}

    @property
    def label(self) -> bytes:
        """Where a cube is to be saved if we die before `save` has said it.

        ArgumentError if it is too large for a slot: here, not at the next swap, which would be left half done.
        """
        return self._label

    @label.setter
    def label(self, label: bytes) -> None:
        check_label(label)
        self._label = label

    # ---- the hot path ----

    def next_line(self) -> NDArray[Any] | None:
        """Return the line to fill next, or None if there is no slot and the frame must be counted as lost.

        Blocks with `when_full="block"` until a slot is free. Raises NoFreeSlot with "stop", and the error of a save
        that failed where waiting would never end.
        """
        slot = self.slot
        if slot is None:
            slot = self._take_slot()
            if slot is None:
                return None
        return self.slots.line_to_fill(slot)

    def commit(self, frame_id: int, monotonic_ns: int, camera_ns: int | None, temperature: float) -> bool:
        """Make the filled line exist. False if the frame is one that was there before: then nothing happens."""
        ledger = self.ledger
        if not ledger.offer(frame_id):
            return False
        slot = self.slot
        if slot is None:
            raise OpenHSIError("commit without next_line")
        if ledger.n_committed == 0:
            self.slots.expect(slot, ledger.expected)  # where a camera begins to count shows with its first frame
        time_ns = self.clock.wall_ns(monotonic_ns)
        if not self.times_are_recorded:
            self._last_ns = time_ns = max(time_ns, self._last_ns)
        gap = ledger.lost_if_committed()
        n_lost = ledger.n_lost_before_last + gap - self._lost_at_swap
        self.slots.commit(slot, time_ns, frame_id, -1 if camera_ns is None else camera_ns, temperature, n_lost)
        ledger.commit()
        if gap:
            self._note_gap(frame_id)
        n_put = self.slots.word(slot, Word.N_PUT)
        if n_put in self._warn_at:
            self._warn_before_loss(n_put)
        elif n_put > self.slots.layout.n_lines:
            self.n_overwritten += 1
        return True

    def lose(self, frame_id: int) -> None:
        """Count a frame that was offered and cannot be kept."""
        self.ledger.offer(frame_id)
        self._log_loss("given up", self._why_full)

    def skip(self, frame_id: int) -> None:
        """Note a frame that somebody took to look at it.

        Between cubes that is no loss. Within one, or behind lost frames, the file must say that it is missing.
        """
        if self.n_lines() or not self.ledger.skip(frame_id):
            self.ledger.offer(frame_id)
            self._log_loss(
                "looked at", lambda: f"somebody looked at frame {frame_id} within a cube, or behind lost ones"
            )
        elif self.slot is not None:
            self.slots.expect(self.slot, self.ledger.expected)

    # ---- swapping ----

    def n_lines(self) -> int:
        """Lines in the cube being filled."""
        return 0 if self.slot is None else self.slots.extent(self.slot)[1]

    def swap(self) -> tuple[int | None, int, int]:
        """Close the cube being filled. Returns (slot to save or None, its lines, lines lost since the last swap).

        Never blocks: it is the next `next_line` that needs a free slot. A slot without lines stays the one being
        filled.
        """
        slot, n = self.slot, self.n_lines()
        if slot is None or n == 0:  # the next file will say that they are lost; here they are told, once
            lost = self.ledger.n_lost - max(self._lost_at_swap, self._lost_told)
            self._lost_told = self.ledger.n_lost
            return None, 0, lost
        within = self.slots.word(slot, Word.N_LOST)
        lost = self._lost_at_swap + within - max(self._lost_at_swap, self._lost_told)
        self._lost_at_swap += within
        # one more than was counted at each commit, if a line was begun over the oldest one and never became any
        n_counted = max(0, self.slots.word(slot, Word.N_PUT) - self.slots.layout.n_lines)
        self.n_overwritten += self.slots.n_overwritten(slot) - n_counted
        self.slots.close(slot)
        self.slot = self.slots.begin(self.ledger.expected, self.label)
        return slot, n, lost

    def nothing_lost_since_swap(self) -> bool:
        """Whether a cube without lines has nothing to tell, either."""
        return self.ledger.n_lost == max(self._lost_at_swap, self._lost_told)

    def _take_slot(self) -> int | None:
        self.slot = self.slots.begin(self.ledger.expected, self.label)
        if self.slot is None and self.when_full == "stop":
            raise NoFreeSlot(
                f"{self._why_full()}; when_full='stop' ends here: use more slots, larger cubes or a faster disk"
            )
        if self.slot is None and self.when_full == "block":
            with self._keeper.changed:
                while self.slot is None:
                    self._refuse_to_wait_for_ever()
                    self._keeper.changed.wait(0.5)
                    self.slot = self.slots.begin(self.ledger.expected, self.label)
        return self.slot

    def _refuse_to_wait_for_ever(self) -> None:
        self._keeper.raise_failure()
        held = self._keeper.held()
        if held and not self._keeper.n_pending() and not self.slots.slots_in(SlotState.FREE):
            held[0].result(0)  # raises what failed

    # ---- what is told ----

    def _note_gap(self, frame_id: int) -> None:
        """Log what the camera skipped before `frame_id`; what we gave up ourselves was known before."""
        if self.ledger.n_lost > self._n_lost_known:
            self._log_loss("skipped", lambda: f"the camera skipped frames before frame {frame_id}")

    def _log_loss(self, cause: str, why: Callable[[], str]) -> None:
        """Warn of what is lost by now: at the first loss of each cause, then at most once a second."""
        self._n_lost_known = self.ledger.n_lost
        now = time.monotonic()
        if now - self._logged_loss_at.get(cause, float("-inf")) > 1.0:
            self._logged_loss_at[cause], self._n_lost_logged = now, self._n_lost_known
            logger.warning("%d lines lost so far: %s", self._n_lost_known, why())

    def log_rest_of_loss(self) -> None:
        """Warn at the end of what was lost too soon after a warning to get one of its own; twice is once."""
        n_lost = self.ledger.n_lost
        if n_lost > self._n_lost_logged:
            self._n_lost_logged = n_lost
            gaps = self.ledger.lost_ids()
            more = f" and {len(gaps) - 5} more gaps" if len(gaps) > 5 else ""
            logger.warning("%d lines were lost in all: frames %s%s", n_lost, ranges_in_words(gaps[:5]), more)

    def _why_full(self) -> str:
        states = [self.slots.state(slot).name for slot in range(self.slots.layout.n_slots)]
        return (
            f"no slot is free ({', '.join(states)})"
            if "FREE" not in states and self.slot is None
            else "the camera skipped frames"
        )

    def _warnings(self) -> set[int]:
        n = self.slots.layout.n_lines
        return {max(1, n // 2), max(1, n * 4 // 5)} if n >= 8 else set()

    def _warn_before_loss(self, n_put: int) -> None:
        if self.when_full != "block" and not self.slots.slots_in(SlotState.FREE):
            logger.warning(
                "the cube being filled is %d %% full and no other slot is free: "
                "lines will be lost if the disk does not catch up",
                100 * n_put // self.slots.layout.n_lines,
            )

    def rate(self) -> float:
        """Lines per second since this was last asked, or of the last half second."""
        now, n = time.monotonic_ns(), self.ledger.n_committed
        then, n_then = self._rate_from
        if now - then > 500_000_000:
            self._rate = 1e9 * (n - n_then) / (now - then)
            self._rate_from = (now, n)
        elif n_then == 0 and now > then:  # it has just begun
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
