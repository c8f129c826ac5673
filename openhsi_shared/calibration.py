"""What a calibration file of openhsi says of its camera, read once and never changed.

The file is NetCDF; each of its variables and global attributes becomes one value: `smile_shifts`, `wavelengths`,
`wavelengths_linear`, `rad_ref`, `flat_field_pic`, `HgAr_pic`, the curves `sfit_x`, `sfit_y`, `rad_fit_x`, `rad_fit_y`,
`spec_rad_ref_luminance`, `camera_id`. A file need not hold all of them: what misses one asks for it by name.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import CalibrationError

__all__ = ["Calibration", "read_calibration", "wavelengths_of_columns"]

_KNOWN = frozenset(
    {
        "HgAr_pic",
        "flat_field_pic",
        "rad_ref",
        "smile_shifts",
        "wavelengths",
        "wavelengths_linear",
        "sfit_y",
        "rad_fit_y",
    }
)
_PICKLES = (".pkl", ".pickle")


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
    def wavelengths_nm(self) -> NDArray[np.float64] | None:
        """Wavelengths of the columns once the smile is taken out, or None."""
        wavelengths = self._values.get("wavelengths")
        return None if wavelengths is None else np.asarray(wavelengths, np.float64)


def read_calibration(path: str | Path | None) -> Calibration:
    """Read a calibration file in openhsi's layout; an empty one for None or "".

    CalibrationError that names the file, if it is missing, broken, or something else. A pickle is never opened: it
    could run any code.
    """
    if not path:
        return Calibration()
    path = Path(path)
    if path.suffix.lower() in _PICKLES:
        raise CalibrationError(
            f"calibration {str(path)!r} is a pickle, which could run any code and is not read; expected openhsi's "
            f"NetCDF layout: load it once in openhsi, which writes {path.with_suffix('.nc').name!r} beside it"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CalibrationError(
            f"calibration {str(path)!r} cannot be read: {error}; expected a NetCDF file of openhsi"
        ) from error
    return _parse(content, path)


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


def _parse(content: bytes, path: Path) -> Calibration:
    import netCDF4

    values: dict[str, Any] = {}
    dims: dict[str, tuple[str, ...]] = {}
    coordinates: dict[str, NDArray[Any]] = {}
    try:
        with netCDF4.Dataset("calibration", memory=content) as file:  # from memory: the file may be replaced meanwhile
            values |= {key: _plain(file.getncattr(key)) for key in file.ncattrs()}
            for key, variable in file.variables.items():
                array = np.asarray(variable[...])  # without the mask: what looks like netCDF's fill value is a number
                if variable.dimensions == (key,):
                    coordinates[key] = array
                else:
                    dims[key], values[key] = _without_variable(variable.dimensions, array)
    except (OSError, RuntimeError, ValueError, KeyError, IndexError, AttributeError, TypeError, MemoryError) as error:
        raise CalibrationError(f"calibration {str(path)!r} is no NetCDF file, or broken: {error}") from error
    if not _KNOWN & values.keys():
        raise CalibrationError(
            f"calibration {str(path)!r} is no calibration of openhsi: it holds {sorted(values)}, "
            f"expected some of {sorted(_KNOWN)}"
        )
    for key in ("wavelengths", "wavelengths_linear", "smile_shifts"):
        if key in values and not _is_numbers(values[key]):
            raise CalibrationError(f"calibration {str(path)!r}: {key} must be a row of finite numbers")
    return Calibration(values, dims, coordinates, path=path, sha256=hashlib.sha256(content).hexdigest())


def _without_variable(dims: tuple[str, ...], array: NDArray[Any]) -> tuple[tuple[str, ...], NDArray[Any]]:
    """Drop the axis `variable` of length 1, which older files of openhsi have in front."""
    if dims[:1] == ("variable",) and len(array) == 1:
        return dims[1:], array[0]
    return dims, array


def _is_numbers(value: Any) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.ndim == 1
        and value.dtype.kind in "iuf"
        and bool(np.isfinite(value).all())
    )


def _read_only(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.view()
        value.flags.writeable = False
    return value


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _make_again(
    values: dict[str, Any],
    dims: dict[str, tuple[str, ...]],
    coordinates: dict[str, NDArray[Any]],
    path: Path | None,
    sha256: str,
) -> Calibration:
    """Rebuild one that has travelled to another process."""
    return Calibration(values, dims, coordinates, path=path, sha256=sha256)
