"""Clocks of sources: times of their samples by the clock of the lines, and the offset of a GPS to that clock.

Times of arrival of all samples are by one clock, which does not step; `to_lines_ns` is what is added to them for the
clock of some lines: each cube has its own anchor.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.samples import Samples
from openhsi_shared.buffers.times import read_anchor
from openhsi_shared.channels.matched_columns import SourceSeries
from openhsi_shared.channels.named_pulses import PULSES, BeyondFit, NamedPulses
from openhsi_shared.channels.properties import ChannelProperties
from openhsi_shared.columns import Column
from openhsi_shared.line_times import UNKNOWN_TIME_NS
from openhsi_shared.loggers import safe_logger
from openhsi_shared.matching import ClockFit

__all__ = ["ClockOffset", "SourceClocks"]

logger = safe_logger(__name__)

Times = NDArray[np.int64]

PULSE_AGE_NS = 10 * 10**9
"""A pulse per second that was seen longer ago is not used."""
PULSE_UNCERTAINTY_S = 1e-4
SEVERITIES, INVALID = ("ca:", "pva:"), 3
"""Sources whose quality is EPICS' severity of an alarm, and the one of values that mean nothing."""
MAX_EQUAL_NS = 2 * 10**9
"""Samples with one stamp that arrive within this time are parts of one; a clock that stays longer has stopped."""
STILL = int(np.iinfo(np.int64).max)
BIN_NS = 50_000_000
"""Of the samples that arrive within this time, the fit of a clock gets only the one with the least lag."""


class ClockOffset(NamedTuple):
    """Offset of the clock of a channel to that of the lines."""

    channel: str
    offset_s: NDArray[np.float64]
    """Of each line: time of the channel minus `time`; NaN if it is unknown."""
    uncertainty_s: float
    method: str
    """"arrival", "gpsd" (arrival at gpsd), "pulse" (a pulse per second), or "given"."""
    pulses: str = ""
    """Of "pulse" the channel that has seen them, else gpsd has."""

    @property
    def words(self) -> str:
        """For a file: by what true UTC is known, such as "gps by pulse (pps)"."""
        return f"{self.channel} by {self.method}" + (f" ({self.pulses})" if self.pulses else "")

    @property
    def column(self) -> Column:
        """The description of its column."""
        more = {"channel": self.channel, "uncertainty": self.uncertainty_s, "method": self.method}
        more |= {"pulses": self.pulses} if self.pulses else {}
        return Column("clock_offset", "float64", "s", f"time of {self.channel} minus time", more)


class SourceClocks:
    """The clocks of all channels of a camera, known the better the longer they are seen."""

    def __init__(self, properties: Mapping[str, ChannelProperties], *, are_logs: bool = False) -> None:
        """`are_logs`: times of arrival are no evidence of a wrong clock, as a log has none."""
        self._properties = properties
        self._fits = {
            name: ClockFit(is_host=one.stamp == "host") for name, one in properties.items() if one.stamp != "arrival"
        }
        self._next_index = dict.fromkeys(properties, 0)
        self._seen: dict[str, tuple[int, int]] = {}
        """First and last time of arrival in each fit that has samples."""
        self._by_pulse: dict[str, int] = {}
        """By how much, in ns, a pulse per second that gpsd sees shows the offset of a fit to be too small."""
        self._pulses = {name: NamedPulses(one) for name, one in properties.items() if one.source.startswith(PULSES)}
        self._warned: set[str] = set(properties) if are_logs else set()
        self._stopped: set[str] = set()

    def n_new(self, name: str, delivered: int) -> int:
        """How many of the samples that were `delivered` the clock of a channel has not been fed with."""
        return delivered - self._next_index[name]

    def feed(self, name: str, samples: Samples) -> None:
        """Use those of the samples that are new."""
        new = slice(max(0, self._next_index[name] - samples.first_index), None)
        self._next_index[name] = samples.first_index + len(samples)
        if name in self._pulses:
            self._pulses[name].add(samples.arrival_ns[new], samples.description.get("uncertainty_s"))
        if name not in self._fits:
            return
        properties, fit = self._properties[name], self._fits[name]
        is_stamped = samples.time_ns[new] != UNKNOWN_TIME_NS
        stamps = samples.time_ns[new][is_stamped] + _ns(properties.clock_offset_s)
        arrivals = samples.arrival_ns[new][is_stamped] - _ns(properties.latency_s)
        if len(stamps) == 0:
            return
        chosen = _least_lags(stamps, arrivals)
        fit.add(stamps[chosen], arrivals[chosen])
        self._seen[name] = self._seen.get(name, (int(arrivals[0]), 0))[0], int(arrivals[-1])
        for pulses in self._pulses.values():
            if self._receiver_of(pulses.name) == name:
                pulses.add_fixes(arrivals)
        self._use_pulse(name, samples)
        if properties.clock == "given" and properties.stamp == "source" and name not in self._warned:
            self._warn(name, properties, fit)

    def _use_pulse(self, name: str, samples: Samples) -> None:
        """Use the offset that gpsd has seen at a pulse per second, without the latency that all samples have."""
        self._by_pulse.pop(name, None)
        offset_s, time_ns = (samples.description.get(f"pps_{what}") for what in ("offset_s", "time_ns"))
        now = read_anchor()
        if isinstance(offset_s, float) and isinstance(time_ns, int) and abs(now.wall_ns - time_ns) < PULSE_AGE_NS:
            last_ns = self._seen[name][1]
            offset_ns = _ns(offset_s) + now.since(samples.anchor).total_ns
            self._by_pulse[name] = offset_ns - int(self._fits[name].offset_ns(last_ns))

    def _warn(self, name: str, properties: ChannelProperties, fit: ClockFit) -> None:
        wrong_s = fit.contradiction_s()
        if wrong_s is not None:
            self._warned.add(name)
            logger.warning(
                "channel %r: its stamps and the times of arrival differ by %.3f s: if its clock is wrong, give "
                "clock_offset_s=%.3f or clock='fit'",
                name,
                -wrong_s,
                properties.clock_offset_s + wrong_s,
            )

    def _warn_of_stop(self, name: str) -> None:
        if name not in self._stopped:
            self._stopped.add(name)
            logger.warning("channel %r: its stamps do not change while its values do: its clock has stopped", name)

    def series(self, properties: ChannelProperties, samples: Samples, to_lines_ns: int) -> SourceSeries:
        """The samples of a channel, with times by the clock of lines; unknown ones before its clock is known."""
        arrivals = samples.arrival_ns + to_lines_ns
        times, values = arrivals - _ns(properties.latency_s), samples.values
        jumps: list[tuple[int, int]] = []
        if properties.stamp != "arrival":
            is_stamped = samples.time_ns != UNKNOWN_TIME_NS
            stamps = samples.time_ns[is_stamped] + _ns(properties.clock_offset_s)
            clock, given_ns = self._clock_of(properties)
            if clock is None:
                times[is_stamped] = stamps + given_ns
            elif clock in self._seen:
                fit = self._fits[clock]
                by_fit = fit.line_times_ns(stamps, samples.arrival_ns[is_stamped])
                nearly = by_fit - self._beyond_fit(clock, by_fit).ns
                beyond = self._beyond_fit(clock, nearly).ns / (1 + fit.drift)  # the offset changes in between
                times[is_stamped] = by_fit - np.rint(beyond).astype(np.int64) + to_lines_ns
            else:
                times[is_stamped] = UNKNOWN_TIME_NS
            fit = self._fits[clock or properties.name]
            jumps = [(jump.from_ns + to_lines_ns, jump.until_ns + to_lines_ns) for jump in fit.jumps]
            if (stopped := _stopped(samples)) is not None:
                self._warn_of_stop(properties.name)
                values = values[stopped.used]
                ends = np.append(times, STILL)[stopped.ends]
                jumps += list(zip(times[stopped.begins].tolist(), ends.tolist(), strict=True))
        is_invalid = np.zeros(len(samples), bool)
        if properties.source.startswith(SEVERITIES):
            is_invalid = samples.quality >= INVALID
        return SourceSeries(
            properties=properties,
            times_ns=times,
            arrival_ns=arrivals,
            values=values,
            is_invalid=is_invalid,
            change_times_ns=np.array([time_ns + to_lines_ns for time_ns, _ in samples.states], np.int64),
            states=np.array([state for _, state in samples.states], np.int8),
            jumps_ns=np.array(jumps, np.int64).reshape(-1, 2),
        )

    def _clock_of(self, properties: ChannelProperties) -> tuple[str | None, int]:
        """The channel with whose fit stamps become times of lines; or None, and what is added to them."""
        if properties.stamp == "host" or properties.clock == "fit":
            return properties.name, 0
        if properties.clock == "given":
            return None, 0
        given_ns = _given_ns(self._properties[properties.clock])
        return (properties.clock, 0) if given_ns is None else (None, given_ns)

    def attributes(self, name: str, to_lines_ns: int) -> dict[str, Any]:
        """Attributes of the raw series of a channel: the fit of its clock by arrivals, which may not be used."""
        if name in self._pulses:
            return self._of_pulses(name)
        if name not in self._seen or not self._fits[name].is_known:
            return {}
        fit, (first_ns, last_ns) = self._fits[name], self._seen[name]
        return {
            "clock_fit_offset_s": (int(fit.offset_ns(last_ns)) - to_lines_ns) * 1e-9,
            "clock_fit_drift": fit.drift,
            "clock_fit_uncertainty_s": fit.uncertainty_ns * 1e-9,
            "clock_fit_seconds": (last_ns - first_ns) * 1e-9,
            **({"clock_jumps": [list(jump) for jump in fit.jumps]} if fit.jumps else {}),
        }

    def offset_at(self, at_ns: Times, to_lines_ns: int) -> ClockOffset | None:
        """Offset, at these times of lines, of the channel that knows true UTC; None if it is not clear which one does.

        That is the one which others name as their `clock`, or else the only one whose clock is "fit".
        """
        name = self._true_channel()
        if name is None:
            return None
        properties = self._properties[name]
        given_ns = _given_ns(properties)
        if given_ns is not None:
            return ClockOffset(name, np.full(len(at_ns), -given_ns * 1e-9), 0.0, "given")
        method = "gpsd" if properties.source.startswith("gpsd:") else "arrival"
        if name not in self._seen:
            return ClockOffset(name, np.full(len(at_ns), np.nan), np.inf, method)
        fit = self._fits[name]
        is_known = at_ns != UNKNOWN_TIME_NS
        at = at_ns[is_known] - to_lines_ns
        beyond = self._beyond_fit(name, at)
        offset_s = np.full(len(at_ns), np.nan)
        offset_s[is_known] = (fit.offset_ns(at) + beyond.ns - to_lines_ns) * 1e-9
        uncertainty_ns, pulses = fit.uncertainty_at_ns(at), ""
        if len(at) and beyond.is_known.all():
            uncertainty_ns, method, pulses = beyond.uncertainty_ns, "pulse", self._pulses_of(name) or ""
        return ClockOffset(name, offset_s, float(uncertainty_ns.max(initial=0.0)) * 1e-9, method, pulses)

    def _true_channel(self) -> str | None:
        """The channel by which true UTC is known; None if there is none, or more than one."""
        clocks = {one.clock for one in self._properties.values()} - {"given", "fit"}
        names = clocks or {name for name, one in self._properties.items() if one.clock == "fit"}
        return names.pop() if len(names) == 1 else None

    # ---- pulses of a second ----

    def _receiver_of(self, pulses: str) -> str | None:
        """The channel that names the pulses of a channel: its `clock`, or else that of true UTC."""
        clock = self._properties[pulses].clock
        return self._true_channel() if clock == "given" else clock

    def _pulses_of(self, receiver: str) -> str | None:
        return next((name for name in self._pulses if self._receiver_of(name) == receiver), None)

    def _beyond_fit(self, name: str, at: Times) -> BeyondFit:
        """What a pulse per second shows beyond the fit of a clock, at times of arrival."""
        pulses = self._pulses_of(name)
        by_gpsd_ns = self._by_pulse.get(name)
        found = BeyondFit(np.zeros(at.shape, np.int64), np.full(at.shape, np.inf))
        if pulses is not None:
            found = self._pulses[pulses].beyond(self._fits[name], self._properties[name], at)
        if by_gpsd_ns is None or found.is_known.any():
            return found
        return BeyondFit(np.full(at.shape, by_gpsd_ns), np.full(at.shape, PULSE_UNCERTAINTY_S * 1e9))

    def _of_pulses(self, name: str) -> dict[str, Any]:
        """Attributes of a channel of pulses: which receiver names them, and how well they are known at the end."""
        receiver = self._receiver_of(name)
        if receiver not in self._seen:
            return {}
        beyond = self._beyond_fit(receiver, np.array([self._seen[receiver][1]]))
        known = {"pulse_uncertainty_s": float(beyond.uncertainty_ns[0]) * 1e-9} if beyond.is_known.all() else {}
        return {"names_seconds_of": receiver, **known}


def _given_ns(reference: ChannelProperties) -> int | None:
    """What the user says that is added to stamps of true UTC for times of lines; None if it is to be found."""
    return _ns(reference.clock_offset_s) if reference.clock == "given" and reference.clock_offset_s else None


class _Stopped(NamedTuple):
    """Samples whose stamps do not change any more, although values do: their times are not known."""

    used: NDArray[np.intp]
    """For each sample the one whose values are used: the first one of its stamp."""
    begins: NDArray[np.intp]
    """Of each stop, its first sample."""
    ends: NDArray[np.intp]
    """Of each stop, the first sample after it."""


def _stopped(samples: Samples) -> _Stopped | None:
    """Stops of the clock of a source; None if there are none."""
    stamps, arrivals, values = samples.time_ns, samples.arrival_ns, samples.values
    is_new = np.append(True, stamps[1:] != stamps[:-1])[: len(stamps)]
    if is_new.all():
        return None
    number = np.arange(len(stamps))
    first = np.maximum.accumulate(np.where(is_new, number, 0))
    differs = ((values != values[first]) & ~(np.isnan(values) & np.isnan(values[first]))).any(axis=1)
    is_late = differs & (arrivals - arrivals[first] > MAX_EQUAL_NS) & (stamps != UNKNOWN_TIME_NS)
    if not is_late.any():
        return None
    begins, news = np.unique(first[is_late]), np.append(np.flatnonzero(is_new), len(stamps))
    used = np.where(np.isin(first, begins), first, number)
    return _Stopped(used, begins, news[np.searchsorted(news, begins, side="right")])


def _least_lags(stamps: Times, arrivals: Times) -> NDArray[np.intp]:
    """Index of the sample with the least lag of each `BIN_NS`."""
    lags, bins = arrivals - stamps, arrivals // BIN_NS
    begins = np.flatnonzero(np.append(True, bins[1:] != bins[:-1]))
    least = np.repeat(np.minimum.reduceat(lags, begins), np.diff(np.append(begins, len(lags))))
    chosen = np.flatnonzero(lags == least)
    is_first = np.append(True, bins[chosen[1:]] != bins[chosen[:-1]])
    return np.asarray(chosen[is_first])


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
