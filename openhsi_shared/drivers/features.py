"""Features of a camera by their GenICam names: reading, setting, and error messages with valid values.

Most vendors' cameras have the same features, but every package has another API for them. A driver adapts them to
`Feature`; how settings map to features is defined here for all vendors.
"""

import math
import re
from collections.abc import Iterable
from enum import IntEnum
from typing import Any, Protocol

from openhsi_shared.drivers.packed import PIXEL_FORMATS, PixelFormat
from openhsi_shared.errors import SettingsError
from openhsi_shared.near_names import nearest_name

__all__ = [
    "Feature",
    "FeatureTree",
    "Kind",
    "NodeWithValue",
    "reason",
    "set_binning",
    "set_exposure",
    "set_integer",
    "set_node",
    "set_pixel_format",
    "set_window",
    "switch_off",
    "value_of",
]


class Kind(IntEnum):
    """Type of a feature; the numbers are those of GenICam's interface types."""

    INTEGER = 2
    BOOLEAN = 3
    COMMAND = 4
    FLOAT = 5
    STRING = 6
    ENUMERATION = 9
    OTHER = -1

    @classmethod
    def _missing_(cls, value: object) -> "Kind":
        del value
        return cls.OTHER


class Feature(Protocol):
    """One feature of an open camera. All methods may raise exceptions of the vendor's package."""

    kind: Kind

    def is_readable(self) -> bool:
        """Whether it has a value now."""

    def is_writable(self) -> bool:
        """Whether it can be set now."""

    def get(self) -> Any:
        """Its value: a number, a bool, a text; the symbolic name for an enumeration."""

    def set(self, value: Any) -> None:
        """Set it; a command is executed for any value."""

    def limits(self) -> tuple[float, float, float]:
        """Minimum, maximum and increment of a number (0: any)."""

    def choices(self) -> list[str]:
        """Symbolic names of an enumeration that are available now."""


class NodeWithValue:
    """Base class for packages whose nodes have `value`, `min`, `max`, `inc` and `execute()`."""

    def __init__(self, node: Any, kind: Kind) -> None:
        self._node, self.kind = node, kind

    def get(self) -> Any:
        """See `Feature`."""
        return self._node.value

    def set(self, value: Any) -> None:
        """See `Feature`."""
        if self.kind is Kind.COMMAND:
            self._node.execute()
        else:
            self._node.value = value

    def limits(self) -> tuple[float, float, float]:
        """See `Feature`."""
        return self._node.min, self._node.max, self._node.inc if self.kind is Kind.INTEGER else 0


class FeatureTree(Protocol):
    """All features of an open camera."""

    name: str
    """Name of the camera in messages: "FLIR Blackfly 1234"."""
    errors: tuple[type[Exception], ...]
    """Exceptions of the vendor's package."""

    def feature(self, name: str) -> Feature | None:
        """Find a feature of the camera or its stream; None if it does not exist."""

    def feature_names(self) -> Iterable[str]:
        """Names for suggestions in error messages; may be empty."""


def value_of(camera: FeatureTree, name: str) -> Any:
    """Read a feature; None if it does not exist, or is not readable now."""
    found = camera.feature(name)
    return found.get() if found is not None and found.is_readable() else None


def writable(camera: FeatureTree, name: str) -> Feature | None:
    """Find a feature that can be set now."""
    found = camera.feature(name)
    return found if found is not None and found.is_writable() else None


def switch_off(camera: FeatureTree, name: str) -> None:
    """Switch a boolean or enumeration feature off, if it is writable."""
    found = writable(camera, name)
    if found is not None:
        found.set("Off" if found.kind is Kind.ENUMERATION else False)


def set_window(camera: FeatureTree, size: tuple[int, int], offset: tuple[int, int], *, is_compat: bool = False) -> None:
    """Set the window on the sensor, (rows, columns) and (y, x); a size of 0 is all pixels from the offset on.

    Sizes and offsets are in binned pixels. With `is_compat` an offset of 0 means the maximum, as in openhsi.
    SettingsError for an unsupported value; it names the nearest supported one.
    """
    axes = (("Height", "OffsetY"), ("Width", "OffsetX"))
    for _, offset_name in axes:  # the range of an offset shrinks as the window grows
        found = writable(camera, offset_name)
        if found is not None:
            found.set(int(found.limits()[0]))
    for (size_name, _), wanted, start in zip(axes, size, offset, strict=True):
        found = camera.feature(size_name)
        if found is not None:
            maximum = _nearest_below(found, found.limits()[1] - start)
            set_integer(camera, size_name, wanted or maximum, "win_resolution")
    for (_, offset_name), start in zip(axes, offset, strict=True):
        found = writable(camera, offset_name)
        if is_compat and start == 0 and found is not None:
            start = int(found.limits()[1])  # noqa: PLW2901 - the meaning in openhsi
        if start:
            set_integer(camera, offset_name, start, "win_offset")


def set_binning(camera: FeatureTree, binxy: tuple[int, int]) -> None:
    """Sum adjacent pixels on the sensor, (x, y). SettingsError if the camera does not support it."""
    for name, factor in zip(("BinningHorizontal", "BinningVertical"), binxy, strict=True):
        if factor != 1 or writable(camera, name) is not None:
            mode = writable(camera, f"{name}Mode")
            if mode is not None and "Sum" in mode.choices():
                mode.set("Sum")
            found = camera.feature(name)
            if found is None or found.kind is not Kind.ENUMERATION:
                set_integer(camera, name, factor, "binxy")
            else:
                _set_enumerated_binning(camera, name, found, factor)


def _set_enumerated_binning(camera: FeatureTree, name: str, feature: Feature, factor: int) -> None:
    """Set binning where it is an enumeration of names that end with a number: "BinningHorizontal2"."""
    words = {word[len(word.rstrip("0123456789")) :]: word for word in feature.choices()}
    if str(factor) not in words:
        raise SettingsError(f"binxy: {name} of {camera.name} must be one of {[*words]}, got {factor}")
    feature.set(words[str(factor)])


def set_integer(camera: FeatureTree, name: str, value: int, key: str) -> None:
    """Set an integer feature for the settings' `key`. SettingsError names the nearest supported value."""
    found = camera.feature(name)
    if found is None or not found.is_writable():
        if found is not None and found.is_readable() and found.get() == value:
            return
        raise SettingsError(f"{key}: {name} of {camera.name} cannot be set to {value}; omit {key}")
    nearest = _nearest(found, value)
    if nearest != value:
        raise SettingsError(
            f"{key}: {name} of {camera.name} must be {_expected(found)}, got {value}; the nearest is {nearest}"
        )
    found.set(value)


def set_pixel_format(camera: FeatureTree, wanted: str | None) -> PixelFormat:
    """Set the pixel format and return it; None: the largest bit depth. SettingsError names the supported ones."""
    found = camera.feature("PixelFormat")
    choices = [] if found is None else found.choices()
    offered = [known for known in PIXEL_FORMATS if known in choices]
    if wanted is None:
        wanted = next(iter(offered), None)
    if found is None or wanted not in offered:
        hint = nearest_name(str(wanted), offered)
        raise SettingsError(
            f"pixel_format {wanted!r} cannot be recorded from {camera.name}{hint}; set pixel_format to one of "
            f"{offered} (it has {choices})"
        )
    if found.is_writable():
        found.set(wanted)
    return PIXEL_FORMATS[found.get()]


def set_exposure(camera: FeatureTree, feature: Feature, exposure_ms: float) -> float:
    """Set the exposure and return the value that the camera applied. SettingsError if it is out of range."""
    low, high, step = feature.limits()
    wanted = exposure_ms * 1000
    if not low <= wanted <= high:
        raise SettingsError(
            f"exposure_ms of {camera.name} must be from {low / 1000:g} to {high / 1000:g}, got {exposure_ms}"
        )
    if step:
        wanted = min(low + round((wanted - low) / step) * step, high)
    feature.set(round(wanted) if feature.kind is Kind.INTEGER else float(wanted))
    return float(feature.get() / 1000)


def set_node(camera: FeatureTree, name: str, value: bool | int | float | str) -> None:
    """Set any feature, or execute a command. SettingsError if the feature or value is not supported."""
    found = camera.feature(name)
    if found is None:
        raise SettingsError(
            f"nodes: {camera.name} has no feature {name!r}{nearest_name(name, list(camera.feature_names()))}"
        )
    refusals: tuple[type[Exception], ...] = (*camera.errors, TypeError, ValueError)
    try:
        if not _is_of(found.kind, value):
            raise TypeError("wrong type")
        found.set(float(value) if found.kind is Kind.FLOAT else value)
    except refusals as error:
        hint = nearest_name(str(value), found.choices()) if found.kind is Kind.ENUMERATION else ""
        raise SettingsError(
            f"nodes: {name} of {camera.name} must be {_expected(found)}, got {value!r}{hint}: {reason(error)}"
        ) from error


def reason(error: Exception) -> str:
    """Message of a vendor's exception, without the location in GenICam's source."""
    return re.sub(r" : \w+Exception thrown .*", "", str(error), flags=re.DOTALL).rstrip(". ")


def _is_of(kind: Kind, value: Any) -> bool:
    """Whether the type of a value from a settings file fits the feature."""
    wanted: dict[Kind, Any] = {
        Kind.INTEGER: int,
        Kind.FLOAT: int | float,
        Kind.BOOLEAN: bool,
        Kind.ENUMERATION: str,
        Kind.STRING: str,
        Kind.COMMAND: object,
    }
    is_number = kind in (Kind.INTEGER, Kind.FLOAT)
    return kind in wanted and isinstance(value, wanted[kind]) and not (is_number and isinstance(value, bool))


def _nearest(feature: Feature, value: float) -> int:
    low, high, step = feature.limits()
    step = step or 1
    return int(low + min(max(round((value - low) / step), 0), (high - low) // step) * step)


def _nearest_below(feature: Feature, value: float) -> int:
    low, _, step = feature.limits()
    step = step or 1
    return int(low + max(math.floor((value - low) / step), 0) * step)


def _expected(feature: Feature) -> str:
    kind = feature.kind
    if kind is Kind.ENUMERATION:
        return f"one of {feature.choices()}"
    if kind is Kind.INTEGER:
        low, high, step = feature.limits()
        return f"a whole number from {low:.0f} to {high:.0f} in steps of {step or 1:.0f}"
    if kind is Kind.FLOAT:
        low, high, _ = feature.limits()
        return f"a number from {low:g} to {high:g}"
    words = {Kind.BOOLEAN: "true or false", Kind.STRING: "text", Kind.COMMAND: "a command"}
    return words.get(kind, "a feature that can be set")
