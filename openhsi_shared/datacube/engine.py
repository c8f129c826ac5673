"""The engine of a datacube: its slots, filler and writer, from the first line to the last file."""

import dataclasses
import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from openhsi_shared.buffers.marks import MARKS
from openhsi_shared.buffers.slot_memory import SlotLayout, SlotMemory, SlotState, Word, check_label
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.capture.averaging.filler import AveragingFiller
from openhsi_shared.capture.cube_clock import CubeClock
from openhsi_shared.capture.slot_filler import SlotFiller
from openhsi_shared.channels.attached import CONNECT_TIMEOUT_S, AttachedChannels
from openhsi_shared.columns import COLUMNS, FRAMES_USED, Saturation
from openhsi_shared.control.status import Status
from openhsi_shared.datacube.visible_cube import CubeInMemory, CubeInSlot, LinesSoFar, SavedCube, VisibleCube
from openhsi_shared.errors import ClosedError, NothingToSave, OpenHSIError
from openhsi_shared.frames.losses import merged
from openhsi_shared.levels import LevelPlan
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.at_exit import finish_at_exit, forget
from openhsi_shared.processes.handlers import handlers_deferred
from openhsi_shared.processes.progress import progress_bar
from openhsi_shared.processes.scheduling import scheduling_of
from openhsi_shared.save_options import SaveOptions
from openhsi_shared.writer.final_rescue import Rescued
from openhsi_shared.writer.handle import SaveHandle
from openhsi_shared.writer.messages import CubeKind, Label
from openhsi_shared.writer.rescue_directory import directory_for_unsaved
from openhsi_shared.writer.supervisor import WriterSupervisor

__all__ = ["PATIENCE_S", "CubeEngine"]

logger = safe_logger(__name__)

PATIENCE_S = 6.0
"""How long closing waits for a line that another thread fills: longer than a driver waits for a frame."""


class CubeEngine:
    """Used by `SharedDataCube`. Belongs to the process that made it."""

    def __init__(
        self,
        n_lines: int,
        plan: LevelPlan,
        options: SaveOptions,
        wavelengths_nm: Any,
        camera: str,
        groups_from: str = "",
        clock: CubeClock | None = None,
        again: CubeKind | None = None,
        channels: AttachedChannels | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        replayed_from: str = "",
        is_averaged: bool = False,
        saturation: Saturation | str = "",
    ) -> None:
        """Allocate the slots. `again`: for a cube of a camera that is closed; `is_averaged`: lines are means."""
        layout = SlotLayout(
            n_slots=options.n_buffers,
            n_lines=n_lines,
            line_shape=plan.line_shape,
            dtype=plan.line_dtype.name,
            columns=(*COLUMNS, FRAMES_USED) if is_averaged else COLUMNS,
            side_buffers=(MARKS,),
        )
        self.kind = again or CubeKind(
            level=plan.level,
            wavelengths_nm=wavelengths_nm,
            run_id=str(uuid.uuid4()),
            camera=camera,
            options=options,
            groups_from=groups_from,
            replayed_from=replayed_from,
            saturation=saturation,
            channels=None if channels is None else channels.attached(),
        )
        self.channels = channels
        self._connect_timeout_s, self._awaits_channels = connect_timeout_s, channels is not None
        self.slots = SlotOwner(SlotMemory.make(layout))
        self.writer = WriterSupervisor(self.slots, self.kind)
        make_filler = AveragingFiller if is_averaged else SlotFiller
        self.filler = make_filler(self.slots, self.writer, options.when_full, clock)
        self.turn = self.filler.turn
        self.last_directory = ""
        self.is_closed = False
        self.control_socket: Path | None = None
        """Path of the control socket, once it is open."""
        self.rescued = Rescued()
        """What the final rescue did, if there was one."""
        self.at_close = ExitStack()
        """Closed before the memory is released."""
        self.kept: CubeInMemory | None = None
        """What was collected and not saved, once it is closed."""
        self.saves_later = False
        """Whether `kept` may still be saved: the end of a `with` block does not discard it."""
        self.last: SavedCube | None = None
        self.later: CubeEngine | None = None
        """The one that saved `kept` after this one was closed, and failed."""
        self._directories: set[str] = set()
        self._last_status: Status | None = None
        self._owner = os.getpid()

    # ---- while it runs ----

    def start(self) -> None:
        """Start writer and channels before the first line. Blocks for about half a second, the first time.

        ChannelError if a required channel delivers no sample.
        """
        self.check_usable()
        if self.writer.is_started and not self._awaits_channels:
            if self.writer.has_failed and self.filler.n_lines() >= self.slots.layout.n_lines:
                self.writer.raise_failure()  # else lines that cannot be saved now would be overwritten
            return
        if self.channels is not None:
            self.channels.start()  # its process starts beside the writer
        self.writer.start()
        finish_at_exit(self)
        if self.channels is not None:
            self.channels.wait_until_ready(self._connect_timeout_s)
        self._awaits_channels = False

    def check_usable(self) -> None:
        """Raise ClosedError after `close`, in other threads while it runs, and in a forked process."""
        self.turn.check_open()
        if os.getpid() != self._owner:
            raise ClosedError("this camera or cube belongs to the process that made it, and not to a forked child")

    def expect(self, label: Label) -> None:
        """Set where cubes are to be saved if this process dies before it calls `save`."""
        self.last_directory = label.directory
        is_new = label.directory not in self._directories
        self.filler.label = (dataclasses.replace(label, make_directory=True) if is_new else label).as_bytes
        if self.filler.slot is not None:
            self.slots.write_label(self.filler.slot, self.filler.label)

    def save(self, label: Label) -> SaveHandle:
        """Close the cube being filled and hand it to the writer. Never blocks, once the writer is started.

        A call within a line of the same thread takes effect at the end of that line. Raises NothingToSave if no line
        was collected or lost since the last save; WriterFailed if the listener thread of the writer has failed.
        """
        self.check_usable()
        self.start()
        check_label(label.as_bytes)
        if self.turn.is_mine():
            return self._save_after_line(label)
        return self.turn.between_lines("swap", self._hand_over, label)

    def _save_after_line(self, label: Label) -> SaveHandle:
        if self.turn.doing == "swap" or self.turn.has_deferred:
            raise NothingToSave("save: another save() of this thread is in progress, which takes all lines")
        self._require_something_to_save()
        handle = SaveHandle("cube", self.filler.n_lines(), 0, self.writer)
        self.turn.defer(partial(self._hand_over_late, label, handle))
        return handle

    def _hand_over_late(self, label: Label, handle: SaveHandle) -> None:
        try:
            self.turn.between_lines("swap", self._hand_over, label, handle)
        except OpenHSIError as error:
            logger.error(
                "%d lines were not saved behind the line in which save() was called: %s", handle.n_lines, error
            )
            handle.settle(error=error)

    def _require_something_to_save(self) -> None:
        self.writer.raise_failure()  # before anything has changed: the lines are kept
        if self.filler.n_lines() == 0 and self.filler.nothing_lost_since_swap():
            raise NothingToSave("save: nothing was collected since the last save; call collect() or put() first")

    def _hand_over(self, label: Label, handle: SaveHandle | None = None) -> SaveHandle:
        """Swap. Only in this thread's turn."""
        with handlers_deferred():  # a cube that is closed must reach the writer
            self._require_something_to_save()
            label = self._label_in_use(label)
            self.filler.label = label_bytes = label.as_bytes
            slot, n_lines, n_lost = self.filler.swap()
            handle = handle or SaveHandle("cube without lines", 0, 0, self.writer)
            handle.n_lines, handle.lines_lost = n_lines, n_lost
            if slot is None:
                handle.settle()
                logger.warning("a cube has no lines, all %d were lost: no file is written", n_lost)
                return handle
            self.last = SavedCube(self.slots, slot, label.directory, handle)
            return self.writer.save(slot, label, label_bytes, handle)

    def save_retained(self, slot: int, label: Label) -> SaveHandle:
        """Hand a cube that is closed, and was retained, to the writer. Never blocks. WriterFailed as `save`."""
        self.writer.raise_failure()
        handle = SaveHandle("cube", self.slots.extent(slot)[1], self.slots.word(slot, Word.N_LOST), self.writer)
        self.last = SavedCube(self.slots, slot, label.directory, handle)
        label = self._label_in_use(label)
        return self.writer.save(slot, label, label.as_bytes, handle)

    def _label_in_use(self, label: Label) -> Label:
        """The label, which may create the directory if that is named for the first time."""
        is_new, self.last_directory = label.directory not in self._directories, label.directory
        self._directories.add(label.directory)
        return dataclasses.replace(label, make_directory=True) if is_new else label

    def lines_so_far(self) -> LinesSoFar:
        """The lines that the cube being filled has now. ClosedError after `close`."""
        self.check_usable()
        return LinesSoFar(self.slots, self.filler.slot)

    def visible(self) -> VisibleCube | None:
        """The cube being filled, or until its first line the one before it; None before the first line.

        Also after `close`, while it can be read from its file or was kept in memory.
        """
        slot = self.filler.slot
        if self.kept is not None:
            return self.kept
        if slot is not None and not self.is_closed and self.filler.n_lines():
            return CubeInSlot(self.slots, slot)
        return self.last.visible() if self.last is not None else None

    def status(self, temperature: float, capture: str = "") -> Status:
        """Snapshot; after `close` the last one. `capture` is the scheduling of its thread. Does not block for long."""
        if self._last_status is not None:
            return self._last_status
        filler, tally = self.filler, self.writer.tally
        states = [self.slots.state(slot) for slot in range(self.slots.layout.n_slots)]
        counts = {state.name: states.count(state) for state in SlotState}
        counts["SAVING"] += counts.pop("LENT")
        writer = scheduling_of(self.writer.process_id)
        rates, gaps = list(tally.rates), filler.ledger.lost_ids()
        return Status(
            lines=filler.ledger.n_committed,
            lines_lost=filler.ledger.n_lost + tally.n_lines_discarded,
            lost_ids=merged((*gaps, *tally.discarded)) if tally.discarded else gaps,
            lines_overwritten=filler.n_overwritten,
            rate=filler.rate(),
            slots=counts,
            fill=min(1.0, filler.n_lines() / self.slots.layout.n_lines),
            cubes_saved=tally.n_saved,
            cubes_pending=self.writer.n_pending(),
            writer_mb_per_s=sum(rates) / len(rates) if rates else float("nan"),
            writer_restarts=tally.n_restarts,
            temperature=temperature,
            saturated=tally.saturated,
            errors=tuple(str(handle.error) for handle in self.writer.held()),
            channels={} if self.channels is None else self.channels.statuses(),
            readers=tuple(str(lease) for lease in self.slots.leases() if not self.writer.is_saving_under(lease)),
            scheduling=capture and f"capture {capture}" + (f", writer {writer}" if writer else ""),
        )

    # ---- shutdown ----

    def finish(self, progress: bool = True) -> None:
        """Wait until every cube is saved or has failed, with a progress bar if that takes longer than 0.5 s."""
        if not self.writer.is_started or self.writer.wait_until_settled(0.5):
            return
        pending = self.writer.n_pending()
        with progress_bar(pending, "saving", "cube", progress) as bar:
            while not self.writer.wait_until_settled(0.25):
                bar.update(pending - self.writer.n_pending() - bar.n)

    def settle(self) -> None:
        """Wait as `finish` does. Raises an unhandled failure, without closing anything."""
        self.finish()
        failures = self.writer.unhandled_failures()
        if failures:
            raise failures[0]

    @contextmanager
    def closing(self, patience_s: float = PATIENCE_S) -> Iterator[None]:
        """Refuse all other threads in the block, after the line in progress; after it only if it was closed."""
        self.turn.refuse_others()
        with self.slots.changed:
            self.slots.changed.notify_all()  # a line may wait for a slot
        try:
            self.turn.wait_for_line(patience_s)
            yield
        finally:
            if not self.is_closed:
                self.turn.reopen()

    def close(self, rescue: BaseException | None = None, keep: bool = True) -> None:
        """Finish pending saves, and release all resources. Idempotent.

        Lines that were collected and not saved are discarded with a warning, but stay visible if they fit into ordinary
        memory (`kept`); after an error (`rescue`) they are saved first, to the directory of the last cube, or else to a
        temporary directory, which is logged. Raises an unhandled failure; cubes whose save failed stay in memory, for
        `retry`, until the interpreter exits, and are then saved to a fallback directory.
        """
        if self.later is not None:
            self.later.close()
        if self.is_closed or os.getpid() != self._owner:
            return
        with self.closing():
            self.filler.log_rest()
            self._settle_unsaved(rescue, keep)
            self.turn.end_lines()
            self.finish()
            failures = self.writer.unhandled_failures()
            if self.writer.has_failed:
                failures += self._abandon()
                self._release()
            elif not self.writer.held():
                self._release()
        if failures:
            raise failures[0]

    def save_rest(self) -> None:
        """Save lines that were not saved to where the last cube went, if there is such a place."""
        n = self.filler.n_lines()
        if self.is_closed or n == 0 or not self.last_directory or self.writer.has_failed:
            return
        handle = self.save(Label.from_bytes(self.filler.label))
        logger.warning(
            "%d lines were collected and not saved: saving them to %s (%s)", n, self.last_directory, handle.name
        )

    def _settle_unsaved(self, rescue: BaseException | None, keep: bool) -> None:
        n = self.filler.n_lines()
        if n == 0 or self.writer.has_failed:  # then the writer rescues them
            return
        slot = self.filler.slot
        if rescue is not None and self.writer.is_started:
            base = Label.from_bytes(self.filler.label)
            directory = self.last_directory or directory_for_unsaved(self.kind)
            why = f"{type(rescue).__name__}: {rescue}"
            handle = self.save(
                dataclasses.replace(base, directory=directory, attributes={**base.attributes, "ended_by": why})
            )
            logger.warning("%d unsaved lines after %s: saving them to %s (%s)", n, why, directory, handle.name)
        elif slot is not None:
            self.kept = CubeInMemory.of(self.slots, slot) if keep else None
            self.slots.free(slot)
            self.filler.slot = None
            what = (
                "save() still saves them, while this object exists"
                if self.kept and self.saves_later
                else "they are discarded"
            )
            logger.warning("%d lines were collected and not saved: %s", n, what)

    def shutdown(self, crashed: bool) -> list[OpenHSIError]:
        """Finish when the interpreter exits; the writer rescues held cubes, and after a crash also unsaved lines."""
        if self.is_closed or os.getpid() != self._owner:
            return []
        self.turn.refuse_others()
        self.turn.wait_for_line(PATIENCE_S)
        self.filler.log_rest()
        if not crashed:
            self._settle_unsaved(None, keep=False)
        try:
            self.finish()
        except BaseException:  # Ctrl-C, or `sys.exit` of a signal's handler
            self.writer.abandon()  # the writer finishes without this process
            raise
        failures = self.writer.unhandled_failures()
        if self.writer.has_failed or self.writer.held() or (crashed and self.filler.n_lines()):
            failures += self._abandon()
        else:
            self._release()
        return failures

    def rescue_beside_hung_camera(self) -> Rescued:
        """Let the writer save all lines, while the thread that collects does not return."""
        self.writer.wait_until_settled()
        self._abandon()
        return self.rescued

    def _abandon(self) -> list[OpenHSIError]:
        self.rescued = self.writer.abandon()
        self._close_channels()
        return self.rescued.failures

    def _close_channels(self) -> None:
        if self.channels is not None:
            self.channels.close()

    def drop(self, name: str) -> None:
        """Close what was dropped without `close`, with a ResourceWarning if saves may be pending."""
        if self.writer.is_started:
            what = f"a {name} was dropped and not closed: use it in a `with` block"
            warnings.warn(what, ResourceWarning, stacklevel=1)
        self.close()

    def _release(self) -> None:
        self._last_status = self.status(float("nan"))
        self.is_closed = True
        self.turn.close()
        self.filler.slot = None
        self.at_close.close()
        self._close_channels()
        self.writer.stop()
        self.slots.release()
        forget(self)
