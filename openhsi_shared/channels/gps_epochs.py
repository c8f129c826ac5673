"""Fixes out of a stream of NMEA: what the sentences of one epoch say together, with one stamp.

An epoch ends when a sentence has another time, or when the line is silent: receivers speak in bursts. What comes later
with the same time completes it, and it is returned again: of fixes with equal stamps the last one counts. VTG, HDT and
GSA have no time: they belong to the epoch in which they come; after a silence, to the next one.
"""

import math
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from openhsi_shared.channels.gps_dates import AGREE_NS, Dating, nearest
from openhsi_shared.channels.nmea import Sentence, SentenceReader

__all__ = ["Fix", "FixReader"]

N_BACK = 5
"""So many stamps one after the other, all before the latest one but in order, are a clock that was set back."""


class Fix(NamedTuple):
    """Where the receiver was at one time."""

    time_ns: int
    """UTC by the receiver."""
    arrival_ns: int
    """When the first bytes of its sentences came, on the clock of the caller."""
    values: dict[str, float]
    """By the names of `gps_fields.FIELDS`; what is missing was not said."""


@dataclass
class _Epoch:
    time_of_day_ns: int
    arrival_ns: int
    host_ns: int | None
    values: dict[str, float] = field(default_factory=dict)
    dates: list[date] = field(default_factory=list)
    has_fix: bool | None = None
    is_closed: bool = False

    def add(self, sentence: Sentence) -> None:
        self.is_closed = False
        self.values |= {name: value for name, value in sentence.values.items() if not math.isnan(value)}
        if sentence.date is not None:
            self.dates.append(sentence.date)
        if sentence.has_fix is not None:
            self.has_fix = sentence.has_fix and self.has_fix is not False


class FixReader:
    """Reads fixes; pure: its only clocks are `arrival_ns`, any even one, and `host_ns`, UTC of the host.

    `has_fix`: of the latest epoch, None before the first. A log has no host's clock: give `host_ns=None`.
    """

    def __init__(self) -> None:
        self.sentences = SentenceReader()
        self.dating = Dating()
        self.has_fix: bool | None = None
        self.altitude_above: str | None = None
        """"ellipsoid" where the receiver gives the height of the geoid, else "geoid"; decided by its first fix."""
        self.n_jumps = 0
        """How often the receiver's clock was set back."""
        self._epoch: _Epoch | None = None
        self._is_silent = True
        self._untimed: dict[str, float] = {}
        self._attitude: Sentence | None = None
        self._has_positions = False
        self._waiting: list[_Epoch] = []
        self._latest_ns: int | None = None
        self._behind: list[int] = []

    @property
    def refused(self) -> list[str]:
        """Why sentences and fixes could not be used; the caller empties it."""
        return self.sentences.refused

    def feed(self, data: bytes, arrival_ns: int, host_ns: int | None) -> list[Fix]:
        """Return the fixes that `data` completes."""
        fixes: list[Fix] = []
        for sentence in self.sentences.feed(data, arrival_ns):
            came_host_ns = None if host_ns is None else host_ns - (arrival_ns - sentence.arrival_ns)
            fixes += self._take(sentence, came_host_ns)
            self._is_silent = False
        return fixes + self._overdue(arrival_ns)

    def silence(self, now_ns: int) -> list[Fix]:
        """End the epoch: no byte came for a while, until now."""
        self._is_silent = True
        return self._close() + self._overdue(now_ns)

    def end(self) -> list[Fix]:
        """End the stream; what has no date is refused."""
        fixes = self._close()
        for epoch in self._waiting:
            self.refused.append(f"time of day {epoch.time_of_day_ns / 1e9:.3f} s without a date (RMC, ZDA)")
        self._waiting = []
        return fixes

    def _take(self, sentence: Sentence, host_ns: int | None) -> list[Fix]:
        if sentence.kind == "PASHR" and not self._is_epoch_of(sentence) and self._has_positions:
            self._attitude = sentence  # of its own rate: that of a position's time belongs to the position
            self.dating.note("attitude", "attitudes ($PASHR) between the times of positions are not used")
            return []
        if sentence.time_of_day_ns is None:
            if self._epoch is None or self._is_silent:
                self._untimed |= sentence.values
            else:
                self._epoch.add(sentence)
            return []
        fixes: list[Fix] = []
        epoch = self._epoch
        if epoch is None or not self._is_epoch_of(sentence):
            fixes = self._close()
            self._epoch = epoch = _Epoch(sentence.time_of_day_ns, sentence.arrival_ns, host_ns, self._untimed)
            self._untimed = {}
            if self._attitude is not None and self._attitude.time_of_day_ns == sentence.time_of_day_ns:
                epoch.values |= self._attitude.values
        epoch.add(sentence)
        self._has_positions = self._has_positions or sentence.kind in ("GGA", "RMC")
        return fixes

    def _is_epoch_of(self, sentence: Sentence) -> bool:
        return self._epoch is not None and self._epoch.time_of_day_ns == sentence.time_of_day_ns

    def _close(self) -> list[Fix]:
        epoch = self._epoch
        if epoch is None or epoch.is_closed:
            return []
        epoch.is_closed = True
        if epoch.has_fix is not None:
            self.has_fix = epoch.has_fix
        if not self.has_fix or not (epoch.has_fix or epoch.dates):
            return []  # without a fix, dates are those of a clock on a battery
        stamp_ns = self._stamp(epoch)
        if stamp_ns is None:
            if epoch not in self._waiting:
                self._waiting.append(epoch)
            return []
        waiting, self._waiting = [one for one in self._waiting if one is not epoch], []
        fixes = self._dated(waiting, stamp_ns)
        return fixes + (self._fixes(epoch, stamp_ns) if epoch.has_fix else [])

    def _stamp(self, epoch: _Epoch) -> int | None:
        if not epoch.dates:
            return self.dating.nearest_day(epoch.time_of_day_ns, epoch.arrival_ns)
        n_agreeing = epoch.dates.count(epoch.dates[0])
        stamp_ns = self.dating.dated(epoch.time_of_day_ns, epoch.dates[0], epoch.arrival_ns, epoch.host_ns, n_agreeing)
        if stamp_ns is None:
            unconfirmed = [one for one in self._waiting if one.dates]
            self._waiting = [one for one in self._waiting if not one.dates]
            self.refused.extend(f"date {one.dates[0]} is confirmed by no second one" for one in unconfirmed)
        return stamp_ns

    def _dated(self, waiting: list[_Epoch], near_ns: int) -> list[Fix]:
        """Date what waited for the first date: each within 12 h of the one after it."""
        stamps = [near_ns := nearest(one.time_of_day_ns, near_ns) for one in reversed(waiting)]
        pairs = zip(waiting, reversed(stamps), strict=True)
        return [fix for one, stamp_ns in pairs if one.has_fix for fix in self._fixes(one, stamp_ns)]

    def _overdue(self, now_ns: int) -> list[Fix]:
        """Give the host's day to what has waited too long for a date, and to what waits since."""
        undated = [one for one in self._waiting if not one.dates]
        if not undated or undated[0].host_ns is None or now_ns - undated[0].arrival_ns <= AGREE_NS:
            return []
        self._waiting = [one for one in self._waiting if one.dates]
        first = undated[0]
        near_ns = self.dating.day_of_host(first.time_of_day_ns, first.arrival_ns, undated[0].host_ns)
        fixes = self._fixes(first, near_ns)
        for one in undated[1:]:
            near_ns = nearest(one.time_of_day_ns, near_ns)
            fixes += self._fixes(one, near_ns)
        return fixes

    def _fixes(self, epoch: _Epoch, stamp_ns: int) -> list[Fix]:
        if self._latest_ns is not None and stamp_ns < self._latest_ns:
            back_s = (self._latest_ns - stamp_ns) / 1e9
            self._behind = [*self._behind, stamp_ns] if not self._behind or stamp_ns > self._behind[-1] else [stamp_ns]
            if len(self._behind) < N_BACK:
                self.refused.append(f"a stamp steps back by {back_s:.3f} s")
                return []
            self.n_jumps += 1
            self.dating.note(f"back {self.n_jumps}", f"the receiver's clock was set back by {back_s:.3f} s")
        self._latest_ns, self._behind = stamp_ns, []
        return [Fix(stamp_ns, epoch.arrival_ns, self._with_altitude(epoch.values))]

    def _with_altitude(self, values: dict[str, float]) -> dict[str, float]:
        """Return the values with the altitude above one surface throughout: else there are steps of up to 100 m."""
        values = dict(values)
        above_geoid, geoid = values.pop("altitude", math.nan), values.pop("geoid", math.nan)
        if math.isnan(above_geoid):
            return values
        if self.altitude_above is None:
            self.altitude_above = "geoid" if math.isnan(geoid) else "ellipsoid"
        return values | {"altitude": above_geoid + geoid if self.altitude_above == "ellipsoid" else above_geoid}
