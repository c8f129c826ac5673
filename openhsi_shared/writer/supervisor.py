"""Sends requests to the writer, receives its answers, and replaces it when it dies or hangs.

A separate thread receives the answers, so that slots are freed and handles are settled independently of what the
user's program does. Only this process changes the states of slots.
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
from openhsi_shared.writer.messages import CubeKind, Dumped, Failed, Label, PreviewDone, Ready, Save, Saved
from openhsi_shared.writer.pending import KEPT, Pending, save_error
from openhsi_shared.writer.unsaved_cubes import UnsavedCubes
from openhsi_shared.writer.writer_group import WriterGroup
from openhsi_shared.writer.writer_process import WriterProcess

__all__ = ["WriterSupervisor"]

logger = safe_logger(__name__)

MAX_CRASHES = 5
"""Number of writers that may die while saving one cube; then it is dumped and held, and the next one is saved."""
POLL_INTERVAL_S = 1.0
"""How often the listener thread checks that the writer makes progress."""
LISTENER_FAILED = "the thread that receives the writer's answers has failed"


class WriterSupervisor:
    """Supervises the writer of a camera's slots, and a standby writer if `writers` is 2."""

    def __init__(self, slots: SlotOwner, kind: CubeKind) -> None:
        self.changed = slots.changed
        """Notified whenever a slot or a handle has changed."""
        self._slots, self._kind = slots, kind
        self._writers = WriterGroup(slots, kind)
        self._cubes = UnsavedCubes(slots)
        self.tally = self._cubes.tally
        self._listener: Listener | None = None
        self._cause: BaseException | None = None
        """The exception that ended the listener thread."""
        self._is_cause_reported = False

    # ---- starting ----

    @property
    def is_started(self) -> bool:
        """Whether a writer has been started."""
        return self._listener is not None

    def start(self) -> None:
        """Start the writer and wait until it is ready, about half a second. Idempotent.

        WriterFailed if it does not start.
        """
        if self.is_started:
            return
        self._writers.start()
        try:
            self._listener = Listener(  # assigned before it runs: a writer may die at once
                self._writers.waitables,
                self._receive_all,
                POLL_INTERVAL_S,
                name="writer's answers",
                failure=LISTENER_FAILED,
                on_failure=self._fail_all,
            )
            self._listener.start()
        except (OSError, RuntimeError) as error:
            self._listener = None
            self._writers.kill()
            raise WriterFailed(f"the listener thread of the writer cannot be started: {error}") from error

    # ---- requests ----

    def save(self, slot: int, label: Label, label_bytes: bytes, n_lines: int, lines_lost: int) -> SaveHandle:
        """Hand a slot that is FULL to the writer, with its label and that label as bytes. Never blocks."""
        cube = self._slots.word(slot, Word.CUBE)
        handle = SaveHandle(f"cube {cube}", n_lines, lines_lost, self)
        self._slots.write_label(slot, label_bytes)
        with self.changed:
            self._send(Pending(slot, cube, label, handle))
        return handle

    def _send(self, pending: Pending) -> None:
        self._cubes.add(pending)
        if self._cause is not None:  # the listener failed after the caller's check
            self._cubes.failed(pending.cube, self._listener_error(pending.handle.name))
            return
        if not self._writers.all:  # replacements failed to start: try once more, else this cube never gets an answer
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
        directories = [pending.label.directory, *self._kind.fallback_dirs]
        if avoid and not set(directories) - set(avoid):
            message = f"it does not respond: {pending.handle.name} was not saved; {KEPT}"
            self._cubes.failed(pending.cube, SaveError(errno.ETIMEDOUT, message, pending.label.directory))
            return
        writer = self._writers.all[0]
        if len(self._cubes.saving) == 1:
            writer.heartbeat.expect()
        self._cubes.lend(pending, writer.name)
        if not writer.child.send(Save(pending.slot, pending.cube, avoid, pending.as_dump)):
            logger.debug("%s: the writer has just died; its replacement gets the request", pending.handle.name)

    def retry(self, handle: SaveHandle, directory: str | Path) -> None:
        """Send a held cube to the writer again, to be saved in `directory`."""
        with self.changed:
            self.raise_failure()
            pending = self._cubes.held_by(handle)
            if not isinstance(directory, str | Path) or not str(directory):
                raise ArgumentError(f"retry needs a directory, got {directory!r}")
            where = str(Path(directory).absolute())
            label = dataclasses.replace(pending.label, directory=where, make_directory=True)
            self._slots.write_label(pending.slot, label.as_bytes)  # may raise: then the cube is still held
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

    # ---- state ----

    @property
    def has_failed(self) -> bool:
        """Whether the listener thread has failed: no slot is freed any more, and cubes stay until `abandon`."""
        return self._cause is not None

    def raise_failure(self) -> None:
        """Raise WriterFailed if the listener thread has failed."""
        if self._cause is not None:
            raise self._listener_error() from self._cause

    def held(self) -> list[SaveHandle]:
        """Handles of the cubes that failed and are still in memory."""
        with self.changed:
            return [pending.handle for pending in self._cubes.held.values()]

    def is_saving_under(self, lease: Lease) -> bool:
        """Whether the active writer saves a cube under this lease."""
        return self._cubes.is_saving_under(lease)

    def n_pending(self) -> int:
        """Number of cubes that are being saved."""
        with self.changed:
            return len(self._cubes)

    def unhandled_failures(self) -> list[OpenHSIError]:
        """Failures that no caller has handled by calling `result`; each is returned once."""
        with self.changed:
            failures = self._cubes.unhandled_failures()
            if self._cause is not None and not self._is_cause_reported:
                failures.append(self._listener_error())
        return failures

    def wait_until_settled(self, timeout_s: float | None = None) -> bool:
        """Block until every cube is saved or has failed; False if that takes longer than `timeout_s`."""
        with self.changed:
            return self.changed.wait_for(lambda: not len(self._cubes), timeout_s)

    # ---- shutdown ----

    def stop(self) -> None:
        """Shut the writer down after its pending saves. Idempotent. Held cubes are discarded."""
        self._stop_listening()
        self._writers.stop()

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.stop()
            self._listener = None

    def abandon(self) -> list[OpenHSIError]:
        """Close the pipe, as if this process had died: the writer rescues every cube still in memory, then exits.

        If no writer does, see `final_rescue`. Returns one error for each cube that is lost. Idempotent.
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

    # ---- the listener thread ----

    def _receive_all(self) -> None:
        for writer in list(self._writers.all):
            while (answer := writer.child.receive(0)) not in (None, GONE):
                self._handle_answer(writer, answer)
            if answer is GONE:
                self._replace(writer)
        self._reap_hung()
        self._check_progress()

    def _handle_answer(self, writer: WriterProcess, answer: Any) -> None:
        writer.heartbeat.expect()
        with self.changed:
            match answer:
                case Ready():
                    writer.is_ready = True
                    self._writers.starts.note(is_up=True)
                case Saved():
                    self._cubes.saved(answer)
                case PreviewDone(cube, path, error):
                    self._cubes.preview_done(cube, path, error)
                case Dumped(cube, path):
                    self._dumped(cube, path)
                case Failed(cube):
                    self._cubes.failed(cube, save_error(answer, self._cubes.saving[cube].handle))
            self.changed.notify_all()

    def _dumped(self, cube: int, path: Path) -> None:
        pending = self._cubes.saving[cube]
        pending.is_safe = True
        details = f"; its lines are safe in {path}: `openhsi-shared recover` converts it to a file"
        self._cubes.failed(cube, pending.crash_error(details))

    def _fail_all(self, error: BaseException) -> None:
        """The listener thread has failed: settle every handle, so that no caller waits for it.

        The writer keeps running: it finishes its pending saves, and rescues the rest when `abandon` closes the pipe,
        at which time no slot is filled any more.
        """
        with self.changed:
            self._cause = error
            try:
                self._cubes.fail_all(self._listener_error)
            finally:
                self.changed.notify_all()

    def _listener_error(self, name: str = "") -> WriterFailed:
        """The error for a caller: why nothing is saved, or that the state of the cube `name` is unknown."""
        self._is_cause_reported = True
        what = f"whether {name} was saved is not known" if name else "nothing more is saved"
        rescue_at_close = "when the camera is closed, the writer saves what is in memory"
        error = WriterFailed(f"{LISTENER_FAILED}: {what}; {rescue_at_close}")
        error.__cause__ = self._cause
        return error

    # ---- writers that die or hang ----

    def _replace(self, writer: WriterProcess) -> None:
        """A writer died: start a replacement, which saves its pending cubes."""
        writer.child.join()
        code = writer.child.exit_code
        with self.changed:
            was_primary = self._writers.remove(writer)
            self._cubes.end_leases(writer.name)
            if not writer.is_ready:
                self._writers.starts.note(is_up=False)
            if was_primary:  # a standby writer has no pending cubes
                for cube in list(self._cubes.awaiting_preview):  # the file is written, only the preview is missing
                    self._cubes.preview_done(cube, None, f"the writer died (exit code {code})")
                self._count_crash(code)
            self.tally.n_restarts += 1
            self.changed.notify_all()
            writer.close()
            if self._listener is None or self._listener.is_stopping:
                return
            took_ms = self._fail_over(was_primary)
        if self._writers.all:
            logger.warning("the writer died (exit code %s); another one took over in %.1f ms", code, took_ms)
        else:
            logger.error("the writer died (exit code %s), and no replacement starts", code)

    def _fail_over(self, was_primary: bool) -> float:
        """Start a new writer, and resend the pending cubes. Returns for how long the lock was held, in ms."""
        begun = time.monotonic()  # under one lock: a save in between would be sent twice, to the standby writer
        if not self._writers.start_another():
            for cube in list(self._cubes.saving):
                self._cubes.failed(
                    cube, SaveError(None, f"cube {cube} is kept in memory: no writer starts; retry(directory)")
                )
        elif was_primary:
            for pending in sorted(self._cubes.saving.values(), key=lambda p: p.cube):
                self._resend(pending)
        self.changed.notify_all()
        return 1e3 * (time.monotonic() - begun)

    def _count_crash(self, code: int | None) -> None:
        """Count the crash for the cube that was being saved; after `MAX_CRASHES` request a dump, then hold the cube."""
        if not self._cubes.saving:
            return
        first = self._cubes.saving[min(self._cubes.saving)]
        first.crashes += 1
        if first.as_dump:
            self._cubes.failed(first.cube, first.crash_error(f", the last with exit code {code}"))
        first.as_dump = first.crashes >= MAX_CRASHES

    def _check_progress(self) -> None:
        silent_s = self._writers.overdue_s() if self.n_pending() else None
        if silent_s is not None:
            logger.error("writer made no progress for %.0f s: replacing it", silent_s)
            writer = self._writers.all[0]
            if not writer.child.kill():  # else its exit is handled as any other
                self._replace_hung(writer)

    def _replace_hung(self, writer: WriterProcess) -> None:
        """The writer hangs in the kernel and cannot be killed: continue without it, in a fallback directory if any."""
        with self.changed:
            self._writers.remove(writer)
            pending = [*self._cubes.saving.values(), *self._cubes.awaiting_preview.values()]
            first = min(pending, key=lambda p: p.cube)
            avoided = self._writers.hung.directories()
            directory = next((d for d in (first.label.directory, *self._kind.fallback_dirs) if d not in avoided), "")
            self._writers.hung.add(writer, directory)
            self._cubes.detach_leases(writer.name)
            for cube in list(self._cubes.awaiting_preview):
                self._cubes.preview_done(cube, None, f"{directory} does not respond")
            self.tally.n_restarts += 1
            self._fail_over(was_primary=True)
        logger.error("%s does not respond: cubes are saved to fallback_dirs, if there are any, or are held", directory)

    def _reap_hung(self) -> None:
        with self.changed:
            for reader in self._writers.hung.reap():
                self._cubes.end_leases(reader)
