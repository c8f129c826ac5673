"""Writers that hang in the kernel: they cannot be killed, and what they may still read must stay as it is."""

import logging
from dataclasses import dataclass, field

from openhsi_shared.writer.writer_process import WriterProcess

__all__ = ["HungWriters"]

logger = logging.getLogger(__name__)


@dataclass
class _Stuck:
    link: WriterProcess
    slots: set[int]
    """What it may still read."""
    directory: str
    """What did not answer."""
    freed: set[int] = field(default_factory=set)
    """Slots that nobody else needs any more."""


class HungWriters:
    """The writers that were set aside, until the kernel lets them go."""

    def __init__(self) -> None:
        self._all: list[_Stuck] = []

    def add(self, link: WriterProcess, slots: set[int], directory: str) -> None:
        """Set a writer aside, which was told to save `slots` and hangs in `directory`."""
        self._all.append(_Stuck(link, slots, directory))

    def sentinels(self) -> list[int]:
        """Which become ready when one of them has ended."""
        return [stuck.link.process.sentinel for stuck in self._all]

    def directories(self) -> tuple[str, ...]:
        """Directories that do not answer."""
        return tuple(sorted({stuck.directory for stuck in self._all}))

    def keep(self, slot: int) -> bool:
        """Whether one of them may still read this slot; then `bury` returns it later."""
        readers = [stuck for stuck in self._all if slot in stuck.slots]
        for stuck in readers:
            stuck.freed.add(slot)
        return bool(readers)

    def bury(self) -> list[int]:
        """Put away those that have ended. Returns the slots that nobody needs any more."""
        ended = [stuck for stuck in self._all if stuck.link.process.exitcode is not None]
        self._all = [stuck for stuck in self._all if stuck not in ended]
        for stuck in ended:
            logger.warning("%s answers again, or its writer was let go", stuck.directory)
            stuck.link.put_away()
        freed = {slot for stuck in ended for slot in stuck.freed}
        return [slot for slot in freed if not any(slot in stuck.slots for stuck in self._all)]

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
