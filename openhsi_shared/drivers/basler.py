"""Basler cameras, real and emulated, through Basler's own package pypylon.

What is particular about them:

- Emulated cameras are there when the environment variable `PYLON_CAMEMU` says how many, before pypylon is imported.
  They play a folder of 16-bit PNG files, from the first at every start, with the nodes `{"ImageFileMode": "On",
  "ImageFilename": FOLDER, "TestImageSelector": "Off"}`: Mono16 as they are, Mono12 as value >> 4. (Of TIFF they read
  only some.) A slow reader makes them wait, so they lose nothing; several programs may open one at a time. They know
  neither the time nor their temperature, and count their frames only from pypylon 26.9 on.
- A frame's id is its BlockID. USB and emulated cameras count from 0 with 64 bits. GigE cameras count from 1 to 65535
  and then from 1 again, unless their extended-id mode is on (64 bits); there 0 means that the camera does not count.
  Ids begin anew with every start. A frame that arrives incomplete keeps its id.
- Older cameras name the exposure `ExposureTimeAbs`, newer ones `ExposureTime`. The emulated one has both and obeys the
  older.
- The camera's clock counts ticks: nanoseconds, except on older GigE cameras, which say how many make a second.
- Rarely, soon after a start, pylon's grab engine trips over its own queue and stops (seen with the emulated camera,
  once in thousands of starts). The driver starts it again, and gives the frame that is missing as an incomplete one.
"""

import logging
import math
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.drivers import FrameStamp, FrameStatus
from openhsi_shared.drivers.basler_features import (
    PIXEL_TYPES,
    camera_name,
    feature,
    is_readable,
    is_writable,
    reason,
    set_integer,
    set_node,
    set_pixel_format,
    set_window,
    switch_off,
    value_of,
)
from openhsi_shared.errors import (
    ArgumentError,
    CameraError,
    CameraLost,
    CameraNotFound,
    FrameError,
    FrameTimeout,
    SettingsError,
)
from openhsi_shared.settings import CameraSettings, nearest_name

with warnings.catch_warnings():  # where DeprecationWarning is an error, importing pypylon kills the interpreter
    warnings.simplefilter("ignore", DeprecationWarning)
    from pypylon import genicam, pylon

__all__ = ["BaslerDriver"]

logger = logging.getLogger(__name__)

GIGE_PERIOD = 65535
NO_BLOCK_ID = 2**64 - 1
LONGEST_WAIT_S = 0.25
"""pylon does not hear Ctrl-C while it waits."""


class BaslerDriver:
    """One Basler camera: the one with the serial number `serial_num` (or the settings'), else the first that is found.

    `queue` frames may wait for the reader before the camera's are lost. It runs as fast as exposure and transport
    allow. The settings' `nodes` are set last, in their order, and may change everything: to pace it, set
    `{"AcquisitionFrameRateEnable": true, "AcquisitionFrameRate": 250.0}` (`...RateAbs` on older cameras).
    """

    def __init__(self, settings: CameraSettings, *, serial_num: str | int | None = None, queue: int = 30) -> None:
        if queue < 1:
            raise ArgumentError(f"queue must hold at least 1 frame, got {queue}")
        self.frame_shape: tuple[int, int] = settings.resolution or (0, 0)
        self.frame_dtype: np.dtype[Any] = settings.dtype_in
        self.frame_id_period: int | None = None
        self._settings, self._queue = settings, queue
        self._serial_num = settings.serial_num if serial_num is None else serial_num
        self._name = "the Basler camera"
        self._camera: Any = None
        self._exposure: Any = None
        self._thermometer: Any = None
        self._closing = threading.Lock()  # temperatures are read from a thread of their own
        self._is_streaming = self._has_tripped = self._has_begun = False
        self._last_id: int | None = None
        self._told: set[str] = set()

    def open(self) -> None:
        """Connect and configure. CameraNotFound; SettingsError for what this camera cannot do; CameraError."""
        if self._camera is not None:
            return
        try:
            self._connect()
            self._configure()
            self._learn()
        except genicam.GenericException as error:
            self.close()
            raise CameraError(
                f"{self._name} cannot be opened: {reason(error)}; is it open in another program?"
            ) from error
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        factory = pylon.TlFactory.GetInstance()
        found = {info.GetSerialNumber(): info for info in factory.EnumerateDevices()}
        if not found:
            raise CameraNotFound(
                "no Basler camera was found: check power, cable and network address (with pylon's IP Configurator), or "
                "set PYLON_CAMEMU=1 in the environment for an emulated one"
            )
        serial = next(iter(found)) if self._serial_num is None else str(self._serial_num)
        if serial not in found:
            raise CameraNotFound(
                f"no Basler camera has the serial number {serial!r}{nearest_name(serial, found)}; there are {[*found]}"
            )
        self._name = camera_name(found[serial])
        self._camera = pylon.InstantCamera(factory.CreateDevice(found[serial]))
        self._camera.Open()
        logger.info("opened %s, of %s", self._name, [*found])

    def _configure(self) -> None:
        camera, settings = self._camera, self._settings
        camera.MaxNumBuffer.SetValue(self._queue)
        for name in ("ExposureAuto", "GainAuto", "AcquisitionFrameRateEnable"):
            switch_off(camera, name)
        set_pixel_format(camera, settings.pixel_format)
        for name, factor in zip(("BinningHorizontal", "BinningVertical"), settings.binxy, strict=True):
            if factor != 1 or is_writable(feature(camera, name)):
                set_integer(camera, name, factor, "binxy")
        set_window(camera, settings.win_resolution or settings.resolution or (0, 0), settings.win_offset)
        self._exposure = feature(camera, "ExposureTimeAbs") or feature(camera, "ExposureTime")
        self.set_exposure(settings.exposure_ms)
        for name, value in settings.nodes.items():
            set_node(camera, name, value)

    def _learn(self) -> None:
        """What frames will be like, now that all is set."""
        camera = self._camera
        pixel_format = value_of(camera, "PixelFormat")
        if pixel_format not in PIXEL_TYPES:
            raise SettingsError(f"nodes: PixelFormat {pixel_format!r} cannot be recorded; take one of {[*PIXEL_TYPES]}")
        self.frame_dtype = np.dtype(PIXEL_TYPES[pixel_format])
        self.frame_shape = (value_of(camera, "Height"), value_of(camera, "Width"))
        self._n_bytes = math.prod(self.frame_shape) * self.frame_dtype.itemsize
        self._ticks_per_second = value_of(camera, "GevTimestampTickFrequency") or 10**9
        thermometers = [feature(camera, name) for name in ("DeviceTemperature", "TemperatureAbs")]
        self._thermometer = next((node for node in thermometers if is_readable(node)), None)
        self._learn_period()

    def _learn_period(self) -> None:
        modes = [value_of(self._camera, name) for name in ("GevGVSPExtendedIDMode", "BslGevGVSPExtendedIDMode")]
        self.frame_id_period = GIGE_PERIOD if self._camera.IsGigE() and "On" not in modes else None

    def start(self) -> None:
        """Begin to stream frames; calling it twice is once."""
        if self._camera is None:
            raise CameraError(f"{self._name} is not open: open it before it is started")
        if self._is_streaming:
            return
        try:
            self._camera.StartGrabbing(pylon.GrabStrategy_OneByOne)  # oldest first, none skipped
        except genicam.GenericException as error:
            raise self._failure(f"cannot be started: {reason(error)}") from error
        self._learn_period()  # pylon may switch to extended ids when it sets up the stream
        self._is_streaming, self._has_tripped, self._has_begun = True, False, False
        self._last_id = None

    def read_into(self, out: NDArray[Any], timeout_s: float) -> FrameStamp:
        """Wait for the next frame and copy it into `out`; see `Driver.read_into`. CameraError when not started.

        An incomplete frame leaves `out` as it is.
        """
        if not self._is_streaming:
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
                result = self._camera.RetrieveResult(wait_ms, pylon.TimeoutHandling_Return)
            except genicam.GenericException as error:
                result, why = None, reason(error)
            else:
                why = "it stopped by itself"
            if result is not None and result.IsValid():
                with result:  # pylon's own buffer is ours until the end of the block
                    return self._take(result, out)
            if result is None or not self._camera.IsGrabbing() or self._is_gone():
                lost = self._begin_again(why)
                if lost is not None:
                    return lost
            elif time.monotonic() >= deadline:
                raise self._timeout(timeout_s)

    def _take(self, result: Any, out: NDArray[Any]) -> FrameStamp:
        self._has_tripped, self._has_begun = False, True
        frame_id = self._last_id = frame_id_of(result.GetBlockID(), self.frame_id_period)
        if not result.GrabSucceeded():
            self._tell_once(result.GetErrorDescription(), result.GetErrorCode())
            return FrameStamp(frame_id, status=FrameStatus.INCOMPLETE)
        memory = result.GetImageMemoryView()
        if len(memory) != self._n_bytes:
            raise FrameError(f"a frame of {self._name} has {len(memory)} bytes, expected {self._n_bytes}")
        np.copyto(out, np.frombuffer(memory, self.frame_dtype).reshape(self.frame_shape))
        ticks = result.GetTimeStamp()
        return FrameStamp(frame_id, camera_ns=ticks * 10**9 // self._ticks_per_second if ticks else None)

    def _timeout(self, timeout_s: float) -> FrameTimeout:
        return FrameTimeout(
            f"no frame of {self._name} within {timeout_s} s (exposure {self._exposure.GetValue() / 1000:g} ms): "
            "does it wait for a trigger, or does the network drop its packets?"
        )

    def _begin_again(self, why: str) -> FrameStamp | None:
        """Start once more after the stream broke; a second time without a frame between is an error.

        Returns the frame that was being delivered, which is lost, unless the stream broke before its first.
        """
        if self._has_tripped or self._is_gone():
            raise self._failure(f"does not deliver frames: {why}")
        logger.warning("%s: the stream broke and is started again; frames may be lost: %s", self._name, why)
        last_id, had_begun = self._last_id, self._has_begun
        self.stop()
        self.start()
        self._has_tripped = True
        if not had_begun:
            return None
        lost_id = None if last_id is None else last_id + 1  # the counter of the new start lies behind it
        return FrameStamp(lost_id, status=FrameStatus.INCOMPLETE)

    def _tell_once(self, description: str, code: int) -> None:
        if description not in self._told:
            self._told.add(description)
            logger.warning("%s delivers incomplete frames: %s (error code %#x)", self._name, description, code)

    def _is_gone(self) -> bool:
        return self._camera.IsCameraDeviceRemoved() or not self._camera.IsOpen()

    def _failure(self, what: str) -> CameraError:
        if self._is_gone():
            return CameraLost(f"{self._name} has gone: check power and cable, then open it again")
        return CameraError(f"{self._name} {what}")

    def set_exposure(self, exposure_ms: float) -> float:
        """Set the exposure, also while streaming; return what the camera took. SettingsError outside its range."""
        if self._camera is None:
            raise CameraError(f"{self._name} is not open: open it before its exposure is set")
        try:
            node = self._exposure
            low, high, wanted = node.GetMin(), node.GetMax(), exposure_ms * 1000
            if not low <= wanted <= high:
                raise SettingsError(
                    f"exposure_ms of {self._name} must lie in {low / 1000:g} to {high / 1000:g}, got {exposure_ms}"
                )
            if node.HasInc():
                wanted = min(low + round((wanted - low) / node.GetInc()) * node.GetInc(), high)
            node.SetValue(wanted)
            return float(node.GetValue() / 1000)
        except genicam.GenericException as error:
            raise self._failure(f"does not take an exposure of {exposure_ms} ms: {reason(error)}") from error

    def temperature_celsius(self) -> float:
        """Return the temperature that the camera shows, NaN if it has no thermometer or is closed."""
        with self._closing:
            if self._thermometer is None:
                return math.nan
            try:
                return float(self._thermometer.GetValue())
            except genicam.GenericException as error:
                raise CameraError(f"{self._name} does not tell its temperature: {reason(error)}") from error

    def stop(self) -> None:
        """Stop streaming; what waits in the queue is gone."""
        if self._is_streaming:
            self._is_streaming = False
            self._quietly(self._camera.StopGrabbing)

    def close(self) -> None:
        """Stop, and give the camera back."""
        self.stop()
        with self._closing:
            camera, self._camera, self._exposure, self._thermometer = self._camera, None, None, None
            if camera is not None:
                self._quietly(camera.Close)

    def _quietly(self, end: Callable[[], None]) -> None:
        try:
            end()
        except genicam.GenericException as error:  # a camera that has gone, which was raised where it was noticed
            logger.warning("%s could not be given back in good order: %s", self._name, reason(error))


def frame_id_of(block_id: int, period: int | None) -> int | None:
    """Read pylon's BlockID: None where it says that the camera does not count.

    >>> frame_id_of(0, None), frame_id_of(0, 65535), frame_id_of(1, 65535), frame_id_of(2**64 - 1, None)
    (0, None, 1, None)
    """
    is_counted = block_id != NO_BLOCK_ID and (block_id > 0 or period is None)
    return block_id if is_counted else None
