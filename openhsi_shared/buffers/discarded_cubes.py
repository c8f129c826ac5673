"""Cubes that were given up before they had a file, so that the next file can say which frames were in them.

A list in shared memory that only grows; each cube declares a stretch of it. Only the acquiring process notes, one
thread at a time; the writer of files reads.
"""

from dataclasses import dataclass
from typing import Any, Self

from openhsi_shared.frames.losses import IdRange, merged

__all__ = ["N_NUMBERS", "Discarded", "DiscardedCubes"]

MOST_KEPT = 1024
"""Older ones make room: no cube has to declare so many."""
N_COLUMNS = 4
N_NUMBERS = 1 + N_COLUMNS * MOST_KEPT
"""64 bits each: how many were noted, then (cube, first id, last id, frames besides that have no name) of each."""


@dataclass(frozen=True)
class Discarded:
    """Frames that were lost with cubes that were given up."""

    ranges: tuple[IdRange, ...] = ()
    n_nameless: int = 0
    """Frames lost besides, of which nobody knows the ids: they lie among overwritten ones."""

    @property
    def n_lost(self) -> int:
        """How many frames that are."""
        return sum(map(len, self.ranges)) + self.n_nameless

    def __add__(self, other: Self) -> Self:
        """Both, where no frame is in both."""
        return type(self)(merged(self.ranges + other.ranges), self.n_nameless + other.n_nameless)


class DiscardedCubes:
    """The list."""

    def __init__(self, shared: Any) -> None:
        self._numbers = memoryview(shared).cast("B").cast("q")

    @property
    def n_noted(self) -> int:
        """How many entries there are by now; a cube may have several."""
        return int(self._numbers[0])

    def note(self, cube: int, discarded: Discarded) -> None:
        """Add what was lost with `cube`."""
        n = self.n_noted
        for number, ids in enumerate(discarded.ranges):
            nameless = 0 if number else discarded.n_nameless
            at = self._place_of(n + number)
            for column, value in enumerate((cube, ids.first, ids.last, nameless)):
                self._numbers[at + column] = value
        self._numbers[0] = n + len(discarded.ranges)  # last, so that a cube is given up as a whole or not at all

    def between(self, begin: int, end: int) -> Discarded:
        """What the entries from `begin` to before `end` come to, as far as they are kept."""
        found = Discarded()
        for number in range(max(begin, self.n_noted - MOST_KEPT), end):
            at = self._place_of(number)
            _, first, last, nameless = self._numbers[at : at + N_COLUMNS].tolist()
            found += Discarded((IdRange(first, last),), nameless)
        return found

    def has(self, cube: int) -> bool:
        """Whether `cube` is one of them, and was lately."""
        n = self.n_noted
        return any(self._numbers[self._place_of(number)] == cube for number in range(max(0, n - MOST_KEPT), n))

    def release(self) -> None:
        """Let go of the memory."""
        self._numbers = memoryview(b"")

    @staticmethod
    def _place_of(number: int) -> int:
        return 1 + N_COLUMNS * (number % MOST_KEPT)
