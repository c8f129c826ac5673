"""Captures, mapped into memory: frames are views of the file."""

import contextlib
import mmap
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.analysis.events import Event, StreamData
from openhsi_shared.analysis.streams.decoding import ByteStream, TimedEvent, capture_error, decode_record
from openhsi_shared.analysis.streams.record_layout import CutRecord, OtherEncoding, RecordLayout, layout_at
from openhsi_shared.analysis.streams.source import Range, Ranges, Reader, Source
from openhsi_shared.errors import CaptureError, FileError
from openhsi_shared.line_times import UNKNOWN_TIME_NS, ns_of_iso

__all__ = ["CaptureSource", "n_runs"]

MAX_COPIED_BYTES = 32768
"""Frames up to this size become bytes: the parsers of dranspose read JSON of bytes only."""
MAX_LAYOUTS = 8
"""That are tried for a record."""
MAPPED_BYTES = 32 << 20
"""Of a file, after which its pages are unmapped: as long as they are mapped they count as memory of this process."""


@dataclass(frozen=True)
class CaptureSource(Source):
    """An uncompressed capture. With `run`, only one of several that were appended to a file, from 0 on."""

    path: Path
    run: int | None = None

    def ranges(self) -> "CaptureRanges":
        """All records are found, and their numbers checked, before the first event."""
        return CaptureRanges(self.path, self.run)

    def reader(self) -> "CaptureReader":
        """Map the file."""
        return CaptureReader(self.path)


class _MappedCapture:
    """The file, and the layouts of the records seen last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self.file = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise FileError(f"{path} cannot be read: {error}") from error
        except ValueError as error:
            raise CaptureError(f"{path} is empty: expected records of a capture", path=str(path)) from error
        self.data = memoryview(self.file)
        self._layouts: list[RecordLayout] = []
        self._mapped_from = 0

    def find(self, start: int) -> tuple[RecordLayout, int]:
        """Layout and event number of a record. Raises CutRecord, OtherEncoding."""
        if not 0 <= start - self._mapped_from < MAPPED_BYTES:
            self._mapped_from = start
            if hasattr(mmap, "MADV_DONTNEED"):
                self.file.madvise(mmap.MADV_DONTNEED)  # views stay valid: a page that is read again is mapped again
        for layout in self._layouts:
            number = layout.number_at(self.data, start)
            if number is not None:
                return layout, number
        layout = layout_at(self.data, start)
        self._layouts = [layout, *self._layouts[: MAX_LAYOUTS - 1]]
        return layout, layout.number

    def decode(self, start: int, record: int) -> tuple[TimedEvent, int]:
        """A record of another encoding, and the byte after its last."""
        at = start

        def read(n_bytes: int) -> bytes:
            nonlocal at
            at += n_bytes
            return self.file[at - n_bytes : at]

        stream = ByteStream(read)
        stream.offset = start
        return decode_record(stream, self.path, record), stream.offset

    def close(self) -> None:
        self.data.release()
        with contextlib.suppress(BufferError):  # a frame is still in use: the file is unmapped with the last one
            self.file.close()


class _Index:
    """Where the records of a capture are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.numbers, self.offsets, self.times_ns = array("q"), array("q"), array("q")
        self.firsts: list[int] = []
        """Records with a stream that was not in one of their run before."""
        self.runs: list[int] = [0]
        """First record of each run: event numbers fall there."""
        self.stream_names: frozenset[str] = frozenset()
        """Of all records."""
        self.error: CaptureError | None = None
        """What is wrong with the record after the last whole one."""
        capture = _MappedCapture(path)
        try:
            self._find_records(capture)
        finally:
            capture.close()

    def _find_records(self, capture: _MappedCapture) -> None:
        start, seen, last = 0, frozenset[str](), -1
        while start < len(capture.data):
            try:
                number, names, time_ns, stop = self._next_record(capture, start)
            except CaptureError as error:
                if not self.numbers:
                    raise
                self.error = error
                return
            if number <= last:
                if number == last:
                    text = f"has event number {number}, as the one before it: expected rising ones"
                    raise capture_error(self.path, len(self.numbers), start, text)
                self.runs.append(len(self.numbers))
                seen = frozenset()
            if names is not seen and not names <= seen:
                self.firsts.append(len(self.numbers))
                seen |= names
                self.stream_names |= names
            self.numbers.append(number)
            self.offsets.append(start)
            self.times_ns.append(time_ns)
            start, last = stop, number

    def _next_record(self, capture: _MappedCapture, start: int) -> tuple[int, frozenset[str], int, int]:
        """Event number, names of streams, time, and the byte after its last."""
        try:
            layout, number = capture.find(start)
        except (CutRecord, OtherEncoding):
            (event, time_ns, _), stop = capture.decode(start, len(self.numbers))
            return event.event_number, frozenset(event.streams), UNKNOWN_TIME_NS if time_ns is None else time_ns, stop
        time_ns = None
        if layout.time:
            time_ns = ns_of_iso(str(capture.data[start + layout.time[0] : start + layout.time[1]], "latin-1"))
        return number, layout.names, UNKNOWN_TIME_NS if time_ns is None else time_ns, start + layout.length


class CaptureRanges(Ranges):
    """The records of an open capture, or of one of its runs."""

    def __init__(self, path: Path, run: int | None = None) -> None:
        index = _Index(path)
        runs = [*index.runs, len(index.numbers)]
        if run is None and len(runs) > 2:
            text = (
                f"has event number {index.numbers[runs[1]]} after {index.numbers[runs[1] - 1]}: this file holds "
                f"{len(runs) - 1} runs; process each by itself with per='run' (--per run)"
            )
            raise capture_error(path, runs[1], index.offsets[runs[1]], text)
        start, stop = (0, runs[-1]) if run is None else (runs[run], runs[run + 1])
        self.n_events = stop - start
        self.stream_names = index.stream_names
        """Of all records."""
        self._numbers = np.array(index.numbers[start:stop])
        self._offsets = np.array(index.offsets[start:stop])
        self._times_ns = _filled(np.array(index.times_ns[start:stop]))
        self._firsts = [first - start for first in index.firsts if start <= first < stop] + [self.n_events]
        self._error = index.error if stop == runs[-1] else None
        self._at = 0

    def next(self, at_most: int) -> Range | None:
        """The next records; CaptureError once after the last whole one if there is more in the file."""
        start = self._at
        if start == len(self._numbers):
            error, self._error = self._error, None
            self.is_ended = True
            if error is not None:
                raise error
            return None
        is_first = start == self._firsts[0]
        if is_first:
            del self._firsts[0]
        stop = start + 1 if is_first else min(start + at_most, self._firsts[0])
        self._at = stop
        self.is_ended = stop == len(self._numbers) and self._error is None
        times_ns = None if self._times_ns is None else self._times_ns[start:stop]
        where = self._offsets[start:stop]
        return Range(numbers=self._numbers[start:stop], times_ns=times_ns, is_for_all=is_first, where=where)

    def close(self) -> None:
        """The file was closed as soon as its records were found."""


def n_runs(path: Path) -> int:
    """How many runs were appended to this file."""
    return len(_Index(path).runs)


def _filled(times_ns: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Where a time is missing: the one before it, at the start the one after it."""
    known = np.flatnonzero(times_ns != UNKNOWN_TIME_NS)
    if not len(known):
        return None
    before = np.searchsorted(known, np.arange(len(times_ns)), side="right") - 1
    return times_ns[known[np.maximum(before, 0)]]


class CaptureReader(Reader):
    """A mapped capture in a process that reads it."""

    def __init__(self, path: Path) -> None:
        self._capture = _MappedCapture(path)

    def events(self, part: Range) -> Iterator[Event]:
        """Events whose frames are views of the file, small ones bytes."""
        for start, expected in zip(part.where.tolist(), part.numbers.tolist(), strict=True):
            event = self._event(start)
            if event.event_number != expected:
                text = f"has event number {event.event_number}, expected {expected}: the file has changed"
                raise capture_error(self._capture.path, -1, start, text)
            yield event

    def _event(self, start: int) -> Event:
        capture = self._capture
        try:
            layout, number = capture.find(start)
        except (CutRecord, OtherEncoding):
            return capture.decode(start, -1)[0].event
        file, data = capture.file, capture.data
        streams = {}
        for name, typ, frames in layout.streams:
            streams[name] = StreamData(
                typ,
                [
                    (file if last - first <= MAX_COPIED_BYTES else data)[start + first : start + last]
                    for first, last in frames
                ],
            )
        return Event(number, streams)

    def close(self) -> None:
        """Close the file; views that are still referenced stay valid."""
        self._capture.close()
