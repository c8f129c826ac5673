"""Directories in which a writer hung: cubes go elsewhere until they respond again."""

import time
from collections.abc import Callable, Collection

__all__ = ["AvoidedDirectories"]

FIRST_PAUSE = 10.0
"""A directory is not tried again for this many timeouts after a writer hung in it; each further time twice as many."""
MAX_PAUSE_S = 3600.0


class AvoidedDirectories:
    """Directories to avoid, and since when.

    A writer that hangs in the kernel (`until_released`) shows by its exit that its directory responds again. One that
    was killed shows nothing: its directory is tried again after a pause, if it `responds` to a question.
    """

    def __init__(self, timeout_s: float, responds: Callable[[str], bool]) -> None:
        """`responds(directory)` must not block."""
        self._timeout_s, self._responds = timeout_s, responds
        self._until: dict[str, float] = {}
        """When each may be tried again, by the monotonic clock."""
        self._n_hangs: dict[str, int] = {}

    def add(self, directory: str, *, until_released: bool = False) -> None:
        """A writer has hung there."""
        n = self._n_hangs[directory] = self._n_hangs.get(directory, 0) + 1
        pause_s = min(MAX_PAUSE_S, FIRST_PAUSE * self._timeout_s * 2 ** min(n - 1, 30))
        self._until[directory] = float("inf") if until_released else time.monotonic() + pause_s

    def release(self, directory: str) -> None:
        """It responds again."""
        self._until.pop(directory, None)

    def refresh(self) -> list[str]:
        """Release those whose pause is over and that respond; returns them."""
        over = [directory for directory, until in self._until.items() if time.monotonic() > until]
        back = [directory for directory in over if self._responds(directory)]
        for directory in back:
            self.release(directory)
        return back

    def among(self, directories: Collection[str]) -> tuple[str, ...]:
        """Those to avoid for a cube that could go to `directories`.

        If no other one is left, only those in which a process still hangs: the rest may respond again.
        """
        hopeless = {directory for directory, until in self._until.items() if until == float("inf")}
        avoided = hopeless if set(directories) <= set(self._until) else set(self._until)
        return tuple(sorted(avoided))

    def all(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(sorted(self._until))
