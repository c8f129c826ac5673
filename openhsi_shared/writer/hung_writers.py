"""Writers that hang in the kernel: they cannot be killed, and the slots that they may still read must not change."""

from dataclasses import dataclass
from typing import Any

from openhsi_shared.loggers import safe_logger
from openhsi_shared.writer.writer_process import WriterProcess

__all__ = ["HungWriters"]

logger = safe_logger(__name__)


@dataclass
class _HungWriter:
    writer: WriterProcess
    directory: str
    """The one that does not respond."""


class HungWriters:
    """Hung writers, until the kernel releases them."""

    def __init__(self) -> None:
        self._all: list[_HungWriter] = []

    def add(self, writer: WriterProcess, directory: str) -> None:
        """Add a writer that hangs in `directory` and keeps its leases."""
        self._all.append(_HungWriter(writer, directory))

    def sentinels(self) -> list[Any]:
        """Objects, each of which becomes ready when its process exits."""
        return [sentinel for hung in self._all for sentinel in hung.writer.child.sentinels]

    def reap(self) -> dict[str, str]:
        """Remove and close those that have exited. Returns their names, whose leases end, each with its directory."""
        exited = [hung for hung in self._all if hung.writer.child.exit_code is not None]
        self._all = [hung for hung in self._all if hung not in exited]
        for hung in exited:
            logger.warning("hung writer for %s has exited", hung.directory)
            hung.writer.close()
        return {hung.writer.name: hung.directory for hung in exited}

    def are_in(self, directory: str) -> bool:
        """Whether one still hangs in `directory`."""
        return any(hung.directory == directory for hung in self._all)

    def forget(self) -> None:
        """Do not wait for them when the interpreter exits."""
        for hung in self._all:
            logger.warning(
                "writer process %s hangs: it exits when %s responds, or when the machine is restarted",
                hung.writer.child.pid,
                hung.directory,
            )
            hung.writer.child.forget()
        self._all.clear()
