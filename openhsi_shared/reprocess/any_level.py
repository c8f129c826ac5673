"""Processes a cube of any level further: to a higher level, or by the user's functions."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.drivers import Driver
from openhsi_shared.errors import LevelError
from openhsi_shared.files.reading import open_cube
from openhsi_shared.levels import Functions, Transforms, check_functions
from openhsi_shared.processing_levels import LEVELS
from openhsi_shared.reprocess.raw import ProcessRawDatacube, path_of

__all__ = ["ProcessDatacube"]


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
        self._source.check_order(processing_lvl)

    def _check_lines(self) -> None:
        if self._source.level_in_file is None:
            self.source_level = self._source.level
            if self._keeps_level and self.processing_lvl == -1 and self.source_level is not None:
                self.processing_lvl = self.source_level
            self._source.check_order(self.processing_lvl)

    def _reported(self, driver: Driver) -> dict[str, Any]:
        """Only the exposure: `resolution` stays that of the sensor, not of the processed lines."""
        return {"exposure_ms": super()._reported(driver)["exposure_ms"]}

    def _make_plan(self, frame_shape: tuple[int, int], frame_dtype: np.dtype[Any]) -> None:
        del frame_dtype
        source = self._recorded.with_settings(self.settings.model, self.calibration)
        shape = self.settings.model.resolution or frame_shape
        self._source, rows = source, self._rows_of(shape[0])
        self._sensor_transforms = source.transforms(self.processing_lvl, self.compat, rows)
        functions, self._lack_of_steps = self.custom_tfms, None
        if functions is None:
            steps = self._steps()
            if "dn2rad" in steps:
                self._require_exposure(f"processing_lvl={self.processing_lvl}")
            functions = [getattr(self._sensor_transforms, name) for name in steps]
        if functions and getattr(next(iter(functions)), "__name__", "") == "rad2ref_6SV":
            source.check_radiance(self._sensor_transforms)
        if self.custom_tfms is None:
            self._plan = source.plan_of(functions, self.processing_lvl, self.compat)
        else:
            self._plan = source.plan_by(functions, self.processing_lvl)

    def _steps(self) -> tuple[str, ...]:
        """Processing steps of lines without `custom_tfms`."""
        if self._is_unchanged:
            return ()
        try:
            return self._source.steps_to(self.processing_lvl, self.compat)
        except LevelError as error:
            if self._source.level is not None:
                raise
            self._lack_of_steps = error
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
        return self._source.quantity == "radiance" and "dn2rad" in before and "rad2ref_6SV" not in before

    @property
    def _transforms(self) -> Transforms:
        return self._sensor_transforms

    def _wavelengths(self) -> NDArray[Any] | None:
        """Those of the file if the number of bands is unchanged."""
        return None if self._lack_of_steps is not None else self._source.wavelengths_after(self._plan)
