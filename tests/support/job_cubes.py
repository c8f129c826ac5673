"""Saved cubes, calibrations and settings for tests of jobs."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from openhsi_shared import write_calibration
from openhsi_shared.files import CubeWriter
from tests.support.cubes import make_cube
from tests.support.foreign import openhsi_cube, put
from tests.support.level_oracle import CALIBRATION, SHAPE


def save_cube(
    path: Path, n_lines: int = 6, shape: tuple[int, int] = (5, 7), dtype: Any = np.uint16, **options: Any
) -> Path:
    """A cube of this library at that path."""
    folder = path.parent / "writing"
    folder.mkdir(parents=True, exist_ok=True)
    with CubeWriter(n_lines, shape, np.dtype(dtype)) as writer:
        written = writer.write(make_cube(n_lines, *shape, dtype, **options), [folder]).path
    written.rename(path)
    shutil.rmtree(folder)
    return path


def save_raw_cube(path: Path, n_lines: int = 6) -> Path:
    """A raw cube for the calibration of `save_calibration`."""
    return save_cube(path, n_lines, SHAPE, level=-1, attributes={"exposure_ms": 10.0})


def save_foreign_cube(path: Path, n_lines: int = 12) -> Path:
    """A cube as openhsi saves it."""
    return put(openhsi_cube(n_lines=n_lines), path)


def save_calibration(path: Path) -> Path:
    """For all levels."""
    return write_calibration(CALIBRATION, path)


def save_settings(path: Path, **values: Any) -> Path:
    """Settings that crop."""
    path.write_text(json.dumps({"resolution": SHAPE, "row_slice": [3, 17], "exposure_ms": 10} | values))
    return path
