"""The webcam's driver, on video files and numbered pictures that we made; there is no webcam here."""

import numpy as np
import pytest

from openhsi_shared.drivers import HasTemperature
from openhsi_shared.errors import ArgumentError, CameraNotFound, SettingsError, SourceEnded
from openhsi_shared.settings import CameraSettings
from openhsi_shared.testing import CameraContract

cv2 = pytest.importorskip("cv2", reason="OpenCV is missing: pip install 'openhsi_shared[web]'")
from openhsi_shared.drivers.web import WebDriver  # noqa: E402 - only where OpenCV is

SHAPE = (24, 32)
N = 40


@pytest.fixture
def frames():
    return np.random.default_rng(5).integers(0, 256, (N, *SHAPE), dtype=np.uint8)


@pytest.fixture
def pictures(tmp_path, frames):
    for number, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"frame_{number:03}.png"), frame)
    return str(tmp_path / "frame_%03d.png")


def read(driver, n):
    got = np.zeros((n, *driver.frame_shape), np.uint8)
    return got, [driver.read_into(frame, 5.0) for frame in got]


@pytest.fixture
def opened(pictures):
    drivers = []

    def open_driver(source=pictures, loop=False, **values):
        drivers.append(WebDriver(CameraSettings(**values), source=source, loop=loop))
        drivers[-1].open()
        return drivers[-1]

    yield open_driver
    for driver in drivers:
        driver.close()


class TestWebDriver(CameraContract):
    @pytest.fixture
    def driver(self, pictures):
        return WebDriver(CameraSettings(), source=pictures, loop=True)


def test_frames_arrive_bit_by_bit_counted_from_the_first_at_every_start(opened, frames):
    driver = opened()
    assert (driver.frame_shape, driver.frame_dtype) == (SHAPE, np.dtype(np.uint8))
    for _ in range(2):
        driver.start()
        got, stamps = read(driver, N)
        assert np.array_equal(got, frames)
        assert [stamp.frame_id for stamp in stamps] == list(range(N))
        driver.stop()


def test_a_file_has_an_end_unless_it_begins_again(opened, frames):
    driver = opened()
    driver.start()
    read(driver, N)
    with pytest.raises(SourceEnded, match=r"video .*frame_%03d.png has ended after 40 frames; loop=True restarts it"):
        read(driver, 1)
    again = opened(loop=True)
    again.start()
    got, stamps = read(again, N + 3)
    assert np.array_equal(got[N:], frames[:3])
    assert [stamp.frame_id for stamp in stamps] == list(range(N + 3))


def test_a_video_in_colour_is_made_grey(opened, tmp_path):
    path = str(tmp_path / "video.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 25, SHAPE[::-1])
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write videos")
    for level in (50, 100, 150):
        writer.write(np.full((*SHAPE, 3), level, np.uint8))
    writer.release()
    driver = opened(path)
    driver.start()
    got, _ = read(driver, 3)
    assert np.allclose(got.mean((1, 2)), [50, 100, 150], atol=3)


def test_window_and_binning_mean_what_they_mean_everywhere(opened, frames):
    driver = opened(win_resolution=(4, 0), win_offset=(2, 3), binxy=(2, 3))
    assert driver.frame_shape == (4, 13)
    driver.start()
    binned = frames[0].astype(int).reshape(8, 3, 16, 2).sum((1, 3))
    assert np.array_equal(read(driver, 1)[0][0], np.minimum(binned, 255)[2:6, 3:16])


def test_a_window_outside_the_picture_is_refused(opened):
    with pytest.raises(
        SettingsError, match=r"win_resolution \(30, 32\) at win_offset \(0, 0\) is outside the \(24, 32\)"
    ):
        opened(win_resolution=(30, 32))
    with pytest.raises(SettingsError, match=r"pixel_format 'Mono12': video .* has 8 bits, set 'Mono8'"):
        opened(pixel_format="Mono12")


def test_what_is_not_there_is_not_found(opened, tmp_path):
    with pytest.raises(CameraNotFound, match=r"nothing.avi cannot be opened: expected a file that OpenCV can read"):
        opened(str(tmp_path / "nothing.avi"))
    with pytest.raises(CameraNotFound, match=r"webcam 93 cannot be opened: expected a webcam that is connected"):
        opened(93)
    with pytest.raises(ArgumentError, match="source must be the number of a webcam or the path of a file, got -1"):
        opened(-1)


def test_it_has_no_thermometer(opened):
    assert not isinstance(opened(), HasTemperature)
