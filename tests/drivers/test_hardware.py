"""The contract on real cameras, for a lab machine: OPENHSI_HARDWARE="ximea flir" pytest -m hardware tests/drivers.

The vendor's package must be installed and a camera connected. OPENHSI_HARDWARE_SETTINGS may name a settings file. Where
XIMEA's library can simulate cameras, OPENHSI_XIMEA_SIMULATORS says how many.
"""

import os

import pytest

from openhsi_shared.drivers import driver_class
from openhsi_shared.frames.ids import FrameIds
from openhsi_shared.settings import read_settings
from openhsi_shared.testing import CameraContract, streaming

ASKED_FOR = os.environ.get("OPENHSI_HARDWARE", "").split()


@pytest.mark.hardware
@pytest.mark.parametrize("name", ASKED_FOR or [pytest.param("", marks=pytest.mark.skip("OPENHSI_HARDWARE is not set"))])
class TestRealCameras(CameraContract):
    @pytest.fixture
    def driver(self, name):
        make = driver_class(name)
        if name == "ximea" and (simulated := os.environ.get("OPENHSI_XIMEA_SIMULATORS")):
            from ximea import xiapi

            xiapi.Camera().set_param("cam_simulators_count", int(simulated))
        return make(read_settings(os.environ.get("OPENHSI_HARDWARE_SETTINGS")))

    def test_a_fast_reader_loses_nothing(self, driver):
        with streaming(driver):
            ids = FrameIds(driver.frame_id_period)
            seen = [ids.unwrap(self.read(driver)[1].frame_id) for _ in range(200)]
            assert seen == list(range(seen[0], seen[0] + 200))
