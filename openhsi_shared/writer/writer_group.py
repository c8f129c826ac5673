"""The writer processes of one camera: the primary writer, an optional standby writer, and hung writers."""

from typing import Any

from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.errors import WriterFailed
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.descriptors import Reserve
from openhsi_shared.processes.disk_watch import DiskWatch
from openhsi_shared.processes.supervision import StartLimit
from openhsi_shared.writer.avoided_directories import AvoidedDirectories
from openhsi_shared.writer.directories import directory_in_use
from openhsi_shared.writer.hung_writers import HungWriters
from openhsi_shared.writer.messages import CubeKind, Stop
from openhsi_shared.writer.writer_process import START_TIMEOUT_S, WriterProcess

__all__ = ["WriterGroup"]

logger = safe_logger(__name__)

END_TIMEOUT_S = 10.0


class WriterGroup:
    """Starts, replaces and ends writers; the supervisor sends them requests."""

    def __init__(self, slots: SlotOwner, kind: CubeKind) -> None:
        self.all: list[WriterProcess] = []
        """Those that are alive. The first one is the primary writer."""
        self.hung = HungWriters()
        self.starts = StartLimit()
        self._slots, self._kind = slots, kind
        self.timeout_s = kind.timeout_s(slots.layout.slot_bytes)
        """How long a writer may make no progress."""
        self.avoided = AvoidedDirectories(self.timeout_s, DiskWatch().responds)
        self.reserve = Reserve()

    def start(self) -> None:
        """Start all writers, and block until they are ready. WriterFailed if one does not start; then all are ended."""
        try:
            for _ in range(self._kind.options.writers):
                self.start_one()
            for writer in self.all:
                writer.wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def start_one(self) -> None:
        """Start one more. Returns before it is ready. May raise WriterFailed."""
        with self.reserve.lent():
            self.all.append(WriterProcess(self._slots, self._kind, self.all[0] if self.all else None))

    def start_another(self) -> bool:
        """Start a replacement, unless too many died before they were ready. Returns whether there is a writer now."""
        if not self.starts.is_reached:
            self._try_to_start()
        return bool(self.all)

    def start_when_due(self) -> bool:
        """Try again now and then, after no replacement could be started. Returns whether there is a writer now."""
        if not self.all and self.starts.is_due:
            self._try_to_start()
        return bool(self.all)

    def _try_to_start(self) -> None:
        try:
            self.start_one()
        except WriterFailed as error:
            if not self.starts.is_reached:
                logger.error("%s", error)
            self.starts.note_impossible()

    def remove(self, writer: WriterProcess) -> bool:
        """Remove a writer that has died or hangs. Returns whether it was the primary one."""
        was_primary = writer is self.all[0]
        self.all.remove(writer)
        return was_primary

    def waitables(self) -> list[Any]:
        """Objects that become ready when a writer sends a message or exits."""
        return [*(end for writer in self.all for end in writer.child.waitables), *self.hung.sentinels()]

    def overdue_s(self) -> float | None:
        """Seconds since the last heartbeat of the primary writer if that exceeds the timeout, else None."""
        if not self.all:
            return None
        silent_s = self.all[0].heartbeat.silent_s()
        return silent_s if silent_s > (self.timeout_s if self.all[0].is_ready else START_TIMEOUT_S) else None

    def avoid_directory_of(self, writer: WriterProcess, first: str, *, until_released: bool) -> str:
        """Avoid the directory in which a writer hangs; if it has used none, that of the `first` cube. Returns it."""
        directory = directory_in_use(writer.heartbeat.counter, self._slots, self._kind) or first
        if directory:
            self.avoided.add(directory, until_released=until_released)
        if until_released:
            self.hung.add(writer, directory)
        return directory

    def reap_hung(self) -> list[str]:
        """Forget hung writers that have exited. Returns their names: their leases end."""
        reaped = self.hung.reap()
        for directory in reaped.values():
            if not self.hung.are_in(directory):
                self.avoided.release(directory)
        return list(reaped)

    def stop(self) -> None:
        """Shut the writers down after their pending saves. Idempotent."""
        for writer in self.all:
            writer.child.send(Stop())
        for writer in self.all:
            writer.child.join(END_TIMEOUT_S)
        self.kill()
        self.hung.forget()

    def kill(self) -> None:
        """Kill all writers."""
        for writer in self.all:
            writer.end()
        self.all.clear()
        self.reserve.close()
