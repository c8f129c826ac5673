"""Basler's driver on Basler's own emulated camera: the real SDK, with frames that we made."""

import logging
import math
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from openhsi_shared.drivers import FrameStatus, HasTemperature
from openhsi_shared.drivers.features import set_window, value_of
from openhsi_shared.errors import (
    ArgumentError,
    CameraError,
    CameraLost,
    CameraNotFound,
    FrameTimeout,
    SettingsError,
)
from openhsi_shared.frames.ids import FrameIds
from openhsi_shared.settings import CameraSettings
from openhsi_shared.testing import CameraContract

pytest.importorskip("pypylon", reason="pypylon is missing: pip install 'openhsi_shared[basler]'")
from openhsi_shared.drivers.basler import BaslerDriver, frame_id_of
from tests.support.helpers import wait_for

SHAPE = (20, 33)
FAST = {"AcquisitionFrameRateEnable": True, "AcquisitionFrameRateAbs": 1000.0}
ON_CALL = {"TriggerMode": "On", "TriggerSource": "Software"}


def settings(**values):
    return CameraSettings(**{"resolution": SHAPE, "pixel_format": "Mono16", "exposure_ms": 0.2, "nodes": FAST} | values)


@pytest.fixture
def opened():
    """Open drivers of whatever settings; all are closed in the end."""
    drivers = []

    def open_driver(*, serial_num=None, queue=30, **values):
        drivers.append(BaslerDriver(settings(**values), serial_num=serial_num, queue=queue))
        drivers[-1].open()
        return drivers[-1]

    yield open_driver
    for driver in drivers:
        driver.close()


def pylon_camera(driver):
    return driver._connection._camera


def read(driver, n):
    frames = np.zeros((n, *driver.frame_shape), driver.frame_dtype)
    return frames, [driver.read_into(frame, 5.0) for frame in frames]


class TestBaslerDriver(CameraContract):
    other_exposure_ms = 0.5

    @pytest.fixture
    def driver(self):
        return BaslerDriver(settings())


# ---- frames of our own, through the real SDK ----


@pytest.fixture
def played(tmp_path):
    """A folder of 16-bit pictures, each different everywhere, and what is in them."""
    frames = np.random.default_rng(3).integers(0, 2**16, (7, *SHAPE), dtype=np.uint16)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"frame_{number:03}.png")
    nodes = {"ImageFileMode": "On", "ImageFilename": str(tmp_path), "TestImageSelector": "Off"}
    return frames, FAST | nodes


@pytest.mark.parametrize(
    ("pixel_format", "dtype", "shift"), [("Mono16", np.uint16, 0), ("Mono12", np.uint16, 4), ("Mono8", np.uint8, 8)]
)
def test_frames_arrive_bit_by_bit_in_order_with_ids_without_a_gap(opened, played, pixel_format, dtype, shift):
    frames, nodes = played
    driver = opened(pixel_format=pixel_format, nodes=nodes)
    assert (driver.frame_shape, driver.frame_dtype, driver.frame_id_period) == (SHAPE, np.dtype(dtype), None)
    for _ in range(2):  # every start begins at the first picture
        driver.start()
        got, stamps = read(driver, 20)
        assert [stamp.frame_id for stamp in stamps] == list(range(20))
        assert np.array_equal(got, (frames[np.arange(20) % 7] >> shift).astype(dtype))
        driver.stop()


def test_a_window_is_cut_out_where_it_was_asked_for(opened, played):
    frames, nodes = played
    driver = opened(win_resolution=(8, 16), win_offset=(2, 4), nodes=nodes)
    driver.start()
    got, _ = read(driver, 3)
    assert np.array_equal(got, frames[:3, 2:10, 4:20])


def test_a_buffer_that_arrives_incomplete_says_so_and_keeps_its_id(opened, caplog):
    driver = opened(nodes=FAST | {"ForceFailedBufferCount": 3, "ForceFailedBuffer": True})
    driver.start()
    with caplog.at_level(logging.WARNING):
        frames, stamps = read(driver, 6)
    status = [FrameStatus.INCOMPLETE] * 3 + [FrameStatus.GOOD] * 3
    assert [(stamp.frame_id, stamp.status) for stamp in stamps] == list(enumerate(status))
    assert [record.message for record in caplog.records] == [
        "Basler Emulation 0815-0000 delivers incomplete frames: The buffer was incompletely grabbed. (error code 0x0)"
    ]
    assert not frames[:3].any()


def test_a_picture_that_cannot_be_read_is_an_incomplete_frame(opened, played, tmp_path, caplog):
    (tmp_path / "frame_001.png").write_bytes(b"no picture")
    driver = opened(nodes=played[1])
    driver.start()
    _, stamps = read(driver, 3)
    assert [stamp.status for stamp in stamps] == [FrameStatus.GOOD, FrameStatus.INCOMPLETE, FrameStatus.GOOD]
    assert "Failed to load image file" in caplog.text


def test_a_full_queue_loses_nothing_here_because_the_emulated_camera_waits(opened, played):
    frames, nodes = played
    driver = opened(queue=2, nodes=nodes)
    driver.start()
    for number in range(6):
        deadline = time.monotonic() + 5
        while pylon_camera(driver).NumReadyBuffers.Value < 2 and time.monotonic() < deadline:
            pass
        (frame,), (stamp,) = read(driver, 1)
        assert stamp.frame_id == number
        assert np.array_equal(frame, frames[number])


# ---- what goes wrong while it streams ----


def test_a_camera_that_waits_for_a_trigger_times_out_and_then_delivers(opened):
    driver = opened(nodes=ON_CALL)
    driver.start()
    room = np.empty(driver.frame_shape, driver.frame_dtype)
    with pytest.raises(FrameTimeout, match=r"no frame of Basler Emulation 0815-0000 within 0.05 s .*trigger"):
        driver.read_into(room, 0.05)

    def is_delivered_after_trigger() -> bool:
        pylon_camera(driver).TriggerSoftware.Execute()  # the emulated camera ignores it until it waits for it
        with suppress(FrameTimeout):
            return driver.read_into(room, 0.5).frame_id == 0
        return False

    wait_for(is_delivered_after_trigger)


def test_an_endless_wait_is_possible(opened):
    driver = opened()
    driver.start()
    assert driver.read_into(np.empty(SHAPE, np.uint16), math.inf).frame_id == 0


def test_a_camera_that_was_pulled_out_is_lost(opened, caplog):
    driver = opened()
    driver.start()
    read(driver, 1)
    pylon_camera(driver).DestroyDevice()  # the nearest to pulling the cable that an emulated camera knows
    with pytest.raises(CameraLost, match="Basler Emulation 0815-0000 was disconnected: check power and cable"):
        read(driver, 40)
    assert "restarted" not in caplog.text
    driver.close()
    driver.open()
    driver.start()
    read(driver, 1)


def test_a_stream_that_breaks_goes_on_and_the_gap_shows(opened, caplog):
    driver = opened()
    driver.start()
    read(driver, 3)
    pylon_camera(driver).StopGrabbing()  # as pylon's grab engine does when it trips
    with caplog.at_level(logging.WARNING):
        _, stamps = read(driver, 3)
    assert [(stamp.frame_id, stamp.status) for stamp in stamps] == [
        (3, FrameStatus.INCOMPLETE),
        (0, FrameStatus.GOOD),
        (1, FrameStatus.GOOD),
    ]
    assert "the stream failed and is restarted; frames may be lost: it stopped unexpectedly" in caplog.text


def test_a_stream_that_breaks_before_its_first_frame_has_lost_none(opened):
    driver = opened()
    driver.start()
    pylon_camera(driver).StopGrabbing()
    assert [stamp.frame_id for stamp in read(driver, 3)[1]] == [0, 1, 2]


def test_a_stream_may_break_more_than_once_with_frames_between(opened):
    driver = opened()
    driver.start()
    ids = FrameIds(driver.frame_id_period)
    seen = []
    for _ in range(3):
        seen += [ids.unwrap(stamp.frame_id) for stamp in read(driver, 4)[1]]
        pylon_camera(driver).StopGrabbing()
    assert seen == list(range(12))


def test_a_stream_that_breaks_again_and_again_is_an_error(opened):
    driver = opened()
    driver.start()
    read(driver, 1)
    pylon_camera(driver).StopGrabbing()
    read(driver, 1)
    pylon_camera(driver).StopGrabbing()
    with pytest.raises(CameraError, match="delivers no frames: it stopped unexpectedly"):
        read(driver, 1)


# ---- connecting ----


def test_the_serial_number_chooses_the_camera(opened):
    assert opened(serial_num="0815-0001")._name == "Basler Emulation 0815-0001"
    assert opened()._name == "Basler Emulation 0815-0000"


def test_the_serial_number_of_the_settings_counts_too():
    driver = BaslerDriver(settings(serial_num="0815-0001"))
    driver.open()
    driver.close()
    assert driver._name == "Basler Emulation 0815-0001"


def test_a_serial_number_that_is_not_there_names_those_that_are(opened):
    with pytest.raises(
        CameraNotFound,
        match=r"serial number '0815-0007' \(did you mean 0815-000\d\?\); there are \['0815-0000', '0815-0001'\]",
    ):
        opened(serial_num="0815-0007")


def test_two_drivers_of_one_emulated_camera_do_not_disturb_each_other(opened, played):
    frames, nodes = played
    first, second = opened(nodes=nodes), opened(nodes=nodes)
    first.start()
    second.start()
    for driver in (first, second):
        assert np.array_equal(read(driver, 5)[0], frames[:5])


def run_alone(code, **environment):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    return done.returncode, done.stdout.strip(), done.stderr


def test_without_any_camera_the_error_says_what_to_check():
    code = """
from openhsi_shared.drivers.basler import BaslerDriver
from openhsi_shared.errors import CameraNotFound
from openhsi_shared.settings import CameraSettings
try:
    BaslerDriver(CameraSettings()).open()
except CameraNotFound as error:
    print(error)
"""
    returncode, said, _ = run_alone(code)
    assert returncode == 0
    if not said:
        pytest.skip("a real Basler camera is connected")
    assert said.startswith("no Basler camera was found: check power, cable and network address")


def test_the_driver_can_be_imported_where_warnings_are_errors():
    code = "import warnings; warnings.simplefilter('error'); import openhsi_shared.drivers.basler; print('alive')"
    assert run_alone(code)[:2] == (0, "alive")


# ---- settings ----

REFUSED = {
    "an unknown pixel format": (
        {"pixel_format": "Mono121"},
        r"'Mono121' cannot be recorded from .* \(did you mean Mono12\?\); set pixel_format to one of \['Mono16', ",
    ),
    "packed pixels, which it cannot": ({"pixel_format": "Mono12p"}, r"cannot be recorded .* \(did you mean Mono12\?\)"),
    "colours": ({"pixel_format": "BayerRG12"}, "cannot be recorded"),
    "a pixel format by way of nodes": ({"nodes": {"PixelFormat": "RGB8Packed"}}, "PixelFormat 'RGB8Packed' cannot be"),
    "too large a window": (
        {"win_resolution": (5000, 33)},
        "win_resolution: Height .* a whole number from 1 to 4096 in steps of 1, got 5000; the nearest is 4096",
    ),
    "a window that does not fit": ({"win_offset": (0, 4090)}, "win_offset: OffsetX of .*, got 4090; .* is 4063"),
    "binning that it cannot do": ({"binxy": (9, 1)}, "binxy: BinningHorizontal of .* got 9; the nearest is 4"),
    "too short an exposure": ({"exposure_ms": 0.001}, "exposure_ms of .* must be from 0.1 to 3000, got 0.001"),
    "a feature that it has not": (
        {"nodes": {"AcquisitionFrameRateAbbs": 1.0}},
        r"nodes: Basler .* has no feature 'AcquisitionFrameRateAbbs' \(did you mean AcquisitionFrameRateAbs\?\)",
    ),
    "a word that the feature does not know": (
        {"nodes": {"TriggerMode": "Onn"}},
        r"nodes: TriggerMode of .* must be one of \['Off', 'On'\], got 'Onn' \(did you mean On\?\)",
    ),
    "a number that the feature cannot take": (
        {"nodes": {"GainRaw": 10**6}},
        "nodes: GainRaw of .* must be a whole number from .*, got 1000000: Value = 1000000 must be equal or smaller",
    ),
    "a text for a number": (
        {"nodes": {"Width": "wide"}},
        "nodes: Width of .* a whole number .*, got 'wide': wrong type",
    ),
    "a text for a switch": ({"nodes": {"AcquisitionFrameRateEnable": "On"}}, "must be true or false, got 'On': wrong"),
    "a category": ({"nodes": {"DeviceControl": 1}}, "must be a feature that can be set, got 1: wrong type"),
}


@pytest.mark.parametrize(("values", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_unsupported_settings_are_refused_and_the_camera_released(values, words):
    driver = BaslerDriver(settings(**values))
    with pytest.raises(SettingsError, match=words):
        driver.open()
    with pytest.raises(CameraError, match="is not open"):
        driver.start()


def test_a_queue_that_holds_nothing_is_refused():
    with pytest.raises(ArgumentError, match=r"queue must hold at least 2 frames, .*, got 1"):
        BaslerDriver(settings(), queue=1)


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ({}, SHAPE),
        ({"win_resolution": (8, 16)}, (8, 16)),
        ({"win_resolution": (8, 0)}, (8, 4096)),
        ({"win_resolution": (0, 16), "win_offset": (96, 0)}, (4000, 16)),
        ({"resolution": None}, (4096, 4096)),
        ({"nodes": {"Width": 64}}, (20, 64)),
    ],
)
def test_the_frame_has_the_size_that_was_asked_for(opened, values, shape):
    driver = opened(**values)
    assert driver.frame_shape == shape
    driver.start()
    read(driver, 1)


def test_the_window_can_be_larger_than_the_one_before(opened):
    camera = opened()._connection
    set_window(camera, (8, 16), (100, 200))
    set_window(camera, (4096, 4096), (0, 0))
    assert (value_of(camera, "Height"), value_of(camera, "Width")) == (4096, 4096)


@pytest.mark.parametrize(
    ("block_id", "period", "frame_id"),
    [(0, None, 0), (7, None, 7), (0, 65535, None), (1, 65535, 1), (2**64 - 1, None, None), (2**64 - 1, 65535, None)],
)
def test_a_block_id_is_a_frame_id_where_the_camera_counts(block_id, period, frame_id):
    assert frame_id_of(block_id, period) == frame_id


def test_without_a_pixel_format_it_is_the_deepest_of_16_bit(opened):
    driver = opened(pixel_format=None)
    assert pylon_camera(driver).PixelFormat.Value == "Mono16"
    assert driver.frame_dtype == np.uint16


def test_pixels_are_binned_along_x_and_y(opened):
    camera = pylon_camera(opened(binxy=(2, 4)))
    assert (camera.BinningHorizontal.Value, camera.BinningVertical.Value) == (2, 4)


def test_the_exposure_is_set_in_milliseconds_and_read_back(opened):
    driver = opened(exposure_ms=2.5)
    assert pylon_camera(driver).ExposureTimeAbs.Value == 2500.0
    assert driver.set_exposure(0.5) == 0.5


def test_nothing_changes_light_or_pace_by_itself(opened):
    driver = opened(nodes={})
    driver.start()
    camera = pylon_camera(driver)
    assert (camera.ExposureAuto.Value, camera.GainAuto.Value) == ("Off", "Off")
    assert camera.AcquisitionFrameRateEnable.Value is False
    assert camera.MaxNumBuffer.Value == 30


def test_the_emulated_camera_has_neither_clock_nor_thermometer(opened):
    driver = opened()
    assert isinstance(driver, HasTemperature)
    assert math.isnan(driver.temperature_celsius())
    driver.start()
    _, (stamp,) = read(driver, 1)
    assert (stamp.camera_ns, stamp.monotonic_ns) == (None, None)


def test_auto_exposure_ends_at_the_limits_of_the_camera(caplog):
    from openhsi_shared import SharedBaslerCamera

    with SharedBaslerCamera(n_lines=2, resolution=SHAPE, exposure_ms=0.2) as camera:  # a pattern, at any exposure
        found = camera.auto_exposure(target=0.05)
        assert (found.limited_by, found.exposure_ms) == ("camera", pytest.approx(0.1, rel=0.02))
    assert "no exposure reaches 5 %" in caplog.text
