"""Which frames were lost, exactly: what was offered and never committed."""

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["FrameLedger", "IdRange", "gaps_between", "merged", "ranges_in_words"]

MOST_RANGES = 10_000
"""So many gaps are kept one by one; of the rest only the count is kept, which stays exact."""


class IdRange(NamedTuple):
    """Frame ids from `first` to `last`, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1


class FrameLedger:
    """The account of one camera: every id is committed, lost, or yet to come.

    Ids come unwrapped and increasing. Where a camera has none, `next_id` counts in software: exact for what we drop
    ourselves, blind to what the camera drops.
    """

    def __init__(self) -> None:
        self.n_committed = 0
        self.n_lost_before_last = 0
        """Lost between committed lines; frames offered after the last one are added by `n_lost`."""
        self.ranges: list[IdRange] = []
        self._begin: int | None = None
        self._next_commit = 0
        self._next_offer = 0

    @property
    def next_id(self) -> int:
        """The id that follows the last one that was offered."""
        return self._next_offer

    @property
    def expected(self) -> int:
        """The id that follows the last committed line, or the first one that was ever offered."""
        return self._next_commit

    @property
    def n_lost(self) -> int:
        """How many frames were offered, or skipped by the camera, and not committed."""
        return self.n_lost_before_last + self._next_offer - self._next_commit

    def offer(self, frame_id: int) -> bool:
        """Note that the camera delivered `frame_id`.

        False if it was there before: a doubled frame must not be committed.
        """
        if self._begin is None:
            self._begin = self._next_commit = self._next_offer = frame_id
        if frame_id < self._next_offer:
            return False
        self._next_offer = frame_id + 1
        return True

    def lost_if_committed(self) -> int:
        """How many ids lie between the last committed line and the frame on offer."""
        return self._next_offer - 1 - self._next_commit

    def commit(self) -> None:
        """Note that the frame on offer has become a line."""
        last = self._next_offer - 1
        if last > self._next_commit:
            self.n_lost_before_last += last - self._next_commit
            if len(self.ranges) < MOST_RANGES:
                self.ranges.append(IdRange(self._next_commit, last - 1))
        self._next_commit = last + 1
        self.n_committed += 1

    def skip(self, frame_id: int) -> bool:
        """Note that somebody took `frame_id` to look at it: neither committed nor lost.

        False, and nothing is noted, if it does not follow the last line: it could not be told from the loss before it.
        """
        if self._begin is not None and frame_id != self._next_commit:
            return False
        self.offer(frame_id)
        self.commit()
        self.n_committed -= 1
        return True

    def lost_ids(self) -> tuple[IdRange, ...]:
        """All gaps so far, with the one that is still open."""
        still_open = (IdRange(self._next_commit, self._next_offer - 1),) if self._next_offer > self._next_commit else ()
        return (*self.ranges, *still_open)


def gaps_between(expected: int, frame_ids: list[int]) -> list[IdRange]:
    """Ranges of ids missing before and between increasing `frame_ids`, when `expected` should have been the first.

    >>> gaps_between(3, [5, 6, 9])
    [IdRange(first=3, last=4), IdRange(first=7, last=8)]
    """
    gaps = []
    for frame_id in frame_ids:
        if frame_id > expected:
            gaps.append(IdRange(expected, frame_id - 1))
        expected = frame_id + 1
    return gaps


def merged(ranges: Iterable[IdRange]) -> tuple[IdRange, ...]:
    """The same ids in order, in as few ranges as there can be.

    >>> merged([IdRange(7, 9), IdRange(1, 3), IdRange(4, 5), IdRange(8, 8)])
    (IdRange(first=1, last=5), IdRange(first=7, last=9))
    """
    found: list[IdRange] = []
    for ids in sorted(ranges):
        if found and ids.first <= found[-1].last + 1:
            found[-1] = IdRange(found[-1].first, max(found[-1].last, ids.last))
        else:
            found.append(ids)
    return tuple(found)


def ranges_in_words(ranges: list[IdRange] | tuple[IdRange, ...]) -> str:
    """Write ranges for people and for attributes of a file.

    >>> ranges_in_words([IdRange(3, 4), IdRange(7, 7)])
    '3-4 7'
    """
    return " ".join(f"{r.first}-{r.last}" if r.last > r.first else str(r.first) for r in ranges)
