"""What the file of a cube has of the channels: samples that are in shared memory, matched to its lines.

A channel that cannot be matched never costs a cube: what is wrong is logged, and stored in the file.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.samples import Counts, Samples
from openhsi_shared.buffers.times import Anchor, Clock
from openhsi_shared.channels.attached import AttachedChannels
from openhsi_shared.channels.matched_columns import N_LAGS, LineTimes, SourceSeries, matched_columns
from openhsi_shared.channels.properties import DIMENSIONS
from openhsi_shared.channels.raw_series import CHANNELS, described, part_of, raw_group
from openhsi_shared.channels.source_clocks import SourceClocks
from openhsi_shared.columns import Column
from openhsi_shared.errors import ArgumentError
from openhsi_shared.groups import Group, check_groups
from openhsi_shared.line_times import UNKNOWN_TIME_NS, known_times
from openhsi_shared.loggers import safe_logger
from openhsi_shared.matching import State

__all__ = ["ChannelsOfCube", "CubeChannels"]

logger = safe_logger(__name__)

N_BEFORE = 2
"""Samples before the first line that a file contains: what cubic interpolation needs."""
MAX_WAIT_S = 2.0
POLL_S = 0.01
SILENT = (State.CONNECTING, State.UNCHANGED, State.STALLED, State.LOST, State.ENDED)
"""States of a source from which no sample is waited for."""
COUNTED = (*Counts._fields, "overwritten")


class ChannelsOfCube(NamedTuple):
    """Parts of the file of a cube."""

    columns: dict[str, NDArray[Any]]
    descriptions: list[Column]
    groups: dict[str, Group]
    attributes: dict[str, Any]


class CubeChannels:
    """Matches the channels of one camera to its cubes, one after the other; what is known of clocks is kept between."""

    def __init__(self, channels: AttachedChannels) -> None:
        self._views = channels.memory.views()
        self._properties = {name: channels.properties[name] for name in self._views}
        self._clocks = SourceClocks(self._properties)
        self._anchor = channels.memory.anchor
        self._counted: tuple[int, dict[str, dict[str, int]]] = 0, {}

    @classmethod
    def of(cls, channels: AttachedChannels | None) -> "CubeChannels | None":
        """Those of a camera, if it has any."""
        return None if channels is None else cls(channels)

    def of_cube(
        self,
        cube: int,
        times_ns: NDArray[np.int64],
        anchor: Anchor,
        exposure_ms: Any,
        taken: Collection[str] = (),
    ) -> ChannelsOfCube:
        """What the file of `cube` has, whose lines have these times by the clock `anchor`. Never raises.

        `taken`: names of the other columns of the file.
        """
        failures: dict[str, str] = {}
        found = ChannelsOfCube({}, [], {}, {})
        with _noted(failures, CHANNELS):
            self._add_all(found, failures, cube, LineTimes.of(times_ns, exposure_ms), anchor, taken)
        for name, why in failures.items():
            logger.error("cube %d: channel %r is not, or not completely, in the file: %s", cube, name, why)
        found.attributes.update({"channels_failed": failures} if failures else {})
        return found

    def _add_all(
        self,
        found: ChannelsOfCube,
        failures: dict[str, str],
        cube: int,
        lines: LineTimes,
        anchor: Anchor,
        taken: Collection[str],
    ) -> None:
        to_lines_ns = self._to_lines_ns(anchor)
        snapshots: dict[str, Samples] = {}
        for name, view in self._views.items():  # all clocks first: one may be that of another channel
            with _noted(failures, name):
                snapshots[name] = view.snapshot()
                self._clocks.feed(name, snapshots[name])
        groups: dict[str, Group] = {}
        self._counted = cube, {}
        for name, samples in snapshots.items():
            with _noted(failures, name):
                properties = described(self._properties[name], samples.description)
                series = self._clocks.series(properties, samples, to_lines_ns)
                counts, begin = self._counts(series, samples, lines)
                about = counts | self._clocks.attributes(name, to_lines_ns)
                group = raw_group(properties, part_of(samples, begin), about, to_lines_ns)
                check_groups({name: group}, dict.fromkeys(DIMENSIONS, 0), ())
                groups[name], self._counted[1][name] = group, counts
                columns, descriptions = matched_columns(series, lines, Clock(anchor).wall_ns(time.monotonic_ns()))
                for clash in columns.keys() & set(taken):
                    raise ArgumentError(f"this camera has a column {clash!r} already: rename the channel")
                found.columns.update(columns)
                found.descriptions.extend(descriptions)
        with _noted(failures, "clock_offset"):
            if (offset := self._clocks.offset_at(lines.middle_ns, to_lines_ns)) is not None:
                found.columns["clock_offset"] = offset.offset_s
                found.descriptions.append(offset.column)
                if np.isfinite(offset.uncertainty_s):
                    found.attributes["clock_source"] = offset.words
        if groups:
            found.groups[CHANNELS] = Group(groups=groups)

    def _counts(self, series: SourceSeries, samples: Samples, lines: LineTimes) -> tuple[dict[str, int], int]:
        """Counts for the attributes of a raw series, and the index of its first sample."""
        view = self._views[series.properties.name]
        saved, overwritten_before = view.saved(), view.saved_overwritten()
        begin = _first_needed(samples, series.times_ns, lines)
        n_overwritten = max(0, samples.first_index - saved.delivered)
        if saved.delivered:  # nothing is missing between two files
            begin = min(begin, saved.delivered)
        elif begin > samples.first_index or _reaches_before(series.times_ns, lines):
            n_overwritten = 0  # what came before the first line belongs to no file
        if n_overwritten:
            name = series.properties.name
            logger.warning("channel %r: %d samples were overwritten before they were saved", name, n_overwritten)
        before = dict(zip(COUNTED, (*saved, overwritten_before), strict=True))
        totals = dict(zip(COUNTED, (*samples.counts, overwritten_before + n_overwritten), strict=True))
        counts = {f"n_{what}": totals[what] - before[what] for what in COUNTED}
        return counts | {f"n_{what}_total": totals[what] for what in COUNTED}, begin

    def note_saved(self, cube: int, path: Path) -> None:
        """Note that the file of `cube` is published: what was delivered since then belongs to the next one.

        Never raises. The file of another writer, which died, is read.
        """
        try:
            of_cube, counted = self._counted
            for name, counts in (counted if of_cube == cube else _counts_in(path)).items():
                *delivered, overwritten = (int(counts[f"n_{what}_total"]) for what in COUNTED)
                totals = Counts(*delivered)
                if name in self._views and totals.delivered >= self._views[name].saved().delivered:
                    self._views[name].note_saved(totals, overwritten)
        except Exception as error:  # noqa: BLE001 - the cube is saved: the next file has the samples again
            logger.error("the samples of cube %d are in the next file, too: %s: %s", cube, type(error).__name__, error)

    # ---- samples that are still to come ----

    def wait_for_late(
        self, times_ns: NDArray[np.int64], anchor: Anchor, may_wait: Callable[[], bool], passed: Callable[[], None]
    ) -> None:
        """Wait until samples at the time of the last line have arrived, at most 2 s, and only while `may_wait()`.

        Not for a source that is silent, nor longer than its usual lag and one period. Never raises.
        """
        last_ns, end_s = LineTimes.of(times_ns, None).last_ns, time.monotonic() + MAX_WAIT_S
        try:
            awaited = dict(self._awaited(last_ns, anchor)) if may_wait() else {}
            while awaited and time.monotonic() < end_s and may_wait():
                time.sleep(POLL_S)
                passed()
                now_ns = Clock(anchor).wall_ns(time.monotonic_ns())
                for name in [name for name, until_ns in awaited.items() if now_ns > until_ns]:
                    del awaited[name]
                for name in [name for name in awaited if self._newest_ns(name, anchor) >= last_ns]:
                    del awaited[name]
        except Exception as error:  # noqa: BLE001 - the cube is saved without them
            logger.error("samples that are late are not waited for: %s: %s", type(error).__name__, error)

    def _awaited(self, last_ns: int, anchor: Anchor) -> Iterator[tuple[str, int]]:
        """Yield channels whose next sample is worth waiting for, each with the time until when."""
        snapshots: dict[str, Samples] = {}
        for name, view in self._views.items():
            n_new = self._clocks.n_new(name, view.counts.delivered)
            snapshots[name] = view.snapshot(newest=n_new + N_LAGS)
            self._clocks.feed(name, snapshots[name])
        for name, samples in snapshots.items():
            series = self._clocks.series(self._properties[name], samples, self._to_lines_ns(anchor))
            if len(samples) and self._views[name].state() not in SILENT and series.times_ns[-1] < last_ns:
                period_ns = int(1.5e9 * (series.period_s or 0.0)) if series.needs_later_samples else 0
                yield name, last_ns + period_ns + series.lag_ns

    def _newest_ns(self, name: str, anchor: Anchor) -> int:
        """Time of the newest sample, by the clock of the lines."""
        samples = self._views[name].snapshot(newest=1)
        times = self._clocks.series(self._properties[name], samples, self._to_lines_ns(anchor)).times_ns
        return int(times[-1]) if len(times) else 0

    def _to_lines_ns(self, anchor: Anchor) -> int:
        """What is added to times of arrival for those by the clock `anchor`."""
        return Clock(anchor).wall_ns(0) - Clock(self._anchor).wall_ns(0)


def _first_needed(samples: Samples, times_ns: NDArray[np.int64], lines: LineTimes) -> int:
    """Index of the first sample that lines need: samples may be in any order."""
    is_before = times_ns < lines.first_ns
    before = np.flatnonzero(is_before & (times_ns != UNKNOWN_TIME_NS))
    latest = before[np.argsort(times_ns[before], kind="stable")[-N_BEFORE:]]
    later = np.flatnonzero(~is_before | (times_ns == UNKNOWN_TIME_NS))[:1]
    needed: list[int] = [len(times_ns), *latest.tolist(), *later.tolist()]
    return samples.first_index + min(needed)


def _reaches_before(times_ns: NDArray[np.int64], lines: LineTimes) -> bool:
    known = known_times(times_ns)
    return len(known) > 0 and int(known.min()) <= lines.first_ns


def _counts_in(path: Path) -> dict[str, Mapping[str, Any]]:
    """Attributes of the raw series in a file."""
    from openhsi_shared.files.reading import open_cube

    with open_cube(path) as cube:
        return {name: group.attributes for name, group in cube.channels.items()}


@contextmanager
def _noted(failures: dict[str, str], name: str) -> Iterator[None]:
    """Note why a channel failed, instead of raising it: the lines must be saved."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - logged, and written to the file
        failures[name] = f"{type(error).__name__}: {error}"
