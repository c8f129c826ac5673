import numpy as np
import pytest

from openhsi_shared.drivers.simulated import SimulatedDriver
from openhsi_shared.errors import ArgumentError
from openhsi_shared.settings import CameraSettings

SHAPE = (40, 32)


def frame_of(n=0, mode="flat", full_scale=4095, exposure_ms=2.0, **options):
    settings = CameraSettings(resolution=SHAPE, exposure_ms=exposure_ms, full_scale=full_scale)
    driver = SimulatedDriver(settings, mode=mode, **options)
    driver.open()
    driver.start()
    frame = np.empty(SHAPE, np.uint16)
    for _ in range(n + 1):
        driver.read_into(frame, 1.0)
    return frame


@pytest.mark.parametrize("mode", [None, "flat", "HgAr"])
def test_counts_follow_from_the_exposure_to_half_a_count(mode):
    light = {"mode": mode, "light": 500, "dark": (40, 3), "noise": 0}
    dark_1, dark_4 = 40 + 3 * 1, 40 + 3 * 4
    one, four = (frame_of(exposure_ms=ms, **light).astype(float) for ms in (1, 4))
    assert np.abs((four - dark_4) - 4 * (one - dark_1)).max() <= 0.5 + 4 * 0.5
    assert frame_of(exposure_ms=1, **light).min() >= dark_1


def test_the_brightest_pixel_of_a_scene_has_the_light_that_was_asked_for():
    driver = SimulatedDriver(CameraSettings(resolution=SHAPE, exposure_ms=2), light=500, noise=0)
    driver.open()
    driver.start()
    frame, brightest = np.empty(SHAPE, np.uint16), 0
    for _ in range(2000):  # more than the columns of the picture
        driver.read_into(frame, 1.0)
        brightest = max(brightest, int(frame.max()))
    assert brightest == 1000


def test_pixels_saturate_at_full_scale():
    frame = frame_of(light=5000, full_scale=1000)
    assert frame.max() == 1000
    assert np.count_nonzero(frame == 1000) > frame.size // 4


def test_noise_is_around_the_signal_and_another_one_in_each_frame():
    frames = np.stack([frame_of(n, light=500, dark=100, noise=7) for n in range(3)]).astype(float)
    still = frame_of(light=500, dark=100, noise=0)
    assert (frames - still).std() == pytest.approx(7, rel=0.1)
    assert not np.array_equal(frames[0], frames[1])


def test_a_blurred_scene_has_smaller_steps_between_neighbours_and_the_same_mean():
    sharp, blurred = (frame_of(mode=None, light=500, defocus=pixels).astype(float) for pixels in (0, 3))
    assert np.abs(np.diff(blurred, axis=0)).mean() < 0.5 * np.abs(np.diff(sharp, axis=0)).mean()
    assert blurred.mean() == pytest.approx(sharp.mean(), rel=0.05)


def test_a_dark_level_without_light_leaves_the_full_range_to_the_scene():
    frame = frame_of(dark=60, full_scale=4095)
    assert (frame.min(), frame.max()) >= (60, 4000)


def test_the_exposure_may_change_while_frames_come():
    driver = SimulatedDriver(CameraSettings(resolution=SHAPE, exposure_ms=2), mode="flat", light=100, noise=0)
    driver.open()
    driver.start()
    frame, maxima = np.empty(SHAPE, np.uint16), []
    for exposure_ms in (2, 8):
        driver.set_exposure(exposure_ms)
        driver.read_into(frame, 1.0)
        maxima.append(int(frame.max()))
    assert maxima == [200, 800]
    assert "100 counts/ms" in driver.provenance()["simulated_light"]


def test_the_sensor_is_as_warm_as_it_is_said_to_be():
    cold = SimulatedDriver(CameraSettings(resolution=SHAPE), celsius=-3)
    drifting = SimulatedDriver(CameraSettings(resolution=SHAPE), celsius=(20, 6000))
    for driver in (cold, drifting):
        driver.open()
    assert cold.temperature_celsius() == -3
    first = drifting.temperature_celsius()
    while drifting.temperature_celsius() < first + 1:  # 10 ms
        pass


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"light": -1}, "light must be counts per ms"),
        ({"light": "much"}, "light must be counts per ms"),
        ({"dark": (1, 2, 3)}, "dark must be a number of counts"),
        ({"noise": float("nan")}, "noise must be a standard deviation"),
        ({"defocus": True}, "defocus must be a blur"),
        ({"celsius": "warm"}, "celsius must be degrees"),
        ({"mode": "counting", "light": 5}, "mode 'counting' has no light"),
    ],
)
def test_light_that_is_none_is_refused(options, said):
    with pytest.raises(ArgumentError, match=said):
        SimulatedDriver(CameraSettings(resolution=SHAPE), **options).open()
