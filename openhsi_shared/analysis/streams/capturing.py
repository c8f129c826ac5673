"""Captures of lines of saved cubes, or of a running recording: all, some, or each k-th."""

from contextlib import ExitStack
from pathlib import Path
from typing import Self

import numpy as np

from openhsi_shared.analysis.events import Event
from openhsi_shared.analysis.streams.capture_options import LinesToCapture
from openhsi_shared.analysis.streams.capture_writing import CaptureWriter
from openhsi_shared.analysis.streams.slot_ranges import SkippedLines, SlotRanges
from openhsi_shared.analysis.streams.source import Overwritten, Range, Source
from openhsi_shared.errors import ArgumentError

__all__ = ["Capturing"]

EVENTS_AT_ONCE = 16


class Capturing:
    """A capture while it is written. Header and end of the stream are always part of it; events keep their numbers.

    Use it as a context manager: what is not closed at its end is removed.
    """

    def __init__(self, source: Source, path: Path, lines: LinesToCapture) -> None:
        """ArgumentError for another name than .cbors or .cbors.gz, SaveError if there is such a file."""
        self._lines, self._stack = lines, ExitStack()
        self.n_lines = 0
        """Lines written."""
        self._first_number: int | None = None
        with self._stack:
            self._writer = CaptureWriter(path)
            self._stack.callback(self._writer.abandon)
            self.ranges = source.ranges()
            self._stack.callback(self.ranges.close)
            self._reader = source.reader()
            self._stack.callback(self._reader.close)
            self._stack = self._stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def step(self) -> bool:
        """Write the events of the next range; False if there is none now, or none any more.

        SaveError; AnalysisError for a line that cannot be read.
        """
        part = self.ranges.next(EVENTS_AT_ONCE if self._lines.every == 1 else 1)
        if part is None:
            return False
        if self._is_wanted(part):
            overwritten = []
            for event in self._reader.events(part):
                if isinstance(event, Event):
                    self._write(event)
                elif isinstance(event, Overwritten):
                    overwritten.append(event.frame_id)
                else:
                    raise event.error
            self.skipped.add(np.array(overwritten, np.int64))
        self.ranges.release(part)
        return True

    def end(self) -> None:
        """Of a running recording: nothing comes any more. `step` gives what is left."""
        if isinstance(self.ranges, SlotRanges):
            self.ranges.end()

    @property
    def skipped(self) -> SkippedLines:
        """Lines of a running recording that came too fast."""
        return self.ranges.skipped if isinstance(self.ranges, SlotRanges) else SkippedLines()

    def released(self) -> list[tuple[int, int]]:
        """Slots that are not needed any more, and their cubes; each once."""
        if not isinstance(self.ranges, SlotRanges):
            return []
        found, self.ranges.released = self.ranges.released, []
        return found

    def _is_wanted(self, part: Range) -> bool:
        """Whether it is the header, the end, or has a line that is captured."""
        if part.is_for_all or self.ranges.is_ended:
            return True
        first, last = int(part.numbers[0]), int(part.numbers[-1])
        if self._first_number is None:
            self._first_number = first
        lines = range(first - self._first_number, last - self._first_number + 1)
        if self._lines.is_over(lines[-1] + 1):
            self.end()
        return any(map(self._lines.has, lines))

    def _write(self, event: Event) -> None:
        if event.line is None:
            self._writer.write(event)
        elif self._lines.has(event.event_number - (self._first_number or 1)):
            self._writer.write(event)
            self.n_lines += 1

    def close(self) -> None:
        """Publish the file. SaveError; ArgumentError if no line was captured."""
        if not self.n_lines:
            raise ArgumentError(f"no line to capture: the stream has none from line {self._lines.first} on")
        self._writer.close()
