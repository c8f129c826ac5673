"""The cameras: one class for each vendor, all with the interface of `SharedOpenHSI`.

Importing this touches no vendor's package; that happens when a camera is made.
"""

from typing import Any, ClassVar

from openhsi_shared.datacube.driver_camera import DriverCamera
from openhsi_shared.drivers.simulated.packaged import CALIBRATION_PATH, SETTINGS_PATH

__all__ = [
    "SharedBaslerCamera",
    "SharedFlirCamera",
    "SharedGenICamCamera",
    "SharedHikrobotCamera",
    "SharedLucidCamera",
    "SharedReplayCamera",
    "SharedSimulatedCamera",
    "SharedWebCamera",
    "SharedXimeaCamera",
    "camera_class",
]


class SharedSimulatedCamera(DriverCamera):
    """A camera without hardware: a scene (or a picture of yours, `img_path`), a lamp, a flat field, or counted frames.

    Needs no file and no argument. `mode`: None, "HgAr", "flat", "counting"; `rate` in lines/s and `queue` pace it like
    a sensor whose queue overflows; without `rate` it waits for you and loses nothing.
    """

    driver_name: ClassVar[str] = "simulated"

    def __init__(
        self,
        n_lines: int = 16,
        processing_lvl: int = -1,
        json_path: Any = None,
        cal_path: Any = None,
        print_settings: bool = False,
        **keywords: Any,
    ) -> None:
        """As `SharedDataCube`; the files that come with the package are used where none is given."""
        if cal_path is None and "pkl_path" not in keywords:
            cal_path = CALIBRATION_PATH
        if not json_path and "resolution" in keywords:
            keywords = {"row_slice": None} | keywords  # the file's are rows of its own resolution
        super().__init__(n_lines, processing_lvl, json_path or SETTINGS_PATH, cal_path, print_settings, **keywords)

    def mode_change(self, mode: str | None) -> None:
        """Show something else from the next frame on."""
        self.driver.mode_change(mode)  # type: ignore[attr-defined]


class SharedReplayCamera(DriverCamera):
    """A saved cube, or a folder of them, as a camera: `path`, `rate` ("recorded", None = any, or lines/s), `loop`."""

    driver_name: ClassVar[str] = "replay"


class SharedBaslerCamera(DriverCamera):
    """A Basler camera, by pypylon: `serial_num` (None = the first one), `queue` frames in the driver."""

    driver_name: ClassVar[str] = "basler"


class SharedXimeaCamera(DriverCamera):
    """A XIMEA camera, by XIMEA's package: `serial_num` (None = the first one), `queue` frames in the API.

    `images_per_buffer` frames come in one buffer from cameras on PCIe; `compat="openhsi"` reads openhsi's settings as
    openhsi does (`win_offset` 0 = the greatest, `binxy[0]` vertical).
    """

    driver_name: ClassVar[str] = "ximea"


class SharedFlirCamera(DriverCamera):
    """A FLIR camera, by PySpin: `serial_num` (None = the first one), `queue` frames in the driver."""

    driver_name: ClassVar[str] = "flir"


class SharedLucidCamera(DriverCamera):
    """A Lucid camera, by arena_api: `serial_num` (None = the first one), `queue`, `compat="openhsi"` as for XIMEA."""

    driver_name: ClassVar[str] = "lucid"


class SharedHikrobotCamera(DriverCamera):
    """A Hikrobot camera, by MvCameraControl_class: `serial_num` (None = the first one), `queue` frames in it."""

    driver_name: ClassVar[str] = "hikrobot"


class SharedGenICamCamera(DriverCamera):
    """Any GenICam camera, by harvesters: `producer` (path of a vendor's .cti, or "aravis"), `serial_num`, `queue`."""

    driver_name: ClassVar[str] = "genicam"


class SharedWebCamera(DriverCamera):
    """A webcam or a video file, by OpenCV: `source` (a number, or a path), `loop` (a file begins again at its end)."""

    driver_name: ClassVar[str] = "web"


_OWN: dict[str, type[DriverCamera]] = {
    camera.driver_name: camera
    for camera in (
        SharedSimulatedCamera,
        SharedReplayCamera,
        SharedBaslerCamera,
        SharedXimeaCamera,
        SharedFlirCamera,
        SharedLucidCamera,
        SharedHikrobotCamera,
        SharedGenICamCamera,
        SharedWebCamera,
    )
}


def camera_class(name: str) -> type[DriverCamera]:
    """Return the camera class of a driver, also of one that another package brings."""
    return _OWN.get(name) or type(f"Shared{name.title()}Camera", (DriverCamera,), {"driver_name": name})
