"""Several captures as one stream of events: records of equal number are one event."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.analysis.events import Event
from openhsi_shared.analysis.streams.captures import CaptureRanges
from openhsi_shared.analysis.streams.carried import CarriedReader
from openhsi_shared.analysis.streams.source import Range, Ranges, Reader, Source
from openhsi_shared.errors import CaptureError, OpenHSIError
from openhsi_shared.line_times import UNKNOWN_TIME_NS

__all__ = ["MergedRanges", "MergedReader", "MergedSource"]


@dataclass(frozen=True)
class MergedSource(Source):
    """Captures that are merged; `names` are those of the files, for messages."""

    sources: tuple[Source, ...]
    names: tuple[str, ...]

    def ranges(self) -> "MergedRanges":
        """Open all of them."""
        readers = [source.reader() for source in self.sources]
        return MergedRanges([source.ranges() for source in self.sources], self.names, readers)

    def reader(self) -> "MergedReader":
        """Open all of them."""
        return MergedReader([source.reader() for source in self.sources])


class MergedRanges(Ranges):
    """Ranges of several sources, which must not be live, by event number.

    `where` of a range is a tuple of (index of a source, its range).
    """

    def __init__(self, sources: Sequence[Ranges], names: Sequence[str], readers: Sequence[Reader] = ()) -> None:
        self._sources, self._names = sources, names
        self._reader = MergedReader(readers)
        self._heads: list[Range | None] = [None for _ in sources]
        self._errors: list[OpenHSIError] = []

    def next(self, at_most: int) -> Range | None:
        """The next events of all sources; none ends before the longest. Errors of sources follow after all events."""
        self._fill(at_most)
        heads = [head for head in self._heads if head is not None]
        if not heads:
            self.is_ended = len(self._errors) <= 1
            if self._errors:
                raise self._errors.pop(0)
            return None
        numbers, is_first = _next_numbers(heads, at_most)
        parts = []
        for index, head in enumerate(self._heads):
            if head is not None:
                part, self._heads[index] = _cut(head, int(np.searchsorted(head.numbers, numbers[-1], "right")))
                if part is not None:
                    parts.append((index, part))
        self._refuse_doubles(parts)
        are_left = any(head is not None for head in self._heads) or not all(source.is_ended for source in self._sources)
        self.is_ended = not are_left and not self._errors
        return Range(numbers=numbers, times_ns=_times(numbers, parts), is_for_all=is_first, where=tuple(parts))

    def _fill(self, at_most: int) -> None:
        for index, source in enumerate(self._sources):
            if self._heads[index] is None and not source.is_ended:
                try:
                    self._heads[index] = source.next(at_most)
                except OpenHSIError as error:
                    self._errors.append(error)

    def _refuse_doubles(self, parts: list[tuple[int, Range]]) -> None:
        """CaptureError if two sources have the same stream in one event."""
        for (first, part), (second, other) in combinations(parts, 2):
            if not self._may_share_names(first, second) or not len(np.intersect1d(part.numbers, other.numbers)):
                continue
            names = {event.event_number: event.streams.keys() for event in self._reader.of_source(first, part)}
            for event in self._reader.of_source(second, other):
                if doubles := names.get(event.event_number, set()) & event.streams.keys():
                    raise CaptureError(
                        f"event {event.event_number} has the stream {min(doubles)!r} in {self._names[first]} and in "
                        f"{self._names[second]}: replay one of them"
                    )

    def _may_share_names(self, first: int, second: int) -> bool:
        source, other = self._sources[first], self._sources[second]
        if isinstance(source, CaptureRanges) and isinstance(other, CaptureRanges):
            return not source.stream_names.isdisjoint(other.stream_names)
        return True

    def close(self) -> None:
        """Close all of them."""
        for source in self._sources:
            source.close()
        self._reader.close()


def _next_numbers(heads: list[Range], at_most: int) -> tuple[NDArray[np.int64], bool]:
    """Event numbers of the next merged range, and whether it is the first one of a stream, which stands alone."""
    limit = min(int(head.numbers[-1]) for head in heads)
    numbers = np.unique(np.concatenate([head.numbers for head in heads]))
    numbers = numbers[numbers <= limit][:at_most]
    first = min((int(head.numbers[0]) for head in heads if head.is_for_all), default=None)
    if first is None:
        return numbers, False
    return (numbers[:1], True) if numbers[0] == first else (numbers[numbers < first], False)


def _cut(part: Range, n: int) -> tuple[Range | None, Range | None]:
    """The first `n` events of a range, and the others; `where` has one item per event, or is None."""
    if n in (0, len(part)):
        return (part, None) if n else (None, part)
    return _piece(part, slice(None, n)), _piece(part, slice(n, None))


def _piece(part: Range, piece: slice) -> Range:
    return replace(
        part,
        numbers=part.numbers[piece],
        times_ns=None if part.times_ns is None else part.times_ns[piece],
        where=None if part.where is None else part.where[piece],
        events=None if part.events is None else part.events[piece],
    )


def _times(numbers: NDArray[np.int64], parts: list[tuple[int, Range]]) -> NDArray[np.int64] | None:
    times_ns = np.full(len(numbers), UNKNOWN_TIME_NS, np.int64)
    for _, part in reversed(parts):  # so that the first source that has a time decides
        if part.times_ns is not None:
            at = np.searchsorted(numbers, part.numbers)
            times_ns[at] = np.where(part.times_ns == UNKNOWN_TIME_NS, times_ns[at], part.times_ns)
    return times_ns if (times_ns != UNKNOWN_TIME_NS).any() else None


class MergedReader(Reader):
    """Merges the events of a range."""

    def __init__(self, readers: Sequence[Reader] = ()) -> None:
        self._readers = readers
        self._carried = CarriedReader()

    def of_source(self, index: int, part: Range) -> Iterator[Event]:
        """Events of a part of one source."""
        reader = self._carried if part.events is not None else self._readers[index]
        for event in reader.events(part):
            if isinstance(event, Event):
                yield event

    def events(self, part: Range) -> Iterator[Event]:
        """Events of all sources, those of equal number as one."""
        iterators = [self.of_source(index, piece) for index, piece in part.where]
        pending = [next(iterator, None) for iterator in iterators]
        for number in part.numbers.tolist():
            found = [k for k, event in enumerate(pending) if event is not None and event.event_number == number]
            events = [event for k in found if (event := pending[k]) is not None]
            streams = {name: data for event in events for name, data in event.streams.items()}
            line = next((event.line for event in events if event.line is not None), None)
            about = next((event.about for event in events if event.about is not None), None)
            yield Event(number, streams, line, about)
            for k in found:
                pending[k] = next(iterators[k], None)

    def close(self) -> None:
        """Close all readers."""
        for reader in self._readers:
            reader.close()
