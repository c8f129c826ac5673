"""Channels matched to the lines of saved cubes: their own raw series once more, over a whole flight, or a log."""

import io
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.samples import Samples
from openhsi_shared.buffers.times import Clock
from openhsi_shared.channels.addresses import channels_from
from openhsi_shared.channels.channel import Channel
from openhsi_shared.channels.cube_files import CubeFile, cube_files, joined
from openhsi_shared.channels.log import LogChannel
from openhsi_shared.channels.matched_columns import LineTimes, SourceSeries, matched_columns
from openhsi_shared.channels.properties import ChannelProperties, check_together
from openhsi_shared.channels.raw_series import RawSeries, described
from openhsi_shared.channels.source_clocks import SourceClocks
from openhsi_shared.columns import Column
from openhsi_shared.dataset import time_variable
from openhsi_shared.durable import PartFile
from openhsi_shared.errors import ArgumentError, ChannelError, UnknownKeyword
from openhsi_shared.loggers import safe_logger
from openhsi_shared.matching import State
from openhsi_shared.near_names import nearest_name
from openhsi_shared.packages import require
from openhsi_shared.paths import MATCHED, given_path

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["RunOfCubes", "match_channels"]

logger = safe_logger(__name__)

OF_FIELDS = ("how",)
OF_CHANNELS = ("tolerance_s", "gap_s", "max_age_s", "clock", "clock_offset_s", "latency_s", "stamp")

Given = str | os.PathLike[str] | Channel | Mapping[str, Any] | None


class _Matched(NamedTuple):
    """Columns of the lines of one cube."""

    cube: CubeFile
    columns: dict[str, NDArray[Any]]
    descriptions: dict[str, Column]


def match_channels(
    path_or_dir: str | os.PathLike[str], log_or_channels: Given = None, *, save: bool = False, **how: Any
) -> "xr.Dataset":
    """Match channels to the lines of a saved cube, or of all cubes in a directory; returns a dataset on `y`.

    `log_or_channels`: None for the raw series that were recorded with the cubes, over all lines in the order of time,
    so that also the last lines of a file have their later neighbours; or the path of a log, a LogChannel, or a mapping
    of names to these or to texts (`log:FILE`). `how` replaces properties of all channels: how, tolerance_s, gap_s,
    max_age_s, clock, clock_offset_s, latency_s, stamp; or those of one: `gps={"how": "cubic"}`.

    The dataset has the variables that files have: values, ages and states, `clock_offset` where it can be found, and
    for each line `cube`, the number of its cube in the attribute `cubes`. With `save`, `NAME.channels.nc` is written
    beside each cube, which stays as it is; the attribute `saved` lists the paths. Raises FileError for what is no cube,
    ArgumentError and ChannelError for channels that cannot be matched, UnknownKeyword for misspelt properties,
    PackageMissing without xarray.
    """
    require("match_channels", "xarray", *(("h5netcdf",) if save else ()))
    path = given_path(path_or_dir, kind="the path of a cube, or of a directory of cubes")
    cubes = cube_files(path)
    if log_or_channels is None:
        matched = _match_raw_series(cubes, path, how)
    else:
        matched = _match_logs(cubes, _logs(log_or_channels), how)
    saved = [str(_save(one)) for one in matched] if save else []
    dataset = _dataset(matched)
    dataset.attrs |= {"cubes": [str(one.cube.path) for one in matched]} | ({"saved": saved} if saved else {})
    return dataset


# ---- what is matched -------------------------------------------------------------------------


def _match_raw_series(cubes: list[CubeFile], path: Path, how: Mapping[str, Any]) -> list[_Matched]:
    if not any(cube.series for cube in cubes):
        raise ArgumentError(f"no channel was recorded with {path}: give a log, or channels")
    found = []
    for run_id in dict.fromkeys(cube.run_id for cube in cubes):
        of_run = [cube for cube in cubes if cube.run_id == run_id]
        found += list(RunOfCubes.of(of_run, how).matched(of_run))
    return sorted(found, key=lambda one: (one.cube.lines.first_ns, one.cube.path))


def _match_logs(cubes: list[CubeFile], logs: dict[str, LogChannel], how: Mapping[str, Any]) -> list[_Matched]:
    series = {name: RawSeries(log.properties, log.read()) for name, log in logs.items()}
    for name, (_, samples) in series.items():
        if n_refused := samples.counts.refused:
            logger.warning("log %s: %d rows or sentences have no valid time or checksum: they are left out",
                           logs[name].path, n_refused)  # fmt: skip
    run = RunOfCubes(series, how, {name for cube in cubes for name in cube.series})
    for name in logs:
        run.check_overlap(name, cubes)
    return list(run.matched(cubes))


def _logs(given: Any) -> dict[str, LogChannel]:
    if isinstance(given, str | os.PathLike):
        path = given_path(given, "the log")
        given = LogChannel(_name_of(path), path)
    if isinstance(given, Channel):
        given = {given.name: given}
    if not isinstance(given, Mapping) or not given:
        raise ArgumentError(
            f"expected the path of a log, a LogChannel, or a mapping of names to them, got {given!r:.80}"
        )
    channels = {}
    for name, one in channels_from({name: _source(one) for name, one in given.items()}).items():
        if not isinstance(one, LogChannel):
            raise ArgumentError(
                f"channel {name!r} is {one.description}, which delivers what is true now: only logs can be matched to "
                "saved cubes"
            )
        channels[name] = one
    return channels


def _source(given: Any) -> Any:
    """A channel, or its source as text."""
    is_path = isinstance(given, os.PathLike) or (isinstance(given, str) and (":" not in given or Path(given).is_file()))
    return f"log:{os.fspath(given)}" if is_path else given


def _name_of(path: Path) -> str:
    """A name for variables, of the name of a log."""
    return "".join(letter if letter.isalnum() else "_" for letter in path.stem).strip("_") or "log"


class RunOfCubes:
    """Channels with the clocks of their sources, of cubes whose times of arrival are by one clock."""

    def __init__(
        self, series: Mapping[str, RawSeries], how: Mapping[str, Any], recorded: Iterable[str] | None = None
    ) -> None:
        """`recorded`: of logs, names of channels whose `clock_offset` the files may have."""
        self._of_log = recorded is not None
        self._samples = {name: samples for name, (_, samples) in series.items()}
        changed = _changed({name: described(*_parts(one)) for name, one in series.items()}, how)
        names = {name: one.clock for name, one in changed.items()}
        check_together({name: replace(one, clock="given") for name, one in changed.items()})
        if recorded is not None:  # its stamps have no times of arrival that could be compared with them
            for name, clock in names.items():
                if clock not in ("given", "fit", *recorded):
                    raise ArgumentError(
                        f"channel {name!r}: clock {clock!r} is no channel of these cubes, which have {sorted(recorded)}"
                    )
            changed = {name: replace(one, clock="given") for name, one in changed.items()}
        else:
            check_together(changed)
        self._clock_names = names
        self._properties = changed
        self._clocks = SourceClocks(changed, are_logs=self._of_log)
        for name, samples in self._samples.items():
            self._clocks.feed(name, samples)
        self._sorted: dict[tuple[str, int], SourceSeries] = {}

    @classmethod
    def of(cls, cubes: list[CubeFile], how: Mapping[str, Any]) -> "RunOfCubes":
        """The channels that were recorded with the cubes of one run."""
        return cls(joined(cubes), how)

    @property
    def names(self) -> list[str]:
        """Names of the channels."""
        return list(self._properties)

    def samples(self, name: str) -> Samples:
        """All samples of a channel, as they were recorded."""
        return self._samples[name]

    def properties(self, name: str) -> ChannelProperties:
        """What is known of a channel."""
        return self._properties[name]

    def series(self, name: str) -> SourceSeries:
        """All samples of a channel in the order of time, with times by the clock of the lines of the first cube."""
        return self._series(name, 0)

    def clock_offset_s(self, times_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """How far true UTC is ahead of the clock of the first cube, at times by it; 0 if no channel knows it."""
        offset = self._clocks.offset_at(times_ns, 0)
        return np.zeros(len(times_ns)) if offset is None else offset.offset_s

    def near(self, name: str, lines: LineTimes) -> tuple[SourceSeries, int]:
        """The samples that lines can use, which have the clock of the first cube, and how many samples are earlier."""
        series = self._series(name, 0)
        part = series.near(lines)
        return part, int(np.searchsorted(series.times_ns, part.times_ns[0])) if len(part.times_ns) else 0

    def matched(self, cubes: list[CubeFile]) -> Iterable[_Matched]:
        """Yield the columns of each cube."""
        for cube in cubes:
            to_lines_ns = 0 if self._of_log else Clock(cube.anchor).wall_ns(0) - Clock(cubes[0].anchor).wall_ns(0)
            columns: dict[str, NDArray[Any]] = {}
            descriptions: dict[str, Column] = {}
            for name in self._properties:
                lines = self._lines(cube, name)
                found = matched_columns(self._series(name, to_lines_ns).near(lines), lines)
                columns |= found.columns
                descriptions |= {one.name: one for one in found.descriptions}
            offset = None if self._of_log else self._clocks.offset_at(cube.lines.middle_ns, to_lines_ns)
            if offset is not None:
                columns["clock_offset"], descriptions["clock_offset"] = offset.offset_s, offset.column
            yield _Matched(cube, columns, descriptions)

    def _lines(self, cube: CubeFile, name: str) -> LineTimes:
        """The lines of a cube, by the clock of the channel."""
        if not self._of_log or self._clock_names[name] in ("given", "fit"):
            return cube.lines
        if cube.clock_offset_s is None:
            raise ChannelError(f"channel {name!r}: {cube.path} has no clock_offset of {self._clock_names[name]!r}")
        shift = np.where(np.isfinite(cube.clock_offset_s), cube.clock_offset_s, 0.0)
        return cube.lines._replace(middle_ns=cube.lines.middle_ns + np.rint(shift * 1e9).astype(np.int64))

    def _series(self, name: str, to_lines_ns: int) -> SourceSeries:
        key = name, to_lines_ns
        if key not in self._sorted:
            series = self._clocks.series(self._properties[name], self._samples[name], to_lines_ns)
            self._sorted[key] = series.in_order()
        return self._sorted[key]

    def check_overlap(self, name: str, cubes: list[CubeFile]) -> None:
        """ChannelError if a log and the lines have no time in common."""
        times = self._series(name, 0).times_ns
        lines = [self._lines(cube, name) for cube in cubes]
        first, last = min(one.first_ns for one in lines), max(one.last_ns for one in lines)
        if len(times) == 0 or times[0] > last or times[-1] < first:
            span = f"is from {_utc(times[0])} to {_utc(times[-1])}" if len(times) else "has no times"
            raise ChannelError(
                f"channel {name!r}: the log {span} (UTC), the lines from {_utc(first)} to {_utc(last)}: there is no "
                "overlap; clock_offset_s is added to the times of a log"
            )


def _parts(series: RawSeries) -> tuple[ChannelProperties, Mapping[str, Any]]:
    return series.properties, series.samples.description


def _changed(channels: dict[str, ChannelProperties], how: Mapping[str, Any]) -> dict[str, ChannelProperties]:
    known = [*OF_FIELDS, *OF_CHANNELS]
    for key, value in how.items():
        if key not in (*known, *channels):
            raise UnknownKeyword(f"match_channels() has no keyword {key!r}{nearest_name(key, [*known, *channels])}")
        if key in channels and not isinstance(value, Mapping):
            raise ArgumentError(f"{key}={value!r:.60}: expected properties of this channel, such as {{'how': 'cubic'}}")
    found = {}
    for name, properties in channels.items():
        of_all = {key: value for key, value in how.items() if key not in channels}
        found[name] = _replaced(properties, of_all | dict(how.get(name, {})))
    return found


def _replaced(properties: ChannelProperties, more: Mapping[str, Any]) -> ChannelProperties:
    for key in more:
        if key not in (*OF_FIELDS, *OF_CHANNELS):
            known = (*OF_FIELDS, *OF_CHANNELS)
            raise UnknownKeyword(f"{key!r} of channel {properties.name!r} cannot be changed{nearest_name(key, known)}")
    fields = properties.fields
    if "how" in more:
        fields = tuple(field if field.kind == "flags" else replace(field, how=more["how"]) for field in fields)
    return replace(properties, fields=fields, **{key: value for key, value in more.items() if key in OF_CHANNELS})


# ---- results ---------------------------------------------------------------------------------


def _dataset(matched: list[_Matched]) -> "xr.Dataset":
    import xarray as xr

    descriptions: dict[str, Column] = {}
    for one in matched:
        descriptions |= one.descriptions
    times = np.concatenate([one.cube.lines.middle_ns for one in matched])
    time = time_variable(times)
    variables: dict[str, Any] = {"time": xr.Variable(time.dims, time.data, dict(time.attributes))}
    numbers = np.repeat(np.arange(len(matched)), [len(one.cube.lines.middle_ns) for one in matched])
    variables["cube"] = xr.Variable("y", numbers, {"long_name": "number of the cube in the attribute cubes"})
    for name, column in descriptions.items():
        parts = [one.columns.get(name, _missing(column, len(one.cube.lines.middle_ns))) for one in matched]
        variables[name] = xr.Variable("y", np.concatenate(parts), column.labels)
    return xr.decode_cf(xr.Dataset(variables)).set_coords(["time", "cube"])


def _missing(column: Column, n: int) -> NDArray[Any]:
    """The column of a channel that was not recorded with a cube."""
    return np.full(n, State.GAP if np.dtype(column.dtype).kind == "i" else np.nan, column.dtype)


def _save(matched: _Matched) -> Path:
    """Write the file beside the cube; never over another one."""
    cube = matched.cube.path
    dataset = _dataset([matched]).drop_vars("cube")
    dataset.attrs |= {"Conventions": "CF-1.11", "title": "channels matched to the lines of a cube", "source": cube.name}
    dataset.attrs["history"] = f"{_utc(time.time_ns())}Z written by openhsi_shared.match_channels"
    content = io.BytesIO()
    dataset.to_netcdf(content, engine="h5netcdf")
    stem = f"{cube.stem}{MATCHED}"
    with PartFile(cube.parent, f"{stem}.nc") as part:
        part.write_at(0, content.getbuffer())
        return part.publish(stem, ".nc")


def _utc(time_ns: Any) -> str:
    return str(np.datetime64(int(time_ns), "ns"))[:23]
