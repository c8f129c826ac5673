"""Camera classes: one per vendor, all with the interface of `SharedOpenHSI`.

Importing this module imports no vendor's package; that happens when a camera is created.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from openhsi_shared.datacube.driver_camera import DriverCamera
from openhsi_shared.drivers.simulated.packaged import CALIBRATION_PATH, SETTINGS_PATH
from openhsi_shared.paths import given_path

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
    """A camera without hardware: a scene (or your own picture, `img_path`), a lamp, a flat field, or counted frames.

    Needs no file and no argument. `mode`: None, "HgAr", "flat", "counting"; with `rate` in lines/s and `queue` it
    behaves like a sensor whose queue overflows; without `rate` it waits for the reader and loses no frame.
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
        """As `SharedDataCube`; missing file names default to the files of the package."""
        if cal_path is None and "pkl_path" not in keywords:
            cal_path = CALIBRATION_PATH
        if not json_path and "resolution" in keywords:
            keywords = {"row_slice": None} | keywords  # the file's row_slice belongs to its own resolution
        super().__init__(n_lines, processing_lvl, json_path or SETTINGS_PATH, cal_path, print_settings, **keywords)

    def mode_change(self, mode: str | None) -> None:
        """Change the mode from the next frame on."""
        self.driver.mode_change(mode)  # type: ignore[attr-defined]


class SharedReplayCamera(DriverCamera):
    """Saved cubes (a file or a folder) as a camera: `path`, `rate` ("recorded", None = unlimited, lines/s), `loop`."""

    driver_name: ClassVar[str] = "replay"

    def _open_source(self, options: Mapping[str, Any]) -> tuple[tuple[int, int], np.dtype[Any]]:
        found = super()._open_source(options)
        self._replayed_from = str(given_path(options["path"]).absolute())
        return found


class SharedBaslerCamera(DriverCamera):
    """A Basler camera, by pypylon: `serial_num` (None = the first one), `queue` frames in the driver."""

    driver_name: ClassVar[str] = "basler"


class SharedXimeaCamera(DriverCamera):
    """A XIMEA camera, by XIMEA's package: `serial_num` (None = the first one), `queue` frames in the API.

    `images_per_buffer` frames share one buffer on PCIe cameras; `compat="openhsi"` interprets openhsi's settings as
    openhsi does (`win_offset` 0 = the maximum, `binxy[0]` vertical).
    """

    driver_name: ClassVar[str] = "ximea"


class SharedFlirCamera(DriverCamera):
    """A FLIR camera, by PySpin: `serial_num` (None = the first one), `queue` frames in the driver."""

    driver_name: ClassVar[str] = "flir"


class SharedLucidCamera(DriverCamera):
    """A Lucid camera, by arena_api: `serial_num` (None = the first one), `queue`, `compat="openhsi"` as for XIMEA."""

    driver_name: ClassVar[str] = "lucid"


class SharedHikrobotCamera(DriverCamera):
    """A Hikrobot camera, by MvCameraControl_class: `serial_num` (None = the first one), `queue` frames in the SDK."""

    driver_name: ClassVar[str] = "hikrobot"


class SharedGenICamCamera(DriverCamera):
    """Any GenICam camera, by harvesters: `producer` (path of a vendor's .cti, or "aravis"), `serial_num`, `queue`."""

    driver_name: ClassVar[str] = "genicam"


class SharedWebCamera(DriverCamera):
    """A webcam or a video file, by OpenCV: `source` (a number, or a path), `loop` (restart a file at its end)."""

    driver_name: ClassVar[str] = "web"


_BUILT_IN: dict[str, type[DriverCamera]] = {
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
    """Return the camera class of a driver, also of a driver of another package."""
    return _BUILT_IN.get(name) or type(f"Shared{name.title()}Camera", (DriverCamera,), {"driver_name": name})
