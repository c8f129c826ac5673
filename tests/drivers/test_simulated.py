"""The simulated camera: its light is true, its numbers prove themselves, its clock and its faults are as told."""

import math

import numpy as np
import pytest
from PIL import Image

from openhsi_shared.calibration import Calibration, read_calibration, wavelengths_of_columns
from openhsi_shared.drivers import FrameStatus, driver_class
from openhsi_shared.drivers.simulated import (
    CALIBRATION_PATH,
    FAULTS,
    MODES,
    SCENE_PATH,
    SETTINGS_PATH,
    SimulatedDriver,
    check_frame,
    frame_number,
)
from openhsi_shared.drivers.simulated.optics import (
    LAMP_LINES_NM,
    colour_spectra,
    native_wavelengths_nm,
    optics_of,
    planck,
)
from openhsi_shared.drivers.simulated.painters import Noise, dark_number
from openhsi_shared.drivers.simulated.scenes import read_picture
from openhsi_shared.errors import (
    ArgumentError,
    CameraError,
    CameraLost,
    FileError,
    FrameError,
    FrameTimeout,
)
from openhsi_shared.settings import CameraSettings, read_settings
from openhsi_shared.testing import CameraContract
from tests.support.simulating import ids_of, read, settings, started

RGB_NM = ((640, 670), (530, 590), (450, 510))


class TestScene(CameraContract):
    @pytest.fixture
    def driver(self):
        return SimulatedDriver(settings(33, 50))


class TestCounting(CameraContract):
    @pytest.fixture
    def driver(self):
        return SimulatedDriver(settings(pixel_format="Mono8"), mode="counting")


class TestPaced(CameraContract):
    @pytest.fixture
    def driver(self):
        return SimulatedDriver(settings(), mode="flat", rate=2000.0)


# ---- the light ----------------------------------------------------------------------


@pytest.mark.parametrize(("pixel_format", "tolerance"), [("Mono12", 0.012), ("Mono8", 0.03)])
def test_the_mean_of_the_preview_bands_gives_the_pictures_colours_back(tmp_path, pixel_format, tolerance):
    picture = np.random.RandomState(1).randint(0, 256, (24, 10, 3)).astype(np.uint8)
    picture[:, 0], picture[:, 1] = 0, 255
    Image.fromarray(picture).save(tmp_path / "picture.png")
    calibration = read_calibration(CALIBRATION_PATH)
    driver = started(settings(24, 800, pixel_format), img_path=tmp_path / "picture.png", calibration=calibration)
    lines = read(driver, 10)[0].astype(float)
    wavelengths = wavelengths_of_columns(calibration, 800)
    means = [lines[:, :, (wavelengths >= first) & (wavelengths <= last)].mean(axis=-1) for first, last in RGB_NM]
    seen = np.stack(means, axis=-1).transpose(1, 0, 2)
    white, black = seen[:, 1].mean(axis=0), seen[:, 0].mean(axis=0)
    assert np.ptp(white) < 0.01 * white.max(), "white is not white"
    np.testing.assert_allclose((seen - black) / (white - black), picture / 255, atol=6 * tolerance)
    assert np.abs((seen - black) / (white - black) - picture / 255).mean() < tolerance


def test_plants_shine_in_the_infrared_and_water_is_dark(tmp_path):
    picture = np.array([[[50, 120, 40]], [[20, 60, 100]]], np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    plant, water = read(started(settings(2, 600), img_path=tmp_path / "picture.png"), 40)[0].mean(axis=0) - dark_number(
        4095
    )
    infrared = slice(400, 500)
    assert plant[infrared].mean() > 1.8 * plant[240:258].mean()  # 645 to 663 nm
    assert water[infrared].mean() < water[80:100].mean() / 2


def test_the_scene_begins_again_at_its_end_with_other_noise(tmp_path):
    picture = np.random.RandomState(2).randint(0, 256, (16, 7, 3)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    frames = read(started(img_path=tmp_path / "picture.png"), 15)[0].astype(int)
    assert np.abs(frames[0] - frames[7]).mean() < 40 < np.abs(frames[0] - frames[1]).mean()
    assert not np.array_equal(frames[0], frames[7])


def test_a_picture_of_another_height_keeps_its_shape(tmp_path):
    Image.new("L", (100, 50), 77).save(tmp_path / "grey.jpg")
    assert read_picture(tmp_path / "grey.jpg", 20)[0].shape == (20, 40, 3)
    assert read_picture(tmp_path / "grey.jpg", 20)[0].mean() == 77
    Image.new("RGB", (1, 500)).save(tmp_path / "thin.png")
    assert read_picture(tmp_path / "thin.png", 20)[0].shape == (20, 1, 3)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "counting"])
@pytest.mark.parametrize(
    ("pixel_format", "top"), [("Mono8", 255), ("Mono10", 1023), ("Mono12", 4095), ("Mono16", 4095), (None, 4095)]
)
def test_no_frame_leaves_the_range_of_its_digits(tmp_path, mode, pixel_format, top):
    Image.new("RGB", (3, 16), (255, 255, 255)).save(tmp_path / "white.png")
    frames = read(started(settings(16, 300, pixel_format), mode=mode, img_path=tmp_path / "white.png"), 300)[0]
    assert frames.max() <= top
    assert frames.max() > 0.85 * top, "the picture does not fill the range"
    # what wrapped would stand alone among bright or dark neighbours
    frames = frames.astype(int)
    assert np.abs(frames - frames.mean(axis=0)).max() < 0.05 * top


@pytest.mark.parametrize(("dtype", "top"), [("u1", 255), ("u2", 4095)])
def test_noise_lies_within_twice_the_darkness(dtype, top):
    frame = np.zeros((500, 900), dtype)
    Noise(frame.shape, frame.dtype, top, np.ones(900)).add(frame, frame, 0)
    assert (frame.min(), frame.max()) == (0, 2 * dark_number(top))
    assert abs(frame.mean() - dark_number(top)) < 0.1


def test_the_lamps_lines_are_where_they_are_once_the_smile_is_taken_out():
    calibration = read_calibration(CALIBRATION_PATH)
    camera = read_settings(SETTINGS_PATH)
    frame = read(started(camera, mode="HgAr", calibration=calibration), 8)[0].mean(axis=0)
    first, last = camera.row_slice
    shifts, wavelengths = calibration["smile_shifts"], calibration["wavelengths"]
    assert int(shifts.max()) > 0
    straight = np.stack(
        [row[shift : shift + len(wavelengths)] for row, shift in zip(frame[first:last], shifts, strict=True)]
    )
    assert np.ptp(straight, axis=0).max() < 120, "lines are bent"
    spectrum = straight.mean(axis=0)
    for line_nm in (404.656, 435.833, 546.074, 696.543, 763.511, 912.297, 965.779):
        near = np.flatnonzero(np.abs(wavelengths - line_nm) < 4)
        peak = near[np.argmax(spectrum[near])]
        assert abs(wavelengths[peak] - line_nm) <= 0.5, line_nm
        half = np.count_nonzero(spectrum[near] > (spectrum[peak] + 99) / 2)
        assert 3 <= half <= 5, f"line at {line_nm} is {half} columns wide"
    assert len(LAMP_LINES_NM) == 20


def test_the_flat_field_is_a_black_body_seen_by_the_sensor():
    frame = read(started(settings(8, 400), mode="flat"), 50)[0].mean(axis=(0, 1)) - 99
    wavelengths = native_wavelengths_nm(400, np.zeros(1, np.int16))
    expected = planck(wavelengths, 5800.0) * np.exp(-(((wavelengths - 620) / 330) ** 2))
    np.testing.assert_allclose(frame / frame.max(), expected / expected.max(), atol=0.02)


def test_the_light_follows_a_calibration_that_fits_and_no_other():
    own = optics_of((10, 48), slice(2, 8))
    shifts = np.array([0, 0, 1, 1, 2, 2], np.int16)
    mine = Calibration({"wavelengths": np.linspace(500, 592, 46), "smile_shifts": shifts})
    theirs = optics_of((10, 48), slice(2, 8), mine)
    assert theirs.shifts.tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert theirs.wavelengths_nm[theirs.columns_of(0)][:46].tolist() == mine["wavelengths"].tolist()
    assert theirs.image(np.arange(50))[:, 0].tolist() == [2, 2, 2, 2, 1, 1, 0, 0, 0, 0]
    np.testing.assert_array_equal(
        optics_of((10, 99), slice(2, 8), mine).shifts, optics_of((10, 99), slice(2, 8)).shifts
    )
    assert own.wavelengths_nm[own.max_shift] == 400.0


def test_each_colour_is_one_in_its_own_band_and_nothing_in_the_others():
    wavelengths = np.arange(400.0, 1000.0)
    spectra = colour_spectra(wavelengths)
    bands = [spectra[:, (wavelengths >= first) & (wavelengths <= last)].mean(axis=1) for first, last in RGB_NM]
    np.testing.assert_allclose(np.stack(bands, axis=1), np.eye(4)[:, :3], atol=1e-12)


def test_the_default_camera_needs_nothing_but_its_settings():
    driver = started(CameraSettings())
    frames, stamps = read(driver, 3)
    assert frames.shape == (3, 644, 800)
    assert ids_of(stamps) == [0, 1, 2]
    assert driver.temperature_celsius() == 20.0
    assert SCENE_PATH.stat().st_size < 900_000
    assert CALIBRATION_PATH.stat().st_size < 1_500_000


def test_the_mode_can_be_changed_while_it_streams():
    driver = started(mode="flat")
    read(driver)
    driver.mode_change("counting")
    frames, stamps = read(driver, 2)
    assert [frame_number(frame) for frame in frames] == ids_of(stamps) == [1, 2]
    with pytest.raises(
        ArgumentError, match=r"mode must be one of \[None, 'HgAr', 'flat', 'counting'\], got 'count'.*counting"
    ):
        driver.mode_change("count")
    assert check_frame(read(driver)[0][0])


def test_a_mode_that_cannot_be_had_leaves_the_one_before(tmp_path):
    driver = started(mode="counting", img_path=tmp_path / "nowhere.png")
    with pytest.raises(FileError, match="nowhere"):
        driver.mode_change(None)
    assert check_frame(read(driver)[0][0])
    driver.close()
    driver.open()
    driver.start()
    assert check_frame(read(driver)[0][0])


# ---- faults -------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [None, 5000.0])
def test_scripted_faults_come_at_their_frames_and_the_rest_is_whole(rate):
    script = {1: "gap", 2: "gap", 4: "incomplete", 5: "timeout", 7: "wrong_shape", 9: "unplug"}
    assert set(script.values()) == set(FAULTS)
    driver = started(mode="counting", rate=rate, queue=1000, script=script)
    for _ in range(2):
        frames, stamps = read(driver, 3)
        assert ids_of(stamps) == [0, 3, 4]
        assert [check_frame(frame) for frame in frames] == [True, True, False]
        assert not frames[2][8:].any()
        assert [stamp.status for stamp in stamps] == [FrameStatus.GOOD, FrameStatus.GOOD, FrameStatus.INCOMPLETE]
        with pytest.raises(FrameTimeout, match="injected by its script at frame 5"):
            read(driver)
        assert ids_of(read(driver, 2)[1]) == [5, 6]
        with pytest.raises(
            FrameError, match=r"frame 7 of the simulated camera has shape \(15, 48\), expected \(16, 48\)"
        ):
            read(driver)
        assert ids_of(read(driver, 1)[1]) == [8]
        for _ in range(2):
            with pytest.raises(CameraLost, match="unplugged: plug it in, close it and open it again"):
                read(driver)
        driver.stop()
        with pytest.raises(CameraLost, match="unplugged"):
            driver.start()
        driver.close()
        driver.open()
        driver.start()


# ---- what is refused ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"mode": "hgar"},
            r"mode must be one of \[None, 'HgAr', 'flat', 'counting'\], got 'hgar' \(did you mean HgAr\?\)",
        ),
        ({"rate": 0}, "rate must be > 0 lines/s, or None for unlimited, got 0"),
        ({"rate": -5.0}, r"rate must be > 0 .* got -5\.0"),
        ({"rate": "a"}, "rate must be > 0 lines/s, .* got 'a'"),
        ({"rate": math.inf}, "rate must be > 0 .* got inf"),
        ({"rate": math.nan}, "rate must be > 0 .* got nan"),
        ({"queue": 0}, "queue must hold at least 1 frame, got 0"),
        ({"n_frames": -1}, "n_frames must be >= 0, or None for an endless source, got -1"),
        ({"script": {3: "explode"}}, r"script: fault at frame 3 must be one of \['gap', .*got 'explode'"),
    ],
)
def test_an_option_that_is_none_is_refused_at_once(options, said):
    with pytest.raises(ArgumentError, match=said):
        SimulatedDriver(settings(), **options)


@pytest.mark.parametrize("content", [None, b"no picture", b"\x89PNG\r\n\x1a\n", b""])
def test_a_picture_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "odd.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError, match=r"img_path '.*odd\.png' is not a readable picture: .*expected a PNG"):
        started(img_path=path)


def test_rows_outside_the_frame_do_not_matter_to_a_camera():
    started(CameraSettings(row_slice=(16, 700)))


def test_a_camera_that_is_not_open_or_not_started_says_so():
    driver = SimulatedDriver(settings())
    with pytest.raises(CameraError, match="is not open"):
        driver.start()
    driver.open()
    with pytest.raises(CameraError, match="start it before frames are read"):
        read(driver)


def test_a_camera_that_was_closed_while_streaming_does_not_stream_when_opened_again():
    driver = started()
    driver.close()
    driver.open()
    with pytest.raises(CameraError, match="start it before frames are read"):
        read(driver)


def test_room_in_another_order_is_refused():
    driver = started(settings(16, 48))
    with pytest.raises(
        FrameError, match=r"uint16 \(16, 48\) in C order, got room for uint16 \(16, 48\) in another order"
    ):
        driver.read_into(np.empty((48, 16), np.uint16).T, 1.0)


def test_the_registry_knows_it():
    assert driver_class("simulated") is SimulatedDriver
