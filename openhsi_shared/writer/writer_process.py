"""One writer process, as its parent sees it: how it is started, whether it lives, whether it gets on."""

import logging
import multiprocessing.process
import os
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Self

from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.errors import WriterFailed
from openhsi_shared.processes.spawning import SPAWN, spawn
from openhsi_shared.writer.loop import run_writer
from openhsi_shared.writer.messages import CubeKind, Ready, Stop

__all__ = ["START_PATIENCE_S", "WriterProcess"]

logger = logging.getLogger(__name__)

START_PATIENCE_S = 60.0
END_PATIENCE_S = 2.0
"""A process that is killed ends at once, unless the kernel waits for a disk that does not answer."""


class WriterProcess:
    """The parent's ends of what it shares with one writer process."""

    def __init__(self, process: BaseProcess, connection: Connection, alive: Connection, beats: Any) -> None:
        self.process, self.connection = process, connection
        self.alive = alive
        """Ends when the process does: a writer that stands by waits for it."""
        self.is_ready = False
        self.name = f"writer {process.pid}"
        """To whom slots are lent."""
        self._beats = beats
        self._last_beat, self._last_time = 0, time.monotonic()

    @classmethod
    def start(cls, slots: SlotOwner, kind: CubeKind, predecessor: Self | None) -> Self:
        """Start a writer, to stand by for `predecessor` if there is one. Returns before it is up; WriterFailed."""
        ours, theirs = SPAWN.Pipe()
        alive, alive_theirs = SPAWN.Pipe(duplex=False)
        beats = SPAWN.RawArray("q", 1)
        awaited = predecessor.alive if predecessor is not None else None
        process = SPAWN.Process(
            target=run_writer,
            args=(slots.memory, kind, theirs, os.getpid(), beats, alive_theirs, awaited),
            name="openhsi_shared writer",
        )
        try:
            spawn(process)
        except OSError as error:
            ours.close()
            alive.close()
            raise WriterFailed(f"the writer could not be started: {error}") from error
        finally:
            theirs.close()  # else a dead child would not show as end-of-file
            alive_theirs.close()
        return cls(process, ours, alive, beats)

    def wait_until_ready(self) -> None:
        """Block until it is up. WriterFailed if it does not come up."""
        try:
            if self.connection.poll(START_PATIENCE_S) and isinstance(self.connection.recv(), Ready):
                self.is_ready = True
                return
        except (EOFError, OSError):
            self.process.join(5)
        code = self.process.exitcode
        raise WriterFailed(
            f"the writer did not come up: exit code {code}; see its message on the terminal"
            if code is not None
            else f"the writer did not come up within {START_PATIENCE_S:.0f} s: is the machine overloaded?"
        )

    def begin_work(self) -> None:
        """An order is being sent: from now on it has to get on."""
        self._last_time = time.monotonic()

    def idle_s(self) -> float:
        """For how long it has not got on with what it was told."""
        now, beat = time.monotonic(), self._beats[0]
        if beat != self._last_beat:
            self._last_beat, self._last_time = beat, now
        return now - self._last_time

    def kill(self) -> bool:
        """Kill it; False if it does not end: then it is stuck in the kernel, and may still read what it was told to."""
        self.process.kill()
        self.process.join(END_PATIENCE_S)
        return self.process.exitcode is not None

    def ask_to_end(self) -> None:
        """Let it end when it is done with what it has."""
        try:
            self.connection.send(Stop())
        except OSError:
            logger.debug("the writer was gone already")

    def end(self) -> None:
        """Kill it, and do not wait for it if it is stuck in the kernel."""
        if self.kill():
            self.put_away()
        else:
            self.forget()

    def forget(self) -> None:
        """Do not wait for this process when the interpreter ends: nobody knows when the kernel lets it go."""
        # what multiprocessing joins at exit; there is no public way, and without this the interpreter would hang, too
        multiprocessing.process._children.discard(self.process)  # type: ignore[attr-defined]

    def put_away(self) -> None:
        """Close what was ours of a process that has ended."""
        self.connection.close()
        self.alive.close()
        self.process.close()
