"""Columns of a cube for a channel: its values at the times of the lines, their age, and their state."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.channels.properties import ChannelProperties, Field
from openhsi_shared.channels.raw_series import labels_of
from openhsi_shared.channels.units import circle_in
from openhsi_shared.columns import Column
from openhsi_shared.exposure import known_exposure_ms
from openhsi_shared.line_times import UNKNOWN_TIME_NS, known_times
from openhsi_shared.matching import Matched, State, in_order, match, overlay

__all__ = ["N_LAGS", "LineTimes", "MatchedColumns", "SourceSeries", "matched_columns"]

STATE_FLAGS = {
    "flag_values": tuple(int(state) for state in State),
    "flag_meanings": " ".join(state.name.lower() for state in State),
}
MIN_GAP_S = 1.0
PERIODS_OF_A_GAP = 5
N_NEIGHBOURS = 8
"""Samples on each side that may be used: equal times count once."""
N_LAGS = 1000
"""Samples whose lags show how late the next one may be."""
MAX_LAG_NS = 10**9


class LineTimes(NamedTuple):
    """Times of lines, UTC in ns."""

    middle_ns: NDArray[np.int64]
    """Middle of the exposure."""
    exposure_ns: int
    """0: unknown."""

    @classmethod
    def of(cls, middle_ns: NDArray[np.int64], exposure_ms: Any) -> "LineTimes":
        """With an exposure in ms, or anything else where it is unknown."""
        return cls(np.asarray(middle_ns, np.int64), int((known_exposure_ms(exposure_ms) or 0) * 1e6))

    @property
    def first_ns(self) -> int:
        """Time of the first line; 0 if no time is known."""
        known = known_times(self.middle_ns)
        return int(known.min()) if len(known) else 0

    @property
    def last_ns(self) -> int:
        """Time of the last line; 0 if no time is known."""
        known = known_times(self.middle_ns)
        return int(known.max()) if len(known) else 0


@dataclass(frozen=True)
class SourceSeries:
    """All that is known of a channel, with times by the clock of the lines."""

    properties: ChannelProperties
    times_ns: NDArray[np.int64]
    """In any order."""
    arrival_ns: NDArray[np.int64]
    values: NDArray[np.float64]
    """(n, fields)"""
    is_invalid: NDArray[np.bool_]
    """Samples of which the source said that their values mean nothing."""
    change_times_ns: NDArray[np.int64]
    """When the state of the source changed, each time to that of `states`."""
    states: NDArray[np.int8]
    jumps_ns: NDArray[np.int64]
    """(n, 2): between these times, the clock of the source jumped."""

    def in_order(self) -> "SourceSeries":
        """The same in the order of time, with the length of a gap that is found from the whole series."""
        order = np.argsort(self.times_ns, kind="stable")
        order = order[self.times_ns[order] != UNKNOWN_TIME_NS]
        return self._of(order, replace(self.properties, gap_s=self.gap_s))

    def near(self, lines: LineTimes) -> "SourceSeries":
        """Of a series in order the samples that these lines can use."""
        begin = np.searchsorted(self.times_ns, lines.first_ns - lines.exposure_ns) - N_NEIGHBOURS
        end = np.searchsorted(self.times_ns, lines.last_ns + lines.exposure_ns, side="right") + N_NEIGHBOURS
        return self._of(slice(max(0, int(begin)), int(end)), self.properties)

    def _of(self, which: Any, properties: ChannelProperties) -> "SourceSeries":
        names = ("times_ns", "arrival_ns", "values", "is_invalid")
        return replace(self, properties=properties, **{name: getattr(self, name)[which] for name in names})

    @property
    def gap_s(self) -> float:
        """Lines in a longer hole have no value."""
        given = self.properties.gap_s
        return max(MIN_GAP_S, PERIODS_OF_A_GAP * (self.period_s or 0.0)) if given is None else given

    @property
    def period_s(self) -> float | None:
        """Time between two samples: as declared, or else the median; None if it is unknown."""
        if self.properties.rate is not None:
            return 1.0 / self.properties.rate
        steps = np.diff(known_times(self.times_ns))
        steps = steps[steps > 0]
        return float(np.median(steps)) * 1e-9 if len(steps) else None

    @property
    def needs_later_samples(self) -> bool:
        """Whether the value of a line depends on samples after it."""
        return any(field.how != "previous" for field in self.properties.fields)

    @property
    def lag_ns(self) -> int:
        """How late a sample may arrive after its time; at most 1 s."""
        known = np.flatnonzero(self.times_ns != UNKNOWN_TIME_NS)[-N_LAGS:]
        lags = self.arrival_ns[known] - self.times_ns[known]
        return int(np.clip(lags.max(), 0, MAX_LAG_NS)) if len(lags) else 0


class MatchedColumns(NamedTuple):
    """Columns by their names, and their descriptions."""

    columns: dict[str, NDArray[Any]]
    descriptions: tuple[Column, ...]


def matched_columns(series: SourceSeries, lines: LineTimes, now_ns: int | None = None) -> MatchedColumns:
    """The columns of a channel. ArgumentError if it cannot be matched as its properties say.

    `now_ns`: samples up to this time may still arrive, by as much late as the others: lines that they may belong to are
    `edge`. None: the series is complete.
    """
    properties = series.properties
    values = np.where(series.is_invalid[:, None], np.nan, series.values) if series.is_invalid.any() else series.values
    if properties.kind == "quaternion":
        matched = [_match(series, properties.fields[0], values, "quaternion", lines)]
        found = list(matched[0].values.T)
    else:
        matched = [
            _match(series, field, values[:, number], field.kind, lines)
            for number, field in enumerate(properties.fields)
        ]
        found = [one.values for one in matched]
    state = _combined([one.state for one in matched])
    at = lines.middle_ns
    state[_are_invalid(series, at) & (state == State.GOOD)] = State.REFUSED
    if now_ns is not None and len(series.times_ns):
        may_come = (at > series.times_ns.max()) & (at > now_ns - series.lag_ns)
        state[may_come & (state == State.GOOD)] = State.EDGE
    state = overlay(state, series.change_times_ns, series.states, at)
    for begin, end in series.jumps_ns:
        is_between = (at > begin) & (at < end)
        state[is_between] = State.JUMPED
        for one in found:
            one[is_between] = np.nan
    return _described(properties, found, matched[0].age_s, state)


def _are_invalid(series: SourceSeries, at_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Lines whose last sample is invalid."""
    if not series.is_invalid.any():
        return np.zeros(len(at_ns), bool)
    times, is_invalid, *_ = in_order(series.times_ns, series.is_invalid.astype(np.float64))
    latest = np.searchsorted(times, at_ns, side="right") - 1
    return (latest >= 0) & (is_invalid[np.maximum(latest, 0)] > 0)


def _match(series: SourceSeries, field: Field, values: NDArray[np.float64], kind: Any, lines: LineTimes) -> Matched:
    properties, how = series.properties, field.how or "previous"
    begin, until = lines.middle_ns, None
    if how == "mean":
        begin, until = begin - lines.exposure_ns // 2, begin + lines.exposure_ns // 2
    is_of_one = how in ("nearest", "previous")
    return match(
        series.times_ns,
        values,
        begin,
        how=how,
        kind=kind,
        tolerance_s=properties.tolerance_s,
        gap_s=None if is_of_one else series.gap_s,
        max_age_s=properties.max_age_s if is_of_one else None,
        until_ns=until,
        period=circle_in(field.unit) or 360.0,
    )


def _combined(states: list[NDArray[np.int8]]) -> NDArray[np.int8]:
    """One state for all fields: that of the first one that is not good."""
    result = states[0].copy()
    for state in states[1:]:
        is_good = result == State.GOOD
        result[is_good] = state[is_good]
    return result


def _described(
    properties: ChannelProperties, values: list[NDArray[Any]], age_s: NDArray[Any], state: NDArray[Any]
) -> MatchedColumns:
    *names, age, state_name = properties.variables
    columns: dict[str, NDArray[Any]] = dict(zip(names, values, strict=True))
    descriptions = []
    for name, field in zip(names, properties.fields, strict=True):
        labels = labels_of(properties, field)
        more = {key: value for key, value in labels.items() if key not in ("units", "long_name")}
        more["ancillary_variables"] = f"{age} {state_name}"
        descriptions.append(Column(name, "float64", labels.get("units", ""), labels["long_name"], more))
    columns |= {age: age_s, state_name: state}
    of_sample = f"time of the line minus that of the sample of {properties.name}"
    descriptions.append(Column(age, "float64", "s", of_sample))
    descriptions.append(Column(state_name, "int8", "", f"state of {properties.name}", STATE_FLAGS))
    return MatchedColumns({name: np.ascontiguousarray(one) for name, one in columns.items()}, tuple(descriptions))
