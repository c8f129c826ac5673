"""XIMEA's driver on a stand-in for XIMEA's package; on a camera, or XIMEA's simulator, where there is one."""

import logging
import subprocess
import sys

import numpy as np
import pytest

from openhsi_shared.errors import CameraError, CameraLost, SettingsError
from openhsi_shared.frames.ids import FrameIds

pytest.register_assert_rewrite("vendor_contract")
from tests.support.vendor_contract import VendorContract, read, scene  # noqa: E402 - after the line above


class TestXimeaDriver(VendorContract):
    name = "ximea"
    vendor = "XIMEA"
    raw16 = "XI_RAW16"
    formats = ("XI_RAW8", "XI_RAW16")
    is_flipped = True
    has_status = False
    template = "cam_settings_ximea.json"
    rounding_us = 7.0

    def test_it_is_set_up_in_the_order_that_a_ximea_needs(self, make, bench):
        driver = make(win_resolution=(8, 16), win_offset=(4, 20), queue=12)
        driver.start()
        calls = [call for call in bench.sensors[0].calls if call[0] != "exposure"]
        names = [call[0] for call in calls]
        assert names.index("imgdataformat") < names.index("output_bit_depth") < names.index("width")
        assert calls[names.index("offset_y") :][:6] == [
            ("offset_y", 0),
            ("offset_x", 0),
            ("height", 8),
            ("width", 16),
            ("offset_y", 4),
            ("offset_x", 20),
        ]
        assert {("output_bit_depth", "XI_BPP_12"), ("output_bit_packing", 1), ("gain", 0)} <= set(calls)
        assert ("buffers_queue_size", 12) in calls
        assert not driver._connection.camera._has_recent_frame

    def test_the_frame_goes_straight_into_its_place(self, make, bench):
        driver = make()
        driver.start()
        read(driver, 2)
        assert ("buffer_policy", "XI_BP_SAFE") in bench.sensors[0].calls
        assert driver._connection._is_direct
        assert driver._connection._image.bp is None  # and is not remembered

    def test_lines_with_padding_are_copied_without_it(self, make, bench, monkeypatch):
        from ximea import xiapi

        monkeypatch.setattr(xiapi, "LINE_PADDING", 6)
        driver = make()
        driver.start()
        assert np.array_equal(read(driver, 2)[0], [scene(number)[:, ::-1] for number in range(2)])
        assert not driver._connection._is_direct

    def test_a_version_that_does_not_fill_a_given_buffer_is_noticed(self, make, bench, monkeypatch):
        from ximea import xiapi

        monkeypatch.setattr(xiapi.Camera, "set_buffer_policy", lambda self, policy: None)
        driver = make()
        driver.start()
        assert np.array_equal(read(driver, 3)[0], [scene(number)[:, ::-1] for number in range(3)])
        assert not driver._connection._is_direct

    def test_a_sensor_of_10_bits_is_taken_with_10(self, make, bench, monkeypatch):
        from ximea import xiapi

        def only_10(self, depth):
            self._alive("output_bit_depth", depth)
            if depth != "XI_BPP_10":
                raise xiapi.Xi_error(101)

        monkeypatch.setattr(xiapi.Camera, "set_output_bit_depth", only_10)
        driver = make()
        depths = [call[1] for call in bench.sensors[0].calls if call[0] == "output_bit_depth"]
        assert depths == ["XI_BPP_12", "XI_BPP_10"]
        assert driver.full_scale == 1023

    def test_its_counter_of_32_bits_goes_on(self, make, bench):
        bench.sensors[0].first_number, bench.sensors[0].period_of_numbers = 2**32 - 3, 2**32
        driver = make()
        assert driver.frame_id_period == 2**32
        driver.start()
        ids = FrameIds(driver.frame_id_period)
        raw = [stamp.frame_id for stamp in read(driver, 6)[1]]
        assert raw == [2**32 - 3, 2**32 - 2, 2**32 - 1, 0, 1, 2]
        assert [ids.unwrap(number) for number in raw] == list(range(2**32 - 3, 2**32 + 3))

    def test_its_clock_of_32_bits_goes_on(self, make, bench):
        bench.sensors[0].time_us_at_start, bench.sensors[0].period_s = 2**32 - 5000, 0.002
        driver = make()
        driver.start()
        times = [stamp.camera_ns for stamp in read(driver, 5)[1]]
        assert np.allclose(np.diff(times), 2_000_000, atol=2000)
        assert times[-1] > 2**32 * 1000

    def test_what_it_skipped_is_known_at_the_end(self, make, bench, caplog):
        sensor = bench.sensors[0]
        sensor.is_on_call, sensor.lost_on_the_way = True, {1}
        driver = make(queue=4)
        driver.start()
        assert driver.skipped_at_start == {"api": 0, "transport": 0}
        sensor.expose(9)
        ids = [stamp.frame_id for stamp in read(driver, 4)[1]]
        assert ids == [0, 2, 3, 4]
        with caplog.at_level(logging.INFO, logger="openhsi_shared"):
            driver.stop()
        assert driver.skipped_at_end == {"api": 4, "transport": 1}
        assert "skipped" in caplog.text

    def test_a_version_that_counts_nothing_records_all_the_same(self, make, bench, monkeypatch):
        from ximea import xiapi

        monkeypatch.delattr(xiapi.Camera, "set_counter_selector")
        driver = make()
        driver.start()
        assert [stamp.frame_id for stamp in read(driver, 3)[1]] == [0, 1, 2]
        driver.stop()
        assert driver.skipped_at_end == {}

    def test_it_is_released_whatever_stopping_raises(self, make, bench, monkeypatch):
        from ximea import xiapi

        def fail(self):
            raise KeyError("stop")

        driver = make()
        driver.start()
        monkeypatch.setattr(xiapi.Camera, "stop_acquisition", fail)
        with pytest.raises(KeyError):
            driver.close()
        assert not bench.sensors[0].is_open

    def test_a_version_that_says_in_its_own_words_that_it_is_open_is_understood(self, make, bench, monkeypatch):
        from ximea import xiapi

        def refuse(self):
            raise RuntimeError("Device already opened")

        monkeypatch.setattr(xiapi.Camera, "open_device", refuse)
        with pytest.raises(CameraError, match=r"cannot be opened: Device already opened; is it open already, here or"):
            make()

    def test_many_frames_in_one_buffer_are_no_loss(self, make, bench):
        driver = make(images_per_buffer=3)
        assert ("output_bit_packing", 0) in bench.sensors[0].calls
        assert ("imgdataformat", "XI_FRM_TRANSPORT_DATA") in bench.sensors[0].calls
        driver.start()
        frames, stamps = read(driver, 8)
        assert [stamp.frame_id for stamp in stamps] == list(range(8))
        assert np.array_equal(frames, [scene(number)[:, ::-1] for number in range(8)])
        times = [stamp.camera_ns for stamp in stamps]
        assert times == sorted(set(times))
        driver.stop()
        driver.start()
        assert read(driver, 1)[1][0].frame_id == 0  # the rest of the last buffer is gone

    def test_settings_of_openhsi_mean_what_they_meant_there(self, make, bench):
        driver = make(win_resolution=(8, 16), binxy=(2, 1), compat="openhsi")
        sensor = bench.sensors[0]
        assert driver.frame_shape == (8, 16)
        assert (sensor.bin_x, sensor.bin_y) == (1, 2)  # the first number is the vertical one
        assert (sensor.offset_y, sensor.offset_x) == (24 - 8, 80 - 16)  # 0 is the greatest

    def test_nodes_are_ximeas_own_parameters(self, make, bench):
        make(nodes={"acq_timing_mode": "XI_ACQ_TIMING_MODE_FRAME_RATE", "framerate": 250.0})
        assert bench.sensors[0].period_s == 0.004
        with pytest.raises(SettingsError, match=r"nodes: XIMEA Model B 10000002 rejected frame_rate = 1: ERROR 100"):
            make(serial_num="10000002", nodes={"frame_rate": 1})

    def test_a_version_that_does_not_know_whether_a_camera_exists_notices_that_it_has_gone(
        self, make, bench, monkeypatch
    ):
        from ximea import xiapi

        def unknown(self, name, buffer_size=256):
            raise xiapi.Xi_error(100)

        monkeypatch.setattr(xiapi.Camera, "get_param", unknown)
        driver = make()
        driver.start()
        read(driver, 1)
        bench.sensors[0].unplug()
        with pytest.raises(CameraLost, match="XIMEA Model A 10000001 was disconnected"):
            read(driver, 40)

    def test_what_is_the_apis_own_fault_is_not_taken_for_a_pulled_cable(self, make, bench, monkeypatch):
        from ximea import xiapi

        def out_of_memory(self, image, timeout=5000):
            raise xiapi.Xi_error(11)

        driver = make()
        driver.start()
        monkeypatch.setattr(xiapi.Camera, "get_image", out_of_memory)
        with pytest.raises(CameraError, match="delivers no frames: ERROR 11") as caught:
            read(driver, 1)
        assert not isinstance(caught.value, CameraLost)


def test_without_ximeas_package_the_error_says_where_it_comes_from():
    code = """
from openhsi_shared.drivers import driver_class
from openhsi_shared.errors import DriverMissing
try:
    driver_class("ximea")
except DriverMissing as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    if not done.stdout:
        pytest.skip("XIMEA's package is installed")
    assert done.stdout.startswith(
        "camera 'ximea' needs the package 'ximea': No module named 'ximea'; it comes with XIMEA's"
    )
