"""A driver around a connection: what the cameras of all vendors have in common.

A vendor's driver says how to connect. The rest (settings, waiting, errors, opening twice, closing at any time) is here,
once.
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
from openhsi_shared.processes.logs import safe_logger
from openhsi_shared.settings import CameraSettings

__all__ = ["GIGE_PERIOD", "ConnectedDriver", "Connection", "cannot_be_opened"]

logger = safe_logger(__name__)

GIGE_PERIOD = 65535
"""Ids of GigE Vision: 1 to 65535, then 1 again. It also fits a counter that goes on."""
LONGEST_WAIT_S = 0.25
"""Inside a vendor's library nobody hears Ctrl-C."""

Unpack = Callable[[NDArray[np.uint8], NDArray[Any]], None]
"""Fills a frame from the bytes that the camera sent."""


class Connection(FeatureTree, Protocol):
    """An open camera of one vendor. All of it may raise `errors`."""

    @property
    def frame_id_period(self) -> int | None:
        """See `Driver`; it may change when the stream begins."""

    def begin(self, queue: int) -> None:
        """Begin to stream, with an empty queue of so many frames: oldest first, none skipped."""

    def read_into(self, out: NDArray[Any], unpack: Unpack, wait_ms: int) -> FrameStamp | None:
        """Take the next frame, or return None if there is none within `wait_ms`.

        An incomplete frame leaves `out` as it is.
        """

    def end(self) -> None:
        """Stop streaming."""

    def close(self) -> None:
        """Give the camera back, and all that was needed to reach it."""

    def is_gone(self) -> bool:
        """Whether the camera can no longer be reached. Raises nothing."""


def cannot_be_opened(which: str, error: Exception) -> CameraError:
    """What is told when a package refuses to open a camera that is there."""
    return CameraError(f"{which} cannot be opened: {reason(error)}; is it open already, here or in another program?")


class ConnectedDriver:
    """One camera: the one with the serial number `serial_num` (or the settings'), else the first that is found.

    `queue` frames may wait for the reader before the camera's are lost. It runs as fast as exposure and transport
    allow; to pace it, set the settings' `nodes`, which are set last, in their order, and may change everything.
    `compat="openhsi"` gives `win_offset` and `binxy` the meaning that they have in openhsi's settings of this vendor.
    """

    kind = "camera"
    """What it is in messages, before it is known which one."""

    def __init__(
        self,
        settings: CameraSettings,
        *,
        serial_num: str | int | None = None,
        queue: int = 30,
        compat: Literal["openhsi"] | None = None,
    ) -> None:
        if queue < 2:
            raise ArgumentError(f"queue must hold at least 2 frames, one that is read and one that comes, got {queue}")
        if compat not in (None, "openhsi"):
            raise ArgumentError(f"compat must be None or 'openhsi', got {compat!r}")
        self.frame_shape: tuple[int, int] = settings.resolution or (0, 0)
        self.frame_dtype: np.dtype[Any] = settings.dtype_in
        self.frame_id_period: int | None = None
        self.exposure_is_known = True
        self._settings, self._queue, self._is_compat = settings, queue, compat is not None
        wanted = settings.serial_num if serial_num is None else serial_num
        self._serial_num = None if wanted in (None, "") else str(wanted)
        self._name = f"the {self.kind}"
        self._connection: Connection | None = None
        self._is_streaming = False
        self._closing = threading.RLock()  # temperatures are read from a thread of their own, which may also drop us
        self._told: set[str] = set()

    # ---- what a vendor's driver says ----

    def _connect(self) -> Connection:
        """Open the camera. Raises CameraNotFound, or CameraError for one that cannot be opened."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to connect")

    def _prepare(self, connection: Connection) -> PixelFormat:
        """Set what the settings ask for, in the order that cameras need; return how pixels will arrive."""
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
        """The exposure in microseconds."""
        return connection.feature("ExposureTime") or connection.feature("ExposureTimeAbs")

    def _temperature(self, connection: Connection) -> float | None:
        found: float | None = value_of(connection, "DeviceTemperature")
        return found

    # ---- the contract ----

    def open(self) -> None:
        """Connect and configure. CameraNotFound; SettingsError for what this camera cannot do; CameraError."""
        if self._connection is not None:
            return
        self._connection = connection = self._connect()
        self._name = connection.name
        try:
            self._pixel_format = self._prepare(connection)
            self.set_exposure(self._settings.exposure_ms)
            for name, value in self._settings.nodes.items():
                self._set_node(connection, name, value)
            self._learn(connection)
        except OpenHSIError:  # before what packages raise, which may be Python's own errors, as ours are too
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

    def _learn(self, connection: Connection) -> None:
        """What frames will be like, now that all is set."""
        name = value_of(connection, "PixelFormat")
        if name != self._pixel_format.name:
            raise SettingsError(f"nodes: PixelFormat {name!r} cannot be set there; set pixel_format")
        self.frame_shape = (int(value_of(connection, "Height")), int(value_of(connection, "Width")))
        self.frame_dtype = self._pixel_format.dtype
        self.frame_id_period = connection.frame_id_period

    def start(self) -> None:
        """Begin to stream frames; calling it twice is once. A queue is emptied: old frames never come."""
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

        An incomplete frame leaves `out` as it is.
        """
        connection = self._connection
        if connection is None or not self._is_streaming:
            raise CameraError(f"{self._name} does not stream: open and start it before frames are read")
        if out.shape != self.frame_shape or out.dtype != self.frame_dtype:
            raise FrameError(
                f"a frame of {self._name} is {self.frame_dtype} {self.frame_shape}, "
                f"got room for {out.dtype} {out.shape}"
            )
        deadline = time.monotonic() + timeout_s
        while True:
            wait_ms = math.ceil(min(max(deadline - time.monotonic(), 0.0), LONGEST_WAIT_S) * 1000)
            try:
                stamp = connection.read_into(out, self._pixel_format.unpack, wait_ms)
            except OpenHSIError:
                raise
            except connection.errors as error:
                raise self._failure(f"does not deliver frames: {reason(error)}") from error
            if stamp is not None:
                return stamp
            if connection.is_gone():
                raise self._failure("does not deliver frames")
            if time.monotonic() >= deadline:
                raise FrameTimeout(
                    f"no frame of {self._name} within {timeout_s} s (exposure {self._settings.exposure_ms:g} ms when "
                    "opened): does it wait for a trigger, or does the network drop its packets?"
                )

    def set_exposure(self, exposure_ms: float) -> float:
        """Set the exposure, also while streaming; return what the camera took. SettingsError outside its range.

        A camera that does not let it be set says so once, and what was asked for is returned:
        `exposure_is_known` is False then.
        """
        connection = self._open_connection("set")
        if not 0 < exposure_ms < math.inf:
            raise SettingsError(f"exposure_ms of {self._name} must be > 0, got {exposure_ms}")
        try:
            feature = self._exposure(connection)
            self.exposure_is_known = feature is not None
            if feature is None:
                self._tell_once("has no exposure that could be set")
                return float(exposure_ms)
            return set_exposure(connection, feature, exposure_ms)
        except OpenHSIError:
            raise
        except connection.errors as error:
            raise self._failure(f"does not take an exposure of {exposure_ms} ms: {reason(error)}") from error

    def temperature_celsius(self) -> float:
        """Return the temperature that the camera shows, NaN if it has no thermometer or is closed."""
        with self._closing:
            connection = self._connection
            if connection is None:
                return math.nan
            try:
                celsius = self._temperature(connection)
            except connection.errors as error:
                raise CameraError(f"{self._name} does not tell its temperature: {reason(error)}") from error
        return math.nan if celsius is None else float(celsius)

    def provenance(self) -> dict[str, Any]:
        """See `HasProvenance`."""
        return {"camera_name": self._name}

    def stop(self) -> None:
        """Stop streaming; what waits in the queue is gone."""
        if self._is_streaming and self._connection is not None:
            self._is_streaming = False
            self._quietly(self._connection.end, self._connection)

    def close(self) -> None:
        """Stop, and give the camera back."""
        try:
            self.stop()
        finally:
            with self._closing:
                connection, self._connection = self._connection, None
                if connection is not None:
                    self._quietly(connection.close, connection)

    # ---- what is told ----

    def _open_connection(self, what: str) -> Connection:
        if self._connection is None:
            raise CameraError(f"{self._name} is not open: open it before it is {what}")
        return self._connection

    def _failure(self, what: str) -> CameraError:
        if self._connection is not None and self._connection.is_gone():
            return CameraLost(f"{self._name} has gone: check power and cable, then open it again")
        return CameraError(f"{self._name} {what}")

    def _tell_once(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            logger.warning("%s %s", self._name, what)

    def _quietly(self, end: Callable[[], None], connection: Connection) -> None:
        try:
            end()
        except connection.errors as error:  # a camera that has gone, which was raised where it was noticed
            logger.warning("%s could not be given back in good order: %s", self._name, error)
