"""Saved cubes, processed again: as if their lines came from the camera, with the times they were recorded at.

    with ProcessRawDatacube("2026_11_20/2026_11_20-10_00_00_000000.nc", processing_lvl=4, cal_path="cal.nc") as cube:
        cube.collect()                                   # every line of the file, through the level
        cube.save("radiance").result()

The result keeps what belongs to the lines (times, temperatures, frame ids, the camera's clock) and what the user said
of the cube, and tells from which cube it was made; of the whole cube also its groups and extra columns, if they lie on
no axis that has another size now. What is left out is logged, and named in `source_groups_left_out`.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.times import Anchor
from openhsi_shared.datacube.driver_camera import DriverCamera
from openhsi_shared.datacube.transforming import Functions
from openhsi_shared.drivers import Driver, FrameStamp
from openhsi_shared.drivers.replay import ReplayDriver
from openhsi_shared.errors import ArgumentError, LevelError
from openhsi_shared.files.reading import open_cube
from openhsi_shared.levels import LevelPlan, Transforms, check_functions, quantity_of, recognise_level
from openhsi_shared.processing_levels import LEVELS
from openhsi_shared.settings import CameraSettings
from openhsi_shared.writer.handle import SaveHandle
from openhsi_shared.writer.save_request import SaveRequest

__all__ = ["ProcessDatacube", "ProcessRawDatacube"]

logger = logging.getLogger(__name__)

OF_THE_RECORDING = (
    "uuid",
    "level",
    "level_arithmetic",
    "run_id",
    "camera",
    "cube_number",
    "lines_lost",
    "lines_lost_before",
    "lines_lost_within",
    "lost_frame_ids",
    "lines_overwritten",
    "clock_anchor_wall_ns",
    "clock_anchor_monotonic_ns",
    "clock_step_ns",
    "calibration_sha256",
    "recovered",
    "ended_by",
    "date_created",
)
"""Attributes that are told of the result with `source_` before their names."""
MADE_ANEW = {
    *OF_THE_RECORDING,
    *("Conventions", "format", "format_version", "format_reads_from", "id", "n_lines", "processing_level", "history"),
    *("time_coverage_start", "time_coverage_end", "durability", "complete", "settings", "exposure_ms", "camera_id"),
}
"""Attributes of a file of ours that the result has of its own."""


class _AsRecorded(ReplayDriver):
    """Replays a file, each line with the times and the temperature that it was recorded with."""

    anchor = Anchor(0, 0)
    """Of the clock that turns the monotonic times of lines into UTC."""
    carries_groups = True
    _number = -1

    def open(self) -> None:
        """Look at the file."""
        super().open()
        with open_cube(self._path) as cube:
            self._times, self._temperatures = cube.times_ns, cube.temperatures
            has_camera_times = "camera_time_ns" in cube.dataset
            self._camera_times = cube.column("camera_time_ns") if has_camera_times else None

    def read_into(self, out: NDArray[Any], timeout_s: float) -> FrameStamp:
        """Copy the next line into `out`; never waits. SourceEnded behind the last one."""
        stamp = super().read_into(out, timeout_s)
        self._number = number = self._number + 1
        camera_ns = -1 if self._camera_times is None else int(self._camera_times[number])
        at = None if self._times is None else int(self._times[number])
        monotonic_ns = None if at is None else at - self.anchor.wall_ns + self.anchor.monotonic_ns
        return FrameStamp(stamp.frame_id, monotonic_ns, None if camera_ns == -1 else camera_ns, stamp.status)

    def temperature_celsius(self) -> float:
        """The recorded temperature of the line that was read last."""
        known = self._temperatures is not None and self._number >= 0
        return float(self._temperatures[self._number]) if known else float("nan")  # type: ignore[index]


def _path_of(fname: str | os.PathLike[str]) -> Path:
    """The path of a cube. ArgumentError for what is none."""
    if not isinstance(fname, str | os.PathLike) or not str(fname):
        raise ArgumentError(f"fname must be the path of a saved cube, got {fname!r}")
    path = Path(fname)
    if path.is_dir():
        raise ArgumentError(f"{path} is a folder: process one cube at a time, or replay it with SharedReplayCamera")
    return path


class ProcessRawDatacube(DriverCamera):
    """A saved cube of raw frames (level -1), of ours or of openhsi's, as a camera that is asked for another level.

    `get_img`, `collect`, `save` and all else are those of a camera; `collect` takes the whole cube.
    """

    driver_name = "replay"

    def __init__(
        self,
        fname: str | Path,
        processing_lvl: int = -1,
        json_path: str | Path | None = None,
        cal_path: str | Path | None = None,
        old_style: bool | None = None,
        **keywords: Any,
    ) -> None:
        """Open the file, and make one slot for all its lines and one more.

        Without `json_path` the settings are those that a file of ours was recorded with. The exposure is always that of
        the file, if it tells one. `old_style` is openhsi's, and not needed: axes are known by their names. `keywords`
        are those of every camera; `n_lines` is the length of the cube unless it is given. Raises FileError,
        LevelError for a cube that is not raw, ArgumentError for what is no path of a file, and what a camera raises.
        """
        del old_style
        path = _path_of(fname)
        with open_cube(path) as cube:
            self.source_path, self.source_level = path, cube.level
            self._groups_from = str(path.absolute())
            self._source_attributes: dict[str, Any] = dict(cube.attributes)
            self._source_is_ours = cube.is_ours
            self._source_wavelengths = cube.wavelengths_nm
            self._source_dtype, self._source_shape = cube.lines.dtype, (cube.lines.shape[1], cube.lines.shape[2])
            labels = {} if cube.is_ours else cube.dataset["datacube"].attrs
            self._source_quantity, self._source_units = quantity_of(labels), str(labels.get("units", ""))
            n_lines = len(cube.lines)
        self._check_level(processing_lvl)
        if json_path is None:
            keywords = self._recorded_settings() | keywords
        keywords = {"n_lines": n_lines} | keywords | {"path": path, "rate": None}
        super().__init__(processing_lvl=processing_lvl, json_path=json_path, cal_path=cal_path, **keywords)

    def _check_level(self, processing_lvl: int) -> None:
        del processing_lvl
        if self.source_level not in (None, -1):
            raise LevelError(
                f"{self.source_path} holds lines of level {self.source_level}, not raw frames (level -1): "
                "process them further with ProcessDatacube"
            )
        if self._source_dtype.kind == "f" or self._source_quantity != "counts":
            raise LevelError(
                f"{self.source_path} holds {self._lines_in_words()}, not raw frames (whole numbers of a sensor): "
                "process them further with ProcessDatacube"
            )

    def _lines_in_words(self) -> str:
        rows, bands = self._source_shape
        units = f" in {self._source_units!r}" if self._source_units else ""
        return f"lines of {rows} x {bands} {self._source_dtype}{units}"

    def _recorded_settings(self) -> dict[str, Any]:
        """Settings of the recording that were more than defaults; of a file of openhsi's none are known."""
        if not self._source_is_ours:
            return {}
        told = json.loads(self._source_attributes.get("settings", "{}"))
        usual = CameraSettings().model_dump(mode="json")
        return {name: value for name, value in told.items() if name in usual and value not in (None, usual[name])}

    # ---- as a camera ----

    def _driver_class(self) -> Callable[..., Driver]:
        return _AsRecorded

    def _open_source(self, options: Mapping[str, Any]) -> tuple[tuple[int, int], np.dtype[Any]]:
        wanted_ms = self.settings.model.exposure_ms
        self._look_at_lines()
        found = super()._open_source(options)
        self._watch = None  # each line has a temperature of its own
        if "exposure_ms" in self.settings.model.model_fields_set and self.settings.model.exposure_ms != wanted_ms:
            logger.info(
                "%s was recorded with exposure_ms=%s: that is used", self.source_path, self.settings.model.exposure_ms
            )
        return found

    def _look_at_lines(self) -> None:
        """LevelError if a file that does not tell its level holds what the settings say are no whole frames."""
        if self.source_level is None and self._recognised() in (0, 1):
            raise LevelError(
                f"{self.source_path} holds {self._lines_in_words()}, which the settings say are of level "
                f"{self._recognised()}, not raw frames of {self.settings.model.resolution}: process them further with "
                f"ProcessDatacube, or mend resolution and row_slice"
            )

    def _recognised(self) -> int | None:
        """The level of a file that does not tell it."""
        return recognise_level(
            self._source_quantity,
            self._source_dtype,
            self._source_shape,
            self._source_wavelengths,
            self.settings.model.resolution,
            self._transforms_of(self.settings.model.resolution or self._source_shape),
        )

    def _transforms_of(self, sensor_shape: tuple[int, int]) -> Transforms:
        """Openhsi's transforms for frames of a sensor. SettingsError if row_slice lies outside."""
        settings = self.settings.model
        return Transforms(
            self.processing_lvl,
            sensor_shape,
            settings.dtype_in,
            settings.rows_of(sensor_shape[0]),
            self.calibration,
            settings.fwhm_nm,
            settings.exposure_ms,
            settings.luminance,
            is_compat=self.compat is not None,
        )

    def _frame_source(self) -> Driver:
        driver = self.driver
        if isinstance(driver, _AsRecorded):
            driver.anchor = self._engine.filler.clock.anchor
            self._engine.filler.times_are_recorded = True
        return driver

    def _temperature(self) -> float:
        return self.get_temp() if self._driver is not None else float("nan")

    def _wavelengths(self) -> NDArray[Any] | None:
        """Of the level, or those of the file where no band was made of others."""
        made, found = self._plan.wavelengths_nm, self._source_wavelengths
        if made is None and found is not None and len(found) == self._plan.line_shape[1]:
            return found
        return made

    # ---- what the result tells ----

    def _source_metadata(self) -> Mapping[str, Any]:
        dropped = MADE_ANEW if self._source_is_ours else set()
        return {
            name: value
            for name, value in self._source_attributes.items()
            if name not in dropped and not name.startswith("source_")
        }

    def save_with(self, attributes: Mapping[str, Any], request: SaveRequest) -> SaveHandle:
        """`save`, which tells from which cube this one was made."""
        found = self._source_attributes if self._source_is_ours else {}
        told = {f"source_{name}": found[name] for name in OF_THE_RECORDING if name in found}
        return super().save_with({**told, "source_file": self.source_path.name, **attributes}, request)


class ProcessDatacube(ProcessRawDatacube):
    """A saved cube of any level, processed further: to a higher level, or by functions of yours."""

    def __init__(
        self,
        fname: str | Path,
        processing_lvl: int | None = None,
        json_path: str | Path | None = None,
        cal_path: str | Path | None = None,
        old_style: bool | None = None,
        **keywords: Any,
    ) -> None:
        """As `ProcessRawDatacube`. `processing_lvl` is the level of the result; None: that of the file.

        A file of openhsi does not tell its level: it is concluded from units, type, shape and bands, where these leave
        no doubt. Raises LevelError where the file's level is not known, or is no step on the way to `processing_lvl`:
        then say with `load_next_tfms`, or `custom_tfms`, what is to be done, or begin with the raw cube.
        """
        wanted, path = processing_lvl, _path_of(fname)
        self._told_level: int | None = None
        if wanted is None:
            with open_cube(path) as cube:
                wanted = -1 if cube.level is None else cube.level
        self._keeps_level = processing_lvl is None
        super().__init__(path, wanted, json_path, cal_path, old_style, **keywords)

    def load_next_tfms(self, next_tfms: Functions = ()) -> None:
        """Let these functions, from line to line, be run one after the other; `collect` begins with the first line."""
        check_functions(next_tfms, "next_tfms")
        self.reinitialise(custom_tfms=list(next_tfms))

    def _check_level(self, processing_lvl: int) -> None:
        self._told_level = self.source_level
        self._check_order(processing_lvl)

    def _look_at_lines(self) -> None:
        if self._told_level is None:
            self.source_level = self._recognised()
            if self._keeps_level and self.processing_lvl == -1 and self.source_level is not None:
                self.processing_lvl = self.source_level
            self._check_order(self.processing_lvl)

    def _check_order(self, processing_lvl: int) -> None:
        if self.source_level is not None and processing_lvl < self.source_level:
            raise LevelError(
                f"processing_lvl={processing_lvl} is below that of {self.source_path}, {self.source_level}: "
                "what was done to lines cannot be undone; begin with the raw cube"
            )

    def _reported(self, driver: Driver) -> dict[str, Any]:
        """Only the exposure: `resolution` stays that of the sensor, of which the lines are what was left."""
        return {"exposure_ms": super()._reported(driver)["exposure_ms"]}

    def _make_plan(self, frame_shape: tuple[int, int], frame_dtype: np.dtype[Any]) -> None:
        settings = self.settings.model
        self._of_sensor = self._transforms_of(settings.resolution or frame_shape)
        functions = self.custom_tfms
        if functions is None:
            steps = self._steps()
            if "dn2rad" in steps:
                self._require_exposure(f"processing_lvl={self.processing_lvl}")
            functions = [getattr(self._of_sensor, name) for name in steps]
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
                custom_tfms=functions,
            )
        except LevelError as error:
            if self.custom_tfms is not None or error.__cause__ is None:
                raise
            raise LevelError(
                f"{self.source_path} holds {self._lines_in_words()} of level {self.source_level}, which do not fit "
                f"settings and calibration on the way to level {self.processing_lvl} ({error.__cause__}): give those "
                f"that they were recorded with, or say what is to be done with custom_tfms or load_next_tfms"
            ) from error.__cause__

    def _steps(self) -> tuple[str, ...]:
        """What is done to lines without `custom_tfms`."""
        if self.source_level is not None:
            return self._steps_between(self.source_level, self.processing_lvl)
        if self._is_unchanged:
            return ()
        raise LevelError(
            f"{self.source_path} does not tell what was done to its {self._lines_in_words()}, so that nobody knows how "
            f"to make level {self.processing_lvl} of them: leave processing_lvl out and say what is to be done with "
            f"custom_tfms or load_next_tfms, or begin with the raw cube"
        )

    @property
    def _is_unchanged(self) -> bool:
        """Whether lines of a level that nobody knows stay what they are."""
        return self.source_level is None and self._keeps_level and self.processing_lvl == -1

    @property
    def _arithmetic(self) -> str:
        """Of lines that nobody knows, not ours."""
        return "custom_tfms" if self._is_unchanged else super()._arithmetic

    def _steps_between(self, before: int, after: int) -> tuple[str, ...]:
        done, wanted = LEVELS[before].steps, LEVELS[after].steps
        rest = wanted[len(done) :]
        level = LEVELS[after]
        radiance_is_binned = level.makes_radiance and not level.calibrates_bands and level.binning in rest
        if wanted[: len(done)] != done or (radiance_is_binned and self.compat is None):
            way = "give it to ProcessRawDatacube" if before == -1 else "begin with the raw cube"
            raise LevelError(
                f"level {after} cannot be made of lines of level {before} ({self.source_path}) from step to step: "
                f"{way}, or say what is to be done with custom_tfms or load_next_tfms"
            )
        return rest

    @property
    def _transforms(self) -> Transforms:
        return self._of_sensor

    def _wavelengths(self) -> NDArray[Any] | None:
        """Those of the file, as long as there are as many bands."""
        n_bands, found = self._plan.line_shape[1], self._source_wavelengths
        if found is not None and len(found) == n_bands:
            return found
        if LEVELS[self.processing_lvl].binning is None:
            return self._plan.wavelengths_nm
        labels = self._of_sensor.band_wavelengths_nm
        return labels if labels is not None and len(labels) == n_bands else None
