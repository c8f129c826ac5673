"""What a Basler camera loses, as its own package counts it, is what the ids of our frames say."""

import time

import numpy as np
import pytest

from openhsi_shared.drivers import FrameStatus
from openhsi_shared.drivers.features import value_of
from openhsi_shared.frames.ids import FrameIds
from openhsi_shared.settings import CameraSettings

pytest.importorskip("pypylon", reason="pypylon is missing: pip install 'openhsi_shared[basler]'")
from openhsi_shared.drivers.basler import BaslerDriver, pylon

FAST = {"AcquisitionFrameRateEnable": True, "AcquisitionFrameRateAbs": 500.0}


def opened(**nodes):
    settings = CameraSettings(resolution=(8, 16), pixel_format="Mono16", exposure_ms=0.2, nodes=FAST | nodes)
    driver = BaslerDriver(settings)
    driver.open()
    return driver


def test_what_pylon_skips_with_the_latest_image_only_is_the_gap_in_the_ids():
    driver = opened()
    try:
        driver.start()
        connection = driver._connection
        camera = connection._camera
        camera.StopGrabbing()  # recording never asks for the latest only; here it makes pylon lose
        camera.StartGrabbing(pylon.GrabStrategy_LatestImageOnly)
        skipped, take = [], connection._take

        def listening(result, out, unpack):
            skipped.append(result.GetNumberOfSkippedImages())
            return take(result, out, unpack)

        connection._take = listening
        ids, seen = FrameIds(driver.frame_id_period), []
        room = np.empty(driver.frame_shape, driver.frame_dtype)
        while len(seen) < 5 or seen[-1] - seen[0] < len(seen):  # until some are skipped
            until = time.monotonic() + 0.02
            while time.monotonic() < until:  # a slow reader
                pass
            seen.append(ids.unwrap(driver.read_into(room, 5.0).frame_id))
        gaps = np.diff(seen) - 1
        assert gaps.sum() > 0
        assert gaps.tolist() == skipped[1:]
    finally:
        driver.close()


def test_buffers_that_failed_are_as_many_as_frames_that_are_not_good():
    driver = opened(ForceFailedBufferCount=4, ForceFailedBuffer=True)
    try:
        driver.start()
        room = np.empty(driver.frame_shape, driver.frame_dtype)
        stamps = [driver.read_into(room, 5.0) for _ in range(20)]
        failed = value_of(driver._connection, "Statistic_Failed_Buffer_Count")
        assert sum(stamp.status is FrameStatus.INCOMPLETE for stamp in stamps) == failed == 4
        ids = [stamp.frame_id for stamp in stamps]
        assert ids == list(range(ids[0], ids[0] + 20))
    finally:
        driver.close()
