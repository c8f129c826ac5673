"""What a cube does to its frames: the plan of its level, and openhsi's transforms as methods."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.calibration import Calibration
from openhsi_shared.errors import LevelError
from openhsi_shared.levels import LevelPlan, Transforms
from openhsi_shared.processing_levels import LEVELS
from openhsi_shared.settings import SettingsMapping

__all__ = ["Functions", "Transforming"]

Functions = Sequence[Callable[[NDArray[Any]], NDArray[Any]]]
"""From frame to frame, run one after the other."""


class Transforming:
    """Makes lines of frames, (cross-track, wavelength), as its settings, calibration and level say."""

    processing_lvl: int
    compat: Literal["openhsi"] | None
    custom_tfms: Functions | None
    settings: SettingsMapping
    calibration: Calibration
    _plan: LevelPlan

    def _make_plan(self, frame_shape: tuple[int, int], frame_dtype: np.dtype[Any]) -> None:
        """Make the plan, ready for the first line: compiling may take seconds. LevelError for what it cannot do."""
        settings = self.settings.model
        if LEVELS[self.processing_lvl].makes_radiance and self.custom_tfms is None:
            self._require_exposure(f"processing_lvl={self.processing_lvl}")
        self._plan = LevelPlan(
            level=self.processing_lvl,
            frame_shape=frame_shape,
            frame_dtype=frame_dtype,
            rows=settings.rows_of(frame_shape[0]),
            calibration=self.calibration,
            fwhm_nm=settings.fwhm_nm,
            exposure_ms=settings.exposure_ms,
            luminance=settings.luminance,
            compat=self.compat,
        )
        if self.custom_tfms is not None:  # second, because they may be methods of ours, which ask the plan
            self._plan = dataclasses.replace(self._plan, custom_tfms=self.custom_tfms)
        self._plan.warm()

    def _use_exposure(self) -> None:
        """Let the frames from now on count as taken with the exposure that stands in the settings."""
        self._plan = self._plan.with_exposure(self.settings.model.exposure_ms)

    @property
    def _known_exposure_ms(self) -> float:
        """Of the frames, to wait for them, and to find the middle of it; 0 where nobody knows."""
        return 0.0 if "exposure_ms" in self.settings.not_known else self.settings.model.exposure_ms

    def _require_exposure(self, what: str) -> None:
        """Raise LevelError if radiance would be made with an exposure that is not that of the frames."""
        if "exposure_ms" in self.settings.not_known:
            raise LevelError(
                f"{what} makes radiance, which needs the exposure of the frames, but {type(self).__name__} does not "
                f"tell it: take a level below 4, and make radiance of the saved cube with "
                f"ProcessRawDatacube(..., exposure_ms=...)"
            )

    @property
    def _arithmetic(self) -> str:
        """Whose numbers these are, for the file."""
        return "custom_tfms" if self.custom_tfms is not None else self.compat or "openhsi_shared"

    @property
    def _transforms(self) -> Transforms:
        """Openhsi's transforms, for the frames of the sensor."""
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
        """Make of a frame the line that `put` would save. FrameError if it is none of this camera."""
        frame = np.asarray(x)
        self._plan.check(frame)
        line = np.empty(self._plan.line_shape, self._plan.line_dtype)
        self._plan.apply(frame, line)
        return line

    def crop(self, x: ArrayLike) -> NDArray[Any]:
        """Keep the rows that see the slit."""
        return self._transforms.crop(np.asarray(x))

    def fast_smile(self, x: ArrayLike) -> NDArray[Any]:
        """Take the smile out of a cropped frame."""
        return self._transforms.fast_smile(np.asarray(x))

    def fast_bin(self, x: ArrayLike) -> NDArray[Any]:
        """Sum bands of equally many columns."""
        return self._transforms.fast_bin(np.asarray(x))

    def slow_bin(self, x: ArrayLike) -> NDArray[Any]:
        """Sum bands of equal width in nm."""
        return self._transforms.slow_bin(np.asarray(x))

    def dn2rad(self, x: ArrayLike) -> NDArray[Any]:
        """Turn digital numbers into radiance; at the levels 4 and 6 of pixels that are binned.

        LevelError if the calibration does not serve it, or nobody knows the exposure of the frames.
        """
        self._require_exposure("dn2rad")
        return self._transforms.dn2rad(np.asarray(x))

    def rad2ref_6SV(self, x: ArrayLike) -> NDArray[Any]:  # noqa: N802 - openhsi's name
        """Turn radiance into reflectance."""
        return self._transforms.rad2ref_6SV(np.asarray(x))
