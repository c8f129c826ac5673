"""Sends requests to the writer and receives its answers; `replacing` replaces it when it dies or hangs.

A separate thread receives the answers, so that slots are freed and handles are settled independently of what the
user's program does. Only this process changes the states of slots.
"""

import dataclasses
import errno
import threading
from pathlib import Path
from typing import Any, Literal

from openhsi_shared.buffers.lease import Lease
from openhsi_shared.buffers.slot_memory import Word
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.errors import ArgumentError, ClosedError, OpenHSIError, SaveError, WriterFailed
from openhsi_shared.loggers import safe_logger
from openhsi_shared.paths import given_path
from openhsi_shared.processes.descriptors import explained
from openhsi_shared.processes.liveness import GONE
from openhsi_shared.processes.supervision import Listener
from openhsi_shared.writer.final_rescue import Rescued, rescue
from openhsi_shared.writer.handle import SaveHandle
from openhsi_shared.writer.messages import CubeKind, Dumped, Failed, Label, PreviewDone, Ready, Save, Saved
from openhsi_shared.writer.pending import KEPT, Pending, save_error
from openhsi_shared.writer.replacing import WriterReplacement
from openhsi_shared.writer.rescue_directory import directories_of
from openhsi_shared.writer.unsaved_cubes import UnsavedCubes
from openhsi_shared.writer.writer_group import WriterGroup
from openhsi_shared.writer.writer_process import WriterProcess

__all__ = ["WriterSupervisor"]

logger = safe_logger(__name__)

POLL_INTERVAL_S = 1.0
"""How often the listener thread checks that the writer makes progress; more often if its timeout is short."""
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
        self._replacing = WriterReplacement(
            slots.changed, self._writers, self._cubes, self._send, self._resend, self._is_stopping
        )
        self._listener: Listener | None = None
        self._starting = threading.RLock()
        """Held while the writer is started, and by `stop`: threads that need it wait for one start."""
        self._state: Literal["new", "starting", "started", "stopped"] = "new"
        self._cause: BaseException | None = None
        """The exception that ended the listener thread."""
        self._is_cause_reported = False

    # ---- starting ----

    @property
    def is_started(self) -> bool:
        """Whether a writer has been started, and not stopped."""
        return self._state == "started"

    def start(self) -> None:
        """Start the writer and wait until it is ready, about half a second. Idempotent; other threads wait for it.

        WriterFailed if it does not start, ClosedError after `stop`.
        """
        with self._starting:
            match self._state:
                case "started":
                    return
                case "stopped":
                    raise ClosedError("this camera or cube is closed: make a new one")
                case "starting":
                    raise WriterFailed("the writer is just being started: a signal handler cannot use it yet")
            self._state = "starting"
            try:
                self._writers.start()
                self._listen()
                self._state = "started"
            finally:
                if self._state == "starting":
                    self._state = "new"

    def _listen(self) -> None:
        try:
            self._listener = Listener(  # assigned before it runs: a writer may die at once
                self._writers.waitables,
                self._receive_all,
                min(POLL_INTERVAL_S, self._writers.timeout_s / 2),
                name="writer's answers",
                failure=LISTENER_FAILED,
                on_failure=self._fail_all,
            )
            self._listener.start()
        except (OSError, RuntimeError) as error:
            self._listener = None
            self._writers.kill()
            raise WriterFailed(f"the listener thread of the writer cannot be started: {explained(error)}") from error

    # ---- requests ----

    def save(self, slot: int, label: Label, label_bytes: bytes, handle: SaveHandle) -> SaveHandle:
        """Hand a slot that is FULL to the writer, with its label and that label as bytes. Never blocks."""
        cube = self._slots.word(slot, Word.CUBE)
        handle.name = f"cube {cube}"
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
                self._replacing.hold_without_writer(pending, str(error))
                return
            if self._listener is not None:
                self._listener.wake()
        self._resend(pending)

    def _resend(self, pending: Pending) -> None:
        pending.awaits_writer = False
        directories = [pending.label.directory, *self._kind.fallback_dirs]
        pending.avoid = avoid = self._writers.avoided.among(directories)
        if avoid and not set(directories) - set(avoid) and not pending.only_look:
            message = f"it does not respond: {pending.handle.name} was not saved; {KEPT}"
            self._cubes.failed(pending.cube, SaveError(errno.ETIMEDOUT, message, pending.label.directory))
            return
        writer = self._writers.all[0]
        if len(self._cubes.saving) == 1:
            writer.heartbeat.expect()
        self._cubes.lend(pending, writer.name)
        request = Save(
            pending.slot, pending.cube, avoid, pending.as_dump, pending.is_repeated, only_look=pending.only_look
        )
        pending.is_repeated = True
        if not writer.child.send(request):
            logger.debug("%s: the writer has just died; its replacement gets the request", pending.handle.name)

    def retry(self, handle: SaveHandle, directory: str | Path) -> None:
        """Send a held cube to the writer again, to be saved in `directory`."""
        with self.changed:
            self._check_not_ended(handle)
            if handle.is_resumed:  # while this thread waited for the lock
                return
            pending = self._cubes.held_by(handle)
            if not isinstance(directory, str | Path) or not str(directory):
                raise ArgumentError(f"retry needs a directory, got {directory!r}")
            where = str(given_path(directory).absolute())
            earlier = (*pending.label.earlier, pending.label.directory)
            label = dataclasses.replace(pending.label, directory=where, make_directory=True, earlier=earlier)
            self._slots.write_label(pending.slot, label.as_bytes)  # may raise: then the cube is still held
            pending.label, pending.crashes, pending.as_dump = label, 0, False
            handle.begin_again()
            self._send(pending)

    def discard(self, handle: SaveHandle) -> None:
        """Free the slot of a held cube. Blocks until the writer has looked whether the cube is in a file already.

        WriterFailed if no writer can look: then it is still held.
        """
        with self.changed:
            self._check_not_ended(handle)
            pending = self._cubes.held_by(handle)
            self._look_for(pending)
            if pending.path is not None:
                logger.warning("%s was discarded: its %d lines are in %s", handle.name, handle.n_lines, pending.path)
                return
            unseen = set(pending.avoid).intersection(directories_of(pending.label, self._kind))
            if unseen and not pending.is_safe:
                where = f"{', '.join(sorted(unseen))} does not respond, and it may be there"
                raise WriterFailed(f"{handle.name} is not discarded: {where}; {KEPT}")
            n_lost = self._cubes.discard(pending)
            self.changed.notify_all()
        where = "lost" if n_lost else "in its dump"
        logger.warning("%s was discarded: its %d lines are %s", handle.name, handle.n_lines, where)

    def _check_not_ended(self, handle: SaveHandle) -> None:
        """Raise what a request about a held cube would wait for in vain."""
        self.raise_failure()
        if self._state == "stopped":
            raise ClosedError(f"the writer has ended: {handle.name} was rescued, or lost, as the log says")

    def _look_for(self, pending: Pending) -> None:
        """Let the writer look for a held cube, and wait: it is saved then, or held as before."""
        pending.only_look, pending.is_looked_for = True, False
        try:
            self._send(pending)
            while not self.changed.wait_for(lambda: not self._cubes.is_unsettled(pending.cube), POLL_INTERVAL_S):
                if self._listener is None:
                    break
        finally:
            pending.only_look = False
        self.raise_failure()
        if not pending.is_looked_for:
            why = "no writer could look whether it is in a file"
            raise WriterFailed(f"{pending.handle.name} is not discarded: {why}; {KEPT}")

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

    @property
    def process_id(self) -> int | None:
        """Of the primary writer; None if there is none."""
        return self._writers.all[0].child.pid if self._writers.all else None

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
        with self._starting:
            self._state = "stopped"
        if self._listener is not None:
            self._listener.stop()
            self._listener = None

    def abandon(self) -> Rescued:
        """Let the writers save every cube still in memory, wherever possible, and exit; see `final_rescue`.

        The lines of cubes that are lost are counted. Idempotent.
        """
        if not self.is_started:
            return Rescued()
        self._stop_listening()
        self._writers.reserve.close()  # for what is opened now, by this process or a new writer
        with self.changed:
            are_safe = {pending.slot for pending in self._cubes.held.values() if pending.is_safe}
        avoid, timeout_s = self._writers.avoided.all(), self._writers.timeout_s
        rescued = rescue(self._writers.all, self._slots, self._kind, are_safe, avoid, timeout_s=timeout_s)
        for slot in rescued.lost:
            self.tally.discard(self._slots.extent(slot)[1], self._slots.note_discarded(slot))
        self._writers.hung.forget()
        return rescued

    # ---- the listener thread ----

    def _receive_all(self) -> None:
        for writer in list(self._writers.all):
            while (answer := writer.child.receive(0)) not in (None, GONE):
                self._handle_answer(writer, answer)
            if answer is GONE:
                self._replacing.replace(writer)
        self._replacing.reap_hung()
        self._replacing.check_progress()
        self._replacing.resume()

    def _is_stopping(self) -> bool:
        return self._listener is None or self._listener.is_stopping

    def _handle_answer(self, writer: WriterProcess, answer: Any) -> None:
        writer.heartbeat.expect()
        with self.changed:
            match answer:
                case Ready():
                    writer.is_ready = True
                    self._writers.starts.note(is_up=True)
                case Saved(cube):
                    self._cubes.saving[cube].is_looked_for = True
                    self._cubes.saved(answer)
                case PreviewDone(cube, path, error):
                    self._cubes.preview_done(cube, path, error)
                case Dumped(cube, path):
                    self._cubes.saving[cube].is_looked_for = True
                    self._cubes.dumped(cube, path)
                case Failed(cube):
                    self._cubes.saving[cube].is_looked_for = True
                    self._cubes.failed(cube, save_error(answer, self._cubes.saving[cube].handle))
            self.changed.notify_all()

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
