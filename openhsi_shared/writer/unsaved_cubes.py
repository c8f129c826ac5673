"""The table of cubes that were handed to the writer: being saved, waiting for their picture, or held in memory."""

from collections.abc import Callable
from pathlib import Path

from openhsi_shared.buffers.slot_memory import SlotState
from openhsi_shared.buffers.slot_owner import Lease, SlotOwner
from openhsi_shared.errors import ArgumentError, OpenHSIError
from openhsi_shared.processes.logs import safe_logger
from openhsi_shared.writer.handle import SaveHandle
from openhsi_shared.writer.messages import Saved
from openhsi_shared.writer.pending import Pending, Tally

__all__ = ["UnsavedCubes"]

logger = safe_logger(__name__)


class UnsavedCubes:
    """Moves cubes, their slots and their handles from state to state. Its user holds a lock meanwhile.

    A cube leaves a table behind everything else that is done to it: what fails in between finds it there.
    """

    def __init__(self, slots: SlotOwner) -> None:
        self.saving: dict[int, Pending] = {}
        self.drawing: dict[int, Pending] = {}
        """Their slots are free, or nearly so: only the picture is missing."""
        self.held: dict[int, Pending] = {}
        self.tally = Tally()
        self._unasked: list[SaveHandle] = []
        self._slots = slots

    def __len__(self) -> int:
        """How many are not settled."""
        return len(self.saving) + len(self.drawing)

    def held_by(self, handle: SaveHandle) -> Pending:
        """The cube of a handle that has failed; ArgumentError if it is no longer in memory."""
        for pending in self.held.values():
            if pending.handle is handle:
                return pending
        raise ArgumentError(f"{handle.name} is no longer in memory")

    def failures(self) -> list[OpenHSIError]:
        """Failures that no caller has asked for with `result`; each is returned once."""
        failures = [handle.failure for handle in self._unasked]
        self._unasked.clear()
        return [failure for failure in failures if failure is not None]

    # ---- what happens to a cube ----

    def add(self, pending: Pending) -> None:
        """It is about to be sent, for the first time or after a failure."""
        self.saving[pending.cube] = pending
        self.held.pop(pending.cube, None)
        self._slots.save(pending.slot)

    def lend(self, pending: Pending, reader: str) -> None:
        """A writer is told to save it."""
        pending.lease = self._slots.lend(pending.slot, reader)

    def is_lent_by(self, lease: Lease) -> bool:
        """Whether the writer at work saves a cube by this lease."""
        return any(pending.lease is lease for pending in list(self.saving.values()))

    def saved(self, answer: Saved) -> None:
        """Its file is there."""
        pending = self.saving[answer.cube]
        pending.path = answer.path
        self.tally.n_saved += 1
        self.tally.rates.append(answer.n_bytes / max(answer.seconds, 1e-9) / 1e6)
        self._free(pending)
        if answer.picture_follows:
            self.drawing[answer.cube] = pending
        else:
            pending.handle.settle(answer.path)
        del self.saving[answer.cube]

    def pictured(self, cube: int, path: Path | None, trouble: str) -> None:
        """Its picture is there, or cannot be made."""
        pending = self.drawing[cube]
        if trouble:
            logger.warning("%s is saved, but its preview is not: %s", pending.handle.name, trouble)
        pending.handle.settle(pending.path, path)
        del self.drawing[cube]

    def failed(self, cube: int, error: OpenHSIError) -> None:
        """It could not be saved, and is held."""
        self.held[cube] = pending = self.saving[cube]
        self._end_lease(pending)
        self._slots.hold(pending.slot)
        logger.error("%s", error)
        self._unasked.append(pending.handle)
        pending.handle.settle(error=error)
        del self.saving[cube]

    def discard(self, pending: Pending) -> int:
        """Free the slot of a cube that is held. Returns the lines lost with it: none of one that was dumped."""
        handle = pending.handle
        n_lost = 0 if pending.is_safe else handle.n_lines
        if n_lost:
            self.tally.discard(n_lost, self._slots.note_discarded(pending.slot))
        handle.mark_discarded(n_lost)
        self._free(pending)
        del self.held[pending.cube]
        return n_lost

    def end_leases(self, reader: str) -> None:
        """A writer has exited."""
        self._slots.give_back_all(reader)
        self.leave_leases(reader)

    def leave_leases(self, reader: str) -> None:
        """A writer hangs, and may still read: its leases stay, but another writer gets its cubes."""
        for pending in self.saving.values():
            if pending.lease is not None and pending.lease.reader == reader:
                pending.lease = None

    def _free(self, pending: Pending) -> None:
        self._end_lease(pending)
        self._slots.free(pending.slot)

    def _end_lease(self, pending: Pending) -> None:
        if pending.lease is not None:
            self._slots.give_back(pending.lease)
            pending.lease = None

    def fail_all(self, error_of: Callable[[str], OpenHSIError]) -> None:
        """Settle every handle: no answer comes any more. The writer's leases stay: it may still read.

        `error_of(name)` makes the error of one that is not known to be saved.
        """
        unsettled = [p for p in {**self.held, **self.saving, **self.drawing}.values() if p.handle.is_alive()]
        lost = [pending for pending in unsettled if pending.path is None]
        self.held |= {pending.cube: pending for pending in lost}
        self.saving, self.drawing = {}, {}
        for pending in unsettled:
            if pending.path is None:
                self._unasked.append(pending.handle)
                pending.handle.settle(error=error_of(pending.handle.name))
            else:
                pending.handle.settle(pending.path)
        for pending in lost:  # last: what failed may have been this
            if self._slots.state(pending.slot) is SlotState.SAVING:
                self._slots.hold(pending.slot)
