"""Hikrobot cameras, through MvCameraControl_class of Hikrobot's MVS software, which is not on PyPI.

Notes:
- The package is a folder of the MVS samples, `MvImport`: the environment variable MVS_PYTHON_PATH is its path, else the
  default folders of MVS are searched.
- Calls return a number, 0 for success; others are raised here as `MvsError`.
- A frame's id is `nFrameNum`, which restarts with every start, and wraps around after 65535 on GigE cameras. With the
  strategy "one by one" a full queue drops the newest.
- A frame with lost packets is incomplete.
- The camera's clock counts ticks: nanoseconds, unless the camera reports a tick frequency.
- Written from the public interface, and not yet tested with a camera.
"""

import os
import platform
import sys
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from openhsi_shared.drivers import FrameStamp, FrameStatus
from openhsi_shared.drivers.base_driver import GIGE_PERIOD, ConnectedDriver, Connection, Unpack, cannot_be_opened
from openhsi_shared.drivers.features import Feature, value_of
from openhsi_shared.drivers.hikrobot_features import MvsError, MvsFeature, checked
from openhsi_shared.drivers.packed import bytes_at
from openhsi_shared.errors import CameraNotFound
from openhsi_shared.loggers import safe_logger
from openhsi_shared.near_names import nearest_name

FOLDERS = (
    "/opt/MVS/Samples/aarch64/Python/MvImport" if platform.machine() == "aarch64" else "",
    "/opt/MVS/Samples/64/Python/MvImport",
    "C:/Program Files (x86)/MVS/Development/Samples/Python/MvImport",
)
"""Default folders of MVS' Python package."""

for _folder in (os.environ.get("MVS_PYTHON_PATH", ""), *FOLDERS):
    if _folder and Path(_folder).is_dir() and _folder not in sys.path:
        sys.path.append(_folder)

try:
    import MvCameraControl_class as mvs
except (ImportError, OSError, TypeError) as error:  # TypeError: MVCAM_COMMON_RUNENV is not set
    raise ImportError(
        f"{error}; it comes with Hikrobot's MVS (https://www.hikrobotics.com): install that, and set MVS_PYTHON_PATH "
        "to its folder Samples/64/Python/MvImport and MVCAM_COMMON_RUNENV to its folder lib",
        name="MvCameraControl_class",
    ) from error

__all__ = ["HikrobotDriver"]

logger = safe_logger(__name__)

NO_DATA = {0x80000007, 0x80000106}
"""MV_E_NODATA, MV_E_GC_TIMEOUT: no frame within the timeout."""
GIGE, USB = 1, 4
"""MVS' numbers of transport layers."""


class HikrobotDriver(ConnectedDriver):
    """One Hikrobot camera; see `ConnectedDriver`."""

    kind = "Hikrobot camera"

    def _connect(self) -> Connection:
        if hasattr(mvs.MvCamera, "MV_CC_Initialize"):  # needed by newer versions, once per process
            mvs.MvCamera.MV_CC_Initialize()
        devices = mvs.MV_CC_DEVICE_INFO_LIST()
        checked(mvs.MvCamera.MV_CC_EnumDevices(GIGE | USB, devices), "looking for cameras")
        infos = [devices.pDeviceInfo[index].contents for index in range(devices.nDeviceNum)]
        found = {_texts_of(info)[1]: info for info in infos}
        serial = next(iter(found), None) if self._serial_num is None else self._serial_num
        if serial is None or serial not in found:
            which = "" if serial is None else f" has the serial number {serial!r}{nearest_name(serial, found)}"
            raise CameraNotFound(
                f"no Hikrobot camera{which or ' was found'}; there are {[*found]}: check power, cable and network "
                "address (with MVS)"
            )
        camera = mvs.MvCamera()
        try:
            checked(camera.MV_CC_CreateHandle(found[serial]), "making a handle")
            try:
                checked(camera.MV_CC_OpenDevice(), "opening it")
            except MvsError:
                camera.MV_CC_DestroyHandle()
                raise
        except MvsError as error:
            raise cannot_be_opened(f"the Hikrobot camera {serial}", error) from error
        name = f"Hikrobot {_texts_of(found[serial])[0]} {serial}"
        return HikrobotConnection(camera, name, is_gige=found[serial].nTLayerType == GIGE)


def _texts_of(info: Any) -> tuple[str, str]:
    """Model and serial number of a camera that was found."""
    about = info.SpecialInfo.stGigEInfo if info.nTLayerType == GIGE else info.SpecialInfo.stUsb3VInfo
    model, serial = (
        bytes(field).partition(b"\0")[0].decode("utf-8", "replace")
        for field in (about.chModelName, about.chSerialNumber)
    )
    return model, serial


class HikrobotConnection:
    """An open Hikrobot camera."""

    errors: tuple[type[Exception], ...] = (MvsError,)

    def __init__(self, camera: Any, name: str, *, is_gige: bool) -> None:
        self._camera, self.name, self._is_gige = camera, name, is_gige
        self._ticks_per_second = value_of(self, "GevTimestampTickFrequency") or 10**9

    @property
    def frame_id_period(self) -> int | None:
        """65535 for GigE, unless 64-bit ids are enabled, of which 32 are visible."""
        return GIGE_PERIOD if self._is_gige and value_of(self, "GevGVSPExtendedIDMode") != "On" else 2**32

    def feature(self, name: str) -> Feature | None:
        """Find a feature of the camera."""
        return MvsFeature.found(mvs, self._camera, name)

    def feature_names(self) -> list[str]:
        """Empty: not available."""
        return []

    def begin(self, queue: int) -> None:
        """Start streaming, oldest frame first."""
        camera = self._camera
        checked(camera.MV_CC_SetImageNodeNum(queue), f"setting {queue} buffers")
        if hasattr(camera, "MV_CC_SetGrabStrategy"):
            camera.MV_CC_SetGrabStrategy(0)  # one by one, which is also the default
        if self._is_gige:
            size = int(camera.MV_CC_GetOptimalPacketSize())
            if 0 < size < 2**16:  # else it is an error code
                camera.MV_CC_SetIntValue("GevSCPSPacketSize", size)
        checked(camera.MV_CC_StartGrabbing(), "starting")

    def read_into(self, out: NDArray[Any], unpack: Unpack, wait_ms: int) -> FrameStamp | None:
        """Read the next frame; see `Connection`."""
        frame = mvs.MV_FRAME_OUT()
        code = self._camera.MV_CC_GetImageBuffer(frame, max(1, wait_ms)) & 0xFFFFFFFF
        if code in NO_DATA:
            return None
        checked(code, "getting a frame")
        try:
            info = frame.stFrameInfo
            if info.nLostPacket:
                return FrameStamp(int(info.nFrameNum), status=FrameStatus.INCOMPLETE)
            unpack(bytes_at(frame.pBufAddr, int(info.nFrameLen)), out)
            ticks = info.nDevTimeStampHigh << 32 | info.nDevTimeStampLow
            return FrameStamp(int(info.nFrameNum), camera_ns=ticks * 10**9 // self._ticks_per_second if ticks else None)
        finally:
            self._camera.MV_CC_FreeImageBuffer(frame)

    def end(self) -> None:
        """Stop streaming."""
        checked(self._camera.MV_CC_StopGrabbing(), "stopping")

    def close(self) -> None:
        """Release the camera."""
        code = self._camera.MV_CC_CloseDevice()
        self._camera.MV_CC_DestroyHandle()
        checked(code, "closing it")

    def is_gone(self) -> bool:
        """Whether the camera was disconnected."""
        return not self._camera.MV_CC_IsDeviceConnected()
