"""Discarded cubes: which frames were in them, so that the next file declares them lost.

Shared memory contains one set of frames for each slot: those that the cube in it declares, since it was closed. One
more set is open: frames of the cubes discarded since then, which the cube that is closed next declares. Only the
acquiring process changes them, one thread at a time; the writer reads. The open set has two places and changes by a
single store, so a process that dies at any moment leaves the old one or the new one.
"""

from array import array
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

from openhsi_shared.frames.losses import MAX_RANGES, IdRange, merged

__all__ = ["Discarded", "DiscardedCubes", "n_numbers", "place_of"]

SET = 3 + 2 * MAX_RANGES
"""64-bit numbers of a set: the last discarded cube, frames without id, the number of ranges; then first and last id of
each range. Further ranges are only counted."""


def n_numbers(n_slots: int) -> int:
    """Size in shared memory, 64 bits each: the index of the valid open set, both open sets, the sets of the slots."""
    return 1 + SET * (2 + n_slots)


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

    def before(self, frame_id: int) -> Self:
        """Those with ids before this one, and without id."""
        return type(self)(tuple(ids for ids in self.ranges if ids.last < frame_id), self.n_without_id)

    def __add__(self, other: Self) -> Self:
        """Union of two that have no frame in common."""
        return type(self)(merged(self.ranges + other.ranges), self.n_without_id + other.n_without_id)


class DiscardedCubes:
    """The sets."""

    def __init__(self, shared: Any) -> None:
        self._numbers = memoryview(shared).cast("B").cast("q")

    @property
    def open(self) -> Discarded:
        """Frames discarded since the last cube was closed."""
        return self._read(self._open_place)

    def of(self, slot: int) -> Discarded:
        """Frames that the cube in `slot` declares, once it is closed."""
        return self._read(place_of(slot))

    def note(self, cube: int, discarded: Discarded) -> None:
        """Add the frames that were lost with `cube` to the open set."""
        self._replace_open(cube, self.open + discarded)

    def add(self, slot: int, discarded: Discarded) -> None:
        """Add frames to those that the cube in `slot`, which is closed, declares."""
        place = place_of(slot)
        n = self._numbers[place + 2]
        listed = discarded.ranges[: MAX_RANGES - n]
        values = array("q", chain.from_iterable(listed))
        self._numbers[place + 3 + 2 * n : place + 3 + 2 * n + len(values)] = values
        self._numbers[place + 1] += discarded.n_lost - sum(map(len, listed))
        self._numbers[place + 2] = n + len(listed)  # after them, so that a range is declared as a whole or not at all

    def assign(self, slot: int) -> None:
        """Copy the open set to `slot`, whose cube is about to be closed."""
        begin, place = self._open_place, place_of(slot)
        n = 3 + 2 * self._numbers[begin + 2]
        self._numbers[place : place + n] = self._numbers[begin : begin + n]

    def clear(self) -> None:
        """Empty the open set: a closed cube declares its frames."""
        if self._numbers[self._open_place + 2] or self._numbers[self._open_place + 1]:
            self._replace_open(self.last_cube, Discarded())

    @property
    def last_cube(self) -> int:
        """The last one that was discarded; 0 if none was."""
        return self._numbers[self._open_place]

    def has(self, cube: int) -> bool:
        """Whether `cube` is the last one that was discarded: the slots of all others are free already."""
        return self.last_cube == cube

    def release(self) -> None:
        """Drop the view of the memory."""
        self._numbers = memoryview(b"")

    @property
    def _open_place(self) -> int:
        return place_of(self._numbers[0] - 2)

    def _replace_open(self, cube: int, discarded: Discarded) -> None:
        which = 1 - self._numbers[0]
        self._write(place_of(which - 2), cube, discarded)
        self._numbers[0] = which  # last, so that a cube is noted as a whole or not at all

    def _write(self, place: int, cube: int, discarded: Discarded) -> None:
        listed = discarded.ranges[:MAX_RANGES]
        n_without_id = discarded.n_lost - sum(map(len, listed))
        values = array("q", [cube, n_without_id, len(listed), *chain.from_iterable(listed)])
        self._numbers[place : place + len(values)] = values

    def _read(self, place: int) -> Discarded:
        _, n_without_id, n = self._numbers[place : place + 3].tolist()
        ids = self._numbers[place + 3 : place + 3 + 2 * n].tolist()
        return Discarded(tuple(map(IdRange, ids[::2], ids[1::2])), n_without_id)


def place_of(slot: int) -> int:
    """Where the set of a slot begins; -2 and -1 are the two places of the open set."""
    return 1 + SET * (2 + slot)
