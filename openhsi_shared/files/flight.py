"""All cubes of a folder as one cube of many lines, read on access.

::

    with open_flight("2026_11_20") as flight:
        flight.lines[100_000:100_100, :, 20]      # of whichever cube they are in
        flight.gaps                               # what was lost, within and between cubes
        [run.times[[0, -1]] for run in flight.runs]
"""

import bisect
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.dataset import LINK_ATTRIBUTE
from openhsi_shared.errors import ArgumentError, FileError
from openhsi_shared.files.flight_dataset import common_of
from openhsi_shared.files.flight_pairs import Pairs, pairs_of
from openhsi_shared.files.flight_part import FlightPart
from openhsi_shared.files.gaps import Gap, gaps_of_run
from openhsi_shared.files.lines import FileLines
from openhsi_shared.files.opening import open_unchecked
from openhsi_shared.files.reading import OpenCube, open_cube
from openhsi_shared.groups import Variable
from openhsi_shared.line_times import begin_of
from openhsi_shared.loggers import safe_logger
from openhsi_shared.packages import require
from openhsi_shared.paths import cubes_below, given_path

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Flight", "flight_of", "open_flight"]

logger = safe_logger(__name__)

MAX_OPEN = 16
"""Files that stay open, besides those of cubes that the caller still has."""


class _Files:
    """The files of a flight, opened on access. Thread-safe."""

    def __init__(self, check: bool) -> None:
        self._check, self._lock, self.is_closed = check, threading.Lock(), False
        self._alive: weakref.WeakValueDictionary[Path, OpenCube] = weakref.WeakValueDictionary()
        self._recent: OrderedDict[Path, OpenCube] = OrderedDict()

    def get(self, part: FlightPart) -> OpenCube:
        """The open cube. FileError if it is no longer the one that it was."""
        with self._lock:
            if self.is_closed:
                raise ArgumentError("the flight is closed: open it again with open_flight")
            cube = self._alive.get(part.path) or self._open(part)
            self._recent[part.path] = cube
            self._recent.move_to_end(part.path)
            while len(self._recent) > MAX_OPEN:  # it stays open if the caller has it
                self._recent.popitem(last=False)
            return cube

    def _open(self, part: FlightPart) -> OpenCube:
        cube = open_cube(part.path, self._check)
        if cube.lines.shape != part.shape or (cube.is_ours and cube.attributes.get("uuid") != part.uuid):
            cube.close()
            raise FileError(f"{part.path} was replaced after the flight was opened: open it again with open_flight")
        self._alive[part.path] = cube
        return cube

    def close(self) -> None:
        with self._lock:
            self.is_closed = True
            for cube in list(self._alive.values()):
                cube.close()
            self._recent.clear()


class _FlightLines(FileLines):
    """Lines of several cubes, one cube after the other."""

    def __init__(self, parts: Sequence[FlightPart], files: _Files) -> None:
        self._parts, self._files = parts, files
        self.begins = np.cumsum([0, *(part.shape[0] for part in parts)])
        self.shape = (int(self.begins[-1]), *parts[0].shape[1:])
        self.dtype = parts[0].dtype

    def read(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        """Read these lines, each cube once."""
        lines = np.empty((len(indices), *self.shape[1:]), self.dtype)
        of_cube = np.searchsorted(self.begins, indices, "right") - 1
        for number in np.unique(of_cube):
            chosen = np.flatnonzero(of_cube == number)
            lines[chosen] = self._files.get(self._parts[number]).lines.read(indices[chosen] - self.begins[number])
        return lines

    def _read_into(self, first: int, stop: int, out: NDArray[Any], n_threads: int) -> NDArray[np.bool_]:
        good = np.zeros(stop - first, np.bool_)
        for part, begin, end in zip(self._parts, self.begins[:-1], self.begins[1:], strict=True):
            low, high = max(first, int(begin)), min(stop, int(end))
            if low < high:
                lines, place = self._files.get(part).lines, slice(low - first, high - first)
                good[place] = lines.read_into(low - int(begin), high - int(begin), out[place], n_threads)
        return good


class Flight(Sequence[OpenCube]):
    """The cubes of a folder, run after run, and the cubes of each in the order of time; see `open_flight`.

    `len(flight)` counts cubes, `flight[3]` is an open cube, `flight[3:5]` a flight of two cubes. A cube is open until
    the flight is closed, or until the caller has dropped it.
    """

    paths: tuple[Path, ...]
    """The files, in the order of the lines."""
    parts: tuple[FlightPart, ...]
    """What is known of each file, without opening it again."""

    def __init__(self, parts: Sequence[FlightPart], files: _Files, *, is_whole: bool = True) -> None:
        self.parts, self._files, self._is_whole = tuple(parts), files, is_whole
        self.paths = tuple(part.path for part in self.parts)
        self._begins = np.cumsum([0, *(part.shape[0] for part in self.parts)])

    def __len__(self) -> int:
        return len(self.parts)

    @overload
    def __getitem__(self, key: int, /) -> OpenCube: ...
    @overload
    def __getitem__(self, key: slice, /) -> "Flight": ...
    def __getitem__(self, key: int | slice, /) -> "OpenCube | Flight":
        """An open cube, or a flight of some cubes. IndexError, also for a slice without cubes."""
        if isinstance(key, slice):
            return self._some(self.parts[key])
        return self._files.get(self.parts[key])

    def _some(self, parts: Sequence[FlightPart]) -> "Flight":
        if not parts:
            raise IndexError(f"no cube is chosen of the {len(self)} cubes of the flight")
        return Flight(parts, self._files, is_whole=False)

    @cached_property
    def lines(self) -> FileLines:
        """(along-track, cross-track, wavelength) of all cubes, read on access. ArgumentError for several cameras."""
        return _FlightLines(self.parts_of_one_camera("lines"), self._files)

    @property
    def level(self) -> int | None:
        """Processing level of all cubes; None if the files do not contain it. ArgumentError for several cameras."""
        return self.parts_of_one_camera("level")[0].level

    @property
    def wavelengths_nm(self) -> NDArray[np.float64] | None:
        """Centre of each band; None if unknown. ArgumentError for several cameras."""
        return self.parts_of_one_camera("wavelengths_nm")[0].wavelengths_nm

    def parts_of_one_camera(self, what: str) -> tuple[FlightPart, ...]:
        """What is known of each file. ArgumentError for several cameras; it names `what` was asked for."""
        if len(self.cameras) > 1:
            names = ", ".join(map(repr, self.cameras))
            raise ArgumentError(f"{what} of a flight with the cameras {names}: choose one, flight.cameras[name].{what}")
        return self.parts

    @cached_property
    def cameras(self) -> "Mapping[str, Flight]":
        """A flight for each of several cameras that recorded together, by name; of one alone, by ""."""
        names = sorted({part.joint_name for part in self.parts})
        if len(names) == 1:
            return {names[0]: self}
        return {name: self._some([part for part in self.parts if part.joint_name == name]) for name in names}

    def pairs(self, first: str, second: str, within_s: float | None = None) -> Pairs:
        """The lines of two cameras that were taken at the same time; see `Pairs`.

        Each line of `first` with the line of `second` that is nearest in time, if it is not farther than `within_s`;
        None is the usual step of the lines of `second`. Lines without a partner, as in gaps, are left out. Lines that
        `record_all` has recorded together are compared by the monotonic clock, so it does not matter if the wall clock
        was set meanwhile; others by UTC. ArgumentError for other names, or for a `within_s` that is no time.
        """
        for name in (first, second):
            if name not in self.cameras:
                raise ArgumentError(f"this flight has no camera {name!r}: it has {', '.join(map(repr, self.cameras))}")
        return pairs_of(self.cameras[first].parts, self.cameras[second].parts, within_s)

    @cached_property
    def times(self) -> NDArray[np.datetime64]:
        """UTC time of each line (datetime64[ns]), NaT where it is unknown."""
        return np.concatenate([part.times_ns for part in self.parts]).view("datetime64[ns]")

    @cached_property
    def frame_ids(self) -> NDArray[np.int64] | None:
        """Frame id of each line; None if a cube has none. They are one sequence within a run."""
        ids = [part.frame_ids for part in self.parts]
        return None if any(each is None for each in ids) else np.concatenate([each for each in ids if each is not None])

    @cached_property
    def runs(self) -> "tuple[Flight, ...]":
        """A flight for each run: for each recording whose frame ids are one sequence."""
        found: dict[str | None, list[FlightPart]] = {}
        for part in self.parts:
            found.setdefault(part.run_id, []).append(part)
        return tuple(self._some(parts) for parts in found.values())

    def cube_of(self, line: int) -> tuple[int, int]:
        """Number of the cube that contains a line of the flight, and the number of the line in it. IndexError."""
        if not 0 <= line < self._begins[-1]:
            raise IndexError(f"line {line} does not exist: the flight has {self._begins[-1]} lines")
        number = bisect.bisect_right(self._begins, line) - 1
        return number, line - int(self._begins[number])

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """Where lines are missing within a run, within cubes and between them; what lies between runs is no gap.

        By frame ids: more than the usual step, which is 1 unless lines were binned. Without frame ids by times: more
        than 1.5 times the usual step.
        """
        found: list[Gap] = []
        for run in self.runs:
            first = self.paths.index(run.paths[0])  # the cubes of a run are consecutive
            begins = self._begins[first : first + len(run) + 1]
            paused = [part.frames_paused for part in run.parts]
            steps = {part.step for part in run.parts}
            step = steps.pop() if len(steps) == 1 else None
            found += gaps_of_run(run.times, run.frame_ids, begins, run.paths, paused, run.parts[0].average, step)
        return tuple(found)

    @cached_property
    def dataset(self) -> "xr.Dataset":
        """All lines for xarray, which are read on access, without Dask; in the order of axes of the first file.

        Columns are those that all cubes have, and `cube`, the number of the cube of each line; attributes are those
        that are equal in all cubes. PackageMissing without xarray.
        """
        require("Flight.dataset", "xarray")
        from openhsi_shared.files.lazy import dataset_of

        first = self[0]
        variables, attributes = common_of(self)
        variables["y"] = Variable(("y",), np.arange(len(self.lines)), {"long_name": "along-track"})
        counts = [part.shape[0] for part in self.parts]
        variables["cube"] = Variable(
            ("y",), np.repeat(np.arange(len(self)), counts), {"long_name": "number of the cube"}
        )
        if not np.isnat(self.times).all():
            variables["time"] = Variable(("y",), self.times, {"long_name": "time of the line (UTC)"})
        labels = {} if not first.contents.has("datacube") else first.contents.attributes("datacube")
        labels = {name: labels[name] for name in ("units", "long_name", "standard_name") if name in labels}
        dataset = dataset_of(self.lines, first.dims, labels, variables, attributes)
        return dataset.set_coords([name for name in ("time", "cube") if name in dataset])

    def close(self) -> None:
        """Close all files. Idempotent. A part of a flight is closed with the whole one."""
        if self._is_whole:
            self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if len(self.cameras) > 1:
            return f"<Flight of {len(self)} cubes of the cameras {', '.join(self.cameras)}>"
        level = "" if self.level is None else f", level {self.level}"
        return f"<Flight of {len(self)} cubes in {len(self.runs)} runs: {self.lines.shape} {self.lines.dtype}{level}>"


def open_flight(directory: str | os.PathLike[str], check: bool = True) -> Flight:
    """Open all cubes in a folder and below as one; use it in a `with` block. Pixels are read on access.

    Each file is opened once for its times and ids. Runs are in the order of their first lines. NetCDF files without a
    datacube, such as a calibration, and further copies of a cube are left out, with a warning. FileError if the folder
    contains no cube, an incomplete or damaged one, or cubes of one camera of different kinds (shape, type, level,
    units, wavelengths); ArgumentError if it is no folder. What several cameras have recorded together is one
    flight for each of them, in `cameras`, and `pairs` has the lines of two that belong together.
    """
    folder = given_path(directory, "directory", "the path of a folder of cubes")
    if not folder.is_dir():
        raise ArgumentError(f"directory {folder} is no folder: give the folder of the cubes; open_cube opens one file")
    parts = [part for path in cubes_below(folder) if (part := _part_of(path, check)) is not None]
    if not parts:
        raise FileError(f"folder {folder} contains no cube: no file in it, or below, is a NetCDF file with a datacube")
    return flight_of(parts, check)


def flight_of(parts: list[FlightPart], check: bool = True) -> Flight:
    """The cubes that these files contain as one flight, in the order of `open_flight`. FileError."""
    parts = _without_copies(parts)
    firsts: dict[str, FlightPart] = {}
    for part in parts:
        difference = part.difference(firsts.setdefault(part.joint_name, part))
        if difference:
            raise FileError(f"{difference}: the cubes of a flight are of one kind; put others into another folder")
    begins: dict[str | None, tuple[int, str]] = {}
    for part in parts:
        begins[part.run_id] = min(begins.get(part.run_id, _begin(part)), _begin(part))
    parts.sort(key=lambda part: (begins[part.run_id], part.run_id or "", _begin(part)))
    return Flight(parts, _Files(check))


def _part_of(path: Path, check: bool) -> FlightPart | None:
    try:
        with open_cube(path, check) as cube:
            return FlightPart.of(cube)
    except FileError:
        if not _has_no_datacube(path):
            raise
        logger.warning("%s is left out of the flight: it contains no datacube", path)
        return None


def _has_no_datacube(path: Path) -> bool:
    """Whether this is a whole file of another purpose."""
    try:
        with open_unchecked(path) as file:
            return "datacube" not in file and LINK_ATTRIBUTE not in file.attrs
    except (OSError, RuntimeError, KeyError, ValueError):
        return False


def _without_copies(parts: list[FlightPart]) -> list[FlightPart]:
    first: dict[str, FlightPart] = {}
    for part in parts:
        if part.uuid is not None and first.setdefault(part.uuid, part) is not part:
            logger.warning("%s is left out of the flight: it is a copy of %s", part.path, first[part.uuid].path)
    return [part for part in parts if part.uuid is None or first[part.uuid] is part]


def _begin(part: FlightPart) -> tuple[int, str]:
    return begin_of(part.times_ns) or 0, part.path.name
