"""Simulated drivers for tests, and functions that read from them."""

import numpy as np

from openhsi_shared.drivers.simulated import SimulatedDriver
from openhsi_shared.settings import CameraSettings


def settings(rows=16, columns=48, pixel_format="Mono12", **more):
    return CameraSettings(resolution=(rows, columns), pixel_format=pixel_format, **more)


def started(camera_settings=None, **options):
    driver = SimulatedDriver(camera_settings or settings(), **options)
    driver.open()
    driver.start()
    return driver


def read(driver, n=1):
    """Read n frames: (frames, stamps)."""
    frames = np.empty((n, *driver.frame_shape), driver.frame_dtype)
    return frames, [driver.read_into(frame, 5.0) for frame in frames]


def ids_of(stamps):
    return [stamp.frame_id for stamp in stamps]
