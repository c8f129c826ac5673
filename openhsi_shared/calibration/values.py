"""Values of a calibration by name, read-only, and the levels that they support.

`smile_shifts`, `wavelengths`, `wavelengths_linear`, `rad_ref`, `flat_field_pic`, `HgAr_pic`, the curves `sfit_x`,
`sfit_y`, `rad_fit_x`, `rad_fit_y`, `spec_rad_ref_luminance`, `camera_id`. A file may lack some of them: an error names
the missing value when it is needed.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.calibration.references import REFERENCE_AXES, lacks_of_reference, pictures_of
from openhsi_shared.calibration.wavelength_tables import contradiction_of, flaw_of_table, to_nanometres
from openhsi_shared.errors import CalibrationError
from openhsi_shared.packages import require
from openhsi_shared.processing_levels import LEVELS

__all__ = ["Calibration", "wavelengths_of_columns"]

_CURVE_UNITS = {"sfit": "spectral radiance of the lamp", "rad_fit": "radiance of a white target in the sun"}


class Calibration(Mapping[str, Any]):
    """Values of a calibration by name: numbers, texts, and read-only arrays. Empty without a file."""

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        dims: Mapping[str, tuple[str, ...]] | None = None,
        coordinates: Mapping[str, NDArray[Any]] | None = None,
        *,
        path: Path | None = None,
        sha256: str = "",
        units: Mapping[str, str] | None = None,
    ) -> None:
        """`dims` are the names of the axes of an array, `coordinates` the values along an axis.

        `units` of wavelengths that are not in nm, by key: they are converted.
        """
        found, self._unknown = dict(values or {}), dict[str, str]()
        for key, unit in (units or {}).items():
            found[key], self._unknown[key] = to_nanometres(key, np.asarray(found[key]), unit)
        self._values = {key: _read_only(value) for key, value in found.items()}
        self.dims: Mapping[str, tuple[str, ...]] = MappingProxyType(dict(dims or {}))
        """Names of the axes of each array; `rad_ref`: (cross_track, wavelength_index, exposure, luminance)."""
        self.coordinates: Mapping[str, NDArray[Any]] = MappingProxyType(
            {key: _read_only(value) for key, value in (coordinates or {}).items()}
        )
        """Coordinates of axes: `exposure` in ms, `luminance` in cd/m^2."""
        self.path = path
        """The file it was read from, or None."""
        self.sha256 = sha256
        """Hash of the file, empty without one: identifies the calibration of a cube."""
        self._measured: dict[int, NDArray[np.bool_]] = {}

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
        return _unpickle, (self._values, dict(self.dims), dict(self.coordinates), self.path, self.sha256, self._unknown)

    @property
    def name(self) -> str:
        """Name in messages: its path, if it has one."""
        return f"calibration {str(self.path)!r}" if self.path else "the calibration that was given"

    @property
    def wavelengths_nm(self) -> NDArray[np.float64] | None:
        """Wavelength of each column after smile correction; None if they are missing, or unusable."""
        wavelengths = self._values.get("wavelengths")
        return None if wavelengths is None or self._flaw_of("wavelengths") else np.asarray(wavelengths, np.float64)

    @property
    def flaws(self) -> tuple[str, ...]:
        """Why tables of wavelengths are unusable, or contradict each other, with the levels that are refused."""
        found = {key: self._flaw_of(key) for key in self._values if self._flaw_of(key)}
        if not found and contradiction_of(self._values):
            found = {"wavelengths_linear": contradiction_of(self._values)}
        levels = {key: [str(level) for level in LEVELS if key in LEVELS[level].needs] for key in found}
        return tuple(f"{flaw} (levels {', '.join(levels[key])} are refused)" for key, flaw in found.items())

    def _flaw_of(self, key: str) -> str:
        return self._unknown.get(key, "") or flaw_of_table(key, self._values[key])

    @property
    def levels_served(self) -> tuple[int, ...]:
        """Processing levels for which all values exist and are valid."""
        return tuple(level for level in LEVELS if not self.missing_for(level) and self._is_sound(level))

    def missing_for(self, level: int) -> tuple[str, ...]:
        """Names that a processing level needs and this calibration lacks; parts of `rad_ref` are described."""
        needs = LEVELS[level].needs
        missing = tuple(key for key in needs if key not in self._values)
        if "rad_ref" not in needs or "rad_ref" in missing:
            return missing
        return missing + lacks_of_reference(self._values["rad_ref"], self._reference_dims, self.coordinates)

    def check_values(self, level: int, *, is_compat: bool = False) -> None:
        """Raise CalibrationError if a value that a processing level needs is invalid.

        `is_compat` accepts, as openhsi does, tables of wavelengths that contradict each other.
        """
        for key in LEVELS[level].needs:
            flaw = self._flaw_of(key)
            if not flaw and key == "wavelengths_linear" and not is_compat:
                flaw = contradiction_of(self._values)
            if flaw:
                raise CalibrationError(f"{self.name} cannot be used for level {level}: {flaw}")
            if key == "smile_shifts":
                self._check_shifts()
            elif key == "spec_rad_ref_luminance":
                self.luminance_of_sfit  # noqa: B018 - raises if it is invalid
            elif key.endswith("fit_x"):
                self._points(key.removesuffix("_x"))

    def _is_sound(self, level: int) -> bool:
        try:
            self.check_values(level)
        except CalibrationError:
            return False
        return True

    def _check_shifts(self) -> None:
        shifts = np.asarray(self._values["smile_shifts"])
        is_numbers = shifts.ndim == 1 and shifts.dtype.kind in "iuf" and shifts.size > 0
        if not is_numbers or not (np.rint(shifts) == shifts).all():
            raise CalibrationError(
                f"smile_shifts of {self.name} must be whole numbers of columns, one for each row, got {shifts}; "
                f"round them with Calibration.with_values(smile_shifts=...)"
            )

    @property
    def luminance_of_sfit(self) -> float:
        """Luminance of the lamp whose spectral radiance is `sfit`: `spec_rad_ref_luminance`, in cd/m^2.

        CalibrationError unless it is a number above 0.
        """
        found = self._values["spec_rad_ref_luminance"]
        value = np.asarray(found)
        if value.size != 1 or value.dtype.kind not in "iuf" or not 0 < value.item() < np.inf:
            raise CalibrationError(
                f"spec_rad_ref_luminance of {self.name} must be a number > 0, the luminance at which the curve sfit "
                f"was measured, got {found!r}; set it with Calibration.with_values(spec_rad_ref_luminance=...)"
            )
        return float(value.item())

    @property
    def _reference_dims(self) -> tuple[str, ...]:
        return self.dims.get("rad_ref", REFERENCE_AXES)

    @property
    def reference_pictures(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """`rad_ref` as (cross-track, column, exposure, luminance), its exposures in ms, its luminances in cd/m^2.

        In the order of the file. CalibrationError if it lacks anything that radiance needs.
        """
        lacks = self.missing_for(4)
        of_reference = [lack for lack in lacks if lack.startswith("rad_ref")]
        if of_reference:
            raise CalibrationError(f"{self.name} does not contain {', '.join(of_reference)}")
        return pictures_of(np.asarray(self._values["rad_ref"]), self._reference_dims, self.coordinates)

    def is_measured(self, exposure: int) -> NDArray[np.bool_]:
        """(luminance,): whether `rad_ref` has a finite value at the exposure of this index; computed once."""
        if exposure not in self._measured:
            self._measured[exposure] = np.isfinite(self.reference_pictures[0][:, :, exposure, :]).any(axis=(0, 1))
        return self._measured[exposure]

    def _points(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points of a curve, by ascending wavelength. CalibrationError if it is invalid."""
        try:
            x, y = (np.asarray(self._values[f"{name}_{axis}"], np.float64) for axis in "xy")
        except KeyError as error:
            raise CalibrationError(
                f"{self.name} does not contain {error}, expected the curve {name}_x, {name}_y: "
                f"{_CURVE_UNITS.get(name, 'unknown')}"
            ) from None
        except (TypeError, ValueError) as error:
            raise CalibrationError(f"the curve {name}_x, {name}_y of {self.name} is not numeric: {error}") from error
        is_curve = x.ndim == 1 and x.shape == y.shape and len(x) >= 4 and bool(np.isfinite([x, y]).all())
        if is_curve:
            order = np.argsort(x)
            x, y = x[order], y[order]
        if not is_curve or not (np.diff(x) > 0).all():
            raise CalibrationError(
                f"the curve {name}_x, {name}_y of {self.name} has shapes {x.shape}, {y.shape}, expected at least 4 "
                f"points of finite values at different wavelengths"
            )
        return x, y

    def curve(self, name: str, at_nm: ArrayLike) -> NDArray[np.float64]:
        """Values of the curve `name` ("sfit" or "rad_fit") in the shape of `at_nm`: the cubic spline of its points.

        CalibrationError if it is missing or invalid, or does not cover these wavelengths; PackageMissing without scipy.
        """
        require(f"the curve {name} of a calibration", "scipy")
        from scipy.interpolate import make_interp_spline

        x, y = self._points(name)
        at = np.asarray(at_nm, np.float64)
        if at.size and not (x[0] <= at.min() and at.max() <= x[-1]):
            raise CalibrationError(
                f"the curve {name} of {self.name} covers {x[0]:g} to {x[-1]:g} nm, but is needed from "
                f"{at.min():g} to {at.max():g} nm"
            )
        return np.asarray(make_interp_spline(x, y, k=3)(at), np.float64)

    def with_values(self, **values: Any) -> "Calibration":
        """Return a copy with these values replaced or added; it has no path until it is written.

        >>> Calibration({"camera_id": "old"}).with_values(camera_id="new")["camera_id"]
        'new'
        """
        dims = {key: dims for key, dims in self.dims.items() if key not in values or np.ndim(values[key]) == len(dims)}
        copy = Calibration({**self._values, **values}, dims, self.coordinates)
        copy._unknown = {key: flaw for key, flaw in self._unknown.items() if key not in values}
        return copy


def wavelengths_of_columns(calibration: Mapping[str, Any], n_columns: int) -> NDArray[np.float64] | None:
    """Return the wavelength of each of `n_columns` columns of a raw frame, or None if the calibration does not fit.

    Smile correction removes as many columns as the largest shift; their wavelengths are extrapolated from the last two.

    >>> wavelengths_of_columns({"wavelengths": np.array([400.0, 410.0]), "smile_shifts": np.array([0, 1])}, 3)
    array([400., 410., 420.])
    """
    wavelengths, shifts = calibration.get("wavelengths"), calibration.get("smile_shifts")
    if isinstance(calibration, Calibration):
        wavelengths = calibration.wavelengths_nm
    if wavelengths is None:
        return None
    wavelengths = np.asarray(wavelengths, np.float64)
    max_shift = int(np.max(shifts)) if shifts is not None and np.size(shifts) else 0
    if wavelengths.ndim != 1 or wavelengths.size < 2 or wavelengths.size != n_columns - max_shift:
        return None
    step = wavelengths[-1] - wavelengths[-2]
    return np.concatenate([wavelengths, wavelengths[-1] + step * np.arange(1, max_shift + 1)])


def _read_only(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.view()
        value.flags.writeable = False
    return value


def _unpickle(
    values: dict[str, Any],
    dims: dict[str, tuple[str, ...]],
    coordinates: dict[str, NDArray[Any]],
    path: Path | None,
    sha256: str,
    unknown: dict[str, str],
) -> Calibration:
    """Unpickle a calibration."""
    calibration = Calibration(values, dims, coordinates, path=path, sha256=sha256)
    calibration._unknown.update(unknown)  # noqa: SLF001 - what its file said
    return calibration
