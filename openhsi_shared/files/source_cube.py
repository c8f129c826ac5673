"""What is known of a saved cube that is to be processed: its level, settings, exposure, bands, quantity and times.

Read once; the pixels stay in the file. Jobs, and `ProcessRawDatacube`, make their plans of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.calibration import Calibration
from openhsi_shared.levels import LevelPlan
from openhsi_shared.processing_levels import Quantity
from openhsi_shared.settings import CameraSettings

__all__ = ["SourceCube"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceCube:
    """A saved cube: facts only, so that it can be pickled and travel to workers, which open the file themselves."""

    path: Path
    n_lines: int
    line_shape: tuple[int, int]
    """(cross-track, wavelength)."""
    dtype: np.dtype[Any]
    level: int | None
    """Of the file, or inferred from its lines; None if that is ambiguous."""
    settings: CameraSettings
    """Those given, else those of the recording; with the exposure of the file, if it contains one."""
    calibration: Calibration
    exposure_is_known: bool
    wavelengths_nm: NDArray[np.float64] | None
    quantity: Quantity
    labels: Mapping[str, Any]
    """Attributes of the datacube, such as units and long_name."""
    attributes: Mapping[str, Any]
    """Of the file."""
    is_ours: bool
    uuid: str | None
    times_ns: NDArray[np.int64] | None
    columns: tuple[str, ...]
    """Names of the other variables along `y` that travel to the result."""
    groups: tuple[str, ...]
    n_bytes: int
    mtime_ns: int
    """Size and time of the file when it was looked at: an input that changes while it is read is refused."""

    @classmethod
    def look_at(
        cls, path: Path, *, json_path: Path | None = None, cal_path: Path | None = None, check: bool = True
    ) -> "SourceCube":
        """Read it. FileError for a file that is no cube, incomplete, or empty; SettingsError, CalibrationError."""
        raise NotImplementedError

    def check_unchanged(self) -> None:
        """FileError if the file has another size, time or uuid than when it was looked at."""
        raise NotImplementedError

    def plan_to(self, level: int, compat: Literal["openhsi"] | None = None) -> LevelPlan:
        """The processing of its lines to `level`. LevelError if it is below that of the file, or not served."""
        raise NotImplementedError
