"""Writers that hang in the kernel: they cannot be killed, and what they may still read must stay as it is."""

import logging
from dataclasses import dataclass

from openhsi_shared.writer.writer_process import WriterProcess

__all__ = ["HungWriters"]

logger = logging.getLogger(__name__)


@dataclass
class _Stuck:
    link: WriterProcess
    directory: str
    """What did not answer."""


class HungWriters:
    """The writers that were set aside, until the kernel lets them go."""

    def __init__(self) -> None:
        self._all: list[_Stuck] = []

    def add(self, link: WriterProcess, directory: str) -> None:
        """Set a writer aside, which hangs in `directory` and keeps its leases."""
        self._all.append(_Stuck(link, directory))

    def sentinels(self) -> list[int]:
        """Which become ready when one of them has ended."""
        return [stuck.link.process.sentinel for stuck in self._all]

    def directories(self) -> tuple[str, ...]:
        """Directories that do not answer."""
        return tuple(sorted({stuck.directory for stuck in self._all}))

    def bury(self) -> list[WriterProcess]:
        """Return those that have exited: their leases end."""
        ended = [stuck for stuck in self._all if stuck.link.process.exitcode is not None]
        self._all = [stuck for stuck in self._all if stuck not in ended]
        for stuck in ended:
            logger.warning("hung writer for %s has exited", stuck.directory)
        return [stuck.link for stuck in ended]

    def forget(self) -> None:
        """Do not wait for them when the interpreter ends."""
        for stuck in self._all:
            logger.warning(
                "process %s is stuck: it ends when %s answers, or when the machine is restarted",
                stuck.link.process.pid,
                stuck.directory,
            )
            stuck.link.forget()
        self._all.clear()
