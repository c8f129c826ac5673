"""Transforming frames to lines: the plan of the processing level, and openhsi's transforms as methods."""

import dataclasses
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.calibration import Calibration
from openhsi_shared.errors import LevelError, SettingsError
from openhsi_shared.levels import Functions, LevelPlan, Transforms
from openhsi_shared.loggers import safe_logger
from openhsi_shared.masked import unmasked
from openhsi_shared.processing_levels import LEVELS
from openhsi_shared.settings import SettingsMapping

__all__ = ["Transforming", "crops"]

logger = safe_logger(__name__)


def crops(level: int, custom_tfms: Functions | None) -> bool:
    """Whether the rows of `row_slice` are used, or may be by functions of the user."""
    return custom_tfms is not None or "crop" in LEVELS[level].steps


class Transforming:
    """Transforms frames to lines, (cross-track, wavelength), by settings, calibration and processing level."""

    processing_lvl: int
    """Level of the lines, -1 to 8."""
    compat: Literal["openhsi"] | None
    """Whether levels are computed exactly as by openhsi."""
    custom_tfms: Functions | None
    """Functions from frame to frame that are used instead of the level."""
    settings: SettingsMapping
    """The settings, to be read and, where the camera allows it, to be changed."""
    calibration: Calibration
    """The calibration; empty without a file."""
    _plan: LevelPlan

    def _make_plan(self, frame_shape: tuple[int, int], frame_dtype: np.dtype[Any]) -> None:
        """Make and warm up the plan: compiling may take seconds. LevelError if the level is not possible."""
        settings = self.settings.model
        if LEVELS[self.processing_lvl].makes_radiance and self.custom_tfms is None:
            self._require_exposure(f"processing_lvl={self.processing_lvl}")
        self._plan = LevelPlan(
            level=self.processing_lvl,
            frame_shape=frame_shape,
            frame_dtype=frame_dtype,
            rows=self._rows_of(frame_shape[0]),
            calibration=self.calibration,
            fwhm_nm=settings.fwhm_nm,
            exposure_ms=settings.exposure_ms,
            luminance=settings.luminance,
            compat=self.compat,
        )
        if self.custom_tfms is not None:  # second, because they may be methods of this object, which use the plan
            self._plan = dataclasses.replace(self._plan, custom_tfms=self.custom_tfms)
        self._plan.warm()

    def _rows_of(self, n_rows: int) -> slice:
        """Rows of `row_slice` in frames of `n_rows`. SettingsError if they are outside, and the level crops frames."""
        settings = self.settings.model
        try:
            return settings.rows_of(n_rows)
        except SettingsError as error:
            if crops(self.processing_lvl, self.custom_tfms):
                raise
            logger.warning("%s; level %d crops nothing, and does not use it", error, self.processing_lvl)
        first, end = settings.row_slice or (0, -1)
        return slice(first, max(first + 1, n_rows) if end == -1 else end)

    def _use_exposure(self) -> None:
        """Rebuild the plan for the current exposure."""
        self._plan = self._plan.with_exposure(self.settings.model.exposure_ms)

    @property
    def _known_exposure_ms(self) -> float:
        """Exposure of the frames, for timeouts and mid-exposure times; 0 if unknown."""
        return 0.0 if "exposure_ms" in self.settings.not_known else self.settings.model.exposure_ms

    def _require_exposure(self, what: str) -> None:
        """Raise LevelError if radiance is requested and the exposure of the frames is unknown."""
        if "exposure_ms" in self.settings.not_known:
            raise LevelError(
                f"{what} computes radiance, which needs the exposure of the frames, but {type(self).__name__} does not "
                f"report it: use a level below 4, and compute radiance of the saved cube with "
                f"ProcessRawDatacube(..., exposure_ms=...)"
            )

    @property
    def _arithmetic(self) -> str:
        """Which arithmetic computes the level, for the file."""
        return "custom_tfms" if self.custom_tfms is not None else self.compat or "openhsi_shared"

    @property
    def _transforms(self) -> Transforms:
        """Openhsi's transforms for the frames of the sensor."""
        return self._plan.transforms

    @property
    def dtype_in(self) -> np.dtype[Any]:
        """Type of the frames that come in."""
        return self._plan.frame_dtype

    @property
    def dtype_out(self) -> np.dtype[Any]:
        """Type of the lines that are saved."""
        return self._plan.line_dtype

    def pipeline(self, x: ArrayLike) -> NDArray[Any]:
        """Compute the line that `put` would save of a frame. FrameError if the frame does not fit this camera."""
        frame = unmasked(x)
        self._plan.check(frame)
        line = np.empty(self._plan.line_shape, self._plan.line_dtype)
        self._plan.apply(frame, line)
        return line

    def crop(self, x: ArrayLike) -> NDArray[Any]:
        """Keep the rows of the slit image of a frame."""
        return self._transforms.crop(np.asarray(x))

    def fast_smile(self, x: ArrayLike) -> NDArray[Any]:
        """Correct the smile of a cropped frame."""
        return self._transforms.fast_smile(np.asarray(x))

    def fast_bin(self, x: ArrayLike) -> NDArray[Any]:
        """Sum columns of a frame to bands with an equal number of columns."""
        return self._transforms.fast_bin(np.asarray(x))

    def slow_bin(self, x: ArrayLike) -> NDArray[Any]:
        """Sum columns of a frame to bands of equal width in nm."""
        return self._transforms.slow_bin(np.asarray(x))

    def dn2rad(self, x: ArrayLike) -> NDArray[Any]:
        """Convert the digital numbers of a frame to radiance; at levels 4 and 6 for binned pixels.

        LevelError if the calibration is insufficient, or the exposure of the frames is unknown.
        """
        self._require_exposure("dn2rad")
        return self._transforms.dn2rad(np.asarray(x))

    def rad2ref_6SV(self, x: ArrayLike) -> NDArray[Any]:  # noqa: N802 - openhsi's name
        """Convert the radiance of a frame to reflectance."""
        return self._transforms.rad2ref_6SV(np.asarray(x))
