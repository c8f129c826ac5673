"""Unsaved cubes, which were handed to the writer: being saved, awaiting their preview, or held in memory."""

from collections.abc import Callable
from pathlib import Path

from openhsi_shared.buffers.lease import Lease
from openhsi_shared.buffers.slot_memory import SlotState
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.errors import ArgumentError, OpenHSIError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.writer.handle import SaveHandle
from openhsi_shared.writer.messages import Saved
from openhsi_shared.writer.pending import Pending, Tally

__all__ = ["UnsavedCubes"]

logger = safe_logger(__name__)


class UnsavedCubes:
    """Moves cubes, their slots and their handles from state to state. The caller holds a lock.

    A cube is removed from a table last: if an earlier step fails, it is still found there.
    """

    def __init__(self, slots: SlotOwner) -> None:
        self.saving: dict[int, Pending] = {}
        self.awaiting_preview: dict[int, Pending] = {}
        """Their slots are released by the writer: only the preview is missing."""
        self.held: dict[int, Pending] = {}
        self.tally = Tally()
        self._unhandled: list[SaveHandle] = []
        self._slots = slots

    def __len__(self) -> int:
        """Number of cubes that are not settled."""
        return len(self.saving) + len(self.awaiting_preview)

    def is_unsettled(self, cube: int) -> bool:
        """Whether an answer of the writer about the cube is still to come."""
        return cube in self.saving or cube in self.awaiting_preview

    def held_by(self, handle: SaveHandle) -> Pending:
        """The held cube of a failed handle; ArgumentError if it is no longer in memory."""
        for pending in self.held.values():
            if pending.handle is handle:
                return pending
        raise ArgumentError(f"{handle.name} is no longer in memory")

    def unhandled_failures(self) -> list[OpenHSIError]:
        """Failures that no caller has handled by calling `result`; each is returned once."""
        failures = [handle.unhandled_failure for handle in self._unhandled]
        self._unhandled.clear()
        return [failure for failure in failures if failure is not None]

    def awaiting_writer(self) -> list[Pending]:
        """Cubes that are held only because no writer could be started, oldest first."""
        return [pending for _, pending in sorted(self.held.items()) if pending.awaits_writer]

    def oldest_directory(self) -> str:
        """Where the oldest cube that is not settled is to be saved; empty if there is none."""
        unsettled = {**self.awaiting_preview, **self.saving}
        return unsettled[min(unsettled)].label.directory if unsettled else ""

    # ---- what happens to a cube ----

    def add(self, pending: Pending) -> None:
        """The cube is about to be sent to the writer, for the first time or after a failure."""
        self.saving[pending.cube] = pending
        self.held.pop(pending.cube, None)
        self._slots.save(pending.slot)

    def lend(self, pending: Pending, reader: str) -> None:
        """Lend the slot to the writer that is to save the cube."""
        pending.lease = self._slots.lend(pending.slot, reader)

    def is_saving_under(self, lease: Lease) -> bool:
        """Whether the active writer saves a cube under this lease."""
        return any(pending.lease is lease for pending in list(self.saving.values()))

    def saved(self, answer: Saved) -> None:
        """The file is written."""
        pending = self.saving[answer.cube]
        pending.path = answer.path
        self.tally.n_saved += 1
        self.tally.saturated = answer.saturated
        if answer.seconds:  # else it was saved before
            self.tally.rates.append(answer.n_bytes / answer.seconds / 1e6)
        self._free(pending)
        if answer.preview_follows:
            self.awaiting_preview[answer.cube] = pending
        else:
            pending.handle.settle(answer.path)
        del self.saving[answer.cube]

    def preview_done(self, cube: int, path: Path | None, error: str) -> None:
        """The preview is written, or cannot be."""
        pending = self.awaiting_preview[cube]
        if error:
            logger.warning("%s is saved, but its preview is not: %s", pending.handle.name, error)
        pending.handle.settle(pending.path, path)
        del self.awaiting_preview[cube]

    def failed(self, cube: int, error: OpenHSIError) -> None:
        """The save failed: hold the cube. If it was only looked for, its handle keeps the error that it has."""
        self.held[cube] = pending = self.saving[cube]
        self._end_lease(pending)
        self._slots.hold(pending.slot)
        if not pending.only_look:
            logger.error("%s", error)
            self._unhandled.append(pending.handle)
            pending.handle.settle(error=error)
        del self.saving[cube]

    def dumped(self, cube: int, path: Path) -> None:
        """Its raw bytes are saved, because writers died while saving it: hold it, so that `retry` can save a file."""
        pending = self.saving[cube]
        pending.is_safe = True
        details = f"; its lines are safe in {path}: `openhsi-shared recover` converts it to a file"
        self.failed(cube, pending.crash_error(details))

    def count_crash(self, code: int | None, max_crashes: int) -> None:
        """A writer died of the cube that was being saved: after `max_crashes` request a dump, then hold the cube."""
        if not self.saving:
            return
        first = self.saving[min(self.saving)]
        first.crashes += 1
        if first.as_dump:
            self.failed(first.cube, first.crash_error(f", the last with exit code {code}"))
        first.as_dump = first.crashes >= max_crashes

    def discard(self, pending: Pending) -> int:
        """Free the slot of a held cube. Returns the number of lines lost: 0 if the cube was dumped."""
        n_lost = 0 if pending.is_safe else pending.handle.n_lines
        if n_lost:
            self.tally.discard(n_lost, self._slots.note_discarded(pending.slot))
        pending.handle.mark_discarded(n_lost)
        self._free(pending)
        del self.held[pending.cube]
        return n_lost

    def end_leases(self, reader: str) -> None:
        """A writer has exited: end its leases."""
        self._slots.give_back_all(reader)
        self.detach_leases(reader)

    def detach_leases(self, reader: str) -> None:
        """A writer hangs and may still read: its leases stay, but another writer gets its cubes."""
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
        """Settle every handle: no more answers will be received. The writer's leases stay: it may still read.

        `error_of(name)` makes the error of a cube that is not known to be saved.
        """
        pending_cubes = {**self.held, **self.saving, **self.awaiting_preview}.values()
        unsettled = [p for p in pending_cubes if p.handle.is_alive() or p.only_look]
        lost = [pending for pending in unsettled if pending.path is None]
        self.held |= {pending.cube: pending for pending in lost}
        self.saving, self.awaiting_preview = {}, {}
        for pending in unsettled:
            if pending.only_look:
                continue  # its handle has failed already
            if pending.path is None:
                self._unhandled.append(pending.handle)
                pending.handle.settle(error=error_of(pending.handle.name))
            else:
                pending.handle.settle(pending.path)
        for pending in lost:  # last: this may be the step that failed
            if self._slots.state(pending.slot) is SlotState.SAVING:
                self._slots.hold(pending.slot)
