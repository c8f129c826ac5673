"""Processes a raw cube to a level.

The result keeps the columns of the lines (times, temperatures, frame ids, the camera's clock) and the user's metadata,
and names its source cube. If all lines are processed it also keeps groups and extra columns, except those along an axis
with a different size in the result. What is left out is logged, and named in `source_groups_left_out`.
"""

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
from openhsi_shared.files.source_attributes import kept_attributes, source_attributes
from openhsi_shared.files.source_cube import SourceCube
from openhsi_shared.loggers import safe_logger
from openhsi_shared.paths import given_path
from openhsi_shared.settings import CameraSettings
from openhsi_shared.writer.handle import SaveHandle
from openhsi_shared.writer.save_request import SaveRequest

__all__ = ["ProcessRawDatacube", "path_of"]

logger = safe_logger(__name__)


def path_of(fname: str | os.PathLike[str]) -> Path:
    """The path of a cube. ArgumentError for an argument that is not a path."""
    if not isinstance(fname, str | os.PathLike) or not str(fname):
        raise ArgumentError(f"fname must be the path of a saved cube, got {fname!r}")
    path = given_path(fname, "fname")
    if path.is_dir():
        raise ArgumentError(f"{path} is a folder: process one cube at a time, or replay it with SharedReplayCamera")
    return path


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
        self._recorded = SourceCube.look_at(path, settings=None if json_path is None else CameraSettings())
        self._source, self.source_path, self.source_level = self._recorded, path, self._recorded.level_in_file
        self._groups_from = str(path.absolute())
        self._given_times = None if times is None else times_given_for(self._recorded, times)
        if times is None:
            require_times(self._recorded)
        self._check_level(processing_lvl)
        if json_path is None:
            keywords = self._recorded.settings.model_dump(exclude_unset=True) | keywords
        keywords = {"n_lines": self._recorded.n_lines} | keywords | {"path": path, "rate": None}
        super().__init__(processing_lvl=processing_lvl, json_path=json_path, cal_path=cal_path, **keywords)

    def _check_level(self, processing_lvl: int) -> None:
        del processing_lvl
        if self.source_level not in (None, -1):
            raise LevelError(
                f"{self.source_path} holds lines of level {self.source_level}, not raw frames (level -1): "
                "process them further with ProcessDatacube"
            )
        if not self._recorded.has_raw_numbers:
            raise LevelError(
                f"{self.source_path} holds {self._recorded.describe_lines()}, not raw frames (whole numbers of a "
                "sensor): process them further with ProcessDatacube"
            )

    # ---- as a camera ----

    def _driver_class(self) -> Callable[..., Driver]:
        return RecordedDriver

    def _open_source(self, options: Mapping[str, Any]) -> tuple[tuple[int, int], np.dtype[Any]]:
        requested_ms = self.settings.model.exposure_ms
        self._source = self._recorded.with_settings(self.settings.model, self.calibration)
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
        if self.source_level is None and self._source.level in (0, 1):
            raise LevelError(
                f"{self.source_path} holds {self._source.describe_lines()}, which by the settings are of level "
                f"{self._source.level}, not raw frames of {self.settings.model.resolution}: process them further with "
                f"ProcessDatacube, or correct resolution and row_slice"
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
        made = self._plan.wavelengths_nm
        return made if made is not None else self._source.wavelengths_after(self._plan)

    # ---- attributes of the result ----

    def _source_metadata(self) -> Mapping[str, Any]:
        return kept_attributes(self._source.attributes, self._source.is_ours)

    def save_with(self, attributes: Mapping[str, Any], request: SaveRequest) -> SaveHandle:
        """`save`, with attributes that identify the source cube."""
        source = source_attributes(self.source_path, self._source.attributes, self._source.is_ours)
        return super().save_with({**source, **attributes}, request)
