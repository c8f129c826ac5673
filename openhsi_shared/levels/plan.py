"""Plan of the processing from frames of one camera to lines, and the format of the lines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.calibration import Calibration, wavelengths_of_columns
from openhsi_shared.errors import ArgumentError, FrameError, LevelError
from openhsi_shared.levels.copying import copy_pixels
from openhsi_shared.levels.fused import FusedLevel
from openhsi_shared.levels.geometry import geometry_of
from openhsi_shared.levels.transforms import StepwiseLevel, Transforms, stored_dtype
from openhsi_shared.processing_levels import LEVELS

__all__ = ["Functions", "LevelPlan", "check_functions", "check_level"]

Functions = Sequence[Callable[[NDArray[Any]], NDArray[Any]]]
"""From frame to frame, run in order."""


def check_level(level: int) -> None:
    """Raise LevelError unless the level exists."""
    if isinstance(level, bool) or not isinstance(level, int | np.integer) or level not in LEVELS:
        raise LevelError(
            f"processing_lvl must be one of {tuple(LEVELS)} (raw, cropped, smile corrected, binned, radiance, "
            f"reflectance), got {level!r}"
        )


def check_functions(functions: Any, name: str = "custom_tfms") -> None:
    """Raise ArgumentError unless `functions` is a list of functions; `name` is that of the user's argument."""
    is_list = isinstance(functions, Sequence) and not isinstance(functions, str | bytes)
    if not is_list or not all(callable(function) for function in functions):
        hint = f": write {name}=[...] around it" if callable(functions) else ""
        raise ArgumentError(f"{name} must be a list of functions from frame to frame, got {functions!r}{hint}")


@dataclass(frozen=True, kw_only=True, eq=False)
class LevelPlan:
    """Processing from frames of one camera to lines of one level. LevelError, when created, if it is not supported.

    CalibrationError for invalid values of the calibration, ArgumentError for invalid functions.
    """

    level: int
    frame_shape: tuple[int, int]
    """(rows, columns) of a frame = (cross-track, wavelength)."""
    frame_dtype: np.dtype[Any]
    rows: slice
    """Illuminated rows."""
    calibration: Calibration = field(default_factory=Calibration)
    fwhm_nm: float = 4.0
    """Width of a band from level 2 on."""
    exposure_ms: float = 10.0
    """Exposure of the frames; used for radiance."""
    luminance: float | None = None
    """Luminance of the lamp in the calibration, in cd/m^2. None: the brightest."""
    compat: Literal["openhsi"] | None = None
    """"openhsi": bit-identical to openhsi, including integer buffers and summed radiance. None: float32."""
    custom_tfms: Functions | None = None
    """Functions from frame to frame that are run in order instead of the steps of the level."""

    def __post_init__(self) -> None:
        check_level(self.level)
        if self.custom_tfms is not None:
            check_functions(self.custom_tfms)
        if self.compat not in (None, "openhsi"):
            raise LevelError(f"compat must be None or 'openhsi', got {self.compat!r}")
        self.line_dtype  # noqa: B018 - raises if it is not supported

    @cached_property
    def _work(self) -> FusedLevel | StepwiseLevel | None:
        """Implementation of the level, or None if lines are copies."""
        if self.custom_tfms is not None:
            names = f"custom_tfms {[getattr(step, '__name__', repr(step)) for step in self.custom_tfms]}"
            is_exact = self.compat is None
            return StepwiseLevel(self.custom_tfms, self.frame_shape, self.frame_dtype, names, is_exact=is_exact)
        if not LEVELS[self.level].is_smile_corrected:
            return None
        if self.compat is None:
            return FusedLevel(self.level, *self._made_of)
        geometry_of(self.calibration, self.level, self.frame_shape, self.rows, is_compat=True)
        steps = [getattr(self.transforms, name) for name in LEVELS[self.level].steps]
        return StepwiseLevel(steps, self.frame_shape, self.frame_dtype, f"processing_lvl={self.level}")

    @property
    def _made_of(self) -> tuple[Any, ...]:
        return (
            self.frame_shape,
            self.frame_dtype,
            self.rows,
            self.calibration,
            self.fwhm_nm,
            self.exposure_ms,
            self.luminance,
        )

    @cached_property
    def transforms(self) -> Transforms:
        """The transforms of openhsi (`crop`, `fast_smile`, ...) as functions, to be combined in `custom_tfms`."""
        return Transforms(self.level, *self._made_of, is_compat=self.compat is not None)

    # ---- format of lines ----

    @property
    def is_identity(self) -> bool:
        """Whether a line is the frame itself: then the camera may fill it in place."""
        return self._work is None and self.line_shape == self.frame_shape

    @property
    def line_shape(self) -> tuple[int, int]:
        """(cross-track, wavelength) of a line."""
        if self._work is not None:
            return self._work.line_shape
        n_rows = self.rows.stop - self.rows.start if LEVELS[self.level].steps else self.frame_shape[0]
        return n_rows, self.frame_shape[1]

    @cached_property
    def line_dtype(self) -> np.dtype[Any]:
        """Type of the values of a line: that of the frame without bands, float32 with bands.

        With `custom_tfms` the type that they return, uint8 for bool; with compat it follows the level. LevelError for a
        type that files do not have.
        """
        if isinstance(self._work, FusedLevel):
            return self._work.line_dtype
        if self._work is None:
            return stored_dtype(self.frame_dtype, f"processing_lvl={self.level} of this source")
        if self.compat is not None:
            keeps = LEVELS[self.level].binning is None
            return stored_dtype(self.frame_dtype, "compat='openhsi'") if keeps else np.dtype(np.float32)
        return self._work.stored_dtype

    @property
    def is_mask(self) -> bool:
        """Whether `custom_tfms` return booleans, which are stored as 0 and 1."""
        return isinstance(self._work, StepwiseLevel) and self._work.found_dtype.kind == "b"

    @cached_property
    def wavelengths_nm(self) -> NDArray[Any] | None:
        """Wavelength of each column or band of a line, or None if unknown."""
        if isinstance(self._work, FusedLevel):
            return self._work.wavelengths_nm
        n = self.line_shape[1]
        labels = self.transforms.band_wavelengths_nm
        if labels is not None and len(labels) == n:
            return labels
        wavelengths = self.calibration.wavelengths_nm
        if n == self.frame_shape[1]:
            return wavelengths_of_columns(self.calibration, n)
        return wavelengths if wavelengths is not None and len(wavelengths) == n else None

    # ---- processing ----

    def warm(self) -> None:
        """Warm up, such as by compiling, before the first line. Blocks for up to seconds."""
        if self._work is not None:
            self._work.warm()

    def with_exposure(self, exposure_ms: float) -> Self:
        """Create the plan for another exposure, in a few milliseconds; lines keep shape and type."""
        return self if exposure_ms == self.exposure_ms else replace(self, exposure_ms=exposure_ms)

    def check(self, frame: NDArray[Any]) -> None:
        """Raise FrameError unless `frame` has the expected shape, and its values fit the expected type exactly."""
        if frame.shape != self.frame_shape:
            raise FrameError(
                f"got a frame of shape {frame.shape}, expected {self.frame_shape} (cross-track, wavelength)"
            )
        if frame.dtype == self.frame_dtype or np.can_cast(frame.dtype, self.frame_dtype, "safe"):
            return
        if frame.dtype.kind not in "iu" or self.frame_dtype.kind not in "iu":
            raise FrameError(
                f"got a frame of {frame.dtype}, expected {self.frame_dtype}: convert it, or set pixel_format"
            )
        limits = np.iinfo(self.frame_dtype)
        if frame.min() < limits.min or frame.max() > limits.max:
            values = f"{frame.dtype} with values from {frame.min()} to {frame.max()}"
            raise FrameError(f"a frame of {values} does not fit into {self.frame_dtype}")

    def apply(self, frame: NDArray[Any], line: NDArray[Any]) -> None:
        """Compute `line`, contiguous, from a checked `frame`. Blocks unless it is warm."""
        if self._work is None:
            copy_pixels(frame if self.is_identity else frame[self.rows], line)
        else:
            self._work.apply(frame, line)
