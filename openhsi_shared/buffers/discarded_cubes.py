"""Discarded cubes: which frames were in them, so that the next file declares them lost.

A list in shared memory that only grows; each cube declares a range of its entries. Only the acquiring process adds
entries, one thread at a time; the writer reads.
"""

from dataclasses import dataclass
from typing import Any, Self

from openhsi_shared.frames.losses import IdRange, merged

__all__ = ["N_NUMBERS", "Discarded", "DiscardedCubes"]

MAX_KEPT = 1024
"""Capacity; older entries are overwritten: no cube has to declare so many."""
N_FIELDS = 4
N_NUMBERS = 1 + N_FIELDS * MAX_KEPT
"""64 bits each: the number of entries, then (cube, first id, last id, further frames without id) of each."""


@dataclass(frozen=True)
class Discarded:
    """Frames that were lost with discarded cubes."""

    ranges: tuple[IdRange, ...] = ()
    n_without_id: int = 0
    """Further lost frames with unknown ids: they are mixed with overwritten ones."""

    @property
    def n_lost(self) -> int:
        """Number of lost frames."""
        return sum(map(len, self.ranges)) + self.n_without_id

    def __add__(self, other: Self) -> Self:
        """Union of two that have no frame in common."""
        return type(self)(merged(self.ranges + other.ranges), self.n_without_id + other.n_without_id)


class DiscardedCubes:
    """The list."""

    def __init__(self, shared: Any) -> None:
        self._numbers = memoryview(shared).cast("B").cast("q")

    @property
    def n_noted(self) -> int:
        """Number of entries so far; a cube may have several."""
        return int(self._numbers[0])

    def note(self, cube: int, discarded: Discarded) -> None:
        """Add the frames that were lost with `cube`."""
        n = self.n_noted
        for number, ids in enumerate(discarded.ranges):
            without_id = 0 if number else discarded.n_without_id
            at = self._place_of(n + number)
            for column, value in enumerate((cube, ids.first, ids.last, without_id)):
                self._numbers[at + column] = value
        self._numbers[0] = n + len(discarded.ranges)  # last, so that a cube is noted as a whole or not at all

    def between(self, begin: int, end: int) -> Discarded:
        """Union of the entries from `begin` to before `end`, as far as they are kept."""
        found = Discarded()
        for number in range(max(begin, self.n_noted - MAX_KEPT), end):
            at = self._place_of(number)
            _, first, last, without_id = self._numbers[at : at + N_FIELDS].tolist()
            found += Discarded((IdRange(first, last),), without_id)
        return found

    def has(self, cube: int) -> bool:
        """Whether `cube` is among the kept entries."""
        n = self.n_noted
        return any(self._numbers[self._place_of(number)] == cube for number in range(max(0, n - MAX_KEPT), n))

    def release(self) -> None:
        """Drop the view of the memory."""
        self._numbers = memoryview(b"")

    @staticmethod
    def _place_of(number: int) -> int:
        return 1 + N_FIELDS * (number % MAX_KEPT)
