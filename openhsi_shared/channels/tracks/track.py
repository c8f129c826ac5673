"""The track of saved cubes: each line with its true time and its channels, and the samples of the position."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.channels.cube_files import CubeFile, cube_files
from openhsi_shared.channels.matched_columns import SourceSeries
from openhsi_shared.channels.matched_files import RunOfCubes
from openhsi_shared.channels.quantities import ALTITUDES, ANGLES, POSITION, has_position, quantities
from openhsi_shared.columns import Column
from openhsi_shared.errors import ArgumentError, FileError
from openhsi_shared.files.reading import open_cube
from openhsi_shared.line_times import UNKNOWN_TIME_NS

__all__ = ["Fixes", "RunTrack", "Track", "fixes_of", "positions_in", "tracks_of"]


class Fixes(NamedTuple):
    """Samples of the position at the rate of its source, in the order of time; NaN for what is not known."""

    utc_ns: NDArray[np.int64]
    """True UTC, by the clock of the receiver."""
    latitude: NDArray[np.float64]
    """Degrees north."""
    longitude: NDArray[np.float64]
    """Degrees east."""
    altitude: NDArray[np.float64]
    """m."""
    roll: NDArray[np.float64]
    """Degrees, starboard down."""
    pitch: NDArray[np.float64]
    """Degrees, nose up."""
    heading: NDArray[np.float64]
    """Degrees from north, clockwise."""
    course: NDArray[np.float64]
    """Degrees from north, clockwise: over ground."""
    fix: NDArray[np.float64]
    """Quality as the receiver gives it."""

    def where(self, wanted: NDArray[Any]) -> "Fixes":
        """Some of them: a mask, or indices."""
        return Fixes(*(values[wanted] for values in self))

    @property
    def has_position(self) -> NDArray[np.bool_]:
        """Which of them have a latitude, a longitude and an altitude."""
        return np.isfinite(self.latitude) & np.isfinite(self.longitude) & np.isfinite(self.altitude)

    @property
    def has_attitude(self) -> NDArray[np.bool_]:
        """Which of them have roll, pitch and heading."""
        return np.isfinite(self.roll) & np.isfinite(self.pitch) & np.isfinite(self.heading)

    def around(self, first_ns: int, last_ns: int) -> "Fixes":
        """From the last one before a time to the first one behind another time."""
        begin = max(0, int(np.searchsorted(self.utc_ns, first_ns, side="right")) - 1)
        stop = min(len(self.utc_ns), int(np.searchsorted(self.utc_ns, last_ns, side="left")) + 1)
        return self.where(np.arange(begin, stop))


class Track(NamedTuple):
    """The lines of one cube."""

    path: Path
    frame_ids: NDArray[np.int64]
    utc_ns: NDArray[np.int64]
    """True UTC of the middle of the exposure; UNKNOWN_TIME_NS where it is unknown."""
    columns: Mapping[str, NDArray[Any]]
    """Of all channels: values, ages, states."""
    descriptions: Mapping[str, Column]
    position: str
    """The channel with the position."""

    @property
    def longitude(self) -> NDArray[np.float64]:
        """Of each line, in degrees east; NaN where it is unknown."""
        return np.asarray(self.columns[f"{self.position}_longitude"], np.float64)

    @property
    def latitude(self) -> NDArray[np.float64]:
        """Of each line, in degrees north; NaN where it is unknown."""
        return np.asarray(self.columns[f"{self.position}_latitude"], np.float64)

    @property
    def span_ns(self) -> tuple[int, int]:
        """Times of the first and the last line."""
        known = self.utc_ns[self.utc_ns != UNKNOWN_TIME_NS]
        return int(known.min()), int(known.max())


class RunTrack(NamedTuple):
    """The cubes of one recording that have a position."""

    tracks: tuple[Track, ...]
    fixes: Fixes
    above: str
    """What altitudes are above: "ellipsoid", "geoid", or "" if the source does not say."""


def tracks_of(path: Path, position: str | None = None) -> tuple[list[RunTrack], list[Path]]:
    """The tracks of the cube `path`, or of all cubes in a directory and below; and the cubes without a position.

    `position` is the name of the channel with the position; None: the only one. ArgumentError if there is none, or more
    than one to choose from; FileError for what is no cube.
    """
    cubes = cube_files(path)
    found: list[RunTrack] = []
    without: list[Path] = []
    for run_id in dict.fromkeys(cube.run_id for cube in cubes):
        of_run = [cube for cube in cubes if cube.run_id == run_id]
        run = RunOfCubes.of(of_run, {}) if any(cube.series for cube in of_run) else None
        name = None if run is None else _position_of(run, position)
        if run is None or name is None:
            without += [cube.path for cube in of_run]
            continue
        tracks = [track for track in _tracks(run, of_run, name) if np.isfinite(track.latitude).any()]
        without += [cube.path for cube in of_run if cube.path not in {track.path for track in tracks}]
        if tracks:
            found.append(RunTrack(tuple(tracks), fixes_of(run, name), _above(run, name)))
    if not found:
        what = "position" if position is None else f"position of a channel {position!r}"
        raise ArgumentError(f"no cube of {path} has a {what}: record one with channels={{'gps': ...}}")
    return found, without


def positions_in(run: RunOfCubes) -> list[str]:
    """Names of the channels that have a latitude and a longitude."""
    return [name for name in run.names if has_position(run.properties(name))]


def _position_of(run: RunOfCubes, wanted: str | None) -> str | None:
    names = positions_in(run)
    if wanted is not None:
        return wanted if wanted in names else None
    if len(names) > 1:
        raise ArgumentError(f"channels {', '.join(map(repr, names))} have positions: choose one with position=NAME")
    return names[0] if names else None


def _above(run: RunOfCubes, name: str) -> str:
    index = quantities(run.properties(name)).get("altitude")
    standard = None if index is None else run.properties(name).fields[index].standard_name
    return {ALTITUDES[0]: "ellipsoid", ALTITUDES[1]: "geoid"}.get(standard or "", "")


def _tracks(run: RunOfCubes, cubes: list[CubeFile], position: str) -> Iterator[Track]:
    for matched in run.matched(cubes):
        middle_ns = matched.cube.lines.middle_ns
        offset_s = matched.columns.get("clock_offset", np.zeros(len(middle_ns)))
        is_known = (middle_ns != UNKNOWN_TIME_NS) & np.isfinite(offset_s)
        moved = np.where(is_known, middle_ns, 0) + np.rint(np.where(is_known, offset_s, 0.0) * 1e9).astype(np.int64)
        with open_cube(matched.cube.path) as cube:
            ids = cube.frame_ids
        if ids is None:
            raise FileError(f"{matched.cube.path} has no frame ids: a lost line could not be seen in a track")
        if not is_known.any():
            continue
        yield Track(
            matched.cube.path,
            np.asarray(ids, np.int64),
            np.where(is_known, moved, UNKNOWN_TIME_NS),
            matched.columns,
            matched.descriptions,
            position,
        )


def fixes_of(run: RunOfCubes, position: str) -> Fixes:
    """All samples of the position, with the attitude of its channel, or else of another one, at their times."""
    series = run.series(position)
    found = _columns(run, position, series)
    for other in run.names:
        of_other = _columns(run, other, run.series(other))
        for quantity in (ANGLES.keys() & of_other.keys()) - found.keys():
            found[quantity] = _angles_at(series.times_ns, run.series(other).times_ns, of_other[quantity])
    for quantity in POSITION:
        found[quantity] = np.where(series.is_invalid, np.nan, found[quantity])
    missing = np.full(len(series.times_ns), np.nan)
    ahead_s = run.clock_offset_s(series.times_ns)
    utc_ns = series.times_ns + np.rint(np.where(np.isfinite(ahead_s), ahead_s, 0.0) * 1e9).astype(np.int64)
    utc_ns, first = np.unique(utc_ns, return_index=True)
    return Fixes(utc_ns, *(np.asarray(found.get(name, missing), np.float64)[first] for name in Fixes._fields[1:]))


def _columns(run: RunOfCubes, name: str, series: SourceSeries) -> dict[str, NDArray[np.float64]]:
    return {quantity: series.values[:, index] for quantity, index in quantities(run.properties(name)).items()}


def _angles_at(
    times_ns: NDArray[np.int64], known_ns: NDArray[np.int64], degrees: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Angles at other times, the short way round; NaN outside of the times that are known."""
    is_known = np.isfinite(degrees)
    if not is_known.any():
        return np.full(len(times_ns), np.nan)
    begin = known_ns[0]
    turned = np.unwrap(degrees[is_known], period=360.0)
    at = np.interp(times_ns - begin, known_ns[is_known] - begin, turned, left=np.nan, right=np.nan)
    return np.asarray(np.mod(at + 180.0, 360.0) - 180.0)
