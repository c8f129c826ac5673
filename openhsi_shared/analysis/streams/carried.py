"""Events that only the distributing process can read: ranges carry them to the workers."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openhsi_shared.analysis.events import Event
from openhsi_shared.analysis.streams.decoding import TimedEvent, capture_error, decoded_events
from openhsi_shared.analysis.streams.source import Range, Ranges, Reader, Source
from openhsi_shared.errors import CaptureError, OpenHSIError
from openhsi_shared.line_times import UNKNOWN_TIME_NS

__all__ = ["CarriedRanges", "CarriedReader", "DecodedSource"]


@dataclass(frozen=True)
class DecodedSource(Source):
    """A capture that is compressed, or pickled."""

    path: Path

    def ranges(self) -> "CarriedRanges":
        """Records are decoded one range after the other."""
        return CarriedRanges(decoded_events(self.path), str(self.path))

    def reader(self) -> "CarriedReader":
        """What a range carries."""
        return CarriedReader()


class CarriedRanges(Ranges):
    """Events of an iterator. An error of the tree that it raises follows after the last event before it."""

    def __init__(self, events: Iterator[TimedEvent], name: str) -> None:
        self._events, self._name = events, name
        self._next: TimedEvent | None = None
        self._error: OpenHSIError | None = None
        self._last, self._n = -1, 0
        self._seen = frozenset[str]()
        self._advance()

    def next(self, at_most: int) -> Range | None:
        """The next events, alone the first one of a stream."""
        found: list[TimedEvent] = []
        is_first = False
        while (item := self._next) is not None and len(found) < at_most and not is_first:
            is_first = not item.event.streams.keys() <= self._seen
            if is_first and found:
                is_first = False
                break
            self._seen |= item.event.streams.keys()
            found.append(item)
            self._advance()
        if not found:
            error, self._error = self._error, None
            self.is_ended = True
            if error is not None:
                raise error
            return None
        self.is_ended = self._next is None and self._error is None
        times_ns = [UNKNOWN_TIME_NS if item.time_ns is None else item.time_ns for item in found]
        return Range(
            numbers=np.array([item.event.event_number for item in found], np.int64),
            times_ns=np.array(times_ns, np.int64),
            is_for_all=is_first,
            events=tuple(item.event for item in found),
        )

    def _advance(self) -> None:
        self._next = None
        try:
            item = next(self._events, None)
            if item is not None:
                self._check(item)
        except OpenHSIError as error:
            if not self._n:
                raise
            self._error = error
        else:
            self._next = item

    def _check(self, item: TimedEvent) -> None:
        number = item.event.event_number
        if number <= self._last:
            text = f"has event number {number} after {self._last}: expected rising ones"
            if item.offset is None:
                raise CaptureError(f"{self._name}: event {self._n} {text}")
            text += "; if the capture has several runs, decompress it, and process each with per='run' (--per run)"
            raise capture_error(self._name, self._n, item.offset, text)
        self._last, self._n = number, self._n + 1

    def close(self) -> None:
        """Close the iterator, if it can be closed."""
        close = getattr(self._events, "close", None)
        if close is not None:
            close()


class CarriedReader(Reader):
    """Gives what a range carries."""

    def events(self, part: Range) -> Iterator[Event]:
        """Events of the range."""
        return iter(part.events or ())

    def close(self) -> None:
        """Nothing is open."""
