"""Lucid's driver on a stand-in for arena_api."""

import pytest

from openhsi_shared.errors import FrameError

pytest.register_assert_rewrite("vendor_contract")
from tests.support.vendor_contract import VendorContract, read  # noqa: E402 - after the line above


class TestLucidDriver(VendorContract):
    name = "lucid"
    vendor = "Lucid"
    formats = ("Mono8", "Mono10", "Mono10p", "Mono10Packed", "Mono12", "Mono12p", "Mono12Packed", "Mono16")
    template = "cam_settings_lucid.json"

    def test_it_counts_as_gige_cameras_do(self, make):
        assert make().frame_id_period == 65535

    def test_lost_packets_are_asked_for_again(self, make):
        driver = make()
        driver.start()
        stream = driver._connection._device.tl_stream_nodemap
        assert stream.get_node("StreamPacketResendEnable").value is True
        assert stream.get_node("StreamBufferHandlingMode").value == "OldestFirst"

    def test_a_buffer_that_is_too_short_is_a_frame_error_and_requeued(self, make, monkeypatch):
        """arena_api raises builtin exceptions, from which this library's derive, too: they must be distinguished."""
        from arena_api import system

        driver = make()
        driver.start()
        whole = system.on_the_wire
        monkeypatch.setattr(system, "on_the_wire", lambda image, pixel_format: whole(image, pixel_format)[:100])
        with pytest.raises(FrameError, match=r"a frame of \(48, 80\) pixels Mono12 has 7680 bytes, got 100"):
            read(driver, 1)
        assert driver._connection._device.n_buffers == 0
        monkeypatch.setattr(system, "on_the_wire", whole)
        read(driver, 1)

    def test_settings_of_openhsi_mean_what_they_meant_there(self, make, bench):
        driver = make(win_resolution=(8, 16), binxy=(2, 3), compat="openhsi")
        sensor = bench.sensors[0]
        assert driver.frame_shape == (8, 16)
        assert (sensor.bin_x, sensor.bin_y) == (2, 1)  # horizontally only
        assert (sensor.offset_y, sensor.offset_x) == (48 - 8, 40 - 16)  # 0 is the greatest
