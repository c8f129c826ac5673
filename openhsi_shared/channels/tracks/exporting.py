"""Writes the tracks of saved cubes in the format of another program."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from openhsi_shared.channels.tracks import formats
from openhsi_shared.channels.tracks.track import Fixes, RunTrack, Track, tracks_of
from openhsi_shared.durable import PartFile
from openhsi_shared.errors import ArgumentError
from openhsi_shared.files.exporting.published_together import refuse_existing
from openhsi_shared.line_times import UNKNOWN_TIME_NS
from openhsi_shared.loggers import safe_logger
from openhsi_shared.matching.clocks import LEAP_SECONDS_UNTIL
from openhsi_shared.near_names import nearest_name
from openhsi_shared.paths import given_path

__all__ = ["FORMATS", "TrackFormat", "export_track"]

logger = safe_logger(__name__)

TrackFormat = Literal["csv", "lcf", "headwall", "gpx", "geojson"]
FORMATS: tuple[TrackFormat, ...] = get_args(TrackFormat)
NEED_ATTITUDE = ("lcf", "headwall")


def export_track(
    path: str | os.PathLike[str],
    to: TrackFormat,
    out: str | os.PathLike[str] | None = None,
    *,
    level: bool = False,
    position: str | None = None,
    leap_seconds: int | None = None,
) -> list[Path]:
    """Write the track of a saved cube, or of all cubes in a directory and below; returns the paths of the files.

    `to` is one of `FORMATS`; `out` a folder in which the folders below `path` are kept, None: beside the cubes. Times
    are true UTC of the middle of the exposure, where a channel knows it (`clock_offset` of the files), or GPS seconds.
    `level=True` takes roll and pitch as 0 and yaw from the course over ground, where attitude was not recorded.
    `position` is the channel with the position, `leap_seconds` GPS time minus UTC, by default from a table. Cubes
    without a position are left out, with a warning that names them. Raises ArgumentError if there is no position, or no
    attitude for a format that needs it, FileError for what is no cube, and SaveError for a file that exists or cannot
    be written.
    """
    if to not in FORMATS:
        raise ArgumentError(f"to must be one of {', '.join(FORMATS)}, got {to!r}{nearest_name(str(to), FORMATS)}")
    source = given_path(path, kind="the path of a cube, or of a directory of cubes")
    runs, without = tracks_of(source, position)
    for cube in without:
        logger.warning("%s has no position: it is left out", cube)
    base = source if source.is_dir() else source.parent
    folder = None if out is None else given_path(out, "out")
    written: dict[Path, str] = {}
    for run in runs:
        ready = _levelled(run) if level else run
        _check(ready, to, leap_seconds)
        for target, text in _texts(ready, to, leap_seconds, _shares_folder(run, runs)):
            written[target if folder is None else folder / target.relative_to(base)] = text
    refuse_existing(written)
    return [_write(target, text) for target, text in written.items()]


def _levelled(run: RunTrack) -> RunTrack:
    logger.warning("%s: roll and pitch are taken as 0, yaw is the course over ground", run.tracks[0].path)
    level = np.zeros(len(run.fixes.utc_ns))
    course = np.where(np.isfinite(run.fixes.course), run.fixes.course, 0.0)
    return run._replace(fixes=run.fixes._replace(roll=level, pitch=level, heading=course))


def _check(run: RunTrack, to: str, leap_seconds: int | None) -> None:
    name = run.tracks[0].path
    if to in NEED_ATTITUDE and not (run.fixes.has_position & run.fixes.has_attitude).any():
        raise ArgumentError(
            f"{name}: format {to!r} needs altitude, roll, pitch and heading, and no channel has them at a time with "
            "a position; level=True (--level) takes roll and pitch as 0"
        )
    if to in NEED_ATTITUDE and run.above != "ellipsoid":
        above = "the geoid, up to 100 m from the ellipsoid" if run.above == "geoid" else "what its source does not say"
        logger.warning("%s: format %s expects altitudes above the ellipsoid; these are above %s", name, to, above)
    last_ns = max(track.span_ns[1] for track in run.tracks)
    if to in ("csv", "lcf") and leap_seconds is None and last_ns > LEAP_SECONDS_UNTIL.astype(np.int64):
        logger.warning(
            "%s: leap seconds are known until %s only: 18 s are used; give leap_seconds= if there is another one",
            name,
            LEAP_SECONDS_UNTIL.astype("M8[D]"),
        )


def _shares_folder(run: RunTrack, runs: Sequence[RunTrack]) -> bool:
    return any(other is not run and other.tracks[0].path.parent == run.tracks[0].path.parent for other in runs)


def _texts(run: RunTrack, to: str, leaps: int | None, shares_folder: bool) -> Iterator[tuple[Path, str]]:
    """Each file of a recording, beside its cubes, and its text."""
    first = run.tracks[0].path
    match to:
        case "csv":
            for track in run.tracks:
                yield track.path.with_suffix(".csv"), formats.csv_of(track, leaps)
        case "lcf":
            for track in run.tracks:
                fixes = _usable(run.fixes.around(*track.span_ns), track)
                yield track.path.with_suffix(".lcf"), formats.lcf_of(fixes, leaps)
                yield track.path.with_suffix(".times"), formats.times_of(track, leaps)
        case "headwall":
            folder = first.with_suffix("") if shares_folder else first.parent
            begin, end = run.tracks[0].span_ns[0], run.tracks[-1].span_ns[1]
            yield folder / "imu_gps.txt", formats.imu_gps_of(_usable(run.fixes.around(begin, end), run.tracks[0]))
            number = int(run.tracks[0].frame_ids[0])
            yield folder / f"frameIndex_{number}.txt", formats.frame_index_of(run.tracks)
        case "gpx":
            has = np.isfinite(run.fixes.latitude) & np.isfinite(run.fixes.longitude)
            yield first.with_suffix(".gpx"), formats.gpx_of(run._replace(fixes=run.fixes.where(has)))
        case _:
            yield first.with_suffix(".geojson"), formats.geojson_of(run)


def _usable(fixes: Fixes, track: Track) -> Fixes:
    """Those with position and attitude. ArgumentError if there are none, or a line has no time."""
    n_unknown = int(np.count_nonzero(track.utc_ns == UNKNOWN_TIME_NS))
    if n_unknown:
        raise ArgumentError(f"{track.path}: the times of {n_unknown} lines are not known: rows would not be lines")
    usable = fixes.where(fixes.has_position & fixes.has_attitude)
    if not len(usable.utc_ns):
        raise ArgumentError(f"{track.path}: no sample around its lines has both position and attitude")
    if n_dropped := len(fixes.utc_ns) - len(usable.utc_ns):
        logger.warning("%s: %d samples without position or attitude are left out", track.path, n_dropped)
    if usable.utc_ns[0] > track.span_ns[0] or usable.utc_ns[-1] < track.span_ns[1]:
        logger.warning("%s: the first or last lines are outside of the samples of the position", track.path)
    return usable


def _write(target: Path, text: str) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with PartFile(target.parent, target.name) as part:
        part.write_at(0, memoryview(text.encode()))
        part.publish_as(target)
    return target
