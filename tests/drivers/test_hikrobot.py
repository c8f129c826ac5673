"""Hikrobot's driver on a stand-in for MvCameraControl_class."""

import subprocess
import sys

import pytest

from openhsi_shared.errors import CameraError, SettingsError

pytest.register_assert_rewrite("vendor_contract")
from tests.support.vendor_contract import STAND_INS, VendorContract, read  # noqa: E402 - after the line above


class TestHikrobotDriver(VendorContract):
    name = "hikrobot"
    vendor = "Hikrobot"
    template = "cam_settings_hikrobot.json"

    def test_ids_of_gige_have_16_bits_and_those_of_usb_32(self, make, bench):
        assert make().frame_id_period == 2**32
        bench.sensors[1].first_number, bench.sensors[1].period_of_numbers = 65534, 65535
        driver = make(serial_num="10000002")
        assert driver.frame_id_period == 65535
        driver.start()
        assert [stamp.frame_id for stamp in read(driver, 4)[1]] == [65534, 65535, 1, 2]

    def test_a_handle_is_released_even_if_the_camera_is_in_use(self, make, bench):
        import MvCameraControl_class as mvs

        make()
        before = mvs.MvCamera.n_handles
        with pytest.raises(CameraError, match="0x80000203, no permission: it is open elsewhere"):
            make()
        assert mvs.MvCamera.n_handles == before

    def test_all_buffers_are_requeued(self, make):
        driver = make()
        driver.start()
        read(driver, 3)
        assert driver._connection._camera._kept == {}

    def test_what_binning_there_is_is_said(self, make):
        with pytest.raises(
            SettingsError, match=r"binxy: BinningHorizontal of Hikrobot .* must be one of \['1', '2', '4'\], got 3"
        ):
            make(binxy=(3, 1))

    def test_a_word_that_it_does_not_know_is_refused(self, make):
        with pytest.raises(
            SettingsError, match=r"must be one of \['Off', 'On'\], got 'Onn' \(did you mean On\?\): setting"
        ):
            make(nodes={"TriggerMode": "Onn"})


CODE = """
from openhsi_shared.drivers import driver_class
from openhsi_shared.errors import DriverMissing
try:
    print(driver_class("hikrobot").__name__)
except DriverMissing as error:
    print(error)
"""


def test_its_package_is_found_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("MVS_PYTHON_PATH", str(STAND_INS))
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "HikrobotDriver\n"


def test_without_its_library_the_error_says_what_to_set(monkeypatch, tmp_path):
    (tmp_path / "MvCameraControl_class.py").write_text("import os; os.getenv('NOWHERE') + '/64/libMvCameraControl.so'")
    monkeypatch.setenv("MVS_PYTHON_PATH", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert "needs the package 'MvCameraControl_class'" in done.stdout
    assert "MVCAM_COMMON_RUNENV" in done.stdout
