"""Calibration files in openhsi's layout: NetCDF, one variable or global attribute per value.

A 1-D array `key` has the axis `key_dim`, a 2-D array `key_dim_x` and `key_dim_y`, the two arrays `key_x` and `key_y` of
a curve share `key_dim`; `rad_ref` has its own axes, with coordinates.
"""

import hashlib
import io
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.calibration.pickles import is_pickle, values_of_pickle
from openhsi_shared.calibration.values import Calibration
from openhsi_shared.calibration.wavelength_tables import IN_NANOMETRES
from openhsi_shared.durable import sync_directory
from openhsi_shared.errors import CalibrationError
from openhsi_shared.hdf5_guard import refuse_endless_heaps
from openhsi_shared.loggers import safe_logger
from openhsi_shared.paths import given_path
from openhsi_shared.renaming import replace_file

__all__ = ["read_calibration", "write_calibration"]

logger = safe_logger(__name__)

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
_ROWS = ("wavelengths", "wavelengths_linear", "smile_shifts")
_COMPRESSION = {"zlib": True, "complevel": 4}
_REFERENCE_DIMS = ("cross_track", "wavelength_index", "exposure", "luminance")
_NETCDF_LOCK = threading.Lock()
"""The netCDF library is not thread-safe, even for different files, but netCDF4 releases the GIL inside of it: valid
files would be reported as damaged, or the process would crash."""


# ---- reading ---------------------------------------------------------------------------------


def read_calibration(path: str | Path | None) -> Calibration:
    """Read a calibration file of openhsi into memory; an empty calibration for None or "".

    CalibrationError that names the file, if it is missing, damaged, or not a calibration. A pickle (`.pkl`) is read
    without executing it, and refused if it contains anything that openhsi does not store; to convert it, pass the
    result to `write_calibration`.
    """
    if not path:
        return Calibration()
    path = given_path(path, "calibration")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CalibrationError(
            f"calibration {str(path)!r} cannot be read: {error}; expected a NetCDF file of openhsi"
        ) from error
    calibration = _of_content(path, content)
    for flaw in calibration.flaws:
        logger.warning("%s: %s", calibration.name, flaw)
    return calibration


@lru_cache(maxsize=4)  # the cubes of a flight have the same one, and reading it takes 80 ms
def _of_content(path: Path, content: bytes) -> Calibration:
    units: dict[str, str] = {}
    values, dims, coordinates = values_of_pickle(content, path) if is_pickle(path) else _parse(content, path, units)
    for key in values:
        dims[key], values[key] = _without_variable(dims.get(key, ()), values[key])
    _check(values, path)
    dims = {key: names for key, names in dims.items() if names}
    sha256 = hashlib.sha256(content).hexdigest()
    return Calibration(values, dims, coordinates, path=path, sha256=sha256, units=units)


def _parse(
    content: bytes, path: Path, units: dict[str, str]
) -> tuple[dict[str, Any], dict[str, tuple[str, ...]], dict[str, NDArray[Any]]]:
    """Values, names of axes, and coordinates; adds the units of wavelengths to `units`."""
    import netCDF4

    values: dict[str, Any] = {}
    dims: dict[str, tuple[str, ...]] = {}
    coordinates: dict[str, NDArray[Any]] = {}
    try:
        refuse_endless_heaps(io.BytesIO(content))
        # from memory: the file may be replaced meanwhile
        with _NETCDF_LOCK, netCDF4.Dataset("calibration", memory=content) as file:
            values |= {key: _plain(file.getncattr(key)) for key in file.ncattrs()}
            for key, variable in file.variables.items():
                array = np.asarray(variable[...])  # without the mask: netCDF's fill value is a valid number here
                if variable.dimensions == (key,):
                    coordinates[key] = array
                else:
                    dims[key], values[key] = variable.dimensions, array
                    if key in IN_NANOMETRES and "units" in variable.ncattrs():
                        units[key] = str(variable.getncattr("units"))
    except (OSError, RuntimeError, ValueError, KeyError, IndexError, AttributeError, TypeError, MemoryError) as error:
        raise CalibrationError(f"calibration {str(path)!r} is not a NetCDF file, or damaged: {error}") from error
    return values, dims, coordinates


def _check(values: Mapping[str, Any], path: Path) -> None:
    if not _KNOWN & values.keys():
        raise CalibrationError(
            f"calibration {str(path)!r} is not a calibration of openhsi: it contains {sorted(values)}, "
            f"expected some of {sorted(_KNOWN)}"
        )
    _check_rows(values, path)


def _check_rows(values: Mapping[str, Any], path: Path) -> None:
    for key in _ROWS:
        if key in values and not _is_numbers(values[key]):
            raise CalibrationError(f"calibration {str(path)!r}: {key} must be a 1-D array of finite numbers")


def _without_variable(dims: tuple[str, ...], value: Any) -> tuple[tuple[str, ...], Any]:
    """Drop the leading axis `variable` of length 1 of older files of openhsi."""
    if dims[:1] == ("variable",) and len(value) == 1:
        return dims[1:], value[0]
    return dims, value


def _is_numbers(value: Any) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.ndim == 1
        and value.dtype.kind in "iuf"
        and bool(np.isfinite(value).all())
    )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


# ---- writing ---------------------------------------------------------------------------------


def write_calibration(calibration: Mapping[str, Any], path: str | Path) -> Path:
    """Write a calibration, or a dictionary of its values, as `path` in openhsi's layout, and return the path.

    The file is replaced atomically and durably; processes that read the old one are not affected. CalibrationError for
    a value that the layout cannot store, or if the file cannot be written.
    """
    path = given_path(path, "calibration")
    if path.suffix.lower() != ".nc":
        raise CalibrationError(f"calibration {str(path)!r} must have a name that ends in .nc")
    values = calibration if isinstance(calibration, Calibration) else Calibration(calibration)
    content = _compose(values)
    _check_rows({key: np.asarray(values[key]) for key in _ROWS if key in values}, path)
    try:
        _replace(path, content)
    except OSError as error:
        raise CalibrationError(f"calibration {str(path)!r} cannot be written: {error}") from error
    return path


def _compose(calibration: Calibration) -> bytes:
    """Contents of the file."""
    import netCDF4

    with _NETCDF_LOCK:
        file = netCDF4.Dataset("calibration", "w", memory=1 << 20)
        try:
            _fill(file, calibration)
        finally:
            content = file.close()
    return bytes(content)


def _fill(file: Any, calibration: Calibration) -> None:
    sizes: dict[str, int] = {}
    for key, value in calibration.items():
        if not isinstance(value, np.ndarray | list | tuple):
            file.setncattr(key, _attribute(key, value))
            continue
        array = np.asarray(value)
        dims = _dims(key, calibration, array.ndim)
        for dim, size in zip(dims, array.shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                raise CalibrationError(f"calibration: {key} has {size} values along {dim}, others have {sizes[dim]}")
        _add(file, key, dims, array)
    for dim, coordinate in calibration.coordinates.items():
        if sizes.get(dim) == len(coordinate):
            _add(file, dim, (dim,), coordinate)


def _add(file: Any, key: str, dims: tuple[str, ...], array: NDArray[Any]) -> None:
    if array.dtype.kind not in "iufU" or array.ndim == 0:
        raise CalibrationError(f"calibration: {key} is an array of {array.dtype}, which a file cannot store")
    for dim, size in zip(dims, array.shape, strict=True):
        if dim not in file.dimensions:
            file.createDimension(dim, size)
    if array.dtype.kind == "U":
        file.createVariable(key, str, dims)[...] = array.astype(object)
    else:
        kind = "f4" if array.dtype == np.float16 else array.dtype.newbyteorder("=")
        file.createVariable(key, kind, dims, **_COMPRESSION if array.ndim > 1 else {})[...] = array


def _dims(key: str, calibration: Calibration, n_axes: int) -> tuple[str, ...]:
    """Names of the axes of a value: those it was read with, or openhsi's."""
    known = calibration.dims.get(key, ())
    if len(known) == n_axes:
        return known
    if key == "rad_ref" and n_axes == len(_REFERENCE_DIMS):
        return _REFERENCE_DIMS
    stem = key[:-2]
    if n_axes == 1:
        return (
            (f"{stem}_dim",)
            if key[-2:] in ("_x", "_y") and {f"{stem}_x", f"{stem}_y"} <= calibration.keys()
            else (f"{key}_dim",)
        )
    if n_axes == 2:
        return (f"{key}_dim_x", f"{key}_dim_y")
    return tuple(f"{key}_dim_{axis}" for axis in range(n_axes))


def _attribute(key: str, value: Any) -> str | int | float | np.generic:
    value = _plain(value)
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    raise CalibrationError(
        f"calibration: {key} is {value!r}, which a file cannot store: expected text, number or array"
    )


def _replace(path: Path, content: bytes) -> None:
    """Replace the contents of `path` atomically and durably."""
    replace_file(path, content)
    sync_directory(path.parent)
