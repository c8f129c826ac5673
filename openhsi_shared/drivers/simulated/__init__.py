"""A camera without hardware: it flies over a picture, looks at a lamp, or counts.

    optics  ──▶  painters, counting  ──▶  camera  ◀──  free_run
    which light  the frames of            the driver   which frames are there
    falls where  each mode                itself       now, by the clock alone

What it needs by default is `packaged`.
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
