"""One writer process, as seen by its parent."""

from contextlib import ExitStack, closing
from multiprocessing.connection import Connection

from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.errors import WriterFailed
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.descriptors import Owned, explained
from openhsi_shared.processes.spawning import SPAWN
from openhsi_shared.processes.supervision import Heartbeat
from openhsi_shared.writer.loop import run_writer
from openhsi_shared.writer.messages import CubeKind

__all__ = ["START_TIMEOUT_S", "WriterProcess"]

logger = safe_logger(__name__)

START_TIMEOUT_S = 60.0


class WriterProcess:
    """A child that saves cubes: the primary writer, or a standby writer."""

    def __init__(self, slots: SlotOwner, kind: CubeKind, primary: "WriterProcess | None" = None) -> None:
        """Start it, as the standby of `primary` if there is one. Returns before it is ready. May raise WriterFailed."""
        self.is_ready = False
        self.has_hung = False
        """Whether it made no progress for so long that it was killed."""
        self.alive: Connection
        """Reaches end of file when the process exits: the standby writer waits for that."""
        primary_alive = primary.alive if primary is not None else None
        if not slots.can_be_passed_on():
            why = "other code of this program has closed a descriptor of the slots' memory"
            raise WriterFailed(f"the writer could not be started: {why}")
        with ExitStack() as made:
            try:
                self.heartbeat = Heartbeat()
                self.alive, child_end = SPAWN.Pipe(duplex=False)
                self._alive = Owned(self.alive)
                made.callback(self._alive.close)
                with closing(child_end):  # else a dead writer would not show as end-of-file
                    args = (slots.memory, kind, self.heartbeat.counter, child_end, primary_alive)
                    self.child = Child(run_writer, args, name="writer", logger=logger)
            except WriterFailed:
                raise
            except Exception as error:  # no descriptor, process or memory; the caller goes on without a writer
                raise WriterFailed(f"the writer could not be started: {explained(error)}") from error
            made.pop_all()
        self.name = f"writer {self.child.pid}"
        """Its name as a reader, to which slots are lent."""

    def wait_until_ready(self) -> None:
        """Block until it is ready. WriterFailed if it does not start."""
        self.child.first_message(WriterFailed, START_TIMEOUT_S)
        self.is_ready = True

    def end(self) -> None:
        """Kill it unless it has exited, and do not wait for it if it hangs in the kernel."""
        self.child.end()
        self.close()

    def close(self) -> None:
        """Close this process's ends of the pipes and release the heartbeat."""
        self.child.close()
        self._alive.close()
        self.heartbeat.release()
