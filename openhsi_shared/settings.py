"""What a camera is told before it starts: settings, checked when made.

The keys are those of openhsi's settings files. A key that is not known is kept, because vendors and users add their
own, and warned about once for each file, because most of them are typing errors.
"""

import difflib
import json
import logging
import math
import reprlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from openhsi_shared.errors import SettingsError, SettingsNotFound

__all__ = ["CHANGEABLE", "CameraSettings", "SettingsMapping", "nearest_name", "read_json", "read_settings"]

logger = logging.getLogger(__name__)

MOST_LEVELS = 100
"""How deep a file may be nested. Far more, and what was read could not be sent on, or written: Python's limit of a
thousand calls counts the callers, too, and these differ."""
_SHORT = reprlib.Repr()
"""Shows a value in a message: what was mistyped fits, a file that was pasted into it does not."""
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200


class CameraSettings(BaseModel):
    """What the camera is told before it starts; every key of openhsi's settings files."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=False, allow_inf_nan=False, protected_namespaces=())

    camera_id: str | int = "0"
    """Name of the camera, as its owner calls it."""
    resolution: tuple[PositiveInt, PositiveInt] | None = None
    """Size of a frame: (rows, columns) = (cross-track, wavelength). None: as the camera delivers it."""
    row_slice: tuple[NonNegativeInt, int] | None = None
    """Rows that see the slit: first, and end (not included). An end of -1 is the last row, included. None: all rows."""
    fwhm_nm: PositiveFloat = 4.0
    """Full width of a spectral band at half maximum, in nm."""
    exposure_ms: PositiveFloat = 10.0
    """Time the shutter is open for one line, in ms. After opening: what the camera really took."""
    luminance: float | None = None
    """Luminance of the calibration to use, in cd/m^2. None: the largest there is."""
    longitude: float | None = None
    latitude: float | None = None
    datetime_str: str | None = None
    """UTC time of the scene for the atmosphere's model, as "%Y-%m-%d %H:%M"."""
    altitude: float | None = None
    """Altitude of the scene, in km."""
    radiosonde_station_num: int | None = None
    radiosonde_region: str | None = None
    sixs_path: str | None = None
    binxy: tuple[PositiveInt, PositiveInt] = (1, 1)
    """Binning on the sensor: (x, y) = (wavelength, cross-track)."""
    win_offset: tuple[NonNegativeInt, NonNegativeInt] = (0, 0)
    """First row and column of the window on the sensor, (y, x)."""
    win_resolution: tuple[NonNegativeInt, NonNegativeInt] | None = None
    """Size of the window on the sensor, (rows, columns); 0 = all. None: as `resolution`."""
    pixel_format: str | None = None
    """The vendor's name for the digits of a pixel, such as "Mono12". None: 16 bit."""
    mac_addr: str | None = None
    serial_num: str | int | None = None
    nodes: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """More GenICam features of the camera by name, set in this order once it is open."""

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_numbers(cls, values: Any) -> Any:
        """Python counts true as 1, and pydantic reads "5" as 5: in a settings file, both are mistakes."""
        if isinstance(values, Mapping):
            for key, value in values.items():
                for part in value if isinstance(value, list | tuple) else [value]:
                    if isinstance(part, bool) and key in cls.model_fields:
                        raise ValueError(f"{key} must not be true or false, got {value}")
                    if isinstance(part, str) and key in NUMBERS:
                        raise ValueError(f"{key}: must be a number and no text, got {_SHORT.repr(value)}")
        return values

    @model_validator(mode="after")
    def _check_rows(self) -> "CameraSettings":
        if self.row_slice is not None:
            first, end = self.row_slice
            rows = self.resolution[0] if self.resolution else math.inf
            if not (end == -1 and first < rows) and not first < end <= rows:
                raise ValueError(
                    f"row_slice {list(self.row_slice)} must be [first, end] with 0 <= first < end <= {rows} rows of "
                    f"the resolution (or end = -1 for all rows, the last included)"
                )
        self.dtype_in  # noqa: B018 - raises for a pixel format that nobody knows
        return self

    @property
    def dtype_in(self) -> np.dtype[Any]:
        """Type of a pixel as the camera delivers it, told by `pixel_format`: uint8 or uint16."""
        if self.pixel_format is None:
            return np.dtype(np.uint16)
        if "8" in self.pixel_format:
            return np.dtype(np.uint8)
        if any(bits in self.pixel_format for bits in ("10", "12", "16")):
            return np.dtype(np.uint16)
        raise ValueError(
            f"pixel_format {self.pixel_format!r} must name 8, 10, 12 or 16 bits, such as 'Mono12' or 'XI_RAW16'"
        )

    def rows_of(self, n_rows: int) -> slice:
        """Rows of `row_slice` in a frame of `n_rows`. SettingsError if they lie outside."""
        first, end = self.row_slice or (0, -1)
        end = n_rows if end == -1 else end
        if not first < end <= n_rows:
            raise SettingsError(f"row_slice {self.row_slice} lies outside the {n_rows} rows that the camera delivers")
        return slice(first, end)


NUMBERS = {"resolution", "row_slice", "fwhm_nm", "exposure_ms", "luminance", "longitude", "latitude", "altitude"} | {
    *("binxy", "win_offset", "win_resolution")
}
OF_THE_SCENE = {"longitude", "latitude", "altitude", "datetime_str"} | {"radiosonde_station_num", "radiosonde_region"}
CHANGEABLE = frozenset({"exposure_ms", "camera_id", "sixs_path", *OF_THE_SCENE})
"""Settings of an open camera that may change: it does so at once, or they describe something else than the camera."""


class SettingsMapping(MutableMapping[str, Any]):
    """The settings of a camera, as the dictionary that users of openhsi know.

    Setting a key validates all of them and replaces the frozen `model`, then tells `when_set`; nothing changes if
    either refuses. Deleting a key that was set brings its default back, in the same way. With `when_set` a camera is
    open: then SettingsError for what cannot be changed any more (all known keys but `CHANGEABLE`). Other keys are notes
    of the user's.
    """

    def __init__(self, model: CameraSettings, when_set: Callable[[str, Any], None] | None = None) -> None:
        self.model = model
        self.not_known: frozenset[str] = frozenset()
        """Keys whose true value nobody knows, such as the exposure of a camera that does not tell it: shown as None."""
        self._when_set, self._first = when_set, model

    def _shown(self) -> dict[str, Any]:
        return self.model.model_dump() | dict.fromkeys(self.not_known)

    def __getitem__(self, key: str) -> Any:
        return self._shown()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        is_new = key not in self._shown()
        values = self.model.model_dump(exclude_unset=True) | {key: value}
        self._replace(make_settings(values, f"settings[{key!r}]"), key)
        hint = nearest_name(key, CameraSettings.model_fields) if is_new else ""
        if hint:
            logger.warning("settings[%r] is kept as a note, but nobody uses it%s", key, hint)

    def __delitem__(self, key: str) -> None:
        values = self.model.model_dump(exclude_unset=True)
        if key not in values:
            raise KeyError(key)
        del values[key]
        self._replace(make_settings(values, f"settings without {key!r}"), key)

    def _replace(self, after: CameraSettings, key: str) -> None:
        """Make `after`, where `key` has changed, the model, if the camera can do it."""
        before, value = self.model, getattr(after, key, None)
        if self._when_set is None:
            self.model = after
            return
        if key in CameraSettings.model_fields and key not in CHANGEABLE and value != getattr(before, key):
            raise SettingsError(
                f"{key} cannot be changed on an open camera: call reinitialise({key}=...) to make it {value!r} "
                f"instead of {getattr(before, key)!r}"
            )
        self.model = after
        try:
            self._when_set(key, value)
        except BaseException:
            self.model = before
            raise

    def __iter__(self) -> Iterator[str]:
        return iter(self._shown())

    def __len__(self) -> int:
        return len(self._shown())

    def __repr__(self) -> str:
        return repr(self._shown())

    def begin(self) -> None:
        """What is set from now on, or noted, has changed."""
        self._first = self.model

    def changed(self) -> dict[str, Any]:
        """What was set or noted since `begin`."""
        first, now = self._first.model_dump(), self.model.model_dump()
        return {key: value for key, value in now.items() if key not in first or _differ(value, first[key])}

    def note(self, **values: Any) -> None:
        """Record what the camera really does, without asking it to do so."""
        self.model = make_settings(self.model.model_dump(exclude_unset=True) | values, "what the camera reports")


def _differ(value: Any, before: Any) -> bool:
    try:
        return bool(value != before)
    except ValueError:  # arrays, which differ in some places
        return value is not before


def make_settings(values: Mapping[str, Any], origin: str) -> CameraSettings:
    """Check `values`. SettingsError names the origin, the key, its value and what was expected."""
    try:
        return CameraSettings.model_validate(dict(values))
    except ValidationError as error:
        said = "; ".join(_in_words(item) for item in error.errors())
        raise SettingsError(f"{origin}: {said}") from None


def _in_words(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    return f"{key}: {message}, got {_SHORT.repr(item['input'])}" if key else message


def read_settings(path: str | Path | None, overrides: Mapping[str, Any] | None = None) -> CameraSettings:
    """Read a settings file of openhsi, `overrides` (keyword arguments of a camera) going before what stands in it.

    Raises SettingsError that names the file and the key. An unknown key of the file is kept, with one warning.
    """
    values: dict[str, Any] = {}
    if path:
        values = read_json(path)
        unknown = sorted(set(values) - set(CameraSettings.model_fields))
        if unknown:
            hints = [f"{key!r}{nearest_name(key, CameraSettings.model_fields)}" for key in unknown]
            logger.warning("settings file %s: unknown keys are kept, but nobody uses them: %s", path, ", ".join(hints))
    overrides = dict(overrides or {})
    given = f"with the arguments {sorted(overrides)}" if overrides else ""
    return make_settings(
        values | overrides, " ".join(filter(None, [f"settings file {path}" if path else "settings", given]))
    )


def read_json(path: str | Path, what: str = "settings file") -> dict[str, Any]:
    """Read a file that must hold one JSON object; `what` names it in errors.

    SettingsError for all else: missing, broken, NaN, a key twice, nested deeper than anybody means it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise SettingsNotFound(f"{what} {path} cannot be read: {error}; expected a JSON file") from error
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(f"{what} {path} cannot be read: {error}; expected a JSON file") from error
    try:
        values = json.loads(text, parse_constant=_NoNumber, object_pairs_hook=_checked_object)
        _refuse_depth(values)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{what} {path} is broken: {error}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{what} {path} holds a {type(values).__name__}, expected one JSON object {{...}}")
    return values


class _NoNumber(str):
    """NaN or Infinity, which Python's reader takes, and JSON has not."""


def _no_numbers_in(value: Any) -> Iterator[_NoNumber]:
    if isinstance(value, list):
        for part in value:
            yield from _no_numbers_in(part)
    elif isinstance(value, _NoNumber):
        yield value


def _refuse_depth(values: Any) -> None:
    level = [values]
    for _ in range(MOST_LEVELS + 1):
        level = [
            part
            for value in level
            if isinstance(value, dict | list)
            for part in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {MOST_LEVELS} levels")


def _checked_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands in it twice")
    for key, value in pairs:
        for constant in _no_numbers_in(value):
            raise ValueError(f"{key}: {constant} is no number of JSON")
    return values


def nearest_name(name: str, known: Any) -> str:
    """Words for an error message: which known name the user may have meant, or nothing.

    >>> nearest_name("exposure_mss", ["exposure_ms", "luminance"])
    ' (did you mean exposure_ms?)'
    """
    by_lower = {str(each).lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_lower, 1)
    return f" (did you mean {by_lower[near[0]]}?)" if near else ""
