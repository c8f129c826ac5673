"""Basler cameras, real and emulated, through Basler's package pypylon.

Notes:
- The environment variable `PYLON_CAMEMU` sets the number of emulated cameras, before pypylon is imported. They replay a
  folder of 16-bit PNG files, from the first at every start, with the nodes `{"ImageFileMode": "On", "ImageFilename":
  FOLDER, "TestImageSelector": "Off"}`: Mono16 unchanged, Mono12 as value >> 4. (Only some TIFF files are supported.)
  They wait for a slow reader, and lose no frames; several programs may open one at the same time. They have no clock,
  no temperature and no packed pixels.
- A frame's id is its BlockID. USB and emulated cameras count from 0 with 64 bits. GigE cameras count from 1 to 65535
  and then from 1 again, unless their extended-id mode is on (64 bits); there 0 means that the camera has no counter.
  Ids restart with every start. An incomplete frame keeps its id.
- Older cameras name the exposure `ExposureTimeAbs`, newer ones `ExposureTime`. The emulated camera has both and uses
  the older one.
- The camera's clock counts ticks: nanoseconds, except on older GigE cameras, which report the tick frequency.
- Rarely, soon after a start, pylon's grab engine fails with a queue error and stops (observed with the emulated camera,
  once in thousands of starts). It is restarted, and the missing frame is reported as incomplete.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.drivers import FrameStamp, FrameStatus
from openhsi_shared.drivers.base_driver import GIGE_PERIOD, ConnectedDriver, Connection, Unpack, cannot_be_opened
from openhsi_shared.drivers.features import Feature, Kind, value_of
from openhsi_shared.errors import CameraNotFound
from openhsi_shared.loggers import safe_logger
from openhsi_shared.near_names import nearest_name

with warnings.catch_warnings():  # else -W error::DeprecationWarning crashes the interpreter
    warnings.simplefilter("ignore", DeprecationWarning)
    from pypylon import genicam, pylon

__all__ = ["BaslerDriver"]

logger = safe_logger(__name__)

NO_BLOCK_ID = 2**64 - 1


class BaslerDriver(ConnectedDriver):
    """One Basler camera; see `ConnectedDriver`."""

    kind = "Basler camera"

    def _connect(self) -> Connection:
        factory = pylon.TlFactory.GetInstance()
        found = {info.GetSerialNumber(): info for info in factory.EnumerateDevices()}
        if not found:
            raise CameraNotFound(
                "no Basler camera was found: check power, cable and network address (with pylon's IP Configurator), or "
                "set PYLON_CAMEMU=1 in the environment for an emulated one"
            )
        serial = next(iter(found)) if self._serial_num is None else self._serial_num
        if serial not in found:
            raise CameraNotFound(
                f"no Basler camera has the serial number {serial!r}{nearest_name(serial, found)}; there are {[*found]}"
            )
        name = f"Basler {found[serial].GetModelName()} {serial}"
        try:
            camera = pylon.InstantCamera(factory.CreateDevice(found[serial]))
            camera.Open()
        except genicam.GenericException as error:
            raise cannot_be_opened(name, error) from error
        return BaslerConnection(camera, name)

    def _exposure(self, connection: Connection) -> Feature | None:
        return connection.feature("ExposureTimeAbs") or connection.feature("ExposureTime")

    def _temperature(self, connection: Connection) -> float | None:
        for name in ("DeviceTemperature", "TemperatureAbs"):
            celsius: float | None = value_of(connection, name)
            if celsius is not None:
                return celsius
        return None


class BaslerConnection:
    """An open Basler camera."""

    errors: tuple[type[Exception], ...] = (genicam.GenericException, BrokenPipeError)

    def __init__(self, camera: Any, name: str) -> None:
        self._camera, self.name = camera, name
        self._ticks_per_second = value_of(self, "GevTimestampTickFrequency") or 10**9
        self._was_restarted = self._has_frames = False
        self._last_id: int | None = None
        self._warned: set[str] = set()

    @property
    def frame_id_period(self) -> int | None:
        """65535 for GigE, unless 64-bit ids are enabled, which pylon may do when it starts the stream."""
        modes = [value_of(self, name) for name in ("GevGVSPExtendedIDMode", "BslGevGVSPExtendedIDMode")]
        return GIGE_PERIOD if self._camera.IsGigE() and "On" not in modes else None

    def feature(self, name: str) -> Feature | None:
        """Find a feature of the camera or its stream."""
        for nodes in (self._camera.GetNodeMap(), self._camera.GetStreamGrabberNodeMap()):
            node = nodes.GetNode(name)
            if genicam.IsImplemented(node):
                return _PylonFeature(node)
        return None

    def feature_names(self) -> list[str]:
        """Names of the camera's features."""
        return sorted({node.GetNode().GetName() for node in self._camera.GetNodeMap().GetNodes()})

    def begin(self, queue: int) -> None:
        """Start streaming, oldest frame first, none skipped."""
        self._camera.MaxNumBuffer.SetValue(queue)
        self._start()
        self._was_restarted = False

    def _start(self) -> None:
        self._camera.StartGrabbing(pylon.GrabStrategy_OneByOne)
        self._period = self.frame_id_period
        self._has_frames, self._last_id = False, None

    def read_into(self, out: NDArray[Any], unpack: Unpack, wait_ms: int) -> FrameStamp | None:
        """Read the next frame; see `Connection`."""
        try:
            result = self._camera.RetrieveResult(wait_ms, pylon.TimeoutHandling_Return)
        except genicam.GenericException as error:
            return self._restart(error)
        if result.IsValid():
            with result:  # releases pylon's buffer at the end of the block
                return self._take(result, out, unpack)
        if not self._camera.IsGrabbing() or self.is_gone():
            return self._restart(BrokenPipeError("it stopped unexpectedly"))
        return None

    def _take(self, result: Any, out: NDArray[Any], unpack: Unpack) -> FrameStamp:
        self._was_restarted, self._has_frames = False, True
        frame_id = self._last_id = frame_id_of(result.GetBlockID(), self._period)
        if not result.GrabSucceeded():
            self._warn_once(result.GetErrorDescription(), result.GetErrorCode())
            return FrameStamp(frame_id, status=FrameStatus.INCOMPLETE)
        unpack(np.frombuffer(result.GetImageMemoryView(), np.uint8), out)
        ticks = result.GetTimeStamp()
        return FrameStamp(frame_id, camera_ns=ticks * 10**9 // self._ticks_per_second if ticks else None)

    def _restart(self, why: Exception) -> FrameStamp | None:
        """Restart the stream after a failure; a second failure without a frame in between is raised.

        Returns the lost frame as incomplete, or None if the stream failed before its first frame.
        """
        if self._was_restarted or self.is_gone():
            raise why
        logger.warning("%s: the stream failed and is restarted; frames may be lost: %s", self.name, why)
        last_id, had_frames = self._last_id, self._has_frames
        self._camera.StopGrabbing()
        self._start()
        self._was_restarted = True
        if not had_frames:
            return None
        lost_id = None if last_id is None else last_id + 1  # the restarted counter follows it
        return FrameStamp(lost_id, status=FrameStatus.INCOMPLETE)

    def _warn_once(self, description: str, code: int) -> None:
        if description not in self._warned:
            self._warned.add(description)
            logger.warning("%s delivers incomplete frames: %s (error code %#x)", self.name, description, code)

    def end(self) -> None:
        """Stop streaming."""
        self._camera.StopGrabbing()

    def close(self) -> None:
        """Release the camera."""
        self._camera.Close()

    def is_gone(self) -> bool:
        """Whether the camera was disconnected."""
        return bool(self._camera.IsCameraDeviceRemoved() or not self._camera.IsOpen())


class _PylonFeature:
    """A parameter of pylon."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self.kind = Kind(int(node.GetNode().GetPrincipalInterfaceType()))

    def is_readable(self) -> bool:
        return bool(genicam.IsReadable(self._node))

    def is_writable(self) -> bool:
        return bool(genicam.IsWritable(self._node))

    def get(self) -> Any:
        return self._node.GetValue()

    def set(self, value: Any) -> None:
        if self.kind is Kind.COMMAND:
            self._node.Execute()
        else:
            self._node.SetValue(value)

    def limits(self) -> tuple[float, float, float]:
        has_step = self.kind is Kind.INTEGER or self._node.HasInc()
        return self._node.GetMin(), self._node.GetMax(), self._node.GetInc() if has_step else 0

    def choices(self) -> list[str]:
        return [entry.GetSymbolic() for entry in self._node.GetEntries() if genicam.IsAvailable(entry)]


def frame_id_of(block_id: int, period: int | None) -> int | None:
    """Convert pylon's BlockID; None if the camera has no counter.

    >>> frame_id_of(0, None), frame_id_of(0, 65535), frame_id_of(1, 65535), frame_id_of(2**64 - 1, None)
    (0, None, 1, None)
    """
    is_counted = block_id != NO_BLOCK_ID and (block_id > 0 or period is None)
    return block_id if is_counted else None
