"""Cubes as openhsi writes them through xarray, and as their users change them afterwards."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

X, BANDS = 5, 7
BEGIN = np.datetime64("2024-05-01T02:03:04.123456789", "ns")
STEP = np.timedelta64(10_000_000, "ns")


def scene(n_lines: int, dtype: Any = np.uint16) -> np.ndarray:
    """(x, y, wavelength): every pixel tells its line, its place and its band."""
    pixels = np.add.outer(np.add.outer(np.arange(X) * 7, np.arange(n_lines) * 100), np.arange(BANDS)) + 50
    return pixels.astype(dtype)


def times_of(n_lines: int) -> np.ndarray:
    return BEGIN + np.arange(n_lines) * STEP


def openhsi_cube(data: np.ndarray | None = None, n_lines: int = 12) -> xr.Dataset:
    """What openhsi writes: time and temperature are on axes of their own."""
    data = scene(n_lines) if data is None else data
    n_lines = data.shape[1]
    cube = xr.Dataset(
        {"datacube": (["x", "y", "wavelength"], data)},
        coords={
            "wavelength": (["wavelength"], np.linspace(400.0, 1000.0, data.shape[2])),
            "x": (["x"], np.arange(data.shape[0])),
            "y": (["y"], np.arange(n_lines)),
            "time": (["time"], times_of(n_lines)),
            "temperature": (["temperature"], np.linspace(20, 30, n_lines).astype(np.float32)),
        },
    )
    cube.wavelength.attrs |= {"long_name": "wavelength_nm", "units": "nanometers"}
    cube.datacube.attrs |= {"long_name": "hyperspectral datacube", "units": "digital number"}
    return cube


def put(cube: xr.Dataset, path: Path, **how: Any) -> Path:
    cube.to_netcdf(path, **how)
    return path
