"""Files of cubes that channels are matched to: their lines, their clocks, and the raw series in them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.samples import Samples
from openhsi_shared.buffers.times import Anchor, Clock
from openhsi_shared.channels.matched_columns import LineTimes
from openhsi_shared.channels.raw_series import RawSeries, part_of, raw_series
from openhsi_shared.errors import ArgumentError, FileError
from openhsi_shared.files.reading import OpenCube, open_cube
from openhsi_shared.paths import cubes_below

__all__ = ["CubeFile", "cube_file", "cube_files", "joined"]


class CubeFile(NamedTuple):
    """The lines of a cube, and where it belongs."""

    path: Path
    lines: LineTimes
    run_id: str
    anchor: Anchor
    """The clock of its lines."""
    clock_offset_s: NDArray[np.float64] | None
    series: Mapping[str, RawSeries]
    """The raw series of the channels that were recorded with it."""


def cube_files(path: Path) -> list[CubeFile]:
    """Read all but the lines of the cube `path`, or of all cubes in a directory and below, in the order of time.

    FileError for a file that cannot be read, or without times; ArgumentError for a directory without cubes.
    """
    paths = cubes_below(path) if path.is_dir() else [path]
    if not paths:
        raise ArgumentError(f"{path} contains no cube (*.nc): give a cube, or a directory of cubes")
    return sorted(map(_read, paths), key=lambda cube: (cube.lines.first_ns, cube.path))


def cube_file(cube: OpenCube) -> CubeFile:
    """What channels are matched to, of an open cube. FileError if it has no times, or a series is damaged."""
    times = cube.times_ns
    if times is None:
        raise FileError(f"{cube.path} has no times of its lines: channels cannot be matched to them")
    about = cube.attributes
    clocks = (about.get(f"clock_anchor_{which}_ns") for which in ("wall", "monotonic"))
    anchor = Anchor(*(clock if isinstance(clock, int) else 0 for clock in clocks))
    has_offset = cube.is_ours and cube.contents.has("clock_offset")
    return CubeFile(
        cube.path,
        LineTimes.of(times, about.get("exposure_ms")),
        str(about.get("run_id", cube.path)),
        anchor,
        np.asarray(cube.column("clock_offset"), np.float64) if has_offset else None,
        {name: raw_series(name, group, anchor) for name, group in cube.channels.items()},
    )


def _read(path: Path) -> CubeFile:
    with open_cube(path) as cube:
        return cube_file(cube)


def joined(cubes: list[CubeFile]) -> dict[str, RawSeries]:
    """The raw series of all cubes of one run, each sample once; times of arrival by the clock of the first cube."""
    found: dict[str, list[RawSeries]] = {}
    for cube in cubes:
        to_first_ns = Clock(cubes[0].anchor).wall_ns(0) - Clock(cube.anchor).wall_ns(0)
        for name, (properties, samples) in cube.series.items():
            states = tuple((time_ns + to_first_ns, state) for time_ns, state in samples.states)
            moved = replace(samples, arrival_ns=samples.arrival_ns + to_first_ns, states=states, anchor=cubes[0].anchor)
            found.setdefault(name, []).append(RawSeries(properties, moved))
    return {name: RawSeries(parts[-1].properties, _joined(parts)) for name, parts in found.items()}


def _joined(parts: list[RawSeries]) -> Samples:
    new = list(_new_samples(sorted((samples for _, samples in parts), key=lambda samples: samples.first_index)))
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(samples, name) for samples in new])
        for name in ("time_ns", "arrival_ns", "id", "quality", "values")
    }
    states = sorted({change for samples in new for change in samples.states})
    return replace(new[-1], **columns, first_index=new[0].first_index, states=tuple(states))


def _new_samples(parts: list[Samples]) -> Iterator[Samples]:
    """Yield what each part has beyond the earlier ones, by the index of the samples."""
    end = 0
    for samples in parts:
        new = part_of(samples, max(end, samples.first_index))
        end = max(end, new.first_index + len(new))
        yield new
