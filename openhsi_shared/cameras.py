"""The cameras: one class for each vendor, all with the interface of `SharedOpenHSI`.

Importing this touches no vendor's package; that happens when a camera is made.
"""

from typing import Any, ClassVar

from openhsi_shared.datacube.driver_camera import DriverCamera
from openhsi_shared.drivers.simulated.packaged import CALIBRATION_PATH, SETTINGS_PATH

__all__ = ["SharedBaslerCamera", "SharedReplayCamera", "SharedSimulatedCamera", "camera_class"]


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


_OWN: dict[str, type[DriverCamera]] = {
    camera.driver_name: camera for camera in (SharedSimulatedCamera, SharedReplayCamera, SharedBaslerCamera)
}


def camera_class(name: str) -> type[DriverCamera]:
    """Return the camera class of a driver, also of one that another package brings."""
    return _OWN.get(name) or type(f"Shared{name.title()}Camera", (DriverCamera,), {"driver_name": name})
