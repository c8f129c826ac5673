"""Channels of cubes that are replayed: matched to the recorded times of their lines, in files with the new times.

The clock of a replaying camera is the recorded time of the line. So lines keep the values that they had, whatever the
pace of the replay; times of the raw series are moved with those of the lines.
"""

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.samples import Counts, Samples
from openhsi_shared.channels.cube_files import CubeFile, cube_files
from openhsi_shared.channels.matched_columns import LineTimes
from openhsi_shared.channels.matched_files import RunOfCubes
from openhsi_shared.channels.raw_series import CHANNELS, raw_group
from openhsi_shared.columns import Column
from openhsi_shared.errors import OpenHSIError
from openhsi_shared.groups import Group
from openhsi_shared.line_times import UNKNOWN_TIME_NS
from openhsi_shared.loggers import safe_logger
from openhsi_shared.matching import State
from openhsi_shared.writer.cube_channels import ChannelsOfCube

__all__ = ["ReplayedChannels"]

logger = safe_logger(__name__)


class ReplayedChannels:
    """The channels that were recorded with the cubes of a file or a folder."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._runs: list[tuple[list[CubeFile], RunOfCubes]] | None = None

    @classmethod
    @cache
    def at(cls, path: str) -> "ReplayedChannels":
        """The same object for all cubes of a replay: its files are read once."""
        return cls(path)

    def of_cube(
        self, times_ns: NDArray[np.int64], recorded_ns: NDArray[np.int64], taken: Collection[str]
    ) -> ChannelsOfCube:
        """What the file of a cube has, whose lines have new times, and were recorded at `recorded_ns`. Never raises.

        `taken`: names of the other columns of the file.
        """
        found = ChannelsOfCube({}, [], {}, {})
        try:
            groups: dict[str, Group] = {}
            descriptions: dict[str, Column] = {}
            for cubes, run in self._read():
                is_of_run = np.zeros(len(times_ns), bool)
                for cube in cubes:
                    is_of_run |= (recorded_ns >= cube.lines.first_ns) & (recorded_ns <= cube.lines.last_ns)
                if is_of_run.any():
                    at = np.where(is_of_run, recorded_ns, UNKNOWN_TIME_NS)
                    self._add(found, descriptions, run, replace_lines(cubes[0], at), is_of_run)
                    groups |= dict(_groups(run, at[is_of_run], (times_ns - recorded_ns)[is_of_run]))
            if "clock_offset" in found.columns:  # true UTC of a line is what it was
                found.columns["clock_offset"] += (recorded_ns - times_ns) * 1e-9
            for clash in descriptions.keys() & set(taken):
                logger.warning("replay of %s: this camera has a column %r already: that of the replay is left out",
                               self._path, clash)  # fmt: skip
                del found.columns[clash], descriptions[clash]
            found.descriptions.extend(descriptions.values())
            if groups:
                found.groups[CHANNELS] = Group(groups=groups)
        except Exception as error:  # noqa: BLE001 - the lines must be saved
            logger.error("channels of %s are not replayed: %s: %s", self._path, type(error).__name__, error)
            return ChannelsOfCube({}, [], {}, {"channels_failed": {"all": f"{type(error).__name__}: {error}"}})
        return found

    def _read(self) -> list[tuple[list[CubeFile], RunOfCubes]]:
        if self._runs is None:
            self._runs = []
            with suppress(OpenHSIError):  # cubes without times, or of other programs: they have no channels
                cubes = [cube for cube in cube_files(self._path) if cube.series]
                for run_id in dict.fromkeys(cube.run_id for cube in cubes):
                    of_run = [cube for cube in cubes if cube.run_id == run_id]
                    self._runs.append((of_run, RunOfCubes.of(of_run, {})))
        return self._runs

    def _add(
        self,
        found: ChannelsOfCube,
        descriptions: dict[str, Column],
        run: RunOfCubes,
        cube: CubeFile,
        is_of_run: NDArray[np.bool_],
    ) -> None:
        (matched,) = run.matched([cube])
        for name, column in matched.columns.items():
            before = found.columns.get(name, np.full(len(column), _nothing(column), column.dtype))
            found.columns[name] = np.where(is_of_run, column, before)
        descriptions |= matched.descriptions


def replace_lines(cube: CubeFile, at_ns: NDArray[np.int64]) -> CubeFile:
    """The cube with lines at other times of its clock."""
    return cube._replace(lines=LineTimes(at_ns, cube.lines.exposure_ns))


def _nothing(column: NDArray[Any]) -> Any:
    return np.nan if column.dtype.kind == "f" else State.GAP


def _groups(
    run: RunOfCubes, recorded_ns: NDArray[np.int64], shifts_ns: NDArray[np.int64]
) -> Iterator[tuple[str, Group]]:
    """Yield the raw series near lines, with times that are moved with those of the lines."""
    order = np.argsort(recorded_ns, kind="stable")
    recorded_ns, shifts_ns = recorded_ns[order], shifts_ns[order]
    lines = LineTimes(recorded_ns, 0)

    def moved(times: NDArray[np.int64]) -> NDArray[np.int64]:
        nearest = np.clip(np.searchsorted(recorded_ns, times), 0, len(recorded_ns) - 1)
        return times + shifts_ns[nearest]

    for name in run.names:
        series, begin = run.near(name, lines)
        changes, n = series.change_times_ns, len(series.times_ns)
        states = tuple(
            (int(time_ns), State(state)) for time_ns, state in zip(moved(changes), series.states, strict=True)
        )
        source = run.samples(name)
        samples = Samples(
            time_ns=moved(series.times_ns),
            arrival_ns=moved(series.arrival_ns),
            id=np.full(n, -1),
            quality=np.zeros(n, np.int64),
            values=series.values,
            first_index=begin,
            counts=Counts(n, 0, 0),
            states=states,
            description=source.description,
            anchor=source.anchor,
        )
        properties = replace(
            series.properties,
            clock="given",
            clock_offset_s=0.0,
            stamp="source",
            source=f"replay of {series.properties.source}",
        )
        counts = {f"n_{what}{which}": n if what == "delivered" else 0
                  for what in (*Counts._fields, "overwritten") for which in ("", "_total")}  # fmt: skip
        yield name, raw_group(properties, samples, counts)
