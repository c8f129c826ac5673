"""A camera with a driver: base class of `SharedXimeaCamera` and the other cameras of vendors."""

import inspect
import math
import os
import weakref
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.capture.exposing import Exposing, Exposure, check_target, find_exposure
from openhsi_shared.capture.temperature import TemperatureWatch
from openhsi_shared.datacube.shared_openhsi import SharedOpenHSI
from openhsi_shared.drivers import (
    Driver,
    HasFullScale,
    HasProvenance,
    HasTemperature,
    MayNotKnowExposure,
    driver_class,
    needed_options,
)
from openhsi_shared.errors import ArgumentError, OpenHSIError, ReentryError, SettingsError
from openhsi_shared.given_numbers import is_finite
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.at_exit import close_at_exit
from openhsi_shared.writer.messages import Label
from openhsi_shared.writer.save_request import SaveRequest

__all__ = ["DriverCamera"]

logger = safe_logger(__name__)

LIMIT_STEPS = 12
"""Until the limit of an exposure is met within 1 %, if it is within a factor of a million."""


class DriverCamera(SharedOpenHSI):
    """A camera of a vendor: subclasses only set the name of their driver."""

    driver_name: ClassVar[str] = ""
    """Name of the driver that it opens."""
    _driver: Driver | None = None
    _watch: TemperatureWatch | None = None

    def _driver_class(self) -> Callable[..., Driver]:
        """Class of the driver, called with the settings."""
        return driver_class(self.driver_name)

    def _source_keywords(self) -> set[str]:
        parameters = inspect.signature(self._driver_class()).parameters.values()
        names = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - {"calibration"}
        return names | super()._source_keywords()

    def _open_source(self, options: Mapping[str, Any]) -> tuple[tuple[int, int], np.dtype[Any]]:
        make = self._driver_class()
        takes_calibration = "calibration" in inspect.signature(make).parameters
        extra = {"calibration": self.calibration} if takes_calibration and self.cal_path else {}
        for name in needed_options(make):
            if name not in options:
                raise ArgumentError(f"{type(self).__name__} needs {name}=... (in commands: --option {name}=...)")
        driver = make(self.settings.model, **options, **extra)
        driver.open()
        self._driver = driver
        self._watch = TemperatureWatch(driver.temperature_celsius) if isinstance(driver, HasTemperature) else None
        self._owner = os.getpid()
        self._driver_finalizer = weakref.finalize(self, _close_dropped, driver, self._watch, self._owner)
        self._driver_finalizer.atexit = False  # at exit `close_at_exit` does it
        close_at_exit(self._close_source)
        try:
            self.settings.note(**self._reported(driver))
        except BaseException:
            self._close_source()
            raise
        if isinstance(driver, MayNotKnowExposure) and not driver.exposure_is_known:
            self.settings.not_known = frozenset({"exposure_ms"})
        return driver.frame_shape, driver.frame_dtype

    def _reported(self, driver: Driver) -> dict[str, Any]:
        """Values as set by the camera, for the settings."""
        exposure_ms = driver.set_exposure(self.settings.model.exposure_ms)
        found: dict[str, Any] = {"exposure_ms": exposure_ms, "resolution": driver.frame_shape}
        if isinstance(driver, HasFullScale) and "full_scale" not in self.settings.model.model_fields_set:
            found["full_scale"] = driver.full_scale
        return found

    def _frame_source(self) -> Driver:
        return self.driver

    @property
    def driver(self) -> Driver:
        """The driver, which calls the vendor's SDK. ArgumentError once the camera is closed."""
        if self._driver is None:
            raise ArgumentError(f"{type(self).__name__} is closed: make a new one")
        return self._driver

    def _close_source(self) -> None:
        if self._driver is not None and os.getpid() == self._owner:  # a forked child has only a copy
            try:
                self.stop_cam()
            finally:
                self._driver.close()
                self._driver = None
                self._driver_finalizer.detach()

    def _temperature(self) -> float:
        return self._watch.celsius if self._watch is not None else float("nan")

    def _label(self, attributes: Mapping[str, Any], request: SaveRequest) -> Label:
        return super()._label({**self._provenance(), **attributes}, request)

    def _provenance(self) -> Mapping[str, Any]:
        return self._driver.provenance() if isinstance(self._driver, HasProvenance) else {}

    def _attributes(self) -> dict[str, Any]:
        return {**super()._attributes(), **self._provenance()}

    def _apply_exposure(self) -> None:
        """No-op: the driver was opened with the exposure."""

    # ---- what users of openhsi call ----

    def start_cam(self) -> None:
        """Start streaming, from an empty queue."""
        self.driver.start()
        if self._watch is not None:
            self._watch.start()

    def stop_cam(self) -> None:
        """Stop streaming."""
        if self._watch is not None:
            self._watch.stop()
        self.driver.stop()

    def get_img(self) -> NDArray[Any]:
        """Wait for one frame and return it unprocessed, (cross-track, wavelength); nothing is saved.

        While another thread collects, it is a copy of the next frame of that thread's loop. ReentryError from a signal
        handler of a thread that is filling a line.
        """
        if not self._is_streaming:
            self.start_streaming()
        if self._engine.turn.is_mine():
            raise ReentryError(
                "get_img cannot be called from a signal handler while the same thread takes a frame: call it "
                "afterwards, or from another thread"
            )
        return self._look(self._read_frame)

    get_img.has_turn = True  # type: ignore[attr-defined]

    def _read_frame(self) -> NDArray[Any]:
        frame = np.empty(self._plan.frame_shape, self._plan.frame_dtype)
        self._make_loop().skip(self.driver.read_into(frame, 5.0 + 0.01 * self._known_exposure_ms))
        return frame

    def get_temp(self) -> float:
        """Read the sensor's temperature now, in degrees Celsius; NaN if the camera has none."""
        driver = self.driver
        return driver.temperature_celsius() if isinstance(driver, HasTemperature) else float("nan")

    def set_exposure(self, exposure_ms: float) -> None:
        """Set the exposure in ms, also while streaming; `settings["exposure_ms"]` is the value set by the camera.

        ArgumentError for invalid values, SettingsError for one that the camera does not support, CalibrationError if
        radiance cannot be computed with it: then the previous exposure stays.
        """
        if not is_finite(exposure_ms) or exposure_ms <= 0:
            raise ArgumentError(f"exposure_ms must be a number of ms > 0, got {exposure_ms!r}")
        self.driver  # noqa: B018 - raises if it is closed
        self._engine.turn.between_lines("exposure", self._set_exposure, float(exposure_ms))

    set_exposure.is_noted = True  # type: ignore[attr-defined] # it notes the value set by the camera

    def _set_exposure(self, exposure_ms: float) -> None:
        taken = self.driver.set_exposure(exposure_ms)
        if self.settings.not_known:
            raise SettingsError(
                f"exposure_ms cannot be set to {exposure_ms}: {type(self).__name__} has no exposure that can be set, "
                f"and does not report the one of its frames"
            )
        self.settings.note(exposure_ms=taken)
        try:
            self._use_exposure()
        except OpenHSIError:
            self.settings.note(exposure_ms=self.driver.set_exposure(self._plan.exposure_ms))
            raise

    def _set_nearest_exposure(self, exposure_ms: float) -> None:
        """Set an exposure, or, of one that the camera refuses, one near its limit, which drivers do not tell."""
        accepted, asked = self._known_exposure_ms, exposure_ms
        for _ in range(LIMIT_STEPS):
            try:
                self.set_exposure(asked)
            except SettingsError:
                refused = asked
            else:
                if asked == exposure_ms:
                    return
                accepted = asked
            asked = math.sqrt(accepted * refused)

    def auto_exposure(self, target: float = 0.9, rate: float | None = None) -> Exposure:
        """Set the longest exposure at which the brightest band of what the camera sees now stays below full scale.

        Of that band 99.9 % of the illuminated pixels stay at or below `target`, a share of `full_scale` of the
        settings; the exposure fits into `rate` lines/s, of `average` frames each. Blocks for at most 20 frames and the
        starts of the camera; afterwards it does not stream. `limited_by` of the result says why the exposure is not
        longer, a warning that nothing reaches the target. Raises ArgumentError for a target or rate that is none, or
        while lines are collected that are not saved, ReentryError from a signal handler of a thread that is filling a
        line, CameraError and its subclasses, and what `set_exposure` raises.
        """
        check_target(target, rate)
        if self.n_collected:
            raise ArgumentError(
                f"auto_exposure: {self.n_collected} lines are collected and not saved: save() them first"
            )
        rows = self.settings.model.rows_of(self.driver.frame_shape[0])

        def set_exposure(exposure_ms: float) -> float:
            self.stop_cam()  # frames that wait in its queue have another exposure
            self._set_nearest_exposure(exposure_ms)
            self.start_streaming()
            return self._known_exposure_ms

        full_scale = self.settings.model.full_scale or int(np.iinfo(self.driver.frame_dtype).max)
        camera = Exposing(set_exposure, lambda: self.get_img()[rows], full_scale)
        frames_per_s = None if rate is None else rate * (self._average or 1)
        try:
            return find_exposure(camera, self._known_exposure_ms, target, frames_per_s)
        finally:
            self.stop_cam()


def _close_dropped(driver: Driver, watch: TemperatureWatch | None, owner: int) -> None:
    """Close the driver of a camera that was dropped without close(): else it could not be opened again."""
    if os.getpid() != owner:
        return
    try:
        if watch is not None:
            watch.stop()
        driver.close()
    except Exception as error:  # noqa: BLE001 - no caller is left to raise it to
        logger.warning("error while releasing a camera that was dropped without close(): %s", error)
