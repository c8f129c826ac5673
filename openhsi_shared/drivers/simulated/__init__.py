"""Simulated camera: a scene, a lamp, a flat field, or counted frames.

    optics  ──▶  painters, counting  ──▶  camera  ◀──  free_run
    which light  the frames of            the driver   which frames are there
    falls where  each mode                itself       now, by the clock alone

`packaged` has the paths of its default files.
"""

from openhsi_shared.drivers.simulated.camera import FAULTS, MODES, SimulatedDriver
from openhsi_shared.drivers.simulated.counting import check_frame, frame_number
from openhsi_shared.drivers.simulated.packaged import CALIBRATION_PATH, SCENE_PATH, SETTINGS_PATH

__all__ = [
    "CALIBRATION_PATH",
    "FAULTS",
    "MODES",
    "SCENE_PATH",
    "SETTINGS_PATH",
    "SimulatedDriver",
    "check_frame",
    "frame_number",
]
