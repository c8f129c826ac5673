"""Processes a raw cube to a level.

The result keeps the columns of the lines (times, temperatures, frame ids, the camera's clock) and the user's metadata,
and names its source cube. If all lines are processed it also keeps groups and extra columns, except those along an axis
with a different size in the result. What is left out is logged, and named in `source_groups_left_out`.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.datacube.driver_camera import DriverCamera
from openhsi_shared.drivers import Driver
from openhsi_shared.drivers.recorded import RecordedDriver, require_times, times_given_for
from openhsi_shared.errors import ArgumentError, LevelError
from openhsi_shared.files.reading import OpenCube, open_cube
from openhsi_shared.levels import Transforms, quantity_of, recognise_level
from openhsi_shared.loggers import safe_logger
from openhsi_shared.paths import given_path
from openhsi_shared.settings import CameraSettings
from openhsi_shared.writer.handle import SaveHandle
from openhsi_shared.writer.save_request import SaveRequest

__all__ = ["ProcessRawDatacube", "path_of"]

logger = safe_logger(__name__)

RECORDING_ATTRIBUTES = (
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
    "clock_step_before_ns",
    "clock_suspended_before_ns",
    "clock_step_ns",
    "clock_suspended_ns",
    "time_overlap_ns",
    "unchecked_directories",
    "host_clock",
    "host_clock_max_error_s",
    "calibration_sha256",
    "recovered",
    "ended_by",
    "date_created",
)
"""Attributes of the source that the result contains with the prefix `source_`."""
REPLACED_ATTRIBUTES = {
    *RECORDING_ATTRIBUTES,
    *("Conventions", "format", "format_version", "format_reads_from", "id", "n_lines", "processing_level", "history"),
    *("time_coverage_start", "time_coverage_end", "durability", "complete", "settings", "exposure_ms", "camera_id"),
}
"""Attributes of a source file that are not copied: the result has its own values."""


def path_of(fname: str | os.PathLike[str]) -> Path:
    """The path of a cube. ArgumentError for an argument that is not a path."""
    if not isinstance(fname, str | os.PathLike) or not str(fname):
        raise ArgumentError(f"fname must be the path of a saved cube, got {fname!r}")
    path = given_path(fname, "fname")
    if path.is_dir():
        raise ArgumentError(f"{path} is a folder: process one cube at a time, or replay it with SharedReplayCamera")
    return path


def _numbers_of_bands(cube: OpenCube) -> NDArray[np.float64] | None:
    """What labels the bands without a unit: where it agrees with the calibration, it shows which bands they are."""
    if not cube.contents.has("wavelength"):
        return None
    values = cube.column("wavelength")
    return values.astype(np.float64) if values.dtype.kind in "iuf" else None


class ProcessRawDatacube(DriverCamera):
    """A saved cube of raw frames (level -1), of this library or of openhsi, as a camera that records another level.

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
        *,
        times: ArrayLike | None = None,
        **keywords: Any,
    ) -> None:
        """Open the file, and create a slot for all its lines and one more.

        Without `json_path` the settings are those in the file, if this library wrote it. The exposure is always that of
        the file, if it contains one. `old_style` is for compatibility with openhsi and ignored: axes are found by name.
        `times` are the UTC times of the lines (datetime64, or ns since 1970), in place of those of the file. "unknown",
        or none in either: those of the result are missing, and its name says so.
        `keywords` are those of every camera; `n_lines` is the length of the cube unless it is given. Raises FileError,
        LevelError for a cube that is not raw, ArgumentError for an invalid path, and what a camera raises.
        """
        del old_style
        path = path_of(fname)
        with open_cube(path) as cube:
            cube.check_not_empty()
            self.source_path, self.source_level = path, cube.level
            self._groups_from = str(path.absolute())
            self._source_attributes: dict[str, Any] = dict(cube.attributes)
            self._source_has_own_format = cube.is_ours
            self._source_wavelengths = cube.wavelengths_nm
            self._source_labels = cube.wavelengths_nm if cube.wavelengths_nm is not None else _numbers_of_bands(cube)
            self._source_dtype, self._source_shape = cube.lines.dtype, (cube.lines.shape[1], cube.lines.shape[2])
            self._given_times = None if times is None else times_given_for(cube, times)
            if times is None:
                require_times(cube)
            labels = {} if cube.is_ours else cube.contents.attributes("datacube")
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
                f"{self.source_path} holds {self._describe_lines()}, not raw frames (whole numbers of a sensor): "
                "process them further with ProcessDatacube"
            )

    def _describe_lines(self) -> str:
        rows, bands = self._source_shape
        units = f" in {self._source_units!r}" if self._source_units else ""
        return f"lines of {rows} x {bands} {self._source_dtype}{units}"

    def _recorded_settings(self) -> dict[str, Any]:
        """Settings of the recording that differ from the defaults; none for a file of openhsi."""
        if not self._source_has_own_format:
            return {}
        recorded = json.loads(self._source_attributes.get("settings", "{}"))
        defaults = CameraSettings().model_dump(mode="json")
        return {
            name: value for name, value in recorded.items() if name in defaults and value not in (None, defaults[name])
        }

    # ---- as a camera ----

    def _driver_class(self) -> Callable[..., Driver]:
        return RecordedDriver

    def _open_source(self, options: Mapping[str, Any]) -> tuple[tuple[int, int], np.dtype[Any]]:
        requested_ms = self.settings.model.exposure_ms
        self._check_lines()
        found = super()._open_source(options)
        self._watch = None  # each line has its recorded temperature
        if "exposure_ms" in self.settings.model.model_fields_set and self.settings.model.exposure_ms != requested_ms:
            logger.info(
                "%s was recorded with exposure_ms=%s: this value is used",
                self.source_path,
                self.settings.model.exposure_ms,
            )
        return found

    def _check_lines(self) -> None:
        """LevelError if lines of a file without a level are not full frames of the configured sensor."""
        if self.source_level is None and self._infer_level() in (0, 1):
            raise LevelError(
                f"{self.source_path} holds {self._describe_lines()}, which by the settings are of level "
                f"{self._infer_level()}, not raw frames of {self.settings.model.resolution}: process them further with "
                f"ProcessDatacube, or correct resolution and row_slice"
            )

    def _infer_level(self) -> int | None:
        """The level of a file without a level, inferred from its lines."""
        return recognise_level(
            self._source_quantity,
            self._source_dtype,
            self._source_shape,
            self._source_labels,
            self.settings.model.resolution,
            self._transforms_of(self.settings.model.resolution or self._source_shape),
        )

    def _transforms_of(self, sensor_shape: tuple[int, int]) -> Transforms:
        """Openhsi's transforms for frames of a sensor. SettingsError if row_slice is out of range."""
        settings = self.settings.model
        return Transforms(
            self.processing_lvl,
            sensor_shape,
            settings.dtype_in,
            self._rows_of(sensor_shape[0]),
            self.calibration,
            settings.fwhm_nm,
            settings.exposure_ms,
            settings.luminance,
            is_compat=self.compat is not None,
        )

    def _frame_source(self) -> Driver:
        driver = self.driver
        if isinstance(driver, RecordedDriver):
            driver.anchor = self._engine.filler.clock.anchor
            driver.times_ns = driver.times_ns if self._given_times is None else self._given_times
            self._engine.filler.times_are_recorded = True
        return driver

    def _temperature(self) -> float:
        return self.get_temp() if self._driver is not None else float("nan")

    def _wavelengths(self) -> NDArray[Any] | None:
        """Wavelengths of the level, or those of the file if the bands are unchanged."""
        made, found = self._plan.wavelengths_nm, self._source_wavelengths
        if made is None and found is not None and len(found) == self._plan.line_shape[1]:
            return found
        return made

    # ---- attributes of the result ----

    def _source_metadata(self) -> Mapping[str, Any]:
        dropped = REPLACED_ATTRIBUTES if self._source_has_own_format else set()
        return {
            name: value
            for name, value in self._source_attributes.items()
            if name not in dropped and not name.startswith("source_")
        }

    def save_with(self, attributes: Mapping[str, Any], request: SaveRequest) -> SaveHandle:
        """`save`, with attributes that identify the source cube."""
        found = self._source_attributes if self._source_has_own_format else {}
        source = {f"source_{name}": found[name] for name in RECORDING_ATTRIBUTES if name in found}
        return super().save_with({**source, "source_file": self.source_path.name, **attributes}, request)
