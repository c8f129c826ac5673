"""The writer processes of one camera: the one that saves, one that may stand by for it, and those that hang."""

from typing import Any

from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.errors import WriterFailed
from openhsi_shared.processes.logs import safe_logger
from openhsi_shared.processes.supervision import StartLimit
from openhsi_shared.writer.hung_writers import HungWriters
from openhsi_shared.writer.messages import CubeKind, Stop
from openhsi_shared.writer.writer_process import START_PATIENCE_S, WriterProcess

__all__ = ["WriterGroup"]

logger = safe_logger(__name__)

END_TIMEOUT_S = 10.0
SLOWEST_DISK = 4e6
"""In bytes per second: what it takes to sync a cube may be one call, of which nothing is heard until it ends."""


class WriterGroup:
    """Starts, replaces and ends writers; what they are told is the supervisor's."""

    def __init__(self, slots: SlotOwner, kind: CubeKind) -> None:
        self.all: list[WriterProcess] = []
        """Those that live. The first one saves."""
        self.hung = HungWriters()
        self.starts = StartLimit()
        self._slots, self._kind = slots, kind
        patience_s = kind.options.writer_patience_s
        self._patience_s = 30.0 + slots.layout.slot_bytes / SLOWEST_DISK if patience_s is None else patience_s

    def start(self) -> None:
        """Start them, and block until they are up. WriterFailed if one does not come up; then there is none."""
        try:
            for _ in range(self._kind.options.writers):
                self.start_one()
            for writer in self.all:
                writer.wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def start_one(self) -> None:
        """Start one more. Returns before it is up; WriterFailed."""
        self.all.append(WriterProcess(self._slots, self._kind, self.all[0] if self.all else None))

    def start_another(self) -> bool:
        """Start a replacement, unless too many have died before they were up. Whether there is a writer now."""
        if not self.starts.is_reached:
            try:
                self.start_one()
            except WriterFailed as error:
                self.starts.note_impossible()
                logger.error("%s", error)
        return bool(self.all)

    def remove(self, writer: WriterProcess) -> bool:
        """Take out one that has died or hangs. Whether it was the one that saves."""
        was_first = writer is self.all[0]
        self.all.remove(writer)
        return was_first

    def watched(self) -> list[Any]:
        """What becomes ready when a writer says something, or ends."""
        return [*(end for writer in self.all for end in writer.child.waitables), *self.hung.sentinels()]

    def overdue_s(self) -> float | None:
        """Seconds without progress of the one that saves, or None if they are not too many."""
        if not self.all:
            return None
        silent_s = self.all[0].heartbeat.silent_s()
        return silent_s if silent_s > (self._patience_s if self.all[0].is_ready else START_PATIENCE_S) else None

    def stop(self) -> None:
        """Let them end when they are done with what they have. Idempotent."""
        for writer in self.all:
            writer.child.send(Stop())
        for writer in self.all:
            writer.child.join(END_TIMEOUT_S)
        self.kill()
        self.hung.forget()

    def kill(self) -> None:
        """End every one at once."""
        for writer in self.all:
            writer.end()
        self.all.clear()
