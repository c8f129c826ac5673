"""Updates of several channels, matched to one another shot by shot.

A row belongs to one update of the reference channel. Of each other channel it holds the update that is nearest to it in
time, if it is nearest to that one, too, and not farther than a threshold; of two, the earlier is the nearer. So no
update is in two rows, and no row has two updates of a channel. Only stamps count: rows are the same in whatever order
the channels arrive, as long as each channel's own updates are in order, and none is later than `settle_s`.
"""

from collections import deque
from typing import Any, NamedTuple

import numpy as np

from openhsi_shared.errors import ArgumentError

__all__ = ["IdRows", "MatchedRow", "Rows", "SlotRows"]

N_DIFFERENCES = 4096
"""The latest differences of times that are kept of each channel."""
RESTART_NS = 10**9
"""A stamp that is earlier by more than this is one of a clock that was set back: matching starts again."""


class MatchedRow(NamedTuple):
    """One update of each channel, in the order of the channels."""

    time_ns: int
    """Time of the reference's update."""
    values: list[Any]
    times_ns: list[int]


Update = tuple[int, Any, int]
"""Time in ns, value, and when it arrived, in ns of any clock that runs evenly."""
NEVER = -(2**63)


class _Other:
    """Updates of another channel that may still be used."""

    __slots__ = ("differences", "is_used", "last_ns", "n_unmatched", "place", "updates")

    def __init__(self, place: int) -> None:
        self.place = place
        self.updates: deque[Update] = deque()
        self.is_used = False
        """Whether the first of them is in a row: it stays, since it may be nearer to the next reference than others."""
        self.n_unmatched = 0
        self.last_ns = NEVER
        self.differences: deque[int] = deque(maxlen=N_DIFFERENCES)

    def drop_first(self) -> None:
        self.updates.popleft()
        self.n_unmatched += not self.is_used
        self.is_used = False

    def clear(self) -> None:
        self.n_unmatched += len(self.updates) - self.is_used
        self.updates.clear()
        self.is_used = False
        self.last_ns = NEVER


class Rows:
    """Matches by time; not thread-safe."""

    def __init__(
        self, n_channels: int, reference: int, threshold_s: float, maxlen: int = 50, settle_s: float = 0.5
    ) -> None:
        """`maxlen` is how many newer updates of the reference may wait before one is discarded."""
        _check(n_channels, reference, maxlen)
        if not threshold_s >= 0 or not settle_s >= 0:
            raise ArgumentError(f"threshold and settle_s must be >= 0 s, got {threshold_s!r} and {settle_s!r}")
        self.n_channels, self.reference, self.maxlen = n_channels, reference, maxlen
        self.threshold_ns, self.settle_ns = round(threshold_s * 1e9), round(settle_s * 1e9)
        self._others = {place: _Other(place) for place in range(n_channels) if place != reference}
        self.n_backward = [0] * n_channels
        """Updates of each channel with a stamp earlier than the one before."""
        self._n_unmatched = [0] * n_channels
        self._waiting: deque[Update] = deque()
        self._before_ns = self._last_ns = NEVER

    def add(self, channel: int, time_ns: int, value: Any, now_ns: int) -> list[MatchedRow]:
        """Take an update, and return the rows that are decided by it, in the order of time."""
        if channel == self.reference:
            if not self._is_next(channel, time_ns, self._last_ns):
                return []
            self._last_ns = time_ns
            self._waiting.append((time_ns, value, now_ns))
        else:
            other = self._others[channel]
            if not self._is_next(channel, time_ns, other.last_ns):
                return []
            other.last_ns = time_ns
            updates = other.updates
            updates.append((time_ns, value, now_ns))
            while len(updates) > self.maxlen and now_ns - updates[0][2] > self.settle_ns:
                other.drop_first()
        return self.settle(now_ns)

    def settle(self, now_ns: int) -> list[MatchedRow]:
        """Return the rows that are decided by now; to be called from time to time while nothing arrives."""
        rows: list[MatchedRow] = []
        waiting = self._waiting
        while waiting:
            if not self._decide(now_ns, rows):
                if len(waiting) <= self.maxlen:
                    break
                self._give_up()
            self._before_ns = waiting.popleft()[0]
        return rows

    def finish(self) -> list[MatchedRow]:
        """Return the rows that are complete, when nothing more comes; what still waits is unmatched."""
        rows = self.settle(2**63)
        self._start_again()
        return rows

    @property
    def n_unmatched(self) -> list[int]:
        """Updates of each channel that are in no row, and never will be."""
        counts = list(self._n_unmatched)
        for other in self._others.values():
            counts[other.place] += other.n_unmatched
        return counts

    def clear(self) -> None:
        """Forget what waits, and the counts."""
        self._start_again()
        self._n_unmatched, self.n_backward = [0] * self.n_channels, [0] * self.n_channels
        for other in self._others.values():
            other.differences.clear()
            other.n_unmatched = 0

    def differences_ns(self, channel: int) -> list[int]:
        """Times of the channel's latest updates minus those of the reference that they were compared with."""
        return list(self._others[channel].differences) if channel != self.reference else []

    def _decide(self, now_ns: int, rows: list[MatchedRow]) -> bool:
        """Whether the oldest waiting update of the reference is decided; its row is appended, if it has one."""
        reference = self._waiting[0]
        time_ns, _, complete_ns = reference
        is_certain = True
        for other in self._others.values():
            if other.last_ns < time_ns:
                if now_ns - complete_ns < self.settle_ns:
                    return False
                is_certain = False
                break
        taken = []
        for other in self._others.values():
            found = self._nearest(other, time_ns)
            if found is None:
                return self._give_up() if other.last_ns >= time_ns else False
            if found[0] > time_ns and len(self._waiting) == 1:
                is_certain = False
            complete_ns = max(complete_ns, found[2])
            taken.append(found)
        if not is_certain and now_ns - complete_ns < self.settle_ns:
            return False
        rows.append(self._row(reference, taken))
        return True

    def _nearest(self, other: _Other, time_ns: int) -> Update | None:
        """The update that the oldest reference takes as far as it is known; drops what no reference can take."""
        updates = other.updates
        while len(updates) > 1 and updates[1][0] <= time_ns:
            other.drop_first()
        if not updates:
            return None
        found = updates[0]
        if len(updates) > 1 and abs(updates[1][0] - time_ns) < abs(found[0] - time_ns):
            found = updates[1]
        distance = abs(found[0] - time_ns)
        if distance > self.threshold_ns:
            return None
        if found[0] < time_ns:
            return None if found[0] - self._before_ns <= distance else found
        if len(self._waiting) > 1 and abs(self._waiting[1][0] - found[0]) < distance:
            return None
        return found

    def _row(self, reference: Update, taken: list[Update]) -> MatchedRow:
        time_ns, value, _ = reference
        values, times = [value] * self.n_channels, [time_ns] * self.n_channels
        for other, update in zip(self._others.values(), taken, strict=True):
            times[other.place], values[other.place] = update[0], update[1]
            other.differences.append(update[0] - time_ns)
            if other.updates[0] is not update:
                other.drop_first()
            other.is_used = True
        return MatchedRow(time_ns, values, times)

    def _give_up(self) -> bool:
        time_ns = self._waiting[0][0]
        self._n_unmatched[self.reference] += 1
        for other in self._others.values():
            near = [update[0] - time_ns for update in list(other.updates)[:2]]
            if near:
                other.differences.append(min(near, key=abs))
        return True

    def _is_next(self, channel: int, time_ns: int, last_ns: int) -> bool:
        """Whether an update is used; of equal stamps, the first one is."""
        if time_ns > last_ns or (time_ns == last_ns and not self._others):
            return True
        self.n_backward[channel] += time_ns < last_ns
        if last_ns - time_ns <= RESTART_NS:
            self._n_unmatched[channel] += 1
            return False
        self._start_again()
        return True

    def _start_again(self) -> None:
        self._n_unmatched[self.reference] += len(self._waiting)
        self._waiting.clear()
        self._before_ns = self._last_ns = NEVER
        for other in self._others.values():
            other.clear()


class IdRows:
    """Matches by equal ids, such as pulse ids, whatever the times; not thread-safe.

    Ids of each channel come in the order of those of the others, so that once a row is complete, older ones never will.
    """

    def __init__(self, n_channels: int, reference: int, maxlen: int = 50) -> None:
        """`maxlen` is how many newer ids may wait before one is discarded."""
        _check(n_channels, reference, maxlen)
        self.n_channels, self.reference, self.maxlen = n_channels, reference, maxlen
        self.n_unmatched = [0] * n_channels
        """Updates of each channel that are in no row, and never will be."""
        self._waiting: dict[int, dict[int, tuple[int, Any]]] = {}

    def add(self, channel: int, number: int, time_ns: int, value: Any) -> list[MatchedRow]:
        """Take the update with id `number`, and return the row that it completes, if it does."""
        updates = self._waiting.get(number)
        if updates is not None and channel in updates:  # ids have begun again
            self._give_up(number)
            updates = None
        if updates is None:
            updates = self._waiting[number] = {}
            if len(self._waiting) > self.maxlen:
                self._give_up(next(iter(self._waiting)))
        updates[channel] = (time_ns, value)
        if len(updates) < self.n_channels:
            return []
        while (oldest := next(iter(self._waiting))) != number:
            self._give_up(oldest)
        del self._waiting[number]
        in_order = [updates[place] for place in range(self.n_channels)]
        times = [update[0] for update in in_order]
        return [MatchedRow(times[self.reference], [update[1] for update in in_order], times)]

    def finish(self) -> None:
        """Nothing more comes: what still waits is unmatched."""
        for number in list(self._waiting):
            self._give_up(number)

    def clear(self) -> None:
        """Forget what waits, and the counts."""
        self._waiting.clear()
        self.n_unmatched = [0] * self.n_channels

    def _give_up(self, number: int) -> None:
        for channel in self._waiting.pop(number):
            self.n_unmatched[channel] += 1


class SlotRows:
    """Matches as the EPICS recorder does, with its faults; for comparison with its data.

    Each update goes into the slot whose time, that of its first update, is nearest, or into the next one if that is
    farther than the threshold. A slot that has received as many updates as there are channels is a row, whatever
    channels they are of.
    """

    def __init__(self, n_channels: int, threshold_s: float, maxlen: int = 50) -> None:
        _check(n_channels, 0, maxlen)
        self.threshold_s, self.maxlen, self.n_channels = threshold_s, maxlen, n_channels
        self._times = np.zeros(maxlen)
        self._n_valid = [0] * maxlen
        self._values: list[list[Any]] = [[0] * n_channels for _ in range(maxlen)]
        self._index = 0

    def add(self, channel: int, time_s: float, value: Any) -> tuple[float, list[Any]] | None:
        """Take an update, and return time and values of the row that it completes, if it does."""
        distances = np.abs(self._times - time_s)
        slot = int(distances.argmin())
        if distances[slot] > self.threshold_s:
            slot, self._index = self._index, (self._index + 1) % self.maxlen
            self._n_valid[slot], self._times[slot] = 0, time_s
        self._values[slot][channel] = value
        self._n_valid[slot] += 1
        if self._n_valid[slot] != self.n_channels:
            return None
        return float(self._times[slot]), list(self._values[slot])


def _check(n_channels: int, reference: int, maxlen: int) -> None:
    if not 0 <= reference < n_channels:
        raise ArgumentError(f"reference {reference} is none of the {n_channels} channels")
    if maxlen < 1:
        raise ArgumentError(f"matching_maxlen must be a whole number > 0, got {maxlen!r}")
