"""Keeps a writer at work: starts it, hears its answers, replaces it when it dies or hangs.

A thread of its own hears the answers, so that slots become free and handles done whatever the user's program does
meanwhile. Only this process changes the states of slots.
"""

import dataclasses
import errno
import logging
import pickle
import threading
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from openhsi_shared.buffers.slot_memory import Word
from openhsi_shared.buffers.slot_owner import Lease, SlotOwner
from openhsi_shared.errors import ArgumentError, OpenHSIError, SaveError, WriterFailed
from openhsi_shared.processes.logs import Log
from openhsi_shared.processes.spawning import SPAWN
from openhsi_shared.writer.final_rescue import hang_up, rescue
from openhsi_shared.writer.handle import SaveHandle
from openhsi_shared.writer.hung_writers import HungWriters
from openhsi_shared.writer.messages import CubeKind, Dumped, Failed, Label, Pictured, Ready, Save, Saved
from openhsi_shared.writer.pending import KEPT, Pending, Tally, save_error
from openhsi_shared.writer.writer_process import START_PATIENCE_S, WriterProcess

__all__ = ["WriterSupervisor"]

logger = logging.getLogger(__name__)

MOST_CRASHES = 5
"""So many writers may die of one cube; then it is dumped and held, and the next one has its turn."""
SLOWEST_DISK = 4e6
"""In bytes per second: what it takes to sync a cube may be one call, of which nothing is heard until it ends."""
LOOK_S = 1.0
"""How often the listening thread looks whether the writer gets on."""


class WriterSupervisor:
    """The one writer of a register, and a second one standing by if `writers` is 2."""

    def __init__(self, slots: SlotOwner, kind: CubeKind) -> None:
        self.changed = slots.changed
        """Notified whenever a slot or a handle has changed."""
        self.tally = Tally()
        self._slots, self._kind, self._n_writers = slots, kind, kind.options.writers
        patience_s = kind.options.writer_patience_s
        self._patience_s = 30.0 + slots.layout.slot_bytes / SLOWEST_DISK if patience_s is None else patience_s
        self._links: list[WriterProcess] = []
        self._stuck = HungWriters()
        self._pending: dict[int, Pending] = {}
        self._held: dict[int, Pending] = {}
        self._drawing: dict[int, Pending] = {}
        self._unasked: list[SaveHandle] = []
        self._failed_starts = 0
        self._stopping = False
        self._watch: threading.Thread | None = None
        self._wake_up, self._wake = SPAWN.Pipe(duplex=False)

    # ---- starting ----

    @property
    def is_started(self) -> bool:
        """Whether a writer is up."""
        return self._watch is not None

    def start(self) -> None:
        """Start the writer and wait until it is warm, about half a second; twice is once.

        WriterFailed if it does not come up.
        """
        if self.is_started:
            return
        for _ in range(self._n_writers):
            self._links.append(self._new_link())
        try:
            for link in self._links:
                link.wait_until_ready()
        except BaseException:
            self.kill()
            raise
        self._watch = threading.Thread(target=self._listen, name="openhsi_shared writer's answers", daemon=True)
        self._watch.start()

    def _new_link(self) -> WriterProcess:
        return WriterProcess.start(self._slots, self._kind, self._links[0] if self._links else None)

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
        self._slots.save(pending.slot)
        self._pending[pending.cube] = pending
        if not self._links:  # none came up any more: try once again, else nobody would ever answer
            try:
                self._links.append(self._new_link())
            except WriterFailed as error:
                self._failed(pending.cube, SaveError(None, f"{error}: {pending.handle.name} was not saved; {KEPT}"))
                return
            self._wake.send_bytes(b"new link")
        self._resend(pending)

    def _resend(self, pending: Pending) -> None:
        avoid = self._stuck.directories()
        wanted = [pending.label.directory, *self._kind.fallback_dirs]
        if avoid and not set(wanted) - set(avoid):
            words = f"it does not answer any more: {pending.handle.name} was not saved; {KEPT}"
            self._failed(pending.cube, SaveError(errno.ETIMEDOUT, words, pending.label.directory))
            return
        link = self._links[0]
        pending.lease = self._slots.lend(pending.slot, link.name)
        if len(self._pending) == 1:
            link.begin_work()
        try:
            # the same as `send`, which takes three times as long
            link.connection.send_bytes(pickle.dumps(Save(pending.slot, pending.cube, avoid, pending.as_dump)))
        except OSError:
            logger.debug("%s: the writer has just died; its successor gets the order", pending.handle.name)

    def retry(self, handle: SaveHandle, directory: str | Path) -> None:
        """Send a held cube again, to be saved in `directory`."""
        with self.changed:
            pending = self._held_by(handle)
            if not isinstance(directory, str | Path) or not str(directory):
                raise ArgumentError(f"retry needs a directory, got {directory!r}")
            where = str(Path(directory).absolute())
            label = dataclasses.replace(pending.label, directory=where, make_directory=True)
            self._slots.write_label(pending.slot, label.as_bytes)  # may be refused: it is still held
            pending.label, pending.crashes, pending.as_dump = label, 0, False
            del self._held[pending.cube]
            handle._begin_again()
            self._send(pending)

    def discard(self, handle: SaveHandle) -> None:
        """Free the slot of a held cube."""
        with self.changed:
            pending = self._held_by(handle)
            del self._held[pending.cube]
            handle._discarded = True
            n_lost = 0 if pending.is_safe else handle.n_lines
            if n_lost:
                self.tally.discard(n_lost, self._slots.note_discarded(pending.slot))
                handle.lines_lost += n_lost
            self._slots.free(pending.slot)
            self.changed.notify_all()
        logger.warning(
            "%s was discarded: its %d lines are %s", handle.name, handle.n_lines, "lost" if n_lost else "in its dump"
        )

    def _held_by(self, handle: SaveHandle) -> Pending:
        for pending in self._held.values():
            if pending.handle is handle:
                return pending
        raise ArgumentError(f"{handle.name} is no longer in memory")

    # ---- what others want to know ----

    def held(self) -> list[SaveHandle]:
        """Handles of the cubes that failed and are still in memory."""
        with self.changed:
            return [pending.handle for pending in self._held.values()]

    def is_at_work_by(self, lease: Lease) -> bool:
        """Whether the writer at work saves a cube by this lease."""
        return any(pending.lease is lease for pending in list(self._pending.values()))

    def n_pending(self) -> int:
        """How many cubes are being saved."""
        with self.changed:
            return len(self._pending) + len(self._drawing)

    def unasked_failures(self) -> list[OpenHSIError]:
        """Failures that nobody has asked for with `result`; each is told once."""
        with self.changed:
            failures = [handle.failure for handle in self._unasked]
            self._unasked.clear()
        return [failure for failure in failures if failure is not None]

    def wait_until_settled(self, patience_s: float | None = None) -> bool:
        """Block until every cube is saved or has failed; False if that takes longer than `patience_s`."""
        with self.changed:
            return self.changed.wait_for(lambda: not self._pending and not self._drawing, patience_s)

    # ---- ending ----

    def stop(self) -> None:
        """Let the writer end, when it is done with what it has; it may be called twice. Held cubes are given up."""
        self._stop_listening()
        for link in self._links:
            link.ask_to_end()
        for link in self._links:
            link.process.join(10)
        self.kill()
        self._stuck.forget()

    def _stop_listening(self) -> None:
        self._stopping = True
        if self._watch is not None:
            self._wake.send_bytes(b"stop")
            self._watch.join()
            self._watch = None

    def abandon(self) -> list[OpenHSIError]:
        """Hang up, as if this process had died: the writer rescues every cube that is still in memory, then ends.

        Where none does, see `last_resort`. Returns why, for each cube that is gone even so; twice is once.
        """
        if not self.is_started:
            return []
        self._stop_listening()
        failures: list[OpenHSIError] = []
        if not hang_up(self._links):
            are_safe = {pending.slot for pending in self._held.values() if pending.is_safe}
            failures = rescue(self._slots, self._kind, are_safe, self._stuck.directories())
        self._stuck.forget()
        return failures

    def kill(self) -> None:
        """End every writer at once."""
        for link in self._links:
            link.end()
        self._links.clear()

    # ---- the thread that hears the answers ----

    def _listen(self) -> None:
        while not self._stopping:
            ends = {link.connection: link for link in self._links} | {
                link.process.sentinel: link for link in self._links
            }
            ready = wait([*ends, *self._stuck.sentinels(), self._wake_up], LOOK_S)
            if self._wake_up in ready:
                self._wake_up.recv_bytes()
            dead = [link for link in self._links if not self._hear(link)]
            for link in dead:
                self._replace(link)
            self._bury_stuck()
            self._look_whether_it_gets_on()

    def _hear(self, link: WriterProcess) -> bool:
        """Take in all answers that are there; False if the process has died."""
        died = link.process.exitcode is not None
        try:
            while link.connection.poll():
                self._take_in(link, link.connection.recv())
        except (EOFError, OSError):
            died = True
        return not died

    def _take_in(self, link: WriterProcess, answer: Any) -> None:
        link.begin_work()
        with self.changed:
            match answer:
                case Ready():
                    link.is_ready = True
                    self._failed_starts = 0
                case Saved(cube):
                    self._saved(cube, answer)
                case Pictured(cube, path, trouble):
                    self._pictured(cube, path, trouble)
                case Dumped(cube, path):
                    self._dumped(cube, path)
                case Failed(cube):
                    self._failed(cube, save_error(answer, self._pending[cube].handle))
                case Log(level, text):
                    logger.log(level, "writer: %s", text)
            self.changed.notify_all()

    def _saved(self, cube: int, answer: Saved) -> None:
        pending = self._pending.pop(cube)
        pending.path = answer.path
        self.tally.n_saved += 1
        self.tally.rates.append(answer.n_bytes / max(answer.seconds, 1e-9) / 1e6)
        self._end_lease(pending)
        self._slots.free(pending.slot)
        if answer.picture_follows:
            self._drawing[cube] = pending
        else:
            pending.handle._settle(answer.path)

    def _pictured(self, cube: int, path: Path | None, trouble: str) -> None:
        pending = self._drawing.pop(cube)
        if trouble:
            logger.warning("%s is saved, but its preview is not: %s", pending.handle.name, trouble)
        pending.handle._settle(pending.path, path)

    def _end_lease(self, pending: Pending) -> None:
        if pending.lease is not None:
            self._slots.give_back(pending.lease)
            pending.lease = None

    def _dumped(self, cube: int, path: Path) -> None:
        pending = self._pending[cube]
        pending.is_safe = True
        safe = f"; its lines are safe in {path}, of which `openhsi-shared recover` makes a file"
        self._failed(cube, pending.died_of_it(safe))

    def _failed(self, cube: int, error: OpenHSIError) -> None:
        pending = self._pending.pop(cube)
        self._held[cube] = pending
        self._end_lease(pending)
        self._slots.hold(pending.slot)
        logger.error("%s", error)
        self._unasked.append(pending.handle)
        pending.handle._settle(error=error)

    def _replace(self, link: WriterProcess) -> None:
        """A writer died: let another one save what it was at."""
        link.process.join()
        code = link.process.exitcode
        was_first = link is self._links[0]
        with self.changed:
            self._links.remove(link)
            self._return_leases(link)
            self._failed_starts += not link.is_ready
            if was_first:  # one that only stood by had nothing in hand
                for cube in list(self._drawing):  # its file is there, only the picture is not
                    self._pictured(cube, None, f"the writer died of {code}")
                self._blame(code)
            self.tally.n_restarts += 1
            self.changed.notify_all()
            link.put_away()
            if self._stopping:
                return
            took_ms = self._let_another_take_over(was_first)
        if self._links:
            logger.warning("the writer died (exit code %s); another one took over in %.1f ms", code, took_ms)
        else:
            logger.error("the writer died (exit code %s), and no other one comes up", code)

    def _return_leases(self, link: WriterProcess) -> None:
        """End the leases of a writer that has died."""
        self._slots.give_back_all(link.name)
        for pending in self._pending.values():
            if pending.lease is not None and pending.lease.reader == link.name:
                pending.lease = None

    def _let_another_take_over(self, was_first: bool) -> float:
        """Start a new writer, and hand on what the one before had. Returns how long it kept the others out, in ms."""
        begun = time.monotonic()
        if self._failed_starts < 3:  # in one go: a save in between would be sent twice, to the one that stood by
            try:
                self._links.append(self._new_link())
            except WriterFailed as error:
                self._failed_starts = 3
                logger.error("%s", error)
        if not self._links:
            for cube in list(self._pending):
                self._failed(
                    cube, SaveError(None, f"cube {cube} is kept in memory: no writer comes up; retry(directory)")
                )
        elif was_first:
            for pending in sorted(self._pending.values(), key=lambda p: p.cube):
                self._resend(pending)
        self.changed.notify_all()
        return 1e3 * (time.monotonic() - begun)

    def _blame(self, code: int | None) -> None:
        """Count the crash against the cube that was being saved; at one too many, ask for a dump, then hold it."""
        if not self._pending:
            return
        first = self._pending[min(self._pending)]
        first.crashes += 1
        if first.as_dump:
            self._failed(first.cube, first.died_of_it(f", the last with exit code {code}"))
        first.as_dump = first.crashes >= MOST_CRASHES

    # ---- writers that hang ----

    def _look_whether_it_gets_on(self) -> None:
        if not self._links or not self.n_pending():
            return
        link = self._links[0]
        idle_s = link.idle_s()
        if idle_s > (self._patience_s if link.is_ready else START_PATIENCE_S):
            logger.error("the writer has not got on for %.0f s: it is replaced", idle_s)
            if not link.kill():  # else its end is seen as any other
                self._set_aside(link)

    def _set_aside(self, link: WriterProcess) -> None:
        """The writer is stuck in the kernel and cannot even be killed: go on without it, elsewhere if possible."""
        with self.changed:
            self._links.remove(link)
            pending = [*self._pending.values(), *self._drawing.values()]
            first = min(pending, key=lambda p: p.cube)
            avoided = self._stuck.directories()
            directory = next((d for d in (first.label.directory, *self._kind.fallback_dirs) if d not in avoided), "")
            self._stuck.add(link, directory)
            for one in pending:
                one.lease = None  # it stays with the writer that hangs, which may still read
            for cube in list(self._drawing):
                self._pictured(cube, None, f"{directory} does not answer")
            self.tally.n_restarts += 1
            self._let_another_take_over(was_first=True)
        logger.error(
            "%s does not answer: cubes are saved elsewhere, where there are fallback_dirs, or are held", directory
        )

    def _bury_stuck(self) -> None:
        with self.changed:
            for link in self._stuck.bury():
                self._slots.give_back_all(link.name)
                link.put_away()
