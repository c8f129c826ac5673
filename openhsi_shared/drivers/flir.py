"""FLIR (Teledyne, formerly Point Grey) cameras, through PySpin of the Spinnaker SDK, which is not on PyPI.

Notes:
- A frame's id is that of the transport: 64 bits from 0 on USB, 1 to 65535 on GigE. With "OldestFirst" Spinnaker drops
  the newest frame when its buffers are full, which shows as a gap in the ids.
- Spinnaker raises at exit unless image, camera, list and system were released in this order.
- The frame rate, which limits the exposure, is not fixed: the camera runs as fast as exposure and transport allow. To
  limit it: `nodes={"AcquisitionFrameRateEnable": true, "AcquisitionFrameRate": 100.0}`.
- The camera's clock counts nanoseconds.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.drivers import FrameStamp, FrameStatus
from openhsi_shared.drivers.base_driver import GIGE_PERIOD, ConnectedDriver, Connection, Unpack, cannot_be_opened
from openhsi_shared.drivers.features import Feature, Kind, value_of
from openhsi_shared.errors import CameraNotFound
from openhsi_shared.loggers import safe_logger
from openhsi_shared.near_names import nearest_name

try:
    import PySpin
except (ImportError, OSError) as error:
    raise ImportError(
        f"{error}; it comes with Teledyne's Spinnaker SDK (https://www.teledynevisionsolutions.com): install that, and "
        "then the wheel spinnaker_python of the same version",
        name="PySpin",
    ) from error

__all__ = ["FlirDriver"]

logger = safe_logger(__name__)

TIMEOUT = -1011
DISCONNECTED = {-1002, -1006, -1010, -1012, -1015}
"""Not initialised, invalid handle, input or output, aborted, invalid address: the camera was disconnected."""


class FlirDriver(ConnectedDriver):
    """One FLIR camera; see `ConnectedDriver`."""

    kind = "FLIR camera"

    def _connect(self) -> Connection:
        system = PySpin.System.GetInstance()
        cameras = system.GetCameras()
        camera = None
        try:
            found = [cameras.GetByIndex(index) for index in range(cameras.GetSize())]
            by_serial = {_text(each.GetTLDeviceNodeMap(), "DeviceSerialNumber"): each for each in found}
            serial = next(iter(by_serial), None) if self._serial_num is None else self._serial_num
            camera = by_serial.get(str(serial))
            names = [*by_serial]
            found.clear()
            by_serial.clear()  # Spinnaker counts references to cameras
            if camera is None:
                which = "" if serial is None else f" has the serial number {serial!r}{nearest_name(serial, names)}"
                raise CameraNotFound(
                    f"no FLIR camera{which or ' was found'}; there are {names}: check power, cable and, for USB, the "
                    "udev rules of Spinnaker"
                )
            try:
                camera.Init()
            except PySpin.SpinnakerException as error:
                raise cannot_be_opened(f"the FLIR camera {serial}", error) from error
            return FlirConnection(system, cameras, camera, str(serial))
        except BaseException:
            camera = None
            cameras.Clear()
            system.ReleaseInstance()
            raise


class FlirConnection:
    """An open FLIR camera."""

    errors: tuple[type[Exception], ...] = (PySpin.SpinnakerException,)

    def __init__(self, system: Any, cameras: Any, camera: Any, serial: str) -> None:
        self._system, self._cameras, self._camera = system, cameras, camera
        self.name = f"FLIR {_text(camera.GetTLDeviceNodeMap(), 'DeviceModelName')} {serial}"
        self._is_lost = False

    @property
    def frame_id_period(self) -> int | None:
        """65535 for GigE, unless 64-bit ids are enabled."""
        is_gige = _text(self._camera.GetTLDeviceNodeMap(), "DeviceType") == "GigEVision"
        return GIGE_PERIOD if is_gige and value_of(self, "GevGVSPExtendedIDMode") != "On" else None

    def feature(self, name: str) -> Feature | None:
        """Find a feature of the camera or its stream."""
        for nodes in (self._camera.GetNodeMap(), self._camera.GetTLStreamNodeMap()):
            node = nodes.GetNode(name)
            if node is not None and PySpin.IsAvailable(node):
                return _SpinFeature(node)
        return None

    def feature_names(self) -> list[str]:
        """Names of the camera's features."""
        return [node.GetName() for node in self._camera.GetNodeMap().GetNodes()]

    def begin(self, queue: int) -> None:
        """Start streaming, oldest frame first."""
        wanted = (
            ("StreamBufferHandlingMode", "OldestFirst"),
            ("StreamBufferCountMode", "Manual"),
            ("StreamBufferCountManual", queue),
            ("AcquisitionMode", "Continuous"),
        )
        for name, value in wanted:
            feature = self.feature(name)
            if feature is not None and feature.is_writable():
                feature.set(min(value, int(feature.limits()[1])) if isinstance(value, int) else value)
        self._camera.BeginAcquisition()

    def read_into(self, out: NDArray[Any], unpack: Unpack, wait_ms: int) -> FrameStamp | None:
        """Read the next frame; see `Connection`."""
        try:
            image = self._camera.GetNextImage(max(1, wait_ms))
        except PySpin.SpinnakerException as error:
            if error.errorcode == TIMEOUT:
                return None
            self._is_lost = error.errorcode in DISCONNECTED
            raise
        try:
            frame_id = int(image.GetFrameID())
            if image.IsIncomplete():
                return FrameStamp(frame_id, status=FrameStatus.INCOMPLETE)
            unpack(np.asarray(image.GetData()).reshape(-1).view(np.uint8), out)
            return FrameStamp(frame_id, camera_ns=int(image.GetTimeStamp()))
        finally:
            image.Release()

    def end(self) -> None:
        """Stop streaming."""
        self._camera.EndAcquisition()

    def close(self) -> None:
        """Release camera, list and system, in this order."""
        camera, self._camera = self._camera, None
        try:
            camera.DeInit()
        finally:
            del camera
            self._cameras.Clear()
            self._system.ReleaseInstance()

    def is_gone(self) -> bool:
        """Whether the camera was disconnected."""
        return self._is_lost or self._camera is None or not self._camera.IsValid()


class _SpinFeature:
    """A node of Spinnaker, through the pointer of its type."""

    def __init__(self, node: Any) -> None:
        self.kind = Kind(int(node.GetPrincipalInterfaceType()))
        pointers = {
            Kind.INTEGER: PySpin.CIntegerPtr,
            Kind.FLOAT: PySpin.CFloatPtr,
            Kind.BOOLEAN: PySpin.CBooleanPtr,
            Kind.ENUMERATION: PySpin.CEnumerationPtr,
            Kind.STRING: PySpin.CStringPtr,
            Kind.COMMAND: PySpin.CCommandPtr,
        }
        self._node = pointers[self.kind](node) if self.kind in pointers else node

    def is_readable(self) -> bool:
        return bool(PySpin.IsReadable(self._node))

    def is_writable(self) -> bool:
        return bool(PySpin.IsWritable(self._node))

    def get(self) -> Any:
        if self.kind is Kind.ENUMERATION:
            return self._node.GetCurrentEntry().GetSymbolic()
        return self._node.GetValue()

    def set(self, value: Any) -> None:
        if self.kind is Kind.COMMAND:
            self._node.Execute()
        elif self.kind is Kind.ENUMERATION:
            entry = self._node.GetEntryByName(value)
            if entry is None or not PySpin.IsAvailable(entry):
                raise ValueError(f"there is no entry {value!r}")
            self._node.SetIntValue(PySpin.CEnumEntryPtr(entry).GetValue())
        else:
            self._node.SetValue(value)

    def limits(self) -> tuple[float, float, float]:
        step = self._node.GetInc() if self.kind is Kind.INTEGER else 0
        return self._node.GetMin(), self._node.GetMax(), step

    def choices(self) -> list[str]:
        entries = (PySpin.CEnumEntryPtr(entry) for entry in self._node.GetEntries())
        return [entry.GetSymbolic() for entry in entries if PySpin.IsAvailable(entry)]


def _text(nodes: Any, name: str) -> str:
    """A feature of the transport layer, as text."""
    node = nodes.GetNode(name)
    if node is None or not PySpin.IsAvailable(node):
        return ""
    return str(_SpinFeature(node).get())
