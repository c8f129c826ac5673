"""Ranges of events become batches: numbered, each with one version of the parameters, and one tick at most."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from openhsi_shared.analysis.streams.source import Range, Ranges, Read, Reader
from openhsi_shared.analysis.work.messages import Batch

__all__ = ["LINES_IN_BATCH", "Batches", "events_of"]

LINES_IN_BATCH = 16
UNKNOWN = int(np.iinfo(np.int64).min)
"""Of a time: NaT."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Piece(Range):
    """Some events of another range, which its reader reads from the first one on."""

    of: Range
    first: int
    n_left: list[int]
    """One number for all pieces: events of `of` that are not released."""


def events_of(reader: Reader, part: Range) -> Iterator[Read]:
    """Read the events of the range of a batch, in the process of a worker."""
    if part.events is not None:
        return iter(part.events)
    if isinstance(part, _Piece):
        return islice(reader.events(part.of), part.first, part.first + len(part))
    return reader.events(part)


class Batches:
    """The batches of an open source, in the order of events. For one thread."""

    def __init__(
        self,
        ranges: Ranges,
        *,
        size: int = LINES_IN_BATCH,
        now_ns: Callable[[], int] | None = None,
        next_change: Callable[[int], int | None] | None = None,
    ) -> None:
        """Make batches of at most `size` events.

        `now_ns`: the clock by which events tick; without it they tick by their own times. Then a batch ends before the
        second event that ticks, so ticks do not depend on `size`. `next_change(number)`: the first event after this one
        from which other parameters are to hold; a batch ends before it.
        """
        self.tick_interval_s: float | None = None
        """What workers want; None: no event ticks."""
        self.next_event = 0
        """Number from which on no event is in a batch yet: a change of parameters takes effect from there on."""
        self.n_batches = 0
        self._ranges, self._size, self._now_ns, self._next_change = ranges, size, now_ns, next_change
        self._rest: Range | None = None
        self._last_tick_ns: int | None = None
        self._newest_ns = UNKNOWN

    @property
    def is_ended(self) -> bool:
        """Whether no batch follows."""
        return self._rest is None and self._ranges.is_ended

    def next(self, version: Callable[[int], int]) -> Batch | None:
        """Return the next batch, or None: there is none now, or no more (`is_ended`). CaptureError as `Ranges.next`.

        `version(number)`: that of the parameters for an event.
        """
        part, self._rest = self._rest or self._ranges.next(self._size), None
        if part is None:
            return None
        part, tick = self._cut(part)
        first = int(part.numbers[0])
        batch = Batch(number=self.n_batches, part=part, version=version(first), tick=tick)
        self.n_batches += 1
        self.next_event = int(part.numbers[-1]) + 1
        return batch

    def release(self, batch: Batch) -> None:
        """All events of this batch are processed, or given up."""
        part = batch.part
        if not isinstance(part, _Piece):
            self._ranges.release(part)
            return
        part.n_left[0] -= len(part)
        if not part.n_left[0]:
            self._ranges.release(part.of)

    def _cut(self, part: Range) -> tuple[Range, int | None]:
        """Cut what must be in the next batch; also return the number of its event that ticks, always the first one."""
        stop = len(part)
        if self._next_change is not None and stop > 1:
            change = self._next_change(int(part.numbers[0]))
            if change is not None:
                stop = int(np.searchsorted(part.numbers, change))
        tick = None
        if self.tick_interval_s is not None:
            is_due, until = self._tick(part, self.tick_interval_s)
            tick = int(part.numbers[0]) if is_due else None
            stop = min(stop, until)
        if stop == len(part):
            return part, tick
        part = _piece(part, 0, len(part))
        self._rest = _piece(part, stop, len(part))
        return _piece(part, 0, stop), tick

    def _tick(self, part: Range, interval_s: float) -> tuple[bool, int]:
        """Whether the first event ticks, and the index before which the batch ends. Without a time: that before it."""
        if self._now_ns is not None:
            times = np.array([self._now_ns()])
        else:
            times = np.full(1, UNKNOWN) if part.times_ns is None else part.times_ns
        times = np.maximum.accumulate(np.maximum(times, self._newest_ns))
        interval_ns = round(interval_s * 1e9)
        known = times[times > UNKNOWN]
        if self._last_tick_ns == UNKNOWN and len(known):  # the first event, often a header, had no time
            self._last_tick_ns = int(known[0])
        is_due = self._last_tick_ns is None or int(times[0]) >= self._last_tick_ns + interval_ns
        if is_due:
            self._last_tick_ns = int(times[0])
        until = len(part)
        if len(times) > 1 and self._last_tick_ns is not None:
            until = 1 + int(np.searchsorted(times[1:], self._last_tick_ns + interval_ns))
        self._newest_ns = int(times[min(until, len(times)) - 1])
        return is_due, until


def _piece(part: Range, first: int, stop: int) -> _Piece:
    of, begin, n_left = (part.of, part.first, part.n_left) if isinstance(part, _Piece) else (part, 0, [len(part)])
    return _Piece(
        numbers=part.numbers[first:stop],
        times_ns=None if part.times_ns is None else part.times_ns[first:stop],
        is_for_all=part.is_for_all,
        events=None if part.events is None else part.events[first:stop],
        of=of,
        first=begin + first,
        n_left=n_left,
    )
