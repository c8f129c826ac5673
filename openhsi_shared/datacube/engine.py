"""The engine of a datacube: its slots, filler and writer, from the first line to the last file."""

import dataclasses
import os
import tempfile
import threading
import uuid
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.slot_memory import SlotLayout, SlotMemory, SlotState
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.buffers.slot_view import SlotView
from openhsi_shared.capture.cube_clock import CubeClock
from openhsi_shared.capture.slot_filler import SlotFiller
from openhsi_shared.control.status import Status
from openhsi_shared.datacube.progress import progress_bar
from openhsi_shared.errors import ClosedError, NothingToSave, OpenHSIError
from openhsi_shared.frames.losses import merged
from openhsi_shared.levels import LevelPlan
from openhsi_shared.processes.at_exit import finish_at_exit, forget
from openhsi_shared.processes.logs import safe_logger
from openhsi_shared.save_options import SaveOptions
from openhsi_shared.writer.handle import SaveHandle
from openhsi_shared.writer.messages import CubeKind, Label
from openhsi_shared.writer.supervisor import WriterSupervisor

__all__ = ["CubeEngine", "LinesSoFar"]

logger = safe_logger(__name__)


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
    ) -> None:
        layout = SlotLayout(
            n_slots=options.n_buffers, n_lines=n_lines, line_shape=plan.line_shape, dtype=plan.line_dtype.name
        )
        self.kind = CubeKind(
            level=plan.level,
            wavelengths_nm=wavelengths_nm,
            run_id=str(uuid.uuid4()),
            camera=camera,
            options=options,
            groups_from=groups_from,
            rescue_dir=str(Path(tempfile.gettempdir()) / f"openhsi_shared-rescued-{_user()}"),
        )
        self.slots = SlotOwner(SlotMemory.make(layout))
        self.writer = WriterSupervisor(self.slots, self.kind)
        self.filler = SlotFiller(self.slots, self.writer, options.when_full, clock)
        self.last_directory = ""
        self.is_closed = False
        self.control_socket: Path | None = None
        """Path of the control socket, once it is open."""
        self.at_close = ExitStack()
        """Closed before the memory is released."""
        self._closer: int | None = None
        """Id of the thread that is closing it."""
        self._directories: set[str] = set()
        self._last_status: Status | None = None
        self._owner = os.getpid()

    # ---- while it runs ----

    def start(self) -> None:
        """Start the writer before the first line. Blocks for about half a second, the first time."""
        self.check_usable()
        if self.writer.is_started:
            if self.writer.has_failed and self.filler.n_lines() >= self.slots.layout.n_lines:
                self.writer.raise_failure()  # else lines that cannot be saved now would be overwritten
            return
        self.writer.start()
        finish_at_exit(self)

    def check_usable(self) -> None:
        """Raise ClosedError after `close`, in other threads while it runs, and in a forked process."""
        if self.is_closed or self._closer not in (None, threading.get_ident()):
            raise ClosedError("this camera or cube is closed: make a new one")
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

        Raises NothingToSave if no line was collected or lost since the last save; WriterFailed if the listener thread
        of the writer has failed.
        """
        self.check_usable()
        self.start()
        self.writer.raise_failure()  # before anything has changed: the lines are kept
        if self.filler.n_lines() == 0 and self.filler.nothing_lost_since_swap():
            raise NothingToSave("save: nothing was collected since the last save; call collect() or put() first")
        if label.directory not in self._directories:
            label = dataclasses.replace(label, make_directory=True)
        self.filler.label = label_bytes = label.as_bytes  # raises if it is too large, before anything has changed
        self._directories.add(label.directory)
        self.last_directory = label.directory
        slot, n_lines, n_lost = self.filler.swap()
        if slot is None:
            handle = SaveHandle("cube without lines", 0, n_lost)
            handle.settle()
            logger.warning("a cube has no lines, all %d were lost: no file is written", n_lost)
            return handle
        return self.writer.save(slot, label, label_bytes, n_lines, n_lost)

    def lines_so_far(self) -> "LinesSoFar":
        """The lines that the cube being filled has now. ClosedError after `close`."""
        self.check_usable()
        return LinesSoFar(self.slots, self.filler.slot)

    def status(self, temperature: float) -> Status:
        """Snapshot; after `close` the last one. Does not block for long."""
        if self._last_status is not None:
            return self._last_status
        filler, tally = self.filler, self.writer.tally
        states = [self.slots.state(slot) for slot in range(self.slots.layout.n_slots)]
        counts = {state.name: states.count(state) for state in SlotState}
        counts["SAVING"] += counts.pop("LENT")
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
            errors=tuple(str(handle.error) for handle in self.writer.held()),
            readers=tuple(str(lease) for lease in self.slots.leases() if not self.writer.is_saving_under(lease)),
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

    def close(self, rescue: BaseException | None = None) -> None:
        """Finish pending saves, and release all resources. Idempotent.

        Lines that were collected and not saved are discarded with a warning; after an error (`rescue`) they are saved
        first, to the directory of the last cube, or else to a temporary directory, which is logged. Raises an unhandled
        failure; cubes whose save failed stay in memory, for `retry`, until the interpreter exits, and are then saved to
        a fallback directory.
        """
        if self.is_closed or os.getpid() != self._owner:
            return
        self._closer = threading.get_ident()  # else this would never end while another thread continues to save
        self.filler.log_rest_of_loss()
        try:
            self._settle_unsaved(rescue)
            self.finish()
            failures = self.writer.unhandled_failures()
            if self.writer.has_failed:
                failures += self.writer.abandon()
                self._release()
            elif not self.writer.held():
                self._release()
        finally:
            self._closer = None
        if failures:
            raise failures[0]

    def _settle_unsaved(self, rescue: BaseException | None) -> None:
        n = self.filler.n_lines()
        if n == 0 or self.writer.has_failed:  # then the writer rescues them
            return
        slot = self.filler.slot
        if rescue is not None and self.writer.is_started:
            base = Label.from_bytes(self.filler.label)
            directory = self.last_directory or self.kind.rescue_dir
            why = f"{type(rescue).__name__}: {rescue}"
            handle = self.save(
                dataclasses.replace(base, directory=directory, attributes={**base.attributes, "ended_by": why})
            )
            logger.warning("%d unsaved lines after %s: saving them to %s (%s)", n, why, directory, handle.name)
        elif slot is not None:
            self.slots.free(slot)
            self.filler.slot = None
            logger.warning("%d lines were collected and not saved: they are discarded", n)

    def shutdown(self, crashed: bool) -> list[OpenHSIError]:
        """Finish when the interpreter exits; the writer rescues held cubes, and after a crash also unsaved lines."""
        if self.is_closed or os.getpid() != self._owner:
            return []
        self._closer = threading.get_ident()
        self.filler.log_rest_of_loss()
        if not crashed:
            self._settle_unsaved(None)
        try:
            self.finish()
        except BaseException:  # Ctrl-C, or `sys.exit` of a signal's handler
            self.writer.abandon()  # the writer finishes without this process
            raise
        failures = self.writer.unhandled_failures()
        if self.writer.has_failed or self.writer.held() or (crashed and self.filler.n_lines()):
            failures += self.writer.abandon()
        else:
            self._release()
        return failures

    def drop(self, name: str) -> None:
        """Close what was dropped without `close`, with a ResourceWarning if saves may be pending."""
        if self.writer.is_started:
            what = f"a {name} was dropped and not closed: use it in a `with` block"
            warnings.warn(what, ResourceWarning, stacklevel=1)
        self.close()

    def _release(self) -> None:
        self._last_status = self.status(float("nan"))
        self.is_closed = True
        self.at_close.close()
        self.writer.stop()
        self.slots.release()
        forget(self)


class LinesSoFar:
    """Lines of a slot, (along-track, cross-track, wavelength), in time order. A slice is a copy of what it selects."""

    def __init__(self, slots: SlotView, slot: int | None) -> None:
        self._first, n_lines = (0, 0) if slot is None else slots.extent(slot)
        self._lines = slots.lines(slot or 0)
        self.shape = (n_lines, *slots.layout.line_shape)
        self.dtype: np.dtype[Any] = self._lines.dtype

    def __getitem__(self, lines: Any, /) -> NDArray[Any]:
        """Return a copy of the lines of a slice."""
        copied: NDArray[Any] = self._lines[(self._first + np.arange(self.shape[0])[lines]) % len(self._lines)]
        return copied


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
