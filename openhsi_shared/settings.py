"""Settings of a camera, validated when created.

The keys are those of openhsi's settings files. An unknown key is kept, because vendors and users add their own, and
logged as a warning once per file, because most of them are typing errors.
"""

import json
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
from openhsi_shared.loggers import safe_logger
from openhsi_shared.near_names import nearest_name
from openhsi_shared.paths import given_path

__all__ = [
    "CHANGEABLE",
    "CameraSettings",
    "SettingsMapping",
    "make_settings",
    "read_json",
    "read_settings",
    "without_interchanged_place",
]

logger = safe_logger(__name__)

MAX_LEVELS = 100
"""Maximum nesting depth of a file. Values nested far deeper could be read, but not pickled or written: Python's
recursion limit of 1000 includes the callers, whose number differs."""
_SHORT = reprlib.Repr()
"""Shows a value in a message; a long one, such as a pasted file, is truncated."""
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200


_ROWS = "[first, end] with 0 <= first < end (or end = -1 for all rows, the last included)"


class CameraSettings(BaseModel):
    """Settings of a camera before it starts; every key of openhsi's settings files."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=False, allow_inf_nan=False, protected_namespaces=())
    """Settings are frozen, and unknown keys are kept: notes of the user."""

    camera_id: str | int = "0"
    """Name of the camera, chosen by its owner."""
    resolution: tuple[PositiveInt, PositiveInt] | None = None
    """Size of a frame: (rows, columns) = (cross-track, wavelength). None: as the camera delivers it."""
    row_slice: tuple[NonNegativeInt, int] | None = None
    """Illuminated rows: first (included) and end (excluded). An end of -1 includes the last row. None: all rows.

    Compared with the rows of the frames only where they are cropped, from level 0 on: see `rows_of`."""
    fwhm_nm: PositiveFloat = 4.0
    """Full width of a spectral band at half maximum, in nm."""
    exposure_ms: PositiveFloat = 10.0
    """Exposure time of one line, in ms. After opening: the value that the camera applied."""
    luminance: float | None = None
    """Luminance of the calibration to use, in cd/m^2. None: the largest one available."""
    longitude: float | None = Field(default=None, ge=-180, le=360)
    """Of the scene, in degrees east."""
    latitude: float | None = Field(default=None, ge=-90, le=90)
    """Of the scene, in degrees north."""
    datetime_str: str | None = None
    """UTC time of the scene for the atmospheric model, as "%Y-%m-%d %H:%M"."""
    altitude: float | None = None
    """Altitude of the scene, in km."""
    radiosonde_station_num: int | None = None
    """Station of the radiosonde for openhsi's atmospheric model; a note here."""
    radiosonde_region: str | None = None
    """Region of that station; a note here."""
    sixs_path: str | None = None
    """Where openhsi finds the program of its atmospheric model, 6S; a note here."""
    binxy: tuple[PositiveInt, PositiveInt] = (1, 1)
    """Binning on the sensor: (x, y) = (wavelength, cross-track)."""
    win_offset: tuple[NonNegativeInt, NonNegativeInt] = (0, 0)
    """First row and column of the window on the sensor, (y, x)."""
    win_resolution: tuple[NonNegativeInt, NonNegativeInt] | None = None
    """Size of the window on the sensor, (rows, columns); 0 = all. None: as `resolution`."""
    pixel_format: str | None = None
    """The vendor's name for the digits of a pixel, such as "Mono12". None: 16 bit."""
    full_scale: PositiveInt | None = None
    """Value of a saturated pixel. None: as the camera reports it, or else the largest number of `pixel_format`, and the
    attribute is that number. Set it for a sensor of fewer bits than its format, such as 4095 for 12 bits in 16-bit
    words."""
    mac_addr: str | None = None
    """Address of the camera on the network; a note: drivers select a camera by `serial_num`."""
    serial_num: str | int | None = None
    """Serial number of the camera. None: the first one that is found."""
    nodes: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """More GenICam features of the camera by name, set in this order once it is open."""

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_numbers(cls, values: Any) -> Any:
        """Reject booleans and texts for numbers: Python takes true as 1 and pydantic "5" as 5."""
        if isinstance(values, Mapping):
            values = {key: _without_numpy(value) for key, value in values.items()}
            for key, value in values.items():
                for part in value if isinstance(value, list | tuple) else [value]:
                    if isinstance(part, bool) and key in cls.model_fields:
                        raise ValueError(f"{key} must not be true or false, got {value}")
                    if isinstance(part, str) and key in NUMBERS:
                        raise ValueError(f"{key}: must be a number, not text, got {_SHORT.repr(value)}")
        return values

    @model_validator(mode="after")
    def _check_rows(self) -> "CameraSettings":
        if self.row_slice is not None:
            first, end = self.row_slice
            if end != -1 and not first < end:
                raise ValueError(f"row_slice {list(self.row_slice)} must be {_ROWS}")
        bits = 16 if self.pixel_format is None else bits_of(self.pixel_format)
        largest = (1 << bits) - 1
        if self.full_scale is None:
            self.__dict__["full_scale"] = largest  # not by assignment: it was not set, and settings are frozen
        elif self.full_scale > largest:
            raise ValueError(
                f"full_scale {self.full_scale} must be at most {largest}, the largest number of {bits} bits"
            )
        return self

    @property
    def dtype_in(self) -> np.dtype[Any]:
        """Type of a pixel as the camera delivers it, derived from `pixel_format`: uint8 or uint16."""
        return np.dtype(np.uint8 if self.pixel_format and bits_of(self.pixel_format) == 8 else np.uint16)

    def rows_of(self, n_rows: int) -> slice:
        """Rows of `row_slice` in a frame of `n_rows`. SettingsError if they are outside of it."""
        first, end = self.row_slice or (0, -1)
        end = n_rows if end == -1 else end
        if not first < end <= n_rows:
            raise SettingsError(f"row_slice {self.row_slice} is outside the {n_rows} rows that the camera delivers")
        return slice(first, end)


def bits_of(pixel_format: str) -> int:
    """Bits of a pixel by the vendor's name of its format. ValueError if it names none."""
    for bits in (16, 14, 12, 10, 8):  # the name of a camera's interface may contain an 8: "XI_RAW16" has none
        if str(bits) in pixel_format:
            return bits
    raise ValueError(
        f"pixel_format {pixel_format!r} must name 8, 10, 12, 14 or 16 bits, such as 'Mono12' or 'XI_RAW16'"
    )


def _without_numpy(value: Any) -> Any:
    """Numbers of numpy as those of Python, which are written to files as numbers."""
    if isinstance(value, np.number | np.bool_):
        return value.item()
    return type(value)(map(_without_numpy, value)) if type(value) in (list, tuple) else value


NUMBERS = {"resolution", "row_slice", "fwhm_nm", "exposure_ms", "luminance", "longitude", "latitude", "altitude"} | {
    *("binxy", "win_offset", "win_resolution")
}
OF_THE_SCENE = {"longitude", "latitude", "altitude", "datetime_str"} | {"radiosonde_station_num", "radiosonde_region"}
CHANGEABLE = frozenset({"exposure_ms", "camera_id", "sixs_path", *OF_THE_SCENE})
"""Settings that may change while the camera is open: applied at once, or not about the camera itself."""


class SettingsMapping(MutableMapping[str, Any]):
    """The settings of a camera as a mutable mapping, like openhsi's dictionary.

    Setting a key validates all values, replaces the frozen `model`, then calls `when_set`; nothing changes if either
    raises. Deleting a key restores its default in the same way. `when_set` means that a camera is open: then
    SettingsError for settings that can no longer change (all known keys except `CHANGEABLE`). Unknown keys are the
    user's notes.
    """

    def __init__(self, model: CameraSettings, when_set: Callable[[str, Any], None] | None = None) -> None:
        self.model = model
        """The values as they are now, frozen."""
        self.not_known: frozenset[str] = frozenset()
        """Keys whose value is unknown, such as the exposure of a camera that does not report it: shown as None."""
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
            logger.warning("settings[%r] is kept as a note, but not used%s", key, hint)

    def __delitem__(self, key: str) -> None:
        values = self.model.model_dump(exclude_unset=True)
        if key not in values:
            raise KeyError(key)
        del values[key]
        self._replace(make_settings(values, f"settings without {key!r}"), key)

    def _replace(self, after: CameraSettings, key: str) -> None:
        """Replace the model by `after`, in which `key` has changed, if the camera accepts it."""
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
        """Start recording changes for `changed`."""
        self._first = self.model

    def changed(self) -> dict[str, Any]:
        """Values that were set or noted since `begin`."""
        first, now = self._first.model_dump(), self.model.model_dump()
        return {key: value for key, value in now.items() if key not in first or _differ(value, first[key])}

    def note(self, **values: Any) -> None:
        """Record the values that the camera applied, without sending them to it."""
        self.model = make_settings(self.model.model_dump(exclude_unset=True) | values, "what the camera reports")


def _differ(value: Any, before: Any) -> bool:
    try:
        return bool(value != before)
    except ValueError:  # arrays: element-wise comparison
        return value is not before


def make_settings(values: Mapping[str, Any], origin: str) -> CameraSettings:
    """Check `values`. SettingsError names the origin, the key, its value and what was expected."""
    try:
        return CameraSettings.model_validate(dict(values))
    except ValidationError as error:
        details = "; ".join(_in_words(item) for item in error.errors())
        raise SettingsError(f"{origin}: {details}") from None


def _in_words(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    return f"{key}: {message}, got {_SHORT.repr(item['input'])}" if key else message


def read_settings(
    path: str | Path | None, overrides: Mapping[str, Any] | None = None, *, crops: bool = True
) -> CameraSettings:
    """Read a settings file of openhsi; `overrides` (keyword arguments of a camera) take precedence.

    Raises SettingsError that names the file and the key; with `crops` also for a `row_slice` that is not within the
    resolution. Unknown keys of the file are kept, with one warning.
    """
    values: dict[str, Any] = {}
    if path:
        values = read_json(path)
        unknown = sorted(set(values) - set(CameraSettings.model_fields))
        if unknown:
            hints = [f"{key!r}{nearest_name(key, CameraSettings.model_fields)}" for key in unknown]
            logger.warning("settings file %s: unknown keys are kept, but not used: %s", path, ", ".join(hints))
    overrides = dict(overrides or {})
    values = {key: value for key, value in values.items() if key not in overrides}
    values = without_interchanged_place(values, f"settings file {path}")
    given = f"with the arguments {sorted(overrides)}" if overrides else ""
    origin = " ".join(filter(None, [f"settings file {path}" if path else "settings", given]))
    settings = make_settings(values | overrides, origin)
    if crops and settings.resolution is not None:
        try:
            settings.rows_of(settings.resolution[0])
        except SettingsError as error:
            raise SettingsError(
                f"{origin}: row_slice {list(settings.row_slice or ())} must be [first, end] with 0 <= first < end <= "
                f"{settings.resolution[0]} rows of the resolution (or end = -1 for all rows, the last included)"
            ) from error
    return settings


def without_interchanged_place(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Leave out a latitude and longitude that are interchanged, as in openhsi's own settings files, with a warning."""
    longitude, latitude = (values.get(key) for key in ("longitude", "latitude"))
    are_numbers = all(isinstance(number, int | float) for number in (longitude, latitude))
    if not are_numbers or not (abs(longitude or 0) <= 90 < abs(latitude or 0) <= 180):
        return dict(values)
    logger.warning(
        "%s: latitude %s and longitude %s are left out: they seem to be interchanged", origin, latitude, longitude
    )
    return {key: value for key, value in values.items() if key not in ("longitude", "latitude")}


def read_json(path: str | Path, what: str = "settings file") -> dict[str, Any]:
    """Read a file that must hold one JSON object; `what` names it in errors.

    SettingsError for anything else: missing, invalid, NaN, a duplicate key, nested too deep.
    """
    try:
        text = given_path(path, what).read_text(encoding="utf-8-sig")
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
    """NaN or Infinity, which Python's parser accepts but JSON does not define."""


def _no_numbers_in(value: Any) -> Iterator[_NoNumber]:
    if isinstance(value, list):
        for part in value:
            yield from _no_numbers_in(part)
    elif isinstance(value, _NoNumber):
        yield value


def _refuse_depth(values: Any) -> None:
    level = [values]
    for _ in range(MAX_LEVELS + 1):
        level = [
            part
            for value in level
            if isinstance(value, dict | list)
            for part in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {MAX_LEVELS} levels")


def _checked_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
    for key, value in pairs:
        for constant in _no_numbers_in(value):
            raise ValueError(f"{key}: {constant} is not a valid JSON number")
    return values
