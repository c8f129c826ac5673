"""Conditions that end a recording, polled in the process of the user."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from openhsi_shared.errors import ArgumentError
from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["Conditions", "conditions_of"]

POLL_INTERVAL_S = 0.02


def conditions_of(until: Callable[[], bool] | None, toggle: Any) -> list[Callable[[], bool]]:
    """Functions; the recording ends when one of them returns true."""
    found = []
    if until is not None:
        if not callable(until):
            raise ArgumentError(f"until must be a callable that returns true to stop, got {until!r}")
        found.append(until)
    if toggle is not None:
        if not hasattr(toggle, "status"):
            raise ArgumentError(f"toggle must have a `status`, which is true while recording, got {toggle!r}")
        found.append(lambda: not (toggle.status() if callable(toggle.status) else toggle.status))
    return found


class Conditions:
    """Polls conditions 50 times a second in a thread, until one is true, or raises."""

    def __init__(self, conditions: Sequence[Callable[[], bool]], stop: Callable[[], None]) -> None:
        """`stop` is called once, when the recording is to end."""
        self._conditions, self._stop = conditions, stop
        self.error: BaseException | None = None
        """What a condition has raised: for the caller of `wait`."""

    def watch(self, has_ended: Callable[[], bool]) -> None:
        """Start the thread, if there are conditions; it ends with the recording."""
        if self._conditions:
            GuardedThread(
                self._poll,
                has_ended,
                name="until",
                failure="the stop condition (until, toggle) has failed: the recording ends",
                on_failure=self._end,
            ).start()

    def _poll(self, has_ended: Callable[[], bool]) -> None:
        while not has_ended() and not any(condition() for condition in self._conditions):
            time.sleep(POLL_INTERVAL_S)
        self._stop()

    def _end(self, error: BaseException) -> None:
        self.error = error
        self._stop()
