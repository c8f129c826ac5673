"""Units as UDUNITS spells them, which CF demands; without its library, which the writer should not load."""

import math
import re

__all__ = ["circle_in", "known_unit"]

OTHER_SPELLINGS = {
    "c": "degC", "°c": "degC", "degc": "degC", "deg c": "degC", "deg. c": "degC", "degrees c": "degC",
    "degree c": "degC", "celsius": "degC", "℃": "degC", "grad c": "degC",
    "°f": "degF", "deg f": "degF", "degf": "degF", "fahrenheit": "degF", "kelvin": "K", "deg k": "K",
    "radian": "rad", "radians": "rad",
    "°": "degree", "deg": "degree", "degs": "degree", "degrees": "degree",
    "deg/s": "degree s-1", "°/s": "degree s-1", "m/s": "m s-1", "m/s2": "m s-2", "m/s^2": "m s-2", "m/s²": "m s-2",
    "km/h": "km h-1", "kph": "km h-1", "kmh": "km h-1", "mph": "mile h-1", "kn": "knot", "kt": "knot", "kts": "knot",
    "sec": "s", "secs": "s", "seconds": "s", "msec": "ms", "millisec": "ms", "usec": "us", "µs": "us", "μs": "us",
    "µm": "um", "μm": "um", "micron": "um", "microns": "um", "å": "angstrom", "µa": "uA", "μa": "uA",
    "metres": "m", "meters": "m", "metre": "m", "meter": "m", "volts": "V", "volt": "V", "amps": "A", "amp": "A",
    "ampere": "A", "amperes": "A", "watts": "W", "watt": "W", "ohms": "ohm", "ω": "ohm", "pct": "percent",
    "%rh": "percent", "%": "percent", "cnt": "count", "cts": "count", "counts": "count", "cps": "count s-1",
    "none": "1", "-": "1", "": "1", "unitless": "1", "dimensionless": "1", "torr": "mmHg",
}  # fmt: skip
"""Common spellings that UDUNITS does not know, or understands otherwise ("C" is a coulomb), in lower case."""

NOT_MEANT = ("S", "T", "kN", "kT")
"""Units whose lower case is another spelling of another unit: a kilonewton is no knot."""
CIRCLES = {
    "degree": 360.0, "degree_north": 360.0, "degree_east": 360.0, "degrees_north": 360.0, "degrees_east": 360.0,
    "rad": 2 * math.pi, "mrad": 2e3 * math.pi, "urad": 2e6 * math.pi, "arcminute": 21600.0, "arcsecond": 1296000.0,
}  # fmt: skip

_BASES = """
m g s A K mol cd Hz N Pa J W C V F ohm S Wb T H lm lx bar L l rad sr eV Gy Sv Bq kat degree
arcminute arcsecond count pixel angstrom byte bit lbf G meter second kelvin gram
"""
_WITHOUT_PREFIX = """
h min d year degree degree_north degree_east degrees_north degrees_east degC degF percent 1 knot mile ft inch
nautical_mile mmHg psi atm dB celsius
"""
WITH_PREFIX = frozenset(_BASES.split())
UNITS = frozenset((_BASES + _WITHOUT_PREFIX).split())
PREFIXES = ("da", *"yzafpnumcdhkMGTPEZY")
FACTOR = re.compile(r"([A-Za-z_]+|1)(?:\^|\*\*)?([+-]?\d+)?")


def known_unit(given: str) -> str | None:
    """The unit in UDUNITS' spelling; None if it is not known.

    >>> known_unit("deg C"), known_unit("°"), known_unit("mW cm-2"), known_unit("furlongs per fortnight")
    ('degC', 'degree', 'mW cm-2', None)
    """
    text = " ".join(given.split())
    other = OTHER_SPELLINGS.get(text.lower())
    if other is not None and text not in NOT_MEANT:
        return other
    parts = re.split(r"\s*/\s*|[ .*](?!\*)(?<!\*\*)", text)
    return text if text and all(map(_is_factor, parts)) else None


def circle_in(unit: str | None) -> float | None:
    """A full circle in a unit in UDUNITS' spelling, None for degrees; None if it is no unit of angles.

    >>> circle_in("degree"), circle_in("m")
    (360.0, None)
    """
    return CIRCLES.get(unit or "degree")


def _is_factor(text: str) -> bool:
    match = FACTOR.fullmatch(text)
    if match is None:
        return False
    name = match[1]
    if name in UNITS:
        return True
    return any(name.startswith(prefix) and name[len(prefix) :] in WITH_PREFIX for prefix in PREFIXES)
