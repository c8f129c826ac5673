"""Keeps a writer at work: starts it, hears its answers, replaces it when it dies.

A thread of its own hears the answers, so that slots become free and handles done whatever the user's program does
meanwhile. Only this process changes the states of slots.
"""

import dataclasses
import logging
import os
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from openhsi_shared.buffers.slots import SlotRegister, SlotState, Word
from openhsi_shared.errors import ArgumentError, OpenHSIError, SaveError, WriterFailed
from openhsi_shared.processes.logs import Log
from openhsi_shared.processes.spawning import SPAWN, spawn
from openhsi_shared.writer.handle import SaveHandle
from openhsi_shared.writer.orders import CubeKind, Failed, Label, Pictured, Ready, Save, Saved, Stop
from openhsi_shared.writer.process import run_writer

__all__ = ["WriterSupervisor"]

logger = logging.getLogger(__name__)

START_PATIENCE_S = 60.0
MOST_CRASHES = 5
"""So many writers may die of one cube; then it is held, and the next one has its turn."""


@dataclass
class _Link:
    """One writer process, seen from the parent."""

    process: BaseProcess
    connection: Connection
    alive: Connection
    """Ends when the process does: a writer that stands by waits for it."""
    is_ready: bool = False


@dataclass
class _Pending:
    """A cube that was sent and not yet answered."""

    slot: int
    cube: int
    label: Label
    handle: SaveHandle
    crashes: int = 0
    path: Path | None = None


@dataclass
class _Tally:
    """What the writer has done so far."""

    n_saved: int = 0
    n_bytes: int = 0
    n_restarts: int = 0
    n_lines_discarded: int = 0
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=8))


class WriterSupervisor:
    """The one writer of a register, and a second one standing by if `n_writers` is 2."""

    def __init__(self, register: SlotRegister, kind: CubeKind, n_writers: int = 1) -> None:
        if n_writers not in (1, 2):
            raise ArgumentError(f"writers must be 1, or 2 for one that stands by, got {n_writers!r}")
        self.changed = threading.Condition()
        """Notified whenever a slot or a handle has changed."""
        self.tally = _Tally()
        self._register, self._kind, self._n_writers = register, kind, n_writers
        self._links: list[_Link] = []
        self._pending: dict[int, _Pending] = {}
        self._held: dict[int, _Pending] = {}
        self._drawing: dict[int, _Pending] = {}
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
        for link in self._links:
            self._wait_until_ready(link)
        self._watch = threading.Thread(target=self._listen, name="openhsi_shared writer's answers", daemon=True)
        self._watch.start()

    def _new_link(self) -> _Link:
        ours, theirs = SPAWN.Pipe()
        alive, alive_theirs = SPAWN.Pipe(duplex=False)
        predecessor = self._links[0].alive if self._links else None
        process = SPAWN.Process(
            target=run_writer,
            args=(self._register.memory, self._kind, theirs, os.getpid(), alive_theirs, predecessor),
            name="openhsi_shared writer",
        )
        try:
            spawn(process)
        except OSError as error:
            raise WriterFailed(f"the writer could not be started: {error}") from error
        finally:
            theirs.close()  # else a dead child would not show as end-of-file
            alive_theirs.close()
        return _Link(process, ours, alive)

    def _wait_until_ready(self, link: _Link) -> None:
        try:
            if link.connection.poll(START_PATIENCE_S) and isinstance(link.connection.recv(), Ready):
                link.is_ready = True
                return
        except (EOFError, OSError):
            link.process.join(5)
        code = link.process.exitcode
        self.kill()
        raise WriterFailed(
            f"the writer did not come up: exit code {code}; see its message on the terminal"
            if code is not None
            else f"the writer did not come up within {START_PATIENCE_S:.0f} s: is the machine overloaded?"
        )

    # ---- orders ----

    def save(self, slot: int, label: Label, told: bytes, n_lines: int, lines_lost: int) -> SaveHandle:
        """Hand a slot that is FULL to the writer, with its label, also as bytes (`told`). Never blocks."""
        cube = self._register.word(slot, Word.CUBE)
        handle = SaveHandle(f"cube {cube}", n_lines, lines_lost, self)
        self._register.write_label(slot, told)
        with self.changed:
            self._send(_Pending(slot, cube, label, handle))
        return handle

    def _send(self, pending: _Pending) -> None:
        self._register.mark(pending.slot, SlotState.SAVING)
        self._pending[pending.cube] = pending
        if not self._links:  # none came up any more: try once again, else nobody would ever answer
            try:
                self._links.append(self._new_link())
            except WriterFailed as error:
                self._failed(pending.cube, SaveError(None, f"{error}: {pending.handle.name} was not saved; {KEPT}"))
                return
            self._wake.send_bytes(b"new link")
        self._resend(pending)

    def _resend(self, pending: _Pending) -> None:
        try:
            self._links[0].connection.send(Save(pending.slot, pending.cube))
        except (OSError, IndexError):
            logger.debug("%s: the writer has just died; its successor gets the order", pending.handle.name)

    def retry(self, handle: SaveHandle, directory: str | Path) -> None:
        """Send a held cube again, to be saved in `directory`."""
        with self.changed:
            pending = self._held_by(handle)
            where = str(Path(directory).absolute())
            label = dataclasses.replace(pending.label, directory=where, make_directory=True)
            self._register.write_label(pending.slot, label.to_bytes())  # may be refused: it is still held
            pending.label, pending.crashes = label, 0
            del self._held[pending.cube]
            handle._begin_again()
            self._send(pending)

    def discard(self, handle: SaveHandle) -> None:
        """Free the slot of a held cube."""
        with self.changed:
            pending = self._held_by(handle)
            del self._held[pending.cube]
            handle._discarded = True
            self.tally.n_lines_discarded += handle.n_lines
            self._register.mark(pending.slot, SlotState.FREE)
            self.changed.notify_all()
        logger.warning("%s was discarded: its %d lines are lost", handle.name, handle.n_lines)

    def _held_by(self, handle: SaveHandle) -> _Pending:
        for pending in self._held.values():
            if pending.handle is handle:
                return pending
        raise ArgumentError(f"{handle.name} is no longer in memory")

    # ---- what others want to know ----

    def held(self) -> list[SaveHandle]:
        """Handles of the cubes that failed and are still in memory."""
        with self.changed:
            return [pending.handle for pending in self._held.values()]

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
            try:
                link.connection.send(Stop())
            except OSError:
                logger.debug("the writer was gone already")
        for link in self._links:
            link.process.join(10)
        self.kill()

    def _stop_listening(self) -> None:
        self._stopping = True
        if self._watch is not None:
            self._wake.send_bytes(b"stop")
            self._watch.join()
            self._watch = None

    def abandon(self) -> None:
        """Hang up, as if this process had died: the writer rescues every cube that is still in memory, then ends."""
        self._stop_listening()
        for link in self._links:
            link.connection.close()
        for link in self._links:
            link.process.join()

    def kill(self) -> None:
        """End every writer at once."""
        for link in self._links:
            if link.process.is_alive():
                link.process.kill()
            link.process.join()
            self._put_away(link)
        self._links.clear()

    @staticmethod
    def _put_away(link: _Link) -> None:
        link.connection.close()
        link.alive.close()
        link.process.close()

    # ---- the thread that hears the answers ----

    def _listen(self) -> None:
        while not self._stopping:
            ends = {link.connection: link for link in self._links} | {
                link.process.sentinel: link for link in self._links
            }
            ready = wait([*ends, self._wake_up])
            if self._wake_up in ready:
                self._wake_up.recv_bytes()
            dead = [link for link in self._links if not self._hear(link)]
            for link in dead:
                self._replace(link)

    def _hear(self, link: _Link) -> bool:
        """Take in all answers that are there; False if the process has died."""
        died = link.process.exitcode is not None
        try:
            while link.connection.poll():
                self._take_in(link, link.connection.recv())
        except (EOFError, OSError):
            died = True
        return not died

    def _take_in(self, link: _Link, answer: Any) -> None:
        with self.changed:
            match answer:
                case Ready():
                    link.is_ready = True
                    self._failed_starts = 0
                case Saved(cube):
                    self._saved(cube, answer)
                case Pictured(cube, path, trouble):
                    self._pictured(cube, path, trouble)
                case Failed(cube):
                    self._failed(cube, _save_error(answer, self._pending[cube].handle))
                case Log(level, text):
                    logger.log(level, "writer: %s", text)
            self.changed.notify_all()

    def _saved(self, cube: int, answer: Saved) -> None:
        pending = self._pending.pop(cube)
        pending.path = answer.path
        self.tally.n_saved += 1
        self.tally.n_bytes += answer.n_bytes
        self.tally.rates.append(answer.n_bytes / max(answer.seconds, 1e-9) / 1e6)
        self._register.mark(pending.slot, SlotState.FREE)
        if answer.picture_follows:
            self._drawing[cube] = pending
        else:
            pending.handle._settle(answer.path)

    def _pictured(self, cube: int, path: Path | None, trouble: str) -> None:
        pending = self._drawing.pop(cube)
        if trouble:
            logger.warning("%s is saved, but its preview is not: %s", pending.handle.name, trouble)
        pending.handle._settle(pending.path, path)

    def _failed(self, cube: int, error: OpenHSIError) -> None:
        pending = self._pending.pop(cube)
        self._held[cube] = pending
        self._register.mark(pending.slot, SlotState.HELD)
        logger.error("%s", error)
        self._unasked.append(pending.handle)
        pending.handle._settle(error=error)

    def _replace(self, link: _Link) -> None:
        """A writer died: let another one save what it was at."""
        link.process.join()
        code = link.process.exitcode
        was_first = link is self._links[0]
        with self.changed:
            self._links.remove(link)
            self._failed_starts += not link.is_ready
            if was_first:  # one that only stood by had nothing in hand
                for cube in list(self._drawing):  # its file is there, only the picture is not
                    self._pictured(cube, None, f"the writer died of {code}")
                self._blame(code)
            self.tally.n_restarts += 1
            self.changed.notify_all()
            self._put_away(link)
            if self._stopping:
                return
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
        if self._links:
            took = 1e3 * (time.monotonic() - begun)
            logger.warning("the writer died (exit code %s); another one took over in %.1f ms", code, took)
        else:
            logger.error("the writer died (exit code %s), and no other one comes up", code)

    def _blame(self, code: int | None) -> None:
        """Count the crash against the cube that was being saved, and hold it when that was one too many."""
        if not self._pending:
            return
        first = self._pending[min(self._pending)]
        first.crashes += 1
        if first.crashes > MOST_CRASHES:
            words = f"{first.handle.name}: {first.crashes} writers died of it, the last with exit code {code}; {KEPT}"
            self._failed(first.cube, SaveError(None, words, first.label.directory))


KEPT = "it is kept in memory: retry(directory) saves it elsewhere, discard() gives it up"


def _save_error(answer: Failed, handle: SaveHandle) -> SaveError:
    error = SaveError(answer.errno, f"{answer.words}: {handle.name} was not saved; {KEPT}", answer.filename)
    error.add_note(answer.traceback)
    return error
