"""Lines of saved cubes as events; each process that reads opens the files itself, and checks the lines."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.analysis.events import Line
from openhsi_shared.analysis.streams.line_events import LineStream
from openhsi_shared.analysis.streams.saved_columns import SavedColumns, about_saved
from openhsi_shared.analysis.streams.source import Range, Ranges, Read, Reader, Source, Unreadable
from openhsi_shared.errors import AnalysisError, FileError, OpenHSIError
from openhsi_shared.files.flight import Flight, flight_of, open_flight
from openhsi_shared.files.flight_part import FlightPart
from openhsi_shared.files.reading import open_cube
from openhsi_shared.files.source_cube import SourceCube
from openhsi_shared.levels import LevelPlan
from openhsi_shared.paths import cubes_below, given_path

__all__ = ["CubeSource"]

CACHED_BYTES = 1 << 20
"""Bytes that are read at a time: they are in the processor's cache when they are checked and used."""
MAX_AT_ONCE = 256


class CubeSource(Source):
    """Cubes of this library or of openhsi, joined along track in the order of time.

    Event 0 is the header, whose filename is the first cube; then one event for each line; the last one is the end.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        stream: str = "lines",
        processing_lvl: int | None = None,
        cal_path: str | Path | None = None,
    ) -> None:
        """Files and folders. `processing_lvl`: lines are processed to this level, with the calibration `cal_path`."""
        self.paths = [given_path(path, "a file to replay").absolute() for path in paths]
        self.stream, self.processing_lvl, self.cal_path = stream, processing_lvl, cal_path

    def ranges(self) -> "CubeRanges":
        """Look at each file once. FileError if one is no cube, or of another kind; LevelError."""
        return CubeRanges(self)

    def reader(self) -> "CubeReader":
        """Open it in a process that reads; files are opened on access."""
        return CubeReader(self)

    def each(self) -> "list[CubeSource]":
        """A source for each cube, in the order of time."""
        with self.flight() as flight:
            return [self._of(path) for path in flight.paths]

    def _of(self, path: Path) -> "CubeSource":
        return CubeSource([path], stream=self.stream, processing_lvl=self.processing_lvl, cal_path=self.cal_path)

    def flight(self) -> Flight:
        """All cubes as one; to be closed."""
        if len(self.paths) == 1 and self.paths[0].is_dir():
            return open_flight(self.paths[0])
        parts = []
        for path in self.paths:
            for file in cubes_below(path) if path.is_dir() else [path]:
                with open_cube(file) as cube:
                    parts.append(FlightPart.of(cube))
        if not parts:
            raise FileError(f"no cube in {', '.join(map(str, self.paths))}")
        return flight_of(parts)

    def look_at(self, path: Path) -> tuple[SourceCube, LevelPlan] | None:
        """How the lines of a cube are processed; None if they are given as they are. LevelError."""
        if self.processing_lvl is None:
            return None
        source = SourceCube.look_at(path, cal_path=self.cal_path)
        return source, source.plan_to(self.processing_lvl)


class _Place(NamedTuple):
    """Where the lines of a range are."""

    path: Path
    uuid: str | None
    n_lines: int
    cube: int
    expected_id: int
    """Frame id after the last line of the cube before it, of the same run; -1 if there is none."""
    first: int
    """Line of the cube; -1 stands for the header, the number of lines for the end."""


# ---- in the process that distributes -------------------------------------------------


class CubeRanges(Ranges):
    """Ranges of lines, each within one cube."""

    def __init__(self, source: CubeSource) -> None:
        with source.flight() as flight:
            self._parts = flight.parts_of_one_camera("a replay")
        source.look_at(self._parts[0].path)
        self._places, self._begins = _places_of(self._parts)
        self._end = self._begins[-1] + self._parts[-1].shape[0]
        self.n_events = 2 + sum(part.shape[0] for part in self._parts)
        self._part, self._line, self._is_begun = 0, 0, False

    def next(self, at_most: int) -> Range | None:
        """The next range. Never None before the end."""
        if not self._is_begun:
            self._is_begun = True
            times, where = self._parts[0].times_ns[:1], self._places[0]._replace(first=-1)
            return Range(numbers=np.zeros(1, np.int64), times_ns=times, is_for_all=True, where=where)
        if self.is_ended:
            return None
        if self._part == len(self._parts):
            self.is_ended = True
            times = self._parts[-1].times_ns[-1:]
            where = self._places[-1]._replace(first=self._parts[-1].shape[0])
            return Range(numbers=np.array([self._end]), times_ns=times, where=where)
        part, first = self._parts[self._part], self._line
        stop = self._line = min(first + at_most, part.shape[0])
        numbers = np.arange(first, stop) + self._begins[self._part]
        found = Range(
            numbers=numbers,
            times_ns=part.times_ns[first:stop],
            where=self._places[self._part]._replace(first=first),
        )
        if stop == part.shape[0]:
            self._part, self._line = self._part + 1, 0
        return found

    def close(self) -> None:
        """No file is open."""


def _places_of(parts: Sequence[FlightPart]) -> tuple[list[_Place], list[int]]:
    """The place of each cube, and the event number of its first line.

    Where a cube of a run is missing, its lines keep their numbers: so events have those of the recording.
    """
    is_one_run = len({part.run_id for part in parts}) == 1
    most = {run: max(part.shape[0] for part in parts if part.run_id == run) for run in {part.run_id for part in parts}}
    places, begins, number = [], [], 1
    before: FlightPart | None = None
    for index, part in enumerate(parts, 1):
        is_next = before is not None and before.run_id == part.run_id and part.number is not None
        if before is not None and is_next:
            number += max(0, (part.number or 0) - (before.number or 0) - 1) * most[part.run_id]
        ids = before.frame_ids if before is not None and is_next else None
        cube = part.number if is_one_run and part.number is not None else index
        expected = -1 if ids is None else int(ids[-1]) + 1 + part.frames_paused
        places.append(_Place(part.path, part.uuid, part.shape[0], cube, expected, 0))
        begins.append(number)
        number, before = number + part.shape[0], part
    return places, begins


# ---- in a process that reads ---------------------------------------------------------


class CubeReader(Reader):
    """Reads lines, and checks each one."""

    def __init__(self, source: CubeSource) -> None:
        self._source, self._stream = source, LineStream(source.stream)
        self._cube: _CubeLines | None = None

    def events(self, part: Range) -> Iterator[Read]:
        """Read the events of a range. A damaged line gives an `Unreadable`."""
        place: _Place = part.where
        numbers: list[int] = part.numbers.tolist()
        try:
            cube = self._opened(place)
        except (OpenHSIError, OSError) as error:
            why = error if isinstance(error, OpenHSIError) else FileError(f"{place.path} cannot be read: {error}")
            yield from (Unreadable(number, why) for number in numbers)
            return
        if place.first == -1:
            yield self._stream.header(str(place.path), cube.about)
        elif place.first == place.n_lines:
            yield self._stream.end(numbers[0], cube.about)
        else:
            for number, line in zip(numbers, cube.lines(place.first, len(numbers)), strict=True):
                if isinstance(line, Line):
                    yield self._stream.line(number, line, cube.about)
                else:
                    yield Unreadable(number, line)

    def _opened(self, place: _Place) -> "_CubeLines":
        cube = self._cube
        if cube is None or cube.place.path != place.path:
            self.close()
            cube = self._cube = _CubeLines(self._source, place)
        return cube

    def close(self) -> None:
        """Close the file that is open. Idempotent."""
        if self._cube is not None:
            self._cube.close()
        self._cube = None


class _CubeLines:
    """An open cube, and memory for some of its lines."""

    def __init__(self, source: CubeSource, place: _Place) -> None:
        self.place = place
        looked = source.look_at(place.path)
        self._open = open_cube(place.path)
        try:
            self._check_same(place)
            self._columns = SavedColumns(self._open, place.cube, place.expected_id)
            lines = self._open.lines
            self._lines = lines
            line_bytes = lines.shape[1] * lines.shape[2] * lines.dtype.itemsize
            self._n_at_once = min(MAX_AT_ONCE, len(lines), max(1, CACHED_BYTES // line_bytes))
            self._memory, self._view = _memory((self._n_at_once, *lines.shape[1:]), lines.dtype)
            self._plan = None if looked is None or looked[1].is_identity else looked[1]
            if self._plan is not None:
                self._plan.warm()
                self._processed, self._processed_view = _memory(self._plan.line_shape, self._plan.line_dtype)
            self.about = about_saved(self._open, looked)
        except BaseException:
            self._open.close()
            raise

    def _check_same(self, place: _Place) -> None:
        cube = self._open
        if len(cube.lines) != place.n_lines or (cube.is_ours and str(cube.attributes.get("uuid")) != place.uuid):
            raise FileError(f"{place.path} was replaced while it was replayed: replay it again")

    def lines(self, first: int, n: int) -> Iterator[Line | AnalysisError]:
        """The lines from `first` on, or why one cannot be read."""
        for begin in range(first, first + n, self._n_at_once):
            stop = min(begin + self._n_at_once, first + n)
            for index, why in enumerate(self._read(begin, stop)):
                if why is not None:
                    yield why
                    continue
                data = self._view[index]
                if self._plan is not None:
                    self._plan.apply(data, self._processed)
                    data = self._processed_view
                yield self._columns.line(begin + index, data)

    def _read(self, begin: int, stop: int) -> list[AnalysisError | None]:
        """Fill the memory with lines; why each one cannot be read."""
        try:
            good = self._lines.read_into(begin, stop, self._memory[: stop - begin]).tolist()
        except FileError as error:
            if stop - begin == 1:
                return [AnalysisError(str(error))]
            return self._read_singly(begin, stop)
        if all(good):
            return [None] * len(good)
        return [None if ok else self._damaged(begin + index) for index, ok in enumerate(good)]

    def _read_singly(self, begin: int, stop: int) -> list[AnalysisError | None]:
        found: list[AnalysisError | None] = []
        for index in range(begin, stop):
            try:
                self._lines.read_into(index, index + 1, self._memory[index - begin : index - begin + 1])
                found.append(None)
            except FileError as error:
                found.append(AnalysisError(str(error)))
        return found

    def _damaged(self, index: int) -> AnalysisError:
        try:
            self._lines.read(np.array([index]))
        except FileError as error:
            return AnalysisError(str(error))
        return AnalysisError(f"{self.place.path}: line {index} could not be read, and could later: replay it again")

    def close(self) -> None:
        self._open.close()


def _memory(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Memory, and a read-only view of it."""
    memory = np.empty(shape, dtype)
    view = memory.view()
    view.flags.writeable = False
    return memory, view
