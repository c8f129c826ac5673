"""Processes a cube of any level further: to a higher level, or by the user's functions."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.datacube.transforming import Functions
from openhsi_shared.drivers import Driver
from openhsi_shared.errors import LevelError
from openhsi_shared.files.reading import open_cube
from openhsi_shared.levels import LevelPlan, Transforms, check_functions, is_our_radiance
from openhsi_shared.processing_levels import LEVELS
from openhsi_shared.reprocess.raw import ProcessRawDatacube, path_of

__all__ = ["ProcessDatacube"]

MAX_SHIFT_NM = 1.0
"""Largest difference of the bands of a file from those of the calibration."""


class ProcessDatacube(ProcessRawDatacube):
    """A saved cube of any level, processed further: to a higher level, or by the user's functions."""

    def __init__(
        self,
        fname: str | Path,
        processing_lvl: int | None = None,
        json_path: str | Path | None = None,
        cal_path: str | Path | None = None,
        old_style: bool | None = None,
        *,
        times: ArrayLike | None = None,
        **keywords: Any,
    ) -> None:
        """As `ProcessRawDatacube`. `processing_lvl` is the level of the result; None: that of the file.

        A file of openhsi does not contain its level: it is inferred from units, type, shape and bands, if these are
        unambiguous. If the level stays unknown, give the functions with `load_next_tfms` or `custom_tfms`: without
        them, `collect` raises LevelError. Raises LevelError if the file's level is not an intermediate step to
        `processing_lvl`: then give `custom_tfms`, or start from the raw cube; ArgumentError if `fname` is no path.
        """
        self._lack_of_steps: LevelError | None = None
        wanted, path = processing_lvl, path_of(fname)
        self._level_in_file: int | None = None
        if wanted is None:
            with open_cube(path) as cube:
                wanted = -1 if cube.level is None else cube.level
        self._keeps_level = processing_lvl is None
        super().__init__(path, wanted, json_path, cal_path, old_style, times=times, **keywords)

    def load_next_tfms(self, next_tfms: Functions = ()) -> None:
        """Apply these functions to each line, in this order; `collect` restarts at the first line.

        ArgumentError if one of them is not callable.
        """
        check_functions(next_tfms, "next_tfms")
        self.reinitialise(custom_tfms=list(next_tfms))

    def _check_level(self, processing_lvl: int) -> None:
        self._level_in_file = self.source_level
        self._check_order(processing_lvl)

    def _check_lines(self) -> None:
        if self._level_in_file is None:
            self.source_level = self._infer_level()
            if self._keeps_level and self.processing_lvl == -1 and self.source_level is not None:
                self.processing_lvl = self.source_level
            self._check_order(self.processing_lvl)

    def _check_order(self, processing_lvl: int) -> None:
        if self.source_level is not None and processing_lvl < self.source_level:
            raise LevelError(
                f"processing_lvl={processing_lvl} is below that of {self.source_path}, {self.source_level}: "
                "processing cannot be undone; start from the raw cube"
            )

    def _reported(self, driver: Driver) -> dict[str, Any]:
        """Only the exposure: `resolution` stays that of the sensor, not of the processed lines."""
        return {"exposure_ms": super()._reported(driver)["exposure_ms"]}

    def _make_plan(self, frame_shape: tuple[int, int], frame_dtype: np.dtype[Any]) -> None:
        settings = self.settings.model
        self._sensor_transforms = self._transforms_of(settings.resolution or frame_shape)
        functions, self._lack_of_steps = self.custom_tfms, None
        if functions is None:
            steps = self._steps()
            if "dn2rad" in steps:
                self._require_exposure(f"processing_lvl={self.processing_lvl}")
            functions = [getattr(self._sensor_transforms, name) for name in steps]
        self._check_radiance(functions)
        try:
            self._plan = LevelPlan(
                level=self.processing_lvl,
                frame_shape=frame_shape,
                frame_dtype=frame_dtype,
                rows=slice(0, frame_shape[0]),
                calibration=self.calibration,
                fwhm_nm=settings.fwhm_nm,
                exposure_ms=settings.exposure_ms,
                luminance=settings.luminance,
                compat=self.compat if self.custom_tfms is None else None,
                custom_tfms=functions,
            )
        except LevelError as error:
            if self.custom_tfms is not None or error.__cause__ is None:
                raise
            raise LevelError(
                f"{self.source_path} holds {self._describe_lines()} of level {self.source_level}, which do not fit "
                f"settings and calibration for level {self.processing_lvl} ({error.__cause__}): give those of the "
                f"recording, or give the functions with custom_tfms or load_next_tfms"
            ) from error.__cause__

    def _check_radiance(self, functions: Functions) -> None:
        """LevelError if the first function needs radiance in the units and the bands of the calibration, and it is not.

        The radiance of a white target has no labels: it is applied band by band, in the calibration's order.
        """
        if not functions or getattr(next(iter(functions)), "__name__", "") != "rad2ref_6SV":
            return
        way = "convert it by a function before rad2ref_6SV in load_next_tfms, or start from the raw cube"
        if not is_our_radiance(self._source_units):
            raise LevelError(
                f"{self.source_path} holds radiance in {self._source_units!r}, expected uW/cm^2/sr/nm: {way}"
            )
        found, expected = self._source_wavelengths, self._sensor_transforms.band_wavelengths_nm
        if found is None or expected is None:
            return
        n, n_expected = len(found), len(expected)
        if n != n_expected or np.abs(found - expected).max() > MAX_SHIFT_NM:
            bands = f"{n} bands from {found[0]:.1f} to {found[-1]:.1f} nm"
            raise LevelError(
                f"{self.source_path} holds {bands}, which are not those of the calibration, {n_expected} from "
                f"{expected[0]:.1f} to {expected[-1]:.1f} nm: {way}"
            )

    def _steps(self) -> tuple[str, ...]:
        """Processing steps of lines without `custom_tfms`."""
        if self.source_level is not None:
            return self._steps_between(self.source_level, self.processing_lvl)
        if not self._is_unchanged:
            self._lack_of_steps = LevelError(
                f"the processing level of {self.source_path} is unknown, so level {self.processing_lvl} cannot be "
                f"computed from its {self._describe_lines()}: give the functions with load_next_tfms or custom_tfms, "
                f"such as load_next_tfms([cube.rad2ref_6SV]), or start from the raw cube"
            )
        return ()

    def take_line(self) -> bool:
        """As a camera. LevelError if the steps to `processing_lvl` are unknown."""
        if self._lack_of_steps is not None:
            raise self._lack_of_steps
        return super().take_line()

    def pipeline(self, x: ArrayLike) -> NDArray[Any]:
        """As a camera, of a frame. LevelError if the steps to `processing_lvl` are unknown."""
        if self._lack_of_steps is not None:
            raise self._lack_of_steps
        return super().pipeline(x)

    @property
    def _is_unchanged(self) -> bool:
        """Whether lines of an unknown level stay unchanged."""
        return self.source_level is None and self._keeps_level and self.processing_lvl == -1

    @property
    def _arithmetic(self) -> str:
        """`custom_tfms` for unchanged lines of an unknown level, and for functions that do not complete the level."""
        if self.custom_tfms is not None and self._complete_the_level(self.custom_tfms):
            return self.compat or "openhsi_shared"
        return "custom_tfms" if self._is_unchanged else super()._arithmetic

    def _complete_the_level(self, functions: Functions) -> bool:
        """Whether functions are methods of this object, and the steps from the level of the source to that wanted."""
        names = tuple(
            getattr(function, "__name__", "") for function in functions if getattr(function, "__self__", None) is self
        )
        steps = LEVELS[self.processing_lvl].steps
        if not names or len(names) != len(functions) or steps[-len(names) :] != names:
            return False
        before = steps[: -len(names)]
        if self.source_level is not None:
            return LEVELS[self.source_level].steps == before
        return self._source_quantity == "radiance" and "dn2rad" in before and "rad2ref_6SV" not in before

    def _steps_between(self, before: int, after: int) -> tuple[str, ...]:
        done, wanted = LEVELS[before].steps, LEVELS[after].steps
        remaining = wanted[len(done) :]
        level = LEVELS[after]
        radiance_is_binned = level.makes_radiance and not level.calibrates_bands and level.binning in remaining
        if wanted[: len(done)] != done or (radiance_is_binned and self.compat is None):
            way = "use ProcessRawDatacube" if before == -1 else "start from the raw cube"
            raise LevelError(
                f"level {after} cannot be computed from lines of level {before} ({self.source_path}): "
                f"{way}, or give the functions with custom_tfms or load_next_tfms"
            )
        return remaining

    @property
    def _transforms(self) -> Transforms:
        return self._sensor_transforms

    def _wavelengths(self) -> NDArray[Any] | None:
        """Those of the file if the number of bands is unchanged."""
        n_bands, found = self._plan.line_shape[1], self._source_wavelengths
        if found is not None and len(found) == n_bands:
            return found
        if self._lack_of_steps is not None:
            return None
        if LEVELS[self.processing_lvl].binning is None:
            return self._plan.wavelengths_nm
        labels = self._sensor_transforms.band_wavelengths_nm
        return labels if labels is not None and len(labels) == n_bands else None
