"""One writer process, as its parent sees it."""

from contextlib import closing
from multiprocessing.connection import Connection

from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.errors import WriterFailed
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.logs import safe_logger
from openhsi_shared.processes.spawning import SPAWN
from openhsi_shared.processes.supervision import Heartbeat
from openhsi_shared.writer.loop import run_writer
from openhsi_shared.writer.messages import CubeKind

__all__ = ["START_PATIENCE_S", "WriterProcess"]

logger = safe_logger(__name__)

START_PATIENCE_S = 60.0


class WriterProcess:
    """A child that saves cubes, or that stands by for the one that does."""

    def __init__(self, slots: SlotOwner, kind: CubeKind, predecessor: "WriterProcess | None" = None) -> None:
        """Start it, to stand by for `predecessor` if there is one. Returns before it is up; WriterFailed."""
        self.is_ready = False
        self.alive: Connection
        """Ends when the process does: a writer that stands by waits for it."""
        awaited = predecessor.alive if predecessor is not None else None
        try:
            self.heartbeat = Heartbeat()
            self.alive, theirs = SPAWN.Pipe(duplex=False)
            with closing(theirs):  # else a dead writer would not show as end-of-file
                args = (slots.memory, kind, self.heartbeat.counter, theirs, awaited)
                self.child = Child(run_writer, args, name="writer", logger=logger)
        except OSError as error:
            raise WriterFailed(f"the writer could not be started: {error}") from error
        self.name = f"writer {self.child.pid}"
        """The reader to which slots are lent."""

    def wait_until_ready(self) -> None:
        """Block until it is up. WriterFailed if it does not come up."""
        self.child.first_message(WriterFailed, START_PATIENCE_S)
        self.is_ready = True

    def end(self) -> None:
        """Kill it unless it has ended, and do not wait for it if it hangs in the kernel."""
        self.child.end()
        self.close()

    def close(self) -> None:
        """Close this side of what is shared with it."""
        self.child.close()
        self.alive.close()
        self.heartbeat.release()
