"""Gives orders to the writer, hears its answers, and replaces it when it dies or hangs.

A thread of its own hears the answers, so that slots become free and handles done whatever the user's program does
meanwhile. Only this process changes the states of slots.
"""

import dataclasses
import errno
import time
from pathlib import Path
from typing import Any

from openhsi_shared.buffers.slot_memory import Word
from openhsi_shared.buffers.slot_owner import Lease, SlotOwner
from openhsi_shared.errors import ArgumentError, OpenHSIError, SaveError, WriterFailed
from openhsi_shared.processes.liveness import GONE
from openhsi_shared.processes.logs import safe_logger
from openhsi_shared.processes.supervision import Listener
from openhsi_shared.writer.final_rescue import hang_up, rescue
from openhsi_shared.writer.handle import SaveHandle
from openhsi_shared.writer.messages import CubeKind, Dumped, Failed, Label, Pictured, Ready, Save, Saved
from openhsi_shared.writer.pending import KEPT, Pending, save_error
from openhsi_shared.writer.unsaved_cubes import UnsavedCubes
from openhsi_shared.writer.writer_group import WriterGroup
from openhsi_shared.writer.writer_process import WriterProcess

__all__ = ["WriterSupervisor"]

logger = safe_logger(__name__)

MAX_CRASHES = 5
"""So many writers may die of one cube; then it is dumped and held, and the next one has its turn."""
POLL_INTERVAL_S = 1.0
"""How often the listening thread checks that the writer makes progress."""
UNHEARD = "the thread that hears the writer has failed"


class WriterSupervisor:
    """The one writer of a camera's slots, and a second one standing by if `writers` is 2."""

    def __init__(self, slots: SlotOwner, kind: CubeKind) -> None:
        self.changed = slots.changed
        """Notified whenever a slot or a handle has changed."""
        self._slots, self._kind = slots, kind
        self._writers = WriterGroup(slots, kind)
        self._cubes = UnsavedCubes(slots)
        self.tally = self._cubes.tally
        self._listener: Listener | None = None
        self._cause: BaseException | None = None
        """What ended the listening thread."""
        self._is_cause_told = False

    # ---- starting ----

    @property
    def is_started(self) -> bool:
        """Whether a writer is up."""
        return self._listener is not None

    def start(self) -> None:
        """Start the writer and wait until it is warm, about half a second. Idempotent.

        WriterFailed if it does not come up.
        """
        if self.is_started:
            return
        self._writers.start()
        try:
            self._listener = Listener(  # known before it runs: a writer may die at once
                self._writers.watched,
                self._hear_all,
                POLL_INTERVAL_S,
                name="writer's answers",
                failure=UNHEARD,
                on_failure=self._let_all_go,
            )
            self._listener.start()
        except (OSError, RuntimeError) as error:
            self._listener = None
            self._writers.kill()
            raise WriterFailed(f"no thread can be started to hear the writer: {error}") from error

    # ---- orders ----

    def save(self, slot: int, label: Label, told: bytes, n_lines: int, lines_lost: int) -> SaveHandle:
        """Hand a slot that is FULL to the writer, with its label, also as bytes (`told`). Never blocks."""
        cube = self._slots.word(slot, Word.CUBE)
        handle = SaveHandle(f"cube {cube}", n_lines, lines_lost, self)
        self._slots.write_label(slot, told)
        with self.changed:
            self._send(Pending(slot, cube, label, handle))
        return handle

    def _send(self, pending: Pending) -> None:
        self._cubes.add(pending)
        if self._cause is not None:  # it came since the caller asked
            self._cubes.failed(pending.cube, self._unheard(pending.handle.name))
            return
        if not self._writers.all:  # none came up any more: try once again, else nobody would ever answer
            try:
                self._writers.start_one()
            except WriterFailed as error:
                self._cubes.failed(
                    pending.cube, SaveError(None, f"{error}: {pending.handle.name} was not saved; {KEPT}")
                )
                return
            if self._listener is not None:
                self._listener.wake()
        self._resend(pending)

    def _resend(self, pending: Pending) -> None:
        avoid = self._writers.hung.directories()
        wanted = [pending.label.directory, *self._kind.fallback_dirs]
        if avoid and not set(wanted) - set(avoid):
            words = f"it does not answer any more: {pending.handle.name} was not saved; {KEPT}"
            self._cubes.failed(pending.cube, SaveError(errno.ETIMEDOUT, words, pending.label.directory))
            return
        writer = self._writers.all[0]
        if len(self._cubes.saving) == 1:
            writer.heartbeat.expect()
        self._cubes.lend(pending, writer.name)
        if not writer.child.send(Save(pending.slot, pending.cube, avoid, pending.as_dump)):
            logger.debug("%s: the writer has just died; its successor gets the order", pending.handle.name)

    def retry(self, handle: SaveHandle, directory: str | Path) -> None:
        """Send a held cube again, to be saved in `directory`."""
        with self.changed:
            self.raise_failure()
            pending = self._cubes.held_by(handle)
            if not isinstance(directory, str | Path) or not str(directory):
                raise ArgumentError(f"retry needs a directory, got {directory!r}")
            where = str(Path(directory).absolute())
            label = dataclasses.replace(pending.label, directory=where, make_directory=True)
            self._slots.write_label(pending.slot, label.as_bytes)  # may be refused: it is still held
            pending.label, pending.crashes, pending.as_dump = label, 0, False
            handle.begin_again()
            self._send(pending)

    def discard(self, handle: SaveHandle) -> None:
        """Free the slot of a held cube."""
        with self.changed:
            self.raise_failure()
            n_lost = self._cubes.discard(self._cubes.held_by(handle))
            self.changed.notify_all()
        where = "lost" if n_lost else "in its dump"
        logger.warning("%s was discarded: its %d lines are %s", handle.name, handle.n_lines, where)

    # ---- what others want to know ----

    @property
    def has_failed(self) -> bool:
        """Whether the listening thread has failed: no slot becomes free any more, and cubes wait for `abandon`."""
        return self._cause is not None

    def raise_failure(self) -> None:
        """Raise WriterFailed if the listening thread has failed."""
        if self._cause is not None:
            raise self._unheard() from self._cause

    def held(self) -> list[SaveHandle]:
        """Handles of the cubes that failed and are still in memory."""
        with self.changed:
            return [pending.handle for pending in self._cubes.held.values()]

    def is_at_work_by(self, lease: Lease) -> bool:
        """Whether the writer at work saves a cube by this lease."""
        return self._cubes.is_lent_by(lease)

    def n_pending(self) -> int:
        """How many cubes are being saved."""
        with self.changed:
            return len(self._cubes)

    def unasked_failures(self) -> list[OpenHSIError]:
        """Failures that no caller has asked for with `result`; each is returned once."""
        with self.changed:
            failures = self._cubes.failures()
            if self._cause is not None and not self._is_cause_told:
                failures.append(self._unheard())
        return failures

    def wait_until_settled(self, patience_s: float | None = None) -> bool:
        """Block until every cube is saved or has failed; False if that takes longer than `patience_s`."""
        with self.changed:
            return self.changed.wait_for(lambda: not len(self._cubes), patience_s)

    # ---- ending ----

    def stop(self) -> None:
        """Let the writer end, when it is done with what it has. Idempotent. Held cubes are discarded."""
        self._stop_listening()
        self._writers.stop()

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.stop()
            self._listener = None

    def abandon(self) -> list[OpenHSIError]:
        """Hang up, as if this process had died: the writer rescues every cube that is still in memory, then ends.

        Where none does, see `final_rescue`. Returns why, for each cube that is gone even so. Idempotent.
        """
        if not self.is_started:
            return []
        self._stop_listening()
        failures: list[OpenHSIError] = []
        if not hang_up(self._writers.all):
            are_safe = {pending.slot for pending in self._cubes.held.values() if pending.is_safe}
            failures = rescue(self._slots, self._kind, are_safe, self._writers.hung.directories())
        self._writers.hung.forget()
        return failures

    # ---- the thread that hears the answers ----

    def _hear_all(self) -> None:
        for writer in list(self._writers.all):
            while (answer := writer.child.receive(0)) not in (None, GONE):
                self._take_in(writer, answer)
            if answer is GONE:
                self._replace(writer)
        self._reap_hung()
        self._check_progress()

    def _take_in(self, writer: WriterProcess, answer: Any) -> None:
        writer.heartbeat.expect()
        with self.changed:
            match answer:
                case Ready():
                    writer.is_ready = True
                    self._writers.starts.note(is_up=True)
                case Saved():
                    self._cubes.saved(answer)
                case Pictured(cube, path, trouble):
                    self._cubes.pictured(cube, path, trouble)
                case Dumped(cube, path):
                    self._dumped(cube, path)
                case Failed(cube):
                    self._cubes.failed(cube, save_error(answer, self._cubes.saving[cube].handle))
            self.changed.notify_all()

    def _dumped(self, cube: int, path: Path) -> None:
        pending = self._cubes.saving[cube]
        pending.is_safe = True
        safe = f"; its lines are safe in {path}, of which `openhsi-shared recover` makes a file"
        self._cubes.failed(cube, pending.died_of_it(safe))

    def _let_all_go(self, error: BaseException) -> None:
        """The listening thread has failed: let no caller wait for it.

        The writer is left alone: it finishes what it was told, and rescues the rest when `abandon` hangs up, at which
        time no slot is filled any more.
        """
        with self.changed:
            self._cause = error
            try:
                self._cubes.fail_all(self._unheard)
            finally:
                self.changed.notify_all()

    def _unheard(self, name: str = "") -> WriterFailed:
        """The error that tells a caller why nothing is saved, or what is known of a cube."""
        self._is_cause_told = True
        what = f"whether {name} was saved is not known" if name else "nothing more is saved"
        error = WriterFailed(f"{UNHEARD}: {what}; when the camera is closed, the writer saves what is in memory")
        error.__cause__ = self._cause
        return error

    # ---- writers that die or hang ----

    def _replace(self, writer: WriterProcess) -> None:
        """A writer died: let another one save what it was at."""
        writer.child.join()
        code = writer.child.exit_code
        with self.changed:
            was_first = self._writers.remove(writer)
            self._cubes.end_leases(writer.name)
            if not writer.is_ready:
                self._writers.starts.note(is_up=False)
            if was_first:  # one that only stood by had nothing in hand
                for cube in list(self._cubes.drawing):  # its file is there, only the picture is not
                    self._cubes.pictured(cube, None, f"the writer died of {code}")
                self._blame(code)
            self.tally.n_restarts += 1
            self.changed.notify_all()
            writer.close()
            if self._listener is None or self._listener.is_stopping:
                return
            took_ms = self._let_another_take_over(was_first)
        if self._writers.all:
            logger.warning("the writer died (exit code %s); another one took over in %.1f ms", code, took_ms)
        else:
            logger.error("the writer died (exit code %s), and no other one comes up", code)

    def _let_another_take_over(self, was_first: bool) -> float:
        """Start a new writer, and hand on what the one before had. Returns how long it kept the others out, in ms."""
        begun = time.monotonic()  # in one go: a save in between would be sent twice, to the one that stood by
        if not self._writers.start_another():
            for cube in list(self._cubes.saving):
                self._cubes.failed(
                    cube, SaveError(None, f"cube {cube} is kept in memory: no writer comes up; retry(directory)")
                )
        elif was_first:
            for pending in sorted(self._cubes.saving.values(), key=lambda p: p.cube):
                self._resend(pending)
        self.changed.notify_all()
        return 1e3 * (time.monotonic() - begun)

    def _blame(self, code: int | None) -> None:
        """Count the crash against the cube that was being saved; at one too many, ask for a dump, then hold it."""
        if not self._cubes.saving:
            return
        first = self._cubes.saving[min(self._cubes.saving)]
        first.crashes += 1
        if first.as_dump:
            self._cubes.failed(first.cube, first.died_of_it(f", the last with exit code {code}"))
        first.as_dump = first.crashes >= MAX_CRASHES

    def _check_progress(self) -> None:
        silent_s = self._writers.overdue_s() if self.n_pending() else None
        if silent_s is not None:
            logger.error("writer made no progress for %.0f s: replacing it", silent_s)
            writer = self._writers.all[0]
            if not writer.child.kill():  # else its end is seen as any other
                self._set_aside(writer)

    def _set_aside(self, writer: WriterProcess) -> None:
        """The writer hangs in the kernel and cannot even be killed: go on without it, elsewhere if possible."""
        with self.changed:
            self._writers.remove(writer)
            pending = [*self._cubes.saving.values(), *self._cubes.drawing.values()]
            first = min(pending, key=lambda p: p.cube)
            avoided = self._writers.hung.directories()
            directory = next((d for d in (first.label.directory, *self._kind.fallback_dirs) if d not in avoided), "")
            self._writers.hung.add(writer, directory)
            self._cubes.leave_leases(writer.name)
            for cube in list(self._cubes.drawing):
                self._cubes.pictured(cube, None, f"{directory} does not answer")
            self.tally.n_restarts += 1
            self._let_another_take_over(was_first=True)
        logger.error(
            "%s does not answer: cubes are saved elsewhere, where there are fallback_dirs, or are held", directory
        )

    def _reap_hung(self) -> None:
        with self.changed:
            for reader in self._writers.hung.reap():
                self._cubes.end_leases(reader)
