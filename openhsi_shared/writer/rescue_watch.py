"""Continues the rescue of a writer that hangs in a directory although no parent is left that would replace it.

A thread that waits in the kernel for a disk cannot be ended. So another thread saves the cubes that are left in memory,
in other directories, and ends the process; the first one stops at its next step if the disk responds meanwhile.
"""

import time
from collections.abc import Callable
from typing import Protocol

from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.liveness import Parent
from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["RescueWatch"]

logger = safe_logger(__name__)

POLL_INTERVAL_S = 1.0


class Rescuer(Protocol):
    """What saves cubes, and shows that it makes progress."""

    is_busy: bool
    """Whether it saves a cube."""

    @property
    def n_steps(self) -> int:
        """Increases while it makes progress."""
        ...

    def abandon(self) -> str:
        """Stop it at its next step. Returns the directory that it uses; "" if it uses none that was not avoided."""
        ...

    def elsewhere(self, directory: str) -> "Rescuer":
        """One that saves the same cubes, and avoids `directory`."""
        ...

    def rescue(self) -> bool:
        """Save all cubes that are left. Returns whether it could. Never returns once it is abandoned."""
        ...


class RescueWatch:
    """Watches a rescuer once the parent is dead. `end(is_saved)` must end the process."""

    def __init__(self, rescuer: Rescuer, parent: Parent, timeout_s: float, end: Callable[[bool], None]) -> None:
        self._rescuer, self._parent, self._timeout_s, self._end = rescuer, parent, timeout_s, end
        try:
            GuardedThread(self._watch, name="rescue watch", failure="the watch over a rescue has failed").start()
        except RuntimeError as error:  # no thread is left: it is only needed if the parent dies and a disk hangs
            logger.warning("a rescue that hangs after the death of the program is not continued elsewhere: %s", error)

    def _watch(self) -> None:
        interval_s = min(POLL_INTERVAL_S, self._timeout_s / 2)
        n_steps, silent_s = -1, 0.0
        while True:
            time.sleep(interval_s)
            rescuer = self._rescuer
            if rescuer.n_steps != n_steps or not rescuer.is_busy or not self._parent.is_dead():
                n_steps, silent_s = rescuer.n_steps, 0.0
                continue
            silent_s += interval_s  # and not by the clock: this process may have been stopped
            if silent_s > self._timeout_s:
                directory = rescuer.abandon()
                if not directory:  # no other one is left: it is saved if this one responds again
                    return
                logger.error("%s does not respond, and the program is dead: saving elsewhere", directory)
                self._rescuer = rescuer.elsewhere(directory)
                failure = "a rescue has failed"
                GuardedThread(
                    self._rescue, self._rescuer, name="rescue", failure=failure, on_failure=lambda _: self._end(False)
                ).start()

    def _rescue(self, rescuer: Rescuer) -> None:
        self._end(rescuer.rescue())
