"""Base driver: the part that is common to the cameras of all vendors.

A vendor's driver implements the connection. The rest (settings, timeouts, errors, idempotent open and close) is
implemented here.
"""

import math
import threading
import time
from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.drivers import FrameStamp
from openhsi_shared.drivers.features import (
    Feature,
    FeatureTree,
    reason,
    set_binning,
    set_exposure,
    set_node,
    set_pixel_format,
    set_window,
    switch_off,
    value_of,
    writable,
)
from openhsi_shared.drivers.packed import PixelFormat
from openhsi_shared.errors import (
    ArgumentError,
    CameraError,
    CameraLost,
    FrameError,
    FrameTimeout,
    OpenHSIError,
    SettingsError,
)
from openhsi_shared.loggers import safe_logger
from openhsi_shared.settings import CameraSettings

__all__ = ["GIGE_PERIOD", "ConnectedDriver", "Connection", "cannot_be_opened"]

logger = safe_logger(__name__)

GIGE_PERIOD = 65535
"""Ids of GigE Vision: 1 to 65535, then 1 again. Also valid for a counter that does not wrap around."""
MAX_WAIT_S = 0.25
"""Maximum wait inside a vendor's library, where Ctrl-C is not handled."""

Unpack = Callable[[NDArray[np.uint8], NDArray[Any]], None]
"""Unpacks the bytes that the camera sent into a frame."""


class Connection(FeatureTree, Protocol):
    """An open camera of one vendor. All methods may raise `errors`."""

    @property
    def frame_id_period(self) -> int | None:
        """See `Driver`; may change when the stream starts."""

    def begin(self, queue: int) -> None:
        """Start streaming, with an empty queue of `queue` frames: oldest first, none skipped."""

    def read_into(self, out: NDArray[Any], unpack: Unpack, wait_ms: int) -> FrameStamp | None:
        """Read the next frame, or return None if none arrives within `wait_ms`.

        An incomplete frame leaves `out` unchanged.
        """

    def end(self) -> None:
        """Stop streaming."""

    def close(self) -> None:
        """Release the camera, and all resources of the connection."""

    def is_gone(self) -> bool:
        """Whether the camera was disconnected. Never raises."""


def cannot_be_opened(which: str, error: Exception) -> CameraError:
    """Error for a camera that was found, but that the vendor's package cannot open."""
    return CameraError(f"{which} cannot be opened: {reason(error)}; is it open already, here or in another program?")


class ConnectedDriver:
    """One camera, with the serial number `serial_num` (or that of the settings), else the first one found.

    Up to `queue` frames are queued before frames are lost. It runs as fast as exposure and transport allow; to limit
    the rate, set the settings' `nodes`, which are applied last, in their order, and may override everything.
    `compat="openhsi"` interprets `win_offset` and `binxy` as openhsi does for this vendor.
    """

    kind = "camera"
    """Name in messages, until the model is known."""

    def __init__(
        self,
        settings: CameraSettings,
        *,
        serial_num: str | int | None = None,
        queue: int = 30,
        compat: Literal["openhsi"] | None = None,
    ) -> None:
        if queue < 2:
            raise ArgumentError(
                f"queue must hold at least 2 frames, one being read and one being received, got {queue}"
            )
        if compat not in (None, "openhsi"):
            raise ArgumentError(f"compat must be None or 'openhsi', got {compat!r}")
        self.frame_shape: tuple[int, int] = settings.resolution or (0, 0)
        self.frame_dtype: np.dtype[Any] = settings.dtype_in
        self.frame_id_period: int | None = None
        self.full_scale = settings.full_scale or (1 << 16) - 1
        self.exposure_is_known = True
        self._settings, self._queue, self._is_compat = settings, queue, compat is not None
        wanted = settings.serial_num if serial_num is None else serial_num
        self._serial_num = None if wanted in (None, "") else str(wanted)
        self._name = f"the {self.kind}"
        self._connection: Connection | None = None
        self._is_streaming = False
        self._connection_lock = threading.RLock()  # for the thread that reads temperatures, and may delete self
        self._warned: set[str] = set()

    # ---- overridden by vendors' drivers ----

    def _connect(self) -> Connection:
        """Open the camera. Raises CameraNotFound, or CameraError if it cannot be opened."""
        raise NotImplementedError(f"{type(self).__name__} does not implement _connect")

    def _prepare(self, connection: Connection) -> PixelFormat:
        """Apply the settings, in the order that cameras need; return the pixel format."""
        settings = self._settings
        for name in ("ExposureAuto", "GainAuto", "AcquisitionFrameRateAuto", "TriggerMode"):
            switch_off(connection, name)
        for name in ("AcquisitionFrameRateEnable", "AcquisitionFrameRateEnabled", "GammaEnable", "GammaEnabled"):
            switch_off(connection, name)
        gain = writable(connection, "Gain")
        if gain is not None:
            gain.set(max(0.0, float(gain.limits()[0])))
        pixel_format = set_pixel_format(connection, settings.pixel_format)
        set_binning(connection, self._binning())
        self._set_window(connection)
        return pixel_format

    def _binning(self) -> tuple[int, int]:
        """Binning (x, y) of the settings."""
        return self._settings.binxy

    def _set_window(self, connection: FeatureTree) -> None:
        size = self._settings.win_resolution or self._settings.resolution or (0, 0)
        set_window(connection, size, self._settings.win_offset, is_compat=self._is_compat)

    def _set_node(self, connection: Any, name: str, value: bool | int | float | str) -> None:
        set_node(connection, name, value)

    def _exposure(self, connection: Connection) -> Feature | None:
        """Feature of the exposure in microseconds."""
        return connection.feature("ExposureTime") or connection.feature("ExposureTimeAbs")

    def _full_scale(self, connection: Connection) -> int:  # noqa: ARG002 - XIMEA cameras want it
        """Value of a saturated pixel in the format that is set."""
        return (1 << self._pixel_format.n_bits) - 1

    def _temperature(self, connection: Connection) -> float | None:
        found: float | None = value_of(connection, "DeviceTemperature")
        return found

    # ---- interface of `Driver` ----

    def open(self) -> None:
        """Connect and configure. CameraNotFound; SettingsError for unsupported settings; CameraError."""
        if self._connection is not None:
            return
        self._connection = connection = self._connect()
        self._name = connection.name
        try:
            self._pixel_format = self._prepare(connection)
            self.full_scale = self._full_scale(connection)
            self.set_exposure(self._settings.exposure_ms)
            for name, value in self._settings.nodes.items():
                self._set_node(connection, name, value)
            self._read_format(connection)
        except OpenHSIError:  # first: `errors` may contain builtin base classes of it
            self.close()
            raise
        except connection.errors as error:
            failure = self._failure(f"cannot be set up: {reason(error)}")
            self.close()
            raise failure from error
        except BaseException:
            self.close()
            raise
        logger.info("opened %s", self._name)

    def _read_format(self, connection: Connection) -> None:
        """Read the format of frames, after all settings are applied."""
        name = value_of(connection, "PixelFormat")
        if name != self._pixel_format.name:
            raise SettingsError(f"nodes: PixelFormat {name!r} cannot be set by nodes; set pixel_format")
        self.frame_shape = (int(value_of(connection, "Height")), int(value_of(connection, "Width")))
        self.frame_dtype = self._pixel_format.dtype
        self.frame_id_period = connection.frame_id_period

    def start(self) -> None:
        """Start streaming. Idempotent. The queue is cleared: old frames are never delivered."""
        connection = self._open_connection("started")
        if self._is_streaming:
            return
        try:
            connection.begin(self._queue)
        except connection.errors as error:
            raise self._failure(f"cannot be started: {reason(error)}") from error
        self.frame_id_period = connection.frame_id_period
        self._is_streaming = True

    def read_into(self, out: NDArray[Any], timeout_s: float) -> FrameStamp:
        """Wait for the next frame and copy it into `out`; see `Driver.read_into`. CameraError when not started.

        An incomplete frame leaves `out` unchanged.
        """
        connection = self._connection
        if connection is None or not self._is_streaming:
            raise CameraError(f"{self._name} is not streaming: open and start it before frames are read")
        if out.shape != self.frame_shape or out.dtype != self.frame_dtype:
            raise FrameError(
                f"a frame of {self._name} is {self.frame_dtype} {self.frame_shape}, "
                f"got room for {out.dtype} {out.shape}"
            )
        deadline = time.monotonic() + timeout_s
        while True:
            wait_ms = math.ceil(min(max(deadline - time.monotonic(), 0.0), MAX_WAIT_S) * 1000)
            try:
                stamp = connection.read_into(out, self._pixel_format.unpack, wait_ms)
            except OpenHSIError:
                raise
            except connection.errors as error:
                raise self._failure(f"delivers no frames: {reason(error)}") from error
            if stamp is not None:
                return stamp
            if connection.is_gone():
                raise self._failure("delivers no frames")
            if time.monotonic() >= deadline:
                raise FrameTimeout(
                    f"no frame of {self._name} within {timeout_s} s (exposure {self._settings.exposure_ms:g} ms when "
                    "opened): does it wait for a trigger, or does the network drop its packets?"
                )

    def set_exposure(self, exposure_ms: float) -> float:
        """Set the exposure, also while streaming; return the value applied. SettingsError if it is out of range.

        If the camera has no settable exposure, logs a warning once, returns the requested value, and sets
        `exposure_is_known` to False.
        """
        connection = self._open_connection("set")
        if not 0 < exposure_ms < math.inf:
            raise SettingsError(f"exposure_ms of {self._name} must be > 0, got {exposure_ms}")
        try:
            feature = self._exposure(connection)
            self.exposure_is_known = feature is not None
            if feature is None:
                self._warn_once("has no exposure that can be set")
                return float(exposure_ms)
            return set_exposure(connection, feature, exposure_ms)
        except OpenHSIError:
            raise
        except connection.errors as error:
            raise self._failure(f"rejected an exposure of {exposure_ms} ms: {reason(error)}") from error

    def temperature_celsius(self) -> float:
        """Return the camera's temperature, NaN if it has no temperature sensor or is closed."""
        with self._connection_lock:
            connection = self._connection
            if connection is None:
                return math.nan
            try:
                celsius = self._temperature(connection)
            except connection.errors as error:
                raise CameraError(f"temperature of {self._name} cannot be read: {reason(error)}") from error
        return math.nan if celsius is None else float(celsius)

    def provenance(self) -> dict[str, Any]:
        """See `HasProvenance`."""
        return {"camera_name": self._name}

    def stop(self) -> None:
        """Stop streaming; queued frames are discarded."""
        if self._is_streaming and self._connection is not None:
            self._is_streaming = False
            self._log_errors(self._connection.end, self._connection)

    def close(self) -> None:
        """Stop streaming, and release the camera."""
        try:
            self.stop()
        finally:
            with self._connection_lock:
                connection, self._connection = self._connection, None
                if connection is not None:
                    self._log_errors(connection.close, connection)

    # ---- errors and warnings ----

    def _open_connection(self, what: str) -> Connection:
        if self._connection is None:
            raise CameraError(f"{self._name} is not open: open it before it is {what}")
        return self._connection

    def _failure(self, what: str) -> CameraError:
        if self._connection is not None and self._connection.is_gone():
            return CameraLost(f"{self._name} was disconnected: check power and cable, then open it again")
        return CameraError(f"{self._name} {what}")

    def _warn_once(self, what: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            logger.warning("%s %s", self._name, what)

    def _log_errors(self, end: Callable[[], None], connection: Connection) -> None:
        try:
            end()
        except connection.errors as error:  # disconnected, which was raised where it was detected
            logger.warning("error while releasing %s: %s", self._name, error)
