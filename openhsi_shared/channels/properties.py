"""What is known of a channel besides its samples, checked when it is made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from openhsi_shared.channels.units import circle_in, known_unit
from openhsi_shared.columns import COLUMNS, FRAMES_USED, OTHER_VARIABLES, SATURATED
from openhsi_shared.errors import ArgumentError
from openhsi_shared.given_numbers import is_finite
from openhsi_shared.groups import check_name, check_not_reserved
from openhsi_shared.loggers import safe_logger
from openhsi_shared.matching.lines import IMPOSSIBLE

__all__ = ["QUATERNION", "SINGLE", "ChannelProperties", "Field", "How", "Kind", "Stamp", "check_together"]

logger = safe_logger(__name__)

Kind = Literal["number", "angle", "quaternion", "flags", "image"]
How = Literal["nearest", "previous", "linear", "cubic", "mean"]
Stamp = Literal["source", "arrival", "host"]

SINGLE = "value"
"""Name of the field of a channel with one value."""
QUATERNION = ("w", "x", "y", "z")
VARIABLES_OF_FILE = frozenset(
    {*OTHER_VARIABLES, "channels", "clock_offset", *(one.name for one in (*COLUMNS, FRAMES_USED, SATURATED))}
)
VARIABLES_OF_GROUP = frozenset({"time", "arrival", "id", "quality", "sample"})
DIMENSIONS = ("x", "y", "wavelength")
"""Of the whole file: no variable of a group can have these names."""
MAX_OFFSET_S = 3.2e9
"""A hundred years: sums of it and of times are no longer than int64 of ns."""
OF_EACH_CHANNEL = ("age", "state")
POSITIONS = frozenset({"latitude", "longitude", "altitude", "height_above_reference_ellipsoid"})


@dataclass(frozen=True)
class Field:
    """One of the values of a channel. ArgumentError for what a file cannot store."""

    name: str
    """Its variable is `<channel>_<name>`."""
    unit: str | None = None
    """In UDUNITS' spelling ("degC", "m s-1"); None if unknown. Common other spellings ("C", "°") are converted."""
    kind: Kind = "number"
    """An angle is interpolated on its circle, flags are not interpolated."""
    how: How | None = None
    """How it is matched to lines: see `openhsi_shared.matching.match`. None: linear for angles, quaternions and
    positions, previous for all others."""
    standard_name: str | None = None
    """CF standard name, if there is one."""
    flags: tuple[str, ...] = ()
    """Of kind "flags": the meaning of the values 0, 1, 2, ..."""
    unit_as_given: str | None = None
    """A unit that is not known; then `unit` is None."""

    def __post_init__(self) -> None:
        check_name("field", self.name)
        check_not_reserved(f"field {self.name!r}", self.name)
        _check_one_of(f"kind of field {self.name!r}", self.kind, get_args(Kind))
        _check_one_of(f"how of field {self.name!r}", self.how, (None, *get_args(How)))
        object.__setattr__(self, "flags", tuple(map(str, self.flags)))
        if self.how is None:
            is_smooth = self.kind in ("angle", "quaternion") or self.standard_name in POSITIONS
            object.__setattr__(self, "how", "linear" if is_smooth else "previous")
        check_how(f"field {self.name!r}", self.kind, self.how)
        self._check_unit()

    def _check_unit(self) -> None:
        if self.unit is None:
            return
        if not isinstance(self.unit, str):
            raise ArgumentError(f"unit of field {self.name!r} must be a text such as 'degC', got {self.unit!r}")
        unit = known_unit(self.unit)
        if self.kind == "angle" and (unit is None or circle_in(unit) is None):
            raise ArgumentError(
                f"field {self.name!r}: an angle has a unit such as 'degree' or 'rad', got {self.unit!r}: other units "
                "need kind='number'"
            )
        if unit is None:
            logger.warning(
                "field %r: unit %r is not known to UDUNITS: it is stored as unit_as_given", self.name, self.unit
            )
            object.__setattr__(self, "unit_as_given", self.unit)
        object.__setattr__(self, "unit", unit)


@dataclass(frozen=True, kw_only=True)
class ChannelProperties:
    """What is known of a channel besides its samples: passed to the writer, which never imports its source.

    ArgumentError for invalid values.
    """

    name: str
    """Begins the names of its variables: `<name>` or `<name>_<field>`, `<name>_age`, `<name>_state`."""
    fields: tuple[Field, ...]
    """Its values."""
    kind: Kind = "number"
    """That of all its fields, or "quaternion" or "image"."""
    tolerance_s: float | None = None
    """A sample that is further away from a line is not used; None: no limit."""
    gap_s: float | None = None
    """Lines in a longer hole between two samples have no value; None: five median periods, 1 s at least."""
    max_age_s: float | None = None
    """With `previous`, an older value is NaN; None: no limit."""
    clock: str = "given"
    """"given": its stamps are UTC as `time` is; "fit": the offset is found; or the name of the channel whose stamps are
    true UTC."""
    clock_offset_s: float = 0.0
    """Added to the stamps of the source."""
    latency_s: float = 0.0
    """How late samples arrive; subtracted from arrival where that is the time of a sample."""
    stamp: Stamp = "source"
    """Times are the source's own, those of arrival, or of this computer's wall clock."""
    rate: float | None = None
    """Samples per second that are expected: after 5 periods of silence, 1 s at least, it is `stalled`."""
    required: bool = True
    """A recording does not begin before its first sample."""
    speaks_on_change: bool = False
    """The source is silent while its value does not change."""
    source: str = ""
    """The source as text, such as "ca:HSI:temp"."""

    def __post_init__(self) -> None:
        check_name("channel", self.name)
        check_not_reserved(f"channel {self.name!r}", self.name)
        what = f"channel {self.name!r}"
        _check_one_of(f"{what}: kind", self.kind, get_args(Kind))
        _check_one_of(f"{what}: stamp", self.stamp, get_args(Stamp))
        for name in ("tolerance_s", "gap_s", "max_age_s", "latency_s"):
            _check_number(f"{what}: {name}", getattr(self, name), is_optional=name != "latency_s", least=0.0)
        _check_number(f"{what}: clock_offset_s", self.clock_offset_s)
        for name in ("clock_offset_s", "latency_s"):
            if abs(getattr(self, name)) > MAX_OFFSET_S:
                raise ArgumentError(f"{what}: {name} is in seconds, and at most 100 years; got {getattr(self, name)}")
        _check_number(f"{what}: rate", self.rate, is_optional=True, least=0.0)
        for name in ("tolerance_s", "gap_s", "max_age_s", "latency_s", "clock_offset_s", "rate"):
            if not isinstance(value := getattr(self, name), int | float | None):
                object.__setattr__(self, name, float(value))  # of numpy: files have it as JSON
        if self.rate == 0:
            raise ArgumentError(f"{what}: rate must be > 0 samples per second, or None if unknown; got 0")
        if not isinstance(self.clock, str) or not self.clock or self.clock == self.name:
            raise ArgumentError(
                f"{what}: clock must be 'given', 'fit' or the name of another channel, got {self.clock!r}"
            )
        if not isinstance(self.required, bool):
            raise ArgumentError(f"{what}: required must be True or False, got {self.required!r}")
        self._check_fields(what)

    def _check_fields(self, what: str) -> None:
        names = [field.name for field in self.fields]
        for name in names:
            if names.count(name) > 1:
                raise ArgumentError(f"{what}: field {name!r} is given twice: each needs a name of its own")
            if name in VARIABLES_OF_GROUP or name in OF_EACH_CHANNEL:
                raise ArgumentError(f"{what}: field {name!r} is the name of a variable of every channel: rename it")
        if not names:
            raise ArgumentError(f"{what}: needs at least one field")
        if self.kind == "quaternion" and len(names) != len(QUATERNION):
            raise ArgumentError(f"{what}: a quaternion has 4 fields, such as {QUATERNION}, got {names}")
        if self.kind == "quaternion":
            check_how(what, self.kind, self.fields[0].how)
        for name in DIMENSIONS:
            if name in names and f"{self.name}_{name}" in names:
                raise ArgumentError(f"{what}: field {name!r} is stored as {self.name}_{name}, a field, too: rename one")
        taken = VARIABLES_OF_FILE.intersection(self.variables)
        if taken:
            raise ArgumentError(f"{what}: variable {min(taken)!r} exists in every file: choose another name")

    @property
    def is_single(self) -> bool:
        """Whether it has one value, whose variable has the name of the channel."""
        return [field.name for field in self.fields] == [SINGLE]

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of its variables in a file: one for each field, in their order, then age and state."""
        fields = [self.name] if self.is_single else [f"{self.name}_{field.name}" for field in self.fields]
        return (*fields, *(f"{self.name}_{more}" for more in OF_EACH_CHANNEL))

    @property
    def stall_s(self) -> float | None:
        """After this time without a sample it is `stalled`; None without a `rate`."""
        return None if self.rate is None else max(1.0, 5.0 / self.rate)


def check_together(channels: Mapping[str, ChannelProperties]) -> None:
    """ArgumentError if two channels have a variable of the same name, or a clock names no channel."""
    owners: dict[str, str] = {}
    for name, properties in channels.items():
        for variable in properties.variables:
            if variable in owners:
                raise ArgumentError(
                    f"channels {owners[variable]!r} and {name!r} both have a variable {variable!r}: rename one"
                )
            owners[variable] = name
        if properties.clock not in ("given", "fit", *channels):
            raise ArgumentError(
                f"channel {name!r}: clock {properties.clock!r} is neither 'given' nor 'fit', and no channel has that "
                f"name; there are {sorted(channels)}"
            )


def check_how(what: str, kind: str, how: str | None) -> None:
    """ArgumentError if values of this kind cannot be matched like that."""
    if (kind, how) in IMPOSSIBLE:
        also = "" if kind == "flags" else ", linear or mean"
        raise ArgumentError(f"{what}: how={how!r} is impossible for kind={kind!r}: use previous, nearest{also}")


def _check_one_of(what: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        raise ArgumentError(f"{what} must be one of {', '.join(map(repr, allowed))}; got {value!r}")


def _check_number(what: str, value: Any, *, is_optional: bool = False, least: float = -math.inf) -> None:
    if is_optional and value is None:
        return
    if not is_finite(value) or value < least:
        limit = "" if least == -math.inf else f" >= {least:g}"
        none = ", or None" if is_optional else ""
        raise ArgumentError(f"{what} must be a number{limit}{none}; got {value!r}")
