"""The values of a calibration by name, read-only, and which levels they serve.

`smile_shifts`, `wavelengths`, `wavelengths_linear`, `rad_ref`, `flat_field_pic`, `HgAr_pic`, the curves `sfit_x`,
`sfit_y`, `rad_fit_x`, `rad_fit_y`, `spec_rad_ref_luminance`, `camera_id`. A file need not hold all of them: what misses
one asks for it by name.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.errors import CalibrationError

__all__ = ["KEYS_OF_LEVEL", "Calibration", "wavelengths_of_columns"]

_RADIANCE = ("rad_ref", "sfit_x", "sfit_y", "spec_rad_ref_luminance")
_REFLECTANCE = ("rad_fit_x", "rad_fit_y")

KEYS_OF_LEVEL: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {
        -1: (),
        0: (),
        1: ("smile_shifts",),
        2: ("smile_shifts", "wavelengths_linear"),
        3: ("smile_shifts", "wavelengths"),
        4: ("smile_shifts", "wavelengths_linear", *_RADIANCE),
        5: ("smile_shifts", "wavelengths", "wavelengths_linear", *_RADIANCE),
        6: ("smile_shifts", "wavelengths_linear", *_RADIANCE, *_REFLECTANCE),
        7: ("smile_shifts", "wavelengths", *_RADIANCE),
        8: ("smile_shifts", "wavelengths", *_RADIANCE, *_REFLECTANCE),
    }
)
"""What each processing level needs of a calibration."""

_CURVE_UNITS = {"sfit": "spectral radiance of the lamp", "rad_fit": "radiance of a white target in the sun"}


class Calibration(Mapping[str, Any]):
    """The values of a calibration by name: numbers, texts, and arrays that are read-only. Empty without a file."""

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        dims: Mapping[str, tuple[str, ...]] | None = None,
        coordinates: Mapping[str, NDArray[Any]] | None = None,
        *,
        path: Path | None = None,
        sha256: str = "",
    ) -> None:
        self._values = {key: _read_only(value) for key, value in (values or {}).items()}
        self.dims: Mapping[str, tuple[str, ...]] = MappingProxyType(dict(dims or {}))
        """Names of the axes of each array; `rad_ref`: (cross_track, wavelength_index, exposure, luminance)."""
        self.coordinates: Mapping[str, NDArray[Any]] = MappingProxyType(
            {key: _read_only(value) for key, value in (coordinates or {}).items()}
        )
        """Values along an axis that has some: `exposure` in ms, `luminance` in cd/m^2."""
        self.path = path
        self.sha256 = sha256
        """Hash of the file, empty without one: says which calibration a cube was made with."""

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shown = {key: value.shape if isinstance(value, np.ndarray) else value for key, value in self._values.items()}
        return f"Calibration({str(self.path) if self.path else None!r}: {shown})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_again, (self._values, dict(self.dims), dict(self.coordinates), self.path, self.sha256)

    @property
    def name(self) -> str:
        """What messages call it: its path, if it has one."""
        return f"calibration {str(self.path)!r}" if self.path else "the calibration that was given"

    @property
    def wavelengths_nm(self) -> NDArray[np.float64] | None:
        """Wavelengths of the columns once the smile is taken out, or None."""
        wavelengths = self._values.get("wavelengths")
        return None if wavelengths is None else np.asarray(wavelengths, np.float64)

    @property
    def levels_served(self) -> tuple[int, ...]:
        """The processing levels that find here what they need."""
        return tuple(level for level in KEYS_OF_LEVEL if not self.missing_for(level))

    def missing_for(self, level: int) -> tuple[str, ...]:
        """Names that a processing level needs and this calibration does not hold."""
        return tuple(key for key in KEYS_OF_LEVEL[level] if key not in self._values)

    def curve(self, name: str, at_nm: ArrayLike) -> NDArray[np.float64]:
        """Value of the curve `name` ("sfit" or "rad_fit") at wavelengths in nm: the cubic spline through its points.

        CalibrationError if it is not here, is no curve, or ends before these wavelengths.
        """
        from scipy.interpolate import make_interp_spline

        try:
            x, y = (np.asarray(self._values[f"{name}_{axis}"], np.float64) for axis in "xy")
        except KeyError as error:
            raise CalibrationError(
                f"{self.name} holds no {error}, expected the curve {name}_x, {name}_y: "
                f"{_CURVE_UNITS.get(name, 'unknown')}"
            ) from None
        is_curve = x.ndim == 1 and x.shape == y.shape and len(x) >= 4 and bool(np.isfinite([x, y]).all())
        if is_curve:
            order = np.argsort(x)
            x, y = x[order], y[order]
        if not is_curve or not (np.diff(x) > 0).all():
            raise CalibrationError(
                f"the curve {name}_x, {name}_y of {self.name} has shapes {x.shape}, {y.shape}, expected at least 4 "
                f"points of finite values at different wavelengths"
            )
        at = np.asarray(at_nm, np.float64)
        if at.size and not (x[0] <= at.min() and at.max() <= x[-1]):
            raise CalibrationError(
                f"the curve {name} of {self.name} goes from {x[0]:g} to {x[-1]:g} nm, but is needed from "
                f"{at.min():g} to {at.max():g} nm"
            )
        return np.asarray(make_interp_spline(x, y, k=3)(at), np.float64)

    def with_values(self, **values: Any) -> "Calibration":
        """Another calibration, with these values in place of its own; it is no file's until it is written.

        >>> Calibration({"camera_id": "old"}).with_values(camera_id="new")["camera_id"]
        'new'
        """
        dims = {key: dims for key, dims in self.dims.items() if key not in values or np.ndim(values[key]) == len(dims)}
        return Calibration({**self._values, **values}, dims, self.coordinates)


def wavelengths_of_columns(calibration: Mapping[str, Any], n_columns: int) -> NDArray[np.float64] | None:
    """Return the wavelength of each of `n_columns` columns of a raw frame, or None if the calibration fits other ones.

    Taking out the smile costs as many columns as its largest shift; theirs go on as the last two do.

    >>> wavelengths_of_columns({"wavelengths": np.array([400.0, 410.0]), "smile_shifts": np.array([0, 1])}, 3)
    array([400., 410., 420.])
    """
    wavelengths, shifts = calibration.get("wavelengths"), calibration.get("smile_shifts")
    if wavelengths is None:
        return None
    wavelengths = np.asarray(wavelengths, np.float64)
    n_most = int(np.max(shifts)) if shifts is not None and np.size(shifts) else 0
    if wavelengths.ndim != 1 or wavelengths.size < 2 or wavelengths.size != n_columns - n_most:
        return None
    step = wavelengths[-1] - wavelengths[-2]
    return np.concatenate([wavelengths, wavelengths[-1] + step * np.arange(1, n_most + 1)])


def _read_only(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.view()
        value.flags.writeable = False
    return value


def _make_again(
    values: dict[str, Any],
    dims: dict[str, tuple[str, ...]],
    coordinates: dict[str, NDArray[Any]],
    path: Path | None,
    sha256: str,
) -> Calibration:
    """Rebuild one that has travelled to another process."""
    return Calibration(values, dims, coordinates, path=path, sha256=sha256)
