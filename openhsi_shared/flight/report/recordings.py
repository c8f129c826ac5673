"""Recordings, cubes and gaps of a report, computed from the notes of files."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.channels.matched_files import RunOfCubes
from openhsi_shared.channels.quantities import quantities
from openhsi_shared.channels.tracks.track import Fixes, fixes_of, positions_in
from openhsi_shared.columns import FRAMES_USED
from openhsi_shared.flight.report.cubes import CubeNotes
from openhsi_shared.flight.report.facts import CubeFacts, GapFacts, RecordingFacts, range_of
from openhsi_shared.frames.averaged import frames_per_line
from openhsi_shared.given_numbers import is_finite
from openhsi_shared.line_times import UNKNOWN_TIME_NS, iso_time

__all__ = ["Run", "camera_of", "cube_facts", "gap_facts", "grouped", "number_in", "recording_facts", "settings_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """The cubes of one recording, in the order of time."""

    number: int
    run_id: str
    cubes: tuple[CubeNotes, ...]
    channels: RunOfCubes | None
    """Raw series of its channels."""
    position: str | None
    """The channel with the position."""
    fixes: Fixes | None
    """All samples of it."""

    @property
    def known_ns(self) -> NDArray[np.int64]:
        """Times of all lines that have one."""
        return np.concatenate([cube.known_ns for cube in self.cubes])

    def column_of(self, quantity: str) -> str | None:
        """Name of the column with a quantity of the position, such as "altitude"."""
        if self.channels is None or self.position is None:
            return None
        properties = self.channels.properties(self.position)
        index = quantities(properties).get(quantity)
        return None if index is None else properties.variables[index]

    @property
    def places(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Latitude and longitude of all samples that have them; None if there are none."""
        if self.fixes is None:
            return None
        known = np.isfinite(self.fixes.latitude) & np.isfinite(self.fixes.longitude)
        return (self.fixes.latitude[known], self.fixes.longitude[known]) if known.any() else None

    def lines_of(self, cube: CubeNotes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Latitude and longitude of the lines of a cube; NaN where they are unknown."""
        unknown = np.full(cube.shape[0], np.nan)
        names = (self.column_of("latitude") or "", self.column_of("longitude") or "")
        latitude, longitude = (cube.columns.get(name, unknown) for name in names)
        return latitude, longitude


def grouped(cubes: Iterable[CubeNotes], problems: list[str]) -> list[Run]:
    """The recordings, in the order of their first lines. Series that cannot be used are a problem."""
    found: dict[str, list[CubeNotes]] = {}
    for cube in sorted(cubes, key=lambda cube: (_begin_ns(cube), cube.path)):
        found.setdefault(str(cube.attributes.get("run_id", "")), []).append(cube)
    return [_run(number, run_id, cubes, problems) for number, (run_id, cubes) in enumerate(found.items(), 1)]


def _run(number: int, run_id: str, cubes: list[CubeNotes], problems: list[str]) -> Run:
    channels, position, fixes = None, None, None
    series = [cube.series for cube in cubes if cube.series is not None]
    if series:
        try:
            channels = RunOfCubes.of(series, {})
            position = next(iter(positions_in(channels)), None)
            fixes = None if position is None else fixes_of(channels, position)
        except (ValueError, OSError) as error:
            problems.append(f"channels of recording {number} cannot be used: {error}")
    return Run(number=number, run_id=run_id, cubes=tuple(cubes), channels=channels, position=position, fixes=fixes)


def _begin_ns(cube: CubeNotes) -> int:
    return int(cube.known_ns.min()) if cube.known_ns.size else 2**63 - 1


def camera_of(attributes: Mapping[str, Any]) -> str:
    """Its name among several of a flight, else its class."""
    return str(attributes.get("joint_name") or attributes.get("camera") or "")


def number_in(attributes: Mapping[str, Any], name: str) -> float | None:
    """A number; None if there is none of this name."""
    value = attributes.get(name)
    return value if is_finite(value) else None


def whole_in(attributes: Mapping[str, Any], name: str, otherwise: int = 0) -> int:
    """A whole number."""
    value = number_in(attributes, name)
    return otherwise if value is None else int(value)


def settings_of(cube: CubeNotes) -> dict[str, Any]:
    """Its settings, with the exposure as the camera has it; without those that are not set."""
    try:
        found = json.loads(cube.attributes.get("settings", "{}"))
    except (TypeError, ValueError):
        found = {}
    found = dict(found) if isinstance(found, dict) else {}
    if (exposure_ms := number_in(cube.attributes, "exposure_ms")) is not None:
        found["exposure_ms"] = exposure_ms
    return {name: value for name, value in found.items() if value not in (None, "", {}, [])}


# ---- facts -----------------------------------------------------------------------------------


def cube_facts(run: Run, cube: CubeNotes, directory: Path) -> CubeFacts:
    """All numbers of one cube."""
    about, times, ids = cube.attributes, cube.known_ns, cube.frame_ids
    position = {name: run.column_of(name) for name in ("latitude", "longitude", "altitude")}
    places = {name: range_of(cube.columns.get(column or "", ())) for name, column in position.items()}
    n_lost = number_in(about, "lines_lost")
    within = number_in(about, "lines_lost_within")
    return CubeFacts(
        path=cube.path.relative_to(directory).as_posix(),
        recording=run.number,
        camera=camera_of(about),
        begin=iso_time(int(times.min())) if times.size else None,
        end=iso_time(int(times.max())) if times.size else None,
        n_lines=cube.shape[0],
        n_frames=n_frames_in(cube),
        n_cross_track=cube.shape[1],
        n_bands=cube.shape[2],
        dtype=cube.dtype,
        level=cube.level,
        n_bytes=cube.n_bytes,
        rate=rate_of([cube]),
        first_frame_id=None if ids is None else int(ids[0]),
        last_frame_id=None if ids is None else int(ids[-1]),
        lines_lost=None if n_lost is None else int(n_lost),
        lines_lost_within=None if within is None else int(within),
        lost_frame_ids=str(about.get("lost_frame_ids", "")),
        is_intact=not cube.problems,
        n_damaged_lines=len(cube.damaged_lines),
        recovered=bool(about.get("recovered", 0)),
        exposure_ms=number_in(about, "exposure_ms"),
        temperature=range_of(cube.columns.get("temperature", ())),
        saturated=range_of(cube.columns.get("saturated", ())),
        event=whole_in(about, "event") or None,
        **{name: None if place is None else place.mean for name, place in places.items()},
    )


def n_frames_in(cube: CubeNotes) -> int:
    """Frames in its lines: as many as lines, unless they were averaged."""
    used = cube.columns.get(FRAMES_USED.name)
    return cube.shape[0] if used is None else int(frames_per_line(np.zeros(len(used)), used)[1].sum())


def rate_of(cubes: Sequence[CubeNotes]) -> float | None:
    """Lines/s within cubes, lost ones included: lines of frame ids, else those that are stored, over the time."""
    n, seconds = 0, 0.0
    for cube in cubes:
        times, ids = cube.known_ns, cube.frame_ids
        if times.size > 1:
            usual = 1 if ids is None else max(1, round(float(np.median(np.diff(ids)))))
            n += len(times) - 1 if ids is None else int(ids[-1] - ids[0]) // usual
            seconds += float(times[-1] - times[0]) / 1e9
    return n / seconds if seconds > 0 else None


def recording_facts(run: Run, stop: Mapping[str, Any] | None) -> RecordingFacts:
    """All numbers of a recording; `stop` is the entry of the log."""
    times, first = run.known_ns, run.cubes[0]
    of_log = {} if stop is None else stop
    return RecordingFacts(
        run_id=run.run_id,
        camera=camera_of(first.attributes),
        begin=iso_time(int(times.min())) if times.size else None,
        end=iso_time(int(times.max())) if times.size else None,
        n_cubes=len(run.cubes),
        n_lines=sum(cube.shape[0] for cube in run.cubes),
        n_lines_lost=sum(whole_in(cube.attributes, "lines_lost") for cube in run.cubes),
        rate=rate_of(run.cubes),
        settings=settings_of(first),
        ended_by=None if stop is None else str(of_log.get("ended_by", "")),
        log_n_lines=whole_in(of_log, "lines", -1) if "lines" in of_log else None,
        log_n_lines_lost=whole_in(of_log, "lines_lost", -1) if "lines_lost" in of_log else None,
    )


def gap_facts(run: Run, directory: Path) -> list[GapFacts]:
    """Where frames are missing, within cubes and between them; also those that were not wanted."""
    found = []
    before: tuple[int, int] | None = None
    for cube in run.cubes:
        if cube.frame_ids is None:
            before = None
            continue
        ids, last_ids, times = cube.frame_ids, _last_ids(cube), cube.times_ns
        if before is not None:
            found += _gap(run, cube, directory, before, (int(ids[0]), int(times[0])), is_between=True)
        for index in np.flatnonzero(ids[1:] - last_ids[:-1] > 1):
            ends = ((int(last_ids[index]), int(times[index])), (int(ids[index + 1]), int(times[index + 1])))
            found += _gap(run, cube, directory, *ends, is_between=False)
        before = int(last_ids[-1]), int(times[-1])
    return found


def _last_ids(cube: CubeNotes) -> NDArray[np.int64]:
    """Of the last frame of each line: of several, if frames were averaged."""
    ids, used = np.asarray(cube.frame_ids), cube.columns.get(FRAMES_USED.name)
    return ids if used is None else frames_per_line(ids, used)[0]


def _gap(
    run: Run, cube: CubeNotes, directory: Path, before: tuple[int, int], after: tuple[int, int], *, is_between: bool
) -> list[GapFacts]:
    """The frames between two lines, each given as frame id and time; none, if none is missing."""
    n = after[0] - before[0] - 1
    if n <= 0:
        return []
    n_paused = whole_in(cube.attributes, "frames_paused") if is_between else 0
    n_lost = min(n, whole_in(cube.attributes, "lines_lost_before")) if is_between else n
    return [
        GapFacts(
            recording=run.number,
            path=cube.path.relative_to(directory).as_posix(),
            is_between_cubes=is_between,
            first_frame_id=before[0] + 1,
            last_frame_id=after[0] - 1,
            n_frames=n,
            n_lost=n_lost,
            n_paused=n_paused,
            n_not_wanted=max(0, n - n_lost - n_paused),
            seconds=(after[1] - before[1]) / 1e9 if UNKNOWN_TIME_NS not in (before[1], after[1]) else None,
        )
    ]
