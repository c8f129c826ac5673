"""Times of day of a GPS receiver become UTC: dates of sentences with a fix, week roll-overs, the day of the host.

A position (GGA) has a time of day only. Its day is the one within 12 h of the last trusted date (RMC, ZDA), else of
the host's clock. A date is trusted at once if it is within a day of the host's; else a second one must agree with it.
"""

from datetime import date
from typing import NamedTuple

__all__ = ["Dating", "Reference", "nearest"]

DAY_NS = 86_400_000_000_000
ROLL_OVER_NS = 1024 * 7 * DAY_NS
"""Weeks are sent as a number of 10 bits; what is behind by a multiple of it is a receiver that does not know better."""
AGREE_NS = 2_000_000_000
EPOCH = date(1970, 1, 1)


class Reference(NamedTuple):
    """A stamp and when it came: where later ones are expected."""

    stamp_ns: int
    arrival_ns: int
    is_of_host: bool = False

    def expected_ns(self, arrival_ns: int) -> int:
        """Return the stamp that belongs to an arrival."""
        return self.stamp_ns + arrival_ns - self.arrival_ns


class Dating:
    """Dates times of day; `notes` are what a user must know of it, each said once."""

    def __init__(self) -> None:
        self.reference: Reference | None = None
        self._candidate: Reference | None = None
        self.notes: list[str] = []
        self._is_said: set[str] = set()

    def dated(
        self, time_of_day_ns: int, day: date, arrival_ns: int, host_ns: int | None, n_agreeing: int
    ) -> int | None:
        """Return the stamp of a sentence with fix and date; None until a second one agrees that the host is wrong.

        `host_ns` is the host's UTC at the arrival, None for a log: its dates are taken as they are.
        """
        stamp_ns = (day - EPOCH).days * DAY_NS + time_of_day_ns
        if host_ns is not None:
            n_weeks = (host_ns - stamp_ns + DAY_NS) // ROLL_OVER_NS
            if n_weeks > 0:
                stamp_ns += n_weeks * ROLL_OVER_NS
                self.note("roll-over", f"date {day} of the receiver is {n_weeks * 1024} weeks old: repaired")
            if not self._is_trusted(stamp_ns, arrival_ns, host_ns, n_agreeing):
                self._candidate = Reference(stamp_ns, arrival_ns)
                return None
        self._candidate, self.reference = None, Reference(stamp_ns, arrival_ns)
        return stamp_ns

    def _is_trusted(self, stamp_ns: int, arrival_ns: int, host_ns: int, n_agreeing: int) -> bool:
        if abs(stamp_ns - host_ns) <= DAY_NS:
            return True
        known = [one for one in (self.reference, self._candidate) if one and not one.is_of_host]
        if n_agreeing > 1 or any(abs(one.expected_ns(arrival_ns) - stamp_ns) <= AGREE_NS for one in known):
            days = (stamp_ns - host_ns) / DAY_NS
            self.note("far", f"the receiver's date is {days:+.1f} days from this computer's: the receiver's is taken")
            return True
        return False

    def nearest_day(self, time_of_day_ns: int, arrival_ns: int) -> int | None:
        """Return the stamp within 12 h of what the reference lets expect; None without one."""
        if self.reference is None:
            return None
        return nearest(time_of_day_ns, self.reference.expected_ns(arrival_ns))

    def day_of_host(self, time_of_day_ns: int, arrival_ns: int, host_ns: int) -> int:
        """Return the stamp within 12 h of the host's time, for a receiver that sends no date."""
        stamp_ns = nearest(time_of_day_ns, host_ns)
        self.reference = Reference(stamp_ns, arrival_ns, is_of_host=True)
        self.note("host", "the receiver sends no date (RMC, ZDA): the day of this computer's clock is taken")
        return stamp_ns

    def note(self, about: str, text: str) -> None:
        """Add a note, once for each thing it is about."""
        if about not in self._is_said:
            self._is_said.add(about)
            self.notes.append(text)


def nearest(time_of_day_ns: int, near_ns: int) -> int:
    """Return the time with this time of day that is nearest to another one."""
    return time_of_day_ns + round((near_ns - time_of_day_ns) / DAY_NS) * DAY_NS
