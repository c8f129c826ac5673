"""Writers that hang in the kernel: they cannot be killed, and what they may still read must stay as it is."""

from dataclasses import dataclass

from openhsi_shared.processes.logs import safe_logger
from openhsi_shared.writer.writer_process import WriterProcess

__all__ = ["HungWriters"]

logger = safe_logger(__name__)


@dataclass
class _Stuck:
    writer: WriterProcess
    directory: str
    """What did not answer."""


class HungWriters:
    """The writers that were set aside, until the kernel lets them go."""

    def __init__(self) -> None:
        self._all: list[_Stuck] = []

    def add(self, writer: WriterProcess, directory: str) -> None:
        """Set a writer aside, which hangs in `directory` and keeps its leases."""
        self._all.append(_Stuck(writer, directory))

    def sentinels(self) -> list[int]:
        """Which become ready when one of them has ended."""
        return [stuck.writer.child.sentinel for stuck in self._all]

    def directories(self) -> tuple[str, ...]:
        """Directories that do not answer."""
        return tuple(sorted({stuck.directory for stuck in self._all}))

    def reap(self) -> list[str]:
        """Put away those that have exited. Returns their names: their leases end."""
        ended = [stuck for stuck in self._all if stuck.writer.child.exit_code is not None]
        self._all = [stuck for stuck in self._all if stuck not in ended]
        for stuck in ended:
            logger.warning("hung writer for %s has exited", stuck.directory)
            stuck.writer.close()
        return [stuck.writer.name for stuck in ended]

    def forget(self) -> None:
        """Do not wait for them when the interpreter ends."""
        for stuck in self._all:
            logger.warning(
                "process %s is stuck: it ends when %s answers, or when the machine is restarted",
                stuck.writer.child.pid,
                stuck.directory,
            )
            stuck.writer.child.forget()
        self._all.clear()
