"""The lines of a recording as one run for each cube, numbered as in a replay of that cube alone."""

import numpy as np

from openhsi_shared.analysis.streams.slot_ranges import LinesInSlot, SlotRanges
from openhsi_shared.analysis.streams.source import Range, Ranges

__all__ = ["CubeByCube"]


class CubeByCube(Ranges):
    """The ranges of one cube: its header, its lines, its end; then, after `begin_next`, those of the next one.

    A cube ends with the first line of the next one, or with the recording.
    """

    def __init__(self, ranges: SlotRanges) -> None:
        self._ranges = ranges
        self._held: Range | None = None
        self.is_over = False
        """Whether no cube follows."""
        self.begin_next()

    def begin_next(self) -> None:
        """Begin the run of the next cube."""
        self.is_ended = self.is_over
        self._cube = 0
        self._number, self._time_ns = 0, 0
        self.file = ""
        """Path that the cube will have; empty before its header, or if nothing is saved."""

    def next(self, at_most: int) -> Range | None:
        """The next range of this cube; see `Ranges.next`."""
        if self.is_ended:
            return None
        part, self._held = self._held or self._ranges.next(at_most), None
        if part is not None and isinstance(part.where, str):  # the header of the stream
            part = self._ranges.next(at_most)
        if part is None:
            return None
        if not isinstance(part.where, LinesInSlot):
            self.is_over = self.is_ended = True
            return self._end() if self._cube else None
        if part.where.cube == self._cube:
            return self._lines(part, part.where)
        self._held = part
        if self._cube:
            self.is_ended = True
            return self._end()
        self._cube = part.where.cube
        self.file = self._ranges.file_of(_first_ns(part))
        return Range(
            numbers=np.zeros(1, np.int64), times_ns=np.array([_first_ns(part)]), is_for_all=True, where=self.file
        )

    def _lines(self, part: Range, where: LinesInSlot) -> Range:
        numbers = where.first + 1 + np.arange(len(part))
        self._number = int(numbers[-1])
        self._time_ns = 0 if part.times_ns is None else int(part.times_ns[-1])
        return Range(numbers=numbers, times_ns=part.times_ns, where=where)

    def _end(self) -> Range:
        return Range(numbers=np.array([self._number + 1]), times_ns=np.array([self._time_ns]))

    def release(self, part: Range) -> None:
        """All events of a range are processed, or given up."""
        self._ranges.release(part)

    def close(self) -> None:
        """Close the source. Idempotent."""
        self._ranges.close()


def _first_ns(part: Range) -> int:
    return 0 if part.times_ns is None else int(part.times_ns[0])
