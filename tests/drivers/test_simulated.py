"""The simulated camera: its light is true, its numbers prove themselves, its clock and its faults are as told."""

import math
import zlib

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
from openhsi_shared.drivers.simulated.free_run import FreeRun
from openhsi_shared.drivers.simulated.optics import (
    LAMP_LINES_NM,
    colour_spectra,
    native_wavelengths_nm,
    optics_of,
    planck,
)
from openhsi_shared.drivers.simulated.painters import Noise, dark_number, read_picture
from openhsi_shared.errors import (
    ArgumentError,
    CameraError,
    CameraLost,
    FileError,
    FrameError,
    FrameTimeout,
    SettingsError,
    SourceEnded,
)
from openhsi_shared.settings import CameraSettings, read_settings
from openhsi_shared.testing import CameraContract

RGB_NM = ((640, 670), (530, 590), (450, 510))


def settings(rows=16, columns=48, pixel_format="Mono12", **more):
    return CameraSettings(resolution=(rows, columns), pixel_format=pixel_format, **more)


def started(camera_settings=None, **options):
    driver = SimulatedDriver(camera_settings or settings(), **options)
    driver.open()
    driver.start()
    return driver


def read(driver, n=1):
    """Read n frames: (frames, stamps)."""
    frames = np.empty((n, *driver.frame_shape), driver.frame_dtype)
    return frames, [driver.read_into(frame, 5.0) for frame in frames]


def ids_of(stamps):
    return [stamp.frame_id for stamp in stamps]


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
    assert read_picture(tmp_path / "grey.jpg", 20).shape == (20, 40, 3)
    assert read_picture(tmp_path / "grey.jpg", 20).mean() == 77
    Image.new("RGB", (1, 500)).save(tmp_path / "thin.png")
    assert read_picture(tmp_path / "thin.png", 20).shape == (20, 1, 3)


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
    assert own.wavelengths_nm[own.most] == 400.0


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


# ---- counted frames -----------------------------------------------------------------


@pytest.mark.parametrize("pixel_format", ["Mono8", "Mono12"])
@pytest.mark.parametrize("shape", [(16, 48), (1, 16), (7, 33), (300, 64)])
def test_a_counted_frame_proves_itself(pixel_format, shape):
    frames, stamps = read(started(settings(*shape, pixel_format), mode="counting"), 300)
    assert ids_of(stamps) == list(range(300))
    assert [frame_number(frame) for frame in frames] == list(range(300))
    assert all(check_frame(frame) for frame in frames)
    assert check_frame(np.asfortranarray(frames[3]))


@pytest.mark.parametrize("pixel_format", ["Mono8", "Mono12"])
def test_a_single_wrong_bit_anywhere_shows(pixel_format):
    frame = read(started(settings(3, 24, pixel_format), mode="counting"), 6)[0][5]
    pixels = frame.view(np.uint8)
    for place in np.ndindex(pixels.shape):
        for bit in range(8):
            pixels[place] ^= 1 << bit
            assert not check_frame(frame), f"byte {place}, bit {bit}"
            pixels[place] ^= 1 << bit
    assert check_frame(frame)


def test_a_torn_line_shows_wherever_it_is_torn():
    one, other = read(started(mode="counting"), 2)[0]
    for n_pixels in range(1, one.size):
        torn = one.copy()
        torn.reshape(-1)[:n_pixels] = other.reshape(-1)[:n_pixels]
        assert not check_frame(torn)


@pytest.mark.parametrize("pixel_format", ["Mono8", "Mono12"])
def test_frames_differ_in_every_pixel(pixel_format):
    frames = read(started(settings(4, 40, pixel_format), mode="counting"), 256)[0]
    pixels = np.sort(frames[:, :, 16:].reshape(256, -1), axis=0)
    assert (np.diff(pixels.astype(int), axis=0) > 0).all()


def test_the_checksum_is_that_of_all_other_bytes():
    frame = read(started(mode="counting"), 4)[0][3]
    content = frame.tobytes()
    assert int.from_bytes(content[8:12], "little") == zlib.crc32(content[:8] + content[12:])


def test_some_rows_of_a_counted_frame_prove_themselves_too():
    frame = read(started(mode="counting"), 10)[0][9]
    assert frame_number(frame[5:]) == 9
    assert check_frame(frame[5:])
    assert check_frame(frame[:7])
    assert check_frame(frame[8:9])
    assert not check_frame(frame[5::2])
    assert not check_frame(np.vstack([frame[5:], frame[-1:]]))
    assert not check_frame(frame[::-1])
    assert not check_frame(np.zeros_like(frame))
    frame[:, 3] = 10  # a frame of 10 rows has no rows 10 to 15
    assert not check_frame(frame[5:])


def test_frames_far_apart_are_told_from_each_other():
    driver = started(mode="counting", script=dict.fromkeys(range(65536), "gap"))
    (frame,), (stamp,) = read(driver)
    assert stamp.frame_id == frame_number(frame) == 65536
    assert check_frame(frame)
    stale = frame.copy()
    stale[8:] = read(started(mode="counting"))[0][0][8:]
    assert not check_frame(stale)


def test_a_frame_too_small_to_count_is_refused():
    with pytest.raises(ArgumentError, match=r"at least 8 columns of uint16, got \(16, 7\)"):
        started(settings(16, 7), mode="counting")
    with pytest.raises(ArgumentError, match=r"at least 16 columns of uint8, got \(16, 15\)"):
        started(settings(16, 15, "Mono8"), mode="counting")
    with pytest.raises(ArgumentError, match=r"1 to 65535 rows"):
        frame_number(np.empty((0, 16), np.uint16))


@pytest.mark.parametrize("line", [np.zeros((16, 48), np.float32), np.zeros(48, np.uint16)])
def test_a_line_that_no_counting_camera_made_is_refused(line):
    with pytest.raises(ArgumentError, match="2-D, uint16 or uint8, got"):
        check_frame(line)


# ---- pace ---------------------------------------------------------------------------


def test_a_source_without_a_rate_loses_nothing():
    assert ids_of(read(started(), 100)[1]) == list(range(100))


def take_all(run, now_ns):
    return list(iter(lambda: run.take(now_ns), None))


def test_frames_come_at_their_times():
    run = FreeRun(1000.0, 30, 5_000, None, ())
    assert [run.exposed_ns(k) for k in range(3)] == [1_005_000, 2_005_000, 3_005_000]
    assert run.take(1_004_999) is None
    assert run.next_ns() == 1_005_000
    assert take_all(run, 1_005_000) == [0]
    assert run.next_ns() == 2_005_000
    assert take_all(run, 4_500_000) == [1, 2, 3]


def test_a_full_queue_drops_the_newest_and_their_ids_are_never_seen():
    run = FreeRun(1000.0, 4, 0, None, ())
    assert run.take(10_500_000) == 0  # frames 0 to 9 came, 4 found room
    assert run.take(11_500_000) == 1  # frame 10 took the place of frame 0
    assert take_all(run, 11_500_000) == [2, 3, 10]
    assert take_all(run, 13_500_000) == [11, 12]


def test_the_model_of_the_queue_equals_a_sensor_played_frame_by_frame():
    random = np.random.default_rng(3)
    for _ in range(50):
        rate, size, n_frames = random.uniform(1, 5000), int(random.integers(1, 8)), int(random.integers(0, 200))
        missing = set(random.integers(0, 200, 10).tolist())
        run = FreeRun(rate, size, 0, n_frames, missing)
        waiting, n_exposed, now = [], 0, 0
        for _ in range(120):
            now += int(random.exponential(random.choice([0.3, 3.0]) * 1e9 / rate))
            while n_exposed < n_frames and run.exposed_ns(n_exposed) <= now:
                if n_exposed not in missing and len(waiting) < size:
                    waiting.append(n_exposed)
                n_exposed += 1
            assert run.take(now) == (waiting.pop(0) if waiting else None)


@pytest.mark.parametrize("rate", [0.37, 499.999, 1500.0, 1e6 / 3])
def test_a_frame_is_there_at_its_nanosecond_and_not_before(rate):
    for frame_id in (0, 1, 29):
        run = FreeRun(rate, 30, 7, None, range(frame_id))
        exposed_ns = run.exposed_ns(frame_id)
        assert run.take(exposed_ns - 1) is None
        assert run.take(exposed_ns) == frame_id


@pytest.mark.parametrize("rate", [0.37, 499.999, 1500.0, 1e6 / 3])
def test_the_pace_does_not_drift(rate):
    run = FreeRun(rate, 30, 7, None, ())
    for n_frames in (1, 1000, 10**8):
        assert math.isclose(run.exposed_ns(n_frames - 1) - 7, n_frames * 1e9 / rate, rel_tol=1e-9, abs_tol=1)


def test_a_paced_camera_stamps_the_middle_of_each_exposure():
    driver = started(settings(exposure_ms=2), rate=400.0)
    stamps = read(driver, 20)[1]
    middles = np.array([stamp.monotonic_ns for stamp in stamps])
    assert ids_of(stamps) == list(range(20))
    assert set(np.diff(middles).tolist()) == {2_500_000}
    assert set(np.diff([stamp.camera_ns for stamp in stamps]).tolist()) == {2_500_000}
    assert driver.set_exposure(1.0) == 1.0
    later = read(driver)[1][0]
    assert later.monotonic_ns == middles[-1] + (later.frame_id - 19) * 2_500_000 + 500_000


def test_an_exposure_is_never_longer_than_its_period():
    driver = started(settings(exposure_ms=2), rate=2000.0)
    assert driver.set_exposure(10.0) == 0.5
    assert driver.set_exposure(0.25) == 0.25
    assert started().set_exposure(10.0) == 10.0


def test_a_slow_reader_loses_what_the_queue_cannot_hold():
    driver = started(settings(64, 256), rate=1e6, queue=3)
    ids = ids_of(read(driver, 50)[1])
    assert all(np.diff(ids) > 0)
    assert ids[-1] > 100


def test_a_new_start_begins_with_an_empty_queue_and_frame_0():
    driver = started(rate=1e5, queue=5)
    first = read(driver, 20)[1]
    driver.stop()
    driver.start()
    again = read(driver)[1][0]
    assert again.frame_id == 0
    assert again.monotonic_ns > first[-1].monotonic_ns
    assert again.camera_ns > first[-1].camera_ns


def test_a_frame_that_takes_longer_than_one_waits_is_a_timeout_and_still_comes():
    driver = started(rate=5.0)
    with pytest.raises(FrameTimeout, match=r"within 0\.001 s: its rate is 5\.0 lines/s"):
        driver.read_into(np.empty(driver.frame_shape, driver.frame_dtype), 0.001)
    frame = np.empty(driver.frame_shape, driver.frame_dtype)
    assert driver.read_into(frame, math.inf).frame_id == 0


@pytest.mark.parametrize("rate", [None, 5000.0])
def test_a_source_with_an_end_has_one(rate):
    driver = started(rate=rate, n_frames=5, script={4: "gap"})
    assert ids_of(read(driver, 4)[1]) == [0, 1, 2, 3]
    for _ in range(2):
        with pytest.raises(SourceEnded, match=r"its 5 frames \(n_frames\)"):
            read(driver)
    driver.stop()
    driver.start()
    assert ids_of(read(driver, 4)[1]) == [0, 1, 2, 3]


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
        with pytest.raises(FrameTimeout, match="its script says so at frame 5"):
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
        ({"rate": 0}, "rate must be > 0 lines/s, or None for as fast as asked, got 0"),
        ({"rate": -5.0}, r"rate must be > 0 .* got -5\.0"),
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
    with pytest.raises(FileError, match=r"img_path '.*odd\.png' is no picture that can be read: .*expected a PNG"):
        started(img_path=path)


def test_rows_outside_the_frame_are_refused_when_it_is_opened():
    with pytest.raises(SettingsError, match=r"row_slice \(16, 700\) lies outside the 644 rows"):
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
