"""Some events of a source, by their numbers."""

from collections.abc import Iterator
from dataclasses import dataclass

from openhsi_shared.analysis.streams.source import Range, Ranges, Read, Reader, Source
from openhsi_shared.errors import AnalysisError

__all__ = ["SelectedSource"]


@dataclass(frozen=True)
class SelectedSource(Source):
    """Events from `first` to `until`, both included, and the first event of each stream, which workers need."""

    source: Source
    first: int
    until: int | None

    def ranges(self) -> "Ranges":
        """Open the source."""
        return _SelectedRanges(self.source.ranges(), self.first, self.until)

    def reader(self) -> "Reader":
        """Open the source."""
        return _SelectedReader(self.source.reader())


class _SelectedRanges(Ranges):
    def __init__(self, ranges: Ranges, first: int, until: int | None) -> None:
        self._ranges, self._first, self._until = ranges, first, until
        self._is_any_found, self._last = False, -1

    def next(self, at_most: int) -> Range | None:
        while (part := self._ranges.next(at_most)) is not None:
            self._last = int(part.numbers[-1])
            is_chosen = part.numbers >= self._first
            if self._until is not None:
                is_chosen &= part.numbers <= self._until
                if part.numbers[0] > self._until:
                    break
            self._is_any_found |= bool(is_chosen.any())
            if part.is_for_all or is_chosen.all():
                return part
            if is_chosen.any():
                times_ns = None if part.times_ns is None else part.times_ns[is_chosen]
                return Range(numbers=part.numbers[is_chosen], times_ns=times_ns, where=_Whole(part))
        self.is_ended = True
        if not self._is_any_found:
            wanted = f"from {self._first}" + ("" if self._until is None else f" until {self._until}")
            raise AnalysisError(f"there is no event {wanted}: the last number seen is {self._last}")
        return None

    def release(self, part: Range) -> None:
        self._ranges.release(part.where.part if isinstance(part.where, _Whole) else part)

    def close(self) -> None:
        self._ranges.close()


@dataclass(frozen=True)
class _Whole:
    """A range of which only some events are chosen."""

    part: Range


class _SelectedReader(Reader):
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def events(self, part: Range) -> Iterator[Read]:
        if not isinstance(part.where, _Whole):
            yield from self._reader.events(part)
            return
        chosen = set(part.numbers.tolist())
        for event in self._reader.events(part.where.part):
            if event.event_number in chosen:
                yield event

    def close(self) -> None:
        self._reader.close()
