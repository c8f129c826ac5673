"""Times of lines as numbers: UTC nanoseconds since 1970, and what stands for an unknown time."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.errors import ArgumentError

__all__ = [
    "CALENDARS",
    "TIME_UNITS",
    "UNKNOWN_TIME_NS",
    "begin_of",
    "decode_times",
    "has_ns",
    "iso_time",
    "known_times",
    "ns_of",
    "ns_of_iso",
    "utc_of",
    "was_never_set",
]

TIME_UNITS = "nanoseconds since 1970-01-01T00:00:00Z"
UNKNOWN_TIME_NS = int(np.iinfo(np.int64).min)
"""Stands for the time of a line that is not known: numpy's NaT."""
NEVER_SET_NS = 10**6
"""openhsi begins with times of 0, 1, 2, ... ns; a number below this is no time of a line."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_of(time_ns: int) -> datetime:
    """The time in UTC, to the microsecond; also before 1970.

    >>> utc_of(-1).isoformat()
    '1969-12-31T23:59:59.999999+00:00'
    """
    return EPOCH + timedelta(microseconds=int(time_ns) // 1000)


def iso_time(time_ns: int) -> str:
    """A time as in attributes of files.

    >>> iso_time(1_700_000_000_123_456_789)
    '2023-11-14T22:13:20.123456Z'
    """
    return f"{utc_of(time_ns).strftime('%Y-%m-%dT%H:%M:%S.%f')}Z"


def ns_of_iso(time: object) -> int | None:
    """Nanoseconds since 1970 of a text in ISO 8601, or a datetime; in UTC without a zone.

    None for anything else, and for years that nanoseconds of 64 bits cannot express, such as the year 1.

    >>> ns_of_iso("2023-11-14T22:13:20.123456Z"), ns_of_iso("1970-01-01T01:00+01:00"), ns_of_iso("0001-01-01")
    (1700000000123456000, 0, None)
    """
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError:
            return None
    if not isinstance(time, datetime):
        return None
    moment = time if time.tzinfo else time.replace(tzinfo=UTC)
    time_ns = (moment - EPOCH) // timedelta(microseconds=1) * 1000
    return time_ns if -(2**63) < time_ns < 2**63 else None


def known_times(times_ns: ArrayLike) -> NDArray[Any]:
    """Those of the times that are known."""
    times = np.asarray(times_ns)
    return np.asarray(times[times != UNKNOWN_TIME_NS])


def begin_of(times_ns: ArrayLike) -> int | None:
    """The first time that is known; None if there is none."""
    known = known_times(times_ns)
    return int(known[0]) if len(known) else None


def was_never_set(times_ns: NDArray[Any]) -> NDArray[np.bool_]:
    """Which times are those with which openhsi begins: the first nanoseconds of 1970."""
    return (times_ns >= 0) & (times_ns < NEVER_SET_NS)


def has_ns(stamps: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of these datetime64, of any unit, nanoseconds of 64 bits can express: years from 1678 to 2262, and NaT.

    >>> has_ns(np.array(["2026-05-01", "0001-01-01", "NaT"], "datetime64[s]")).tolist()
    [True, False, True]
    """
    days = stamps.astype("datetime64[D]")  # numpy wraps around in silence, onto another day
    return np.asarray((stamps.astype("datetime64[ns]").astype("datetime64[D]") == days) | np.isnat(stamps))


def ns_of(stamps: NDArray[Any], what: str) -> NDArray[np.int64]:
    """Nanoseconds since 1970 of datetime64 of any unit, NaT as UNKNOWN_TIME_NS. ArgumentError for those without.

    >>> ns_of(np.array(["1970-01-02"], "datetime64[D]"), "times").tolist()
    [86400000000000]
    """
    fits = has_ns(stamps)
    if not fits.all():
        raise ArgumentError(f"{what}: {stamps[~fits].flat[0]} is outside of the years 1678 to 2262")
    return np.asarray(stamps.astype("datetime64[ns]").astype(np.int64))


_UNITS_NS = {"ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_UNITS_NS |= {"d": 86400 * 10**9, "nanosecond": 1, "microsecond": 10**3, "millisecond": 10**6, "second": 10**9}
_UNITS_NS |= {"minute": 60 * 10**9, "hour": 3600 * 10**9, "day": 86400 * 10**9, "ns": 1, "us": 10**3}
_UNITS_NS |= {"sec": 10**9, "hr": 3600 * 10**9}
_OFFSET = r"Z|UTC|GMT|[+-]\d{1,2}(?::?\d{2})?"
_UNITS_OF_TIME = re.compile(rf"\s*(\w+)\s+since\s+(\d+-\d+-\d+)(?:[T\s]+(\d[\d:.]*))?\s*({_OFFSET})?\s*", re.IGNORECASE)
CALENDARS = ("standard", "gregorian", "proleptic_gregorian")


def decode_times(values: NDArray[Any], units: str, calendar: str = "standard") -> NDArray[np.int64]:
    """UTC nanoseconds since 1970 of times as netCDF stores them; whole numbers stay exact.

    NaN and the smallest int64, which is xarray's NaT, become UNKNOWN_TIME_NS. ArgumentError for what are no times, or
    times of another calendar.

    >>> decode_times(np.array([0, 5]), "milliseconds since 1970-01-01 00:00:01").tolist()
    [1000000000, 1005000000]
    >>> decode_times(np.array([0]), "seconds since 1970-01-01 10:00:00 +10:00").tolist()
    [0]
    """
    if calendar.lower() not in CALENDARS:
        raise ArgumentError(f"calendar {calendar!r} is not that of clocks, expected one of {CALENDARS}")
    step, start = _step_and_start(units, calendar)
    limits = np.iinfo(np.int64)
    if values.dtype.kind == "f":
        is_known = np.isfinite(values)
        values = np.where(is_known, values, 0).astype(np.float64)
        if start < limits.min:  # counted from a time that has no int64, such as the year 1: whole units, then the rest
            whole = np.floor(values[is_known].min()) if is_known.any() else 0.0
            values, start = values - whole, start + int(whole) * step
        with np.errstate(over="ignore"):  # refused below
            values, step = np.round(values * step), 1
    else:
        is_known = values != UNKNOWN_TIME_NS if values.dtype.kind == "i" else np.ones(values.shape, bool)
        values = np.where(is_known, values, 0)
    known = values[is_known]
    is_finite = bool(np.isfinite(known).all())
    ends = [int(one) * step + start for one in (known.min(), known.max())] if known.size and is_finite else []
    if not is_finite or any(not limits.min < end <= limits.max for end in ends):
        raise ArgumentError(f"times of {known.min()} to {known.max()} {units} are outside of the years 1678 to 2262")
    wrapped = (start - limits.min) % 2**64 + limits.min  # int64 wraps around twice where the start is not one
    with np.errstate(over="ignore", invalid="ignore"):  # of unknown ones
        return np.where(is_known, values.astype(np.int64) * step + wrapped, UNKNOWN_TIME_NS)


def _step_and_start(units: str, calendar: str) -> tuple[int, int]:
    """Length of a unit of time, and the time from which it counts, both in ns."""
    match = _UNITS_OF_TIME.fullmatch(units)
    step = _UNITS_NS.get(match[1].lower(), _UNITS_NS.get(match[1].lower().removesuffix("s"))) if match else None
    if match is None or step is None:
        raise ArgumentError(f"units {units!r} are not units of time, expected for example {TIME_UNITS!r}")
    clock, _, fraction = (match[3] or "0").partition(".")
    try:
        year, month, day = map(int, match[2].split("-"))
        hours, minutes, seconds = (*map(int, clock.rstrip(":").split(":")), 0, 0)[:3]
        midnight = datetime(year, month, day, tzinfo=UTC)
        is_julian = not calendar.lower().startswith("proleptic") and (year, month, day) < (1582, 10, 15)
        fraction_ns = int(f"{fraction:0<9}"[:9])
        offset = re.fullmatch(r"([+-])(\d{1,2}):?(\d{2})?", match[4] or "")
        east = (int(f"{offset[1]}1") * (60 * int(offset[2]) + int(offset[3] or 0))) if offset else 0
        start = midnight + timedelta(hours=hours, minutes=minutes - east, seconds=seconds)
    except (ValueError, TypeError, OverflowError) as error:
        raise ArgumentError(f"units {units!r} do not contain a time: {error}") from error
    lag_ns = _julian_lag(year, month) * _UNITS_NS["d"] if is_julian else 0
    return step, (start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000 + fraction_ns + lag_ns


def _julian_lag(year: int, month: int) -> int:
    """Days by which a date of the Julian calendar is later than the same date of the Gregorian one.

    >>> _julian_lag(1582, 10), _julian_lag(1, 1)
    (10, -2)
    """
    years = year - (month < 3)
    return years // 100 - years // 400 - 2
