"""Exact account of lost frames: offered and never committed."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["MAX_RANGES", "FrameLedger", "IdRange", "gaps_between", "merged", "ranges_in_words"]

MAX_RANGES = 10_000
"""Maximum number of gaps that are listed; further ones are only counted, exactly."""


class IdRange(NamedTuple):
    """Frame ids from `first` to `last`, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        return max(0, self.last - self.first + 1)

    def before(self, frame_id: int) -> "IdRange":
        """Those of them that are before `frame_id`; false if there are none."""
        return IdRange(self.first, min(self.last, frame_id - 1))

    def after(self, frame_id: int) -> "IdRange":
        """Those of them that are after `frame_id`; false if there are none."""
        return IdRange(max(self.first, frame_id + 1), self.last)


class FrameLedger:
    """The account of one camera: every id is committed, lost, or in the future.

    Ids must be unwrapped and increasing. For cameras without ids, `next_id` counts in software: it detects frames
    dropped by this library, not those dropped by the camera.
    """

    def __init__(self) -> None:
        self.n_committed = 0
        self.n_lost_before_last = 0
        """Lost between committed lines; `n_lost` adds frames offered after the last one."""
        self.n_passed_over = 0
        """Ids that were not wanted."""
        self.ranges: list[IdRange] = []
        self._begin: int | None = None
        self._next_commit = 0
        self._next_offer = 0

    @property
    def next_id(self) -> int:
        """The id after the last one offered."""
        return self._next_offer

    @property
    def expected(self) -> int:
        """The id after the last committed line, or the first one ever offered."""
        return self._next_commit

    @property
    def n_lost(self) -> int:
        """Number of frames that were offered, or skipped by the camera, and not committed."""
        return self.n_lost_before_last + self._next_offer - self._next_commit

    def offer(self, frame_id: int) -> bool:
        """Record that the camera delivered `frame_id`.

        False for a duplicate, which must not be committed.
        """
        if self._begin is None:
            self._begin = self._next_commit = self._next_offer = frame_id
        if frame_id < self._next_offer:
            return False
        self._next_offer = frame_id + 1
        return True

    def lost_if_committed(self) -> int:
        """Number of ids between the last committed line and the offered frame."""
        return self._next_offer - 1 - self._next_commit

    def commit(self, frame_id: int | None = None) -> None:
        """Record that the offered frame became a line, or an earlier one that was offered after the last line."""
        last = self._next_offer - 1 if frame_id is None else frame_id
        if last > self._next_commit:
            self._note(IdRange(self._next_commit, last - 1))
        self._next_commit = last + 1
        self.n_committed += 1

    def commit_all(self, frame_ids: Sequence[int]) -> None:
        """Record that these frames, of which the last one was offered, became one line."""
        n_before = self.n_committed
        for frame_id in frame_ids:
            self.commit(frame_id)
        self.n_committed = n_before + 1

    def skip(self, frame_id: int) -> bool:
        """Record that `frame_id` was consumed without being saved: neither committed nor lost.

        False, without effect, if it does not follow the last line: it could not be distinguished from the loss before
        it.
        """
        if self._begin is not None and frame_id != self._next_commit:
            return False
        self.offer(frame_id)
        self.commit()
        self.n_committed -= 1
        return True

    def settle(self) -> IdRange | None:
        """Let frames that were offered after the last line stay lost, whatever comes; they are returned."""
        if self._next_offer == self._next_commit:
            return None
        lost = IdRange(self._next_commit, self._next_offer - 1)
        self._note(lost)
        self._next_commit = self._next_offer
        return lost

    def want_no_more(self, ids: IdRange, n_lost: int) -> None:
        """Record that `n_lost` frames among `ids`, which count as lost, were not wanted."""
        if n_lost:
            self.n_lost_before_last -= n_lost
            self.ranges = [part for one in self.ranges for part in (one.before(ids.first), one.after(ids.last)) if part]

    def _note(self, lost: IdRange) -> None:
        self.n_lost_before_last += len(lost)
        if len(self.ranges) < MAX_RANGES:
            self.ranges.append(lost)

    def pass_over(self, frame_id: int) -> IdRange | None:
        """Record that `frame_id`, and what the camera skipped before it, is not wanted: neither committed nor lost.

        Frames that were offered and not committed before stay lost, and are returned.
        """
        lost = self.settle()
        if self.offer(frame_id):
            self.n_passed_over += self._next_offer - self._next_commit
            self._next_commit = self._next_offer
        return lost

    def lost_ids(self) -> tuple[IdRange, ...]:
        """All gaps so far, including the one that is still open."""
        still_open = (IdRange(self._next_commit, self._next_offer - 1),) if self._next_offer > self._next_commit else ()
        return (*self.ranges, *still_open)


def gaps_between(expected: int, frame_ids: list[int]) -> list[IdRange]:
    """Ranges of ids missing before and between increasing `frame_ids`; `expected` is the first id expected.

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
    """The same ids in order, in the smallest number of ranges.

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
    """Format ranges for messages and for attributes of a file.

    >>> ranges_in_words([IdRange(3, 4), IdRange(7, 7)])
    '3-4 7'
    """
    return " ".join(f"{r.first}-{r.last}" if r.last > r.first else str(r.first) for r in ranges)
