"""Features of a camera by their GenICam names: looked at, set, and refused in words that help.

Most vendors' cameras have the same features, but every package shows them in its own way. A driver makes them look like
`Feature`; what they mean to the settings is here, once for all vendors.
"""

import math
import re
from collections.abc import Iterable
from enum import IntEnum
from typing import Any, Protocol

from openhsi_shared.drivers.packed import PIXEL_FORMATS, PixelFormat
from openhsi_shared.errors import SettingsError
from openhsi_shared.settings import nearest_name

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
    """What a feature is; the numbers are those of GenICam's interface types."""

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
    """One feature of an open camera. All of it may raise what the vendor's package raises."""

    kind: Kind

    def is_readable(self) -> bool:
        """Whether it has a value now."""

    def is_writable(self) -> bool:
        """Whether it can be set now."""

    def get(self) -> Any:
        """Its value: a number, a bool, a text; of an enumeration the word."""

    def set(self, value: Any) -> None:
        """Set it; a command is executed, whatever the value."""

    def limits(self) -> tuple[float, float, float]:
        """Of a number: the least, the greatest, and the step between those that it can take (0: any)."""

    def choices(self) -> list[str]:
        """Of an enumeration: the words that it can take now."""


class NodeWithValue:
    """What the features of those packages share whose nodes have `value`, `min`, `max`, `inc` and `execute()`."""

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
    """How the camera is called in messages: "FLIR Blackfly 1234"."""
    errors: tuple[type[Exception], ...]
    """What the vendor's package raises."""

    def feature(self, name: str) -> Feature | None:
        """Find a feature of the camera or its stream; None if it has it not."""

    def feature_names(self) -> Iterable[str]:
        """Names to guess from what the user meant; may be none."""


def value_of(camera: FeatureTree, name: str) -> Any:
    """Read a feature; None if the camera has it not, or does not show it now."""
    found = camera.feature(name)
    return found.get() if found is not None and found.is_readable() else None


def writable(camera: FeatureTree, name: str) -> Feature | None:
    """Find a feature that can be set now."""
    found = camera.feature(name)
    return found if found is not None and found.is_writable() else None


def switch_off(camera: FeatureTree, name: str) -> None:
    """Turn off what can be turned off, whether the camera knows it as a switch or as a word."""
    found = writable(camera, name)
    if found is not None:
        found.set("Off" if found.kind is Kind.ENUMERATION else False)


def set_window(camera: FeatureTree, size: tuple[int, int], offset: tuple[int, int], *, is_compat: bool = False) -> None:
    """Set the window on the sensor, (rows, columns) and (y, x); a size of 0 is all that there is behind the offset.

    Sizes and offsets count binned pixels. With `is_compat` an offset of 0 means the greatest that there is, as openhsi
    has it. SettingsError where the camera cannot do it; it names the nearest that it can.
    """
    axes = (("Height", "OffsetY"), ("Width", "OffsetX"))
    for _, offset_name in axes:  # the range of an offset shrinks as the window grows
        found = writable(camera, offset_name)
        if found is not None:
            found.set(int(found.limits()[0]))
    for (size_name, _), wanted, start in zip(axes, size, offset, strict=True):
        found = camera.feature(size_name)
        if found is not None:
            all_there_is = _nearest_below(found, found.limits()[1] - start)
            set_integer(camera, size_name, wanted or all_there_is, "win_resolution")
    for (_, offset_name), start in zip(axes, offset, strict=True):
        found = writable(camera, offset_name)
        if is_compat and start == 0 and found is not None:
            start = int(found.limits()[1])  # noqa: PLW2901 - what the settings mean
        if start:
            set_integer(camera, offset_name, start, "win_offset")


def set_binning(camera: FeatureTree, binxy: tuple[int, int]) -> None:
    """Sum neighbouring pixels on the sensor, (x, y). SettingsError where the camera cannot do it."""
    for name, factor in zip(("BinningHorizontal", "BinningVertical"), binxy, strict=True):
        if factor != 1 or writable(camera, name) is not None:
            mode = writable(camera, f"{name}Mode")
            if mode is not None and "Sum" in mode.choices():
                mode.set("Sum")
            found = camera.feature(name)
            if found is None or found.kind is not Kind.ENUMERATION:
                set_integer(camera, name, factor, "binxy")
            else:
                _set_word_of(camera, name, found, factor)


def _set_word_of(camera: FeatureTree, name: str, feature: Feature, factor: int) -> None:
    """Set binning where it is one of some words that end with a number: "BinningHorizontal2"."""
    words = {word[len(word.rstrip("0123456789")) :]: word for word in feature.choices()}
    if str(factor) not in words:
        raise SettingsError(f"binxy: {name} of {camera.name} must be one of {[*words]}, got {factor}")
    feature.set(words[str(factor)])


def set_integer(camera: FeatureTree, name: str, value: int, key: str) -> None:
    """Set a whole number of the settings' `key`. SettingsError names the nearest that the camera takes."""
    found = camera.feature(name)
    if found is None or not found.is_writable():
        if found is not None and found.is_readable() and found.get() == value:
            return
        raise SettingsError(f"{key}: {camera.name} does not let its {name} be set to {value}; leave {key} out")
    nearest = _nearest(found, value)
    if nearest != value:
        raise SettingsError(
            f"{key}: {name} of {camera.name} must be {_expected(found)}, got {value}; the nearest is {nearest}"
        )
    found.set(value)


def set_pixel_format(camera: FeatureTree, wanted: str | None) -> PixelFormat:
    """Set the pixel format and return it; None: the deepest that there is. SettingsError names those that there are."""
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
    """Set the exposure and return the one that the camera took. SettingsError outside its range."""
    low, high, step = feature.limits()
    wanted = exposure_ms * 1000
    if not low <= wanted <= high:
        raise SettingsError(
            f"exposure_ms of {camera.name} must lie in {low / 1000:g} to {high / 1000:g}, got {exposure_ms}"
        )
    if step:
        wanted = min(low + round((wanted - low) / step) * step, high)
    feature.set(round(wanted) if feature.kind is Kind.INTEGER else float(wanted))
    return float(feature.get() / 1000)


def set_node(camera: FeatureTree, name: str, value: bool | int | float | str) -> None:
    """Set any feature, or execute a command. SettingsError for what the camera does not know."""
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
    """What a vendor's package says, without where in GenICam's source it says so."""
    return re.sub(r" : \w+Exception thrown .*", "", str(error), flags=re.DOTALL).rstrip(". ")


def _is_of(kind: Kind, value: Any) -> bool:
    """Whether a value from a settings file can be that of a feature."""
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
