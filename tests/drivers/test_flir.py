"""FLIR's driver on a stand-in for PySpin."""

import pytest

from openhsi_shared.errors import SettingsError
from openhsi_shared.frames.ids import FrameIds

pytest.register_assert_rewrite("vendor_contract")
from tests.support.vendor_contract import VendorContract, read  # noqa: E402 - after the line above


class TestFlirDriver(VendorContract):
    name = "flir"
    vendor = "FLIR"
    formats = ("Mono8", "Mono10", "Mono10p", "Mono10Packed", "Mono12", "Mono12p", "Mono12Packed", "Mono16")
    template = "cam_settings_flir.json"

    def test_ids_of_usb_have_64_bits_and_those_of_gige_16(self, make, bench):
        assert make().frame_id_period is None
        bench.sensors[1].first_number, bench.sensors[1].period_of_numbers = 65534, 65535
        driver = make(serial_num="10000002")
        assert driver.frame_id_period == 65535
        driver.start()
        raw = [stamp.frame_id for stamp in read(driver, 4)[1]]
        assert raw == [65534, 65535, 1, 2]
        ids = FrameIds(driver.frame_id_period)
        assert [ids.unwrap(number) for number in raw] == [65534, 65535, 65536, 65537]

    def test_everything_is_released_to_spinnaker(self, make, bench):
        import PySpin

        driver = make()
        assert PySpin.System.n_held == 1
        driver.start()
        read(driver, 2)
        camera = driver._connection._camera
        driver.close()
        assert (PySpin.System.n_held, camera.n_images) == (0, 0)
        with pytest.raises(Exception, match="no FLIR camera has the serial number"):
            make(serial_num="77")
        assert PySpin.System.n_held == 0

    def test_nodes_of_the_camera_and_of_its_stream_can_be_set(self, make):
        driver = make(nodes={"GammaEnable": True, "Gain": 3, "TriggerMode": "On", "StreamBufferCountMode": "Manual"})
        connection = driver._connection
        values = [connection.feature(name).get() for name in ("GammaEnable", "Gain", "TriggerMode")]
        assert values == [True, 3.0, "On"]

    @pytest.mark.parametrize(
        ("nodes", "words"),
        [
            ({"TriggerMode": "Onn"}, r"must be one of \['Off', 'On'\], got 'Onn' \(did you mean On\?\)"),
            ({"Gain": 99.0}, "must be a number from 0 to 24, got 99.0"),
            ({"GammaEnable": 1}, "must be true or false, got 1: wrong type"),
            ({"Gane": 1.0}, r"has no feature 'Gane' \(did you mean Gain\?\)"),
            ({"PixelFormat": "Mono8"}, "PixelFormat 'Mono8' cannot be set by nodes; set pixel_format"),
        ],
    )
    def test_nodes_that_it_does_not_take_are_refused(self, make, nodes, words):
        with pytest.raises(SettingsError, match=words):
            make(nodes=nodes)

    def test_without_a_pixel_format_it_is_the_deepest(self, make):
        assert make(pixel_format=None)._pixel_format.name == "Mono16"
