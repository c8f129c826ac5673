"""Contract of vendor drivers, tested on stand-ins of the vendors' packages, beyond `CameraContract`."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from openhsi_shared.drivers import Driver, FrameStatus, driver_class
from openhsi_shared.errors import (
    ArgumentError,
    CameraError,
    CameraLost,
    CameraNotFound,
    FrameTimeout,
    SettingsError,
)
from openhsi_shared.frames.ids import FrameIds
from openhsi_shared.settings import CameraSettings, read_settings
from openhsi_shared.testing import CameraContract

STAND_INS = Path(__file__).parent / "stand_ins"
ASSETS = Path(__file__).parents[2] / "assets"
ROWS, COLUMNS = 48, 80

Make = Callable[..., Any]


def scene(number: int) -> np.ndarray:
    """What the whole sensor of a stand-in sees at frame `number`."""
    return ((number * 101 + 13 * np.arange(ROWS)[:, None] + np.arange(COLUMNS)) % 4096).astype(np.uint16)


def read(driver: Driver, n: int, timeout_s: float = 20.0) -> tuple[np.ndarray, list[Any]]:
    frames = np.zeros((n, *driver.frame_shape), driver.frame_dtype)
    return frames, [driver.read_into(frame, timeout_s) for frame in frames]


class VendorContract(CameraContract):
    """Tests of one driver on the stand-in of its package."""

    name: ClassVar[str]
    vendor: ClassVar[str]
    """Name of the vendor in messages."""
    raw16: ClassVar[str] = "Mono12"
    """A pixel format in which 12 bit pixels arrive unchanged."""
    formats: ClassVar[tuple[str, ...]] = ("Mono8", "Mono10", "Mono10Packed", "Mono12", "Mono12Packed")
    is_flipped: ClassVar[bool] = False
    has_status: ClassVar[bool] = True
    """The camera reports incomplete frames."""
    template: ClassVar[str]
    rounding_us: ClassVar[float] = 10.0

    @pytest.fixture
    def bench(self) -> Iterator[Any]:
        """Two cameras of the stand-in, whose package can be imported here and in spawned children."""
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(STAND_INS)
            patch.setenv("PYTHONPATH", str(STAND_INS), prepend=":")
            import stand_in_sensor

            yield stand_in_sensor.reset()

    @pytest.fixture
    def make(self, bench: Any) -> Iterator[Make]:
        """Create drivers; all are closed at the end."""
        made: list[Driver] = []

        def make_driver(open_it: bool = True, **values: Any) -> Driver:
            names = ("serial_num", "queue", "compat", "images_per_buffer")
            options = {key: values.pop(key) for key in names if key in values}
            settings = CameraSettings(**{"pixel_format": self.raw16, "exposure_ms": 0.5} | values)
            made.append(driver_class(self.name)(settings, **options))
            if open_it:
                made[-1].open()
            return made[-1]

        yield make_driver
        for driver in made:
            driver.close()

    @pytest.fixture
    def driver(self, make: Make) -> Driver:
        return make(open_it=False)

    def seen(self, image: np.ndarray) -> np.ndarray:
        """An image as it arrives."""
        return image[:, ::-1] if self.is_flipped else image

    # ---- frames ----

    def test_frames_arrive_bit_by_bit_in_order_with_ids_without_a_gap(self, make: Make) -> None:
        driver = make()
        assert (driver.frame_shape, driver.frame_dtype) == ((ROWS, COLUMNS), np.dtype(np.uint16))
        for _ in range(2):
            driver.start()
            frames, stamps = read(driver, 12)
            first = stamps[0].frame_id
            assert [stamp.frame_id for stamp in stamps] == list(range(first, first + 12))
            assert np.array_equal(frames, [self.seen(scene(number)) for number in range(12)])
            driver.stop()

    def test_every_pixel_format_arrives_as_it_left_the_sensor(self, make: Make) -> None:
        for pixel_format in self.formats:
            bits = int("".join(c for c in pixel_format.removeprefix("XI_RAW") if c.isdigit()))
            driver = make(pixel_format=pixel_format, win_resolution=(6, 12))
            assert driver.frame_dtype == (np.uint8 if bits == 8 else np.uint16)
            driver.start()
            frames, _ = read(driver, 3)
            expected = [self.seen(scene(number)[:6, :12]) >> max(0, 12 - bits) for number in range(3)]
            assert np.array_equal(frames, expected), pixel_format
            driver.close()

    def test_the_camera_reports_its_time_and_temperature(self, make: Make, bench: Any) -> None:
        bench.sensors[0].time_us_at_start = 5_000_000
        bench.sensors[0].period_s = 0.002
        driver = make()
        driver.start()
        _, stamps = read(driver, 5)
        assert stamps[0].camera_ns == 5_002_000_000
        steps = np.diff([stamp.camera_ns for stamp in stamps])
        assert np.allclose(steps, 2_000_000, atol=2000)
        assert 30 < driver.temperature_celsius() < 35
        driver.close()
        assert math.isnan(driver.temperature_celsius())

    # ---- loss ----

    def test_what_a_full_queue_loses_shows_in_the_ids(self, make: Make, bench: Any) -> None:
        sensor = bench.sensors[0]
        sensor.is_on_call = True
        driver = make(queue=4)
        driver.start()
        ids, seen = FrameIds(driver.frame_id_period), []
        for n_exposed, n_read in ((10, 4), (1, 1), (7, 4), (2, 2)):
            sensor.expose(n_exposed)
            seen += [ids.unwrap(stamp.frame_id) for stamp in read(driver, n_read)[1]]
        first = seen[0]
        assert [frame_id - first for frame_id in seen] == [0, 1, 2, 3, 10, 11, 12, 13, 14, 18, 19]
        assert seen[-1] - first + 1 - len(seen) == sensor.n_skipped == 9

    def test_what_the_way_loses_shows_in_the_ids(self, make: Make, bench: Any) -> None:
        bench.sensors[0].lost_on_the_way = {2, 3, 7}
        driver = make()
        driver.start()
        ids = [stamp.frame_id for stamp in read(driver, 7)[1]]
        assert [frame_id - ids[0] for frame_id in ids] == [0, 1, 4, 5, 6, 8, 9]

    def test_a_frame_that_is_not_whole_says_so_and_keeps_its_id(self, make: Make, bench: Any) -> None:
        if not self.has_status:
            pytest.skip("this camera's package does not report incomplete frames")
        bench.sensors[0].broken = {1}
        driver = make()
        driver.start()
        frames, stamps = read(driver, 3)
        assert [stamp.status for stamp in stamps] == [FrameStatus.GOOD, FrameStatus.INCOMPLETE, FrameStatus.GOOD]
        assert stamps[2].frame_id - stamps[0].frame_id == 2
        assert not frames[1].any()
        assert np.array_equal(frames[2], self.seen(scene(2)))

    # ---- faults while streaming ----

    def test_a_camera_that_gives_no_frame_times_out_and_then_delivers(self, make: Make, bench: Any) -> None:
        bench.sensors[0].is_on_call = True
        driver = make()
        driver.start()
        with pytest.raises(FrameTimeout, match=rf"no frame of {self.vendor} .* within 0.05 s .*trigger"):
            read(driver, 1, 0.05)
        bench.sensors[0].expose()
        assert np.array_equal(read(driver, 1)[0][0], self.seen(scene(0)))

    def test_a_camera_that_was_pulled_out_is_lost_and_comes_back(self, make: Make, bench: Any) -> None:
        driver = make()
        driver.start()
        read(driver, 1)
        bench.sensors[0].unplug()
        with pytest.raises(
            CameraLost, match=rf"{self.vendor} .* was disconnected: check power and cable, then open it again"
        ):
            read(driver, 40)
        driver.close()
        bench.sensors[0].is_plugged, bench.sensors[0].is_open = True, False
        driver.open()
        driver.start()
        read(driver, 1)

    def test_the_exposure_changes_while_it_runs_and_no_frame_is_missed(self, make: Make, bench: Any) -> None:
        driver = make()
        driver.start()
        _, before = read(driver, 3)
        taken = driver.set_exposure(0.803)
        assert taken == pytest.approx(round(803 / self.rounding_us) * self.rounding_us / 1000)
        assert bench.sensors[0].exposure_us == pytest.approx(taken * 1000)
        _, after = read(driver, 6)
        ids = [stamp.frame_id for stamp in before + after]
        assert ids == list(range(ids[0], ids[0] + 9))

    # ---- settings ----

    def test_a_window_is_cut_out_where_it_was_asked_for(self, make: Make) -> None:
        driver = make(win_resolution=(8, 16), win_offset=(4, 20))
        driver.start()
        assert np.array_equal(read(driver, 2)[0], [self.seen(scene(number)[4:12, 20:36]) for number in range(2)])

    @pytest.mark.parametrize(
        ("values", "shape"),
        [
            ({}, (ROWS, COLUMNS)),
            ({"win_resolution": (0, 0)}, (ROWS, COLUMNS)),
            ({"win_resolution": (8, 0)}, (8, COLUMNS)),
            ({"win_resolution": (0, 16), "win_offset": (10, 0)}, (ROWS - 10, 16)),
            ({"resolution": (8, 16)}, (8, 16)),
            ({"resolution": (8, 16), "win_resolution": (0, 0)}, (ROWS, COLUMNS)),
        ],
    )
    def test_the_frame_has_the_size_that_was_asked_for(self, make: Make, values: Any, shape: Any) -> None:
        driver = make(**values)
        assert driver.frame_shape == shape
        driver.start()
        read(driver, 1)

    def test_an_offset_of_0_is_0(self, make: Make) -> None:
        driver = make(win_resolution=(8, 16))
        driver.start()
        assert np.array_equal(read(driver, 1)[0][0], self.seen(scene(0)[:8, :16]))

    def test_the_window_can_be_larger_than_the_one_before(self, make: Make, bench: Any) -> None:
        make(win_resolution=(8, 16), win_offset=(30, 40)).close()
        sensor = bench.sensors[0]
        power_on, sensor.power_on = sensor.power_on, lambda: None  # a camera that remembers its window
        sensor.width, sensor.height, sensor.offset_x, sensor.offset_y = 16, 8, 40, 30
        assert make().frame_shape == (ROWS, COLUMNS)
        sensor.power_on = power_on

    def test_pixels_are_summed_along_x_and_y(self, make: Make) -> None:
        driver = make(binxy=(2, 4), win_resolution=(2, 8))
        driver.start()
        full = scene(0)[:8, :16].astype(int)
        binned = np.minimum(full.reshape(2, 4, 8, 2).sum((1, 3)), 4095)
        assert np.array_equal(read(driver, 1)[0][0], self.seen(binned))

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            (
                {"win_resolution": (8, 18)},
                r"win_resolution: Width of {} .* in steps of 4, got 18; the nearest is (16|20)",
            ),
            ({"win_resolution": (800, 16)}, r"win_resolution: Height of {} .*, got 800; the nearest is 48"),
            (
                {"win_resolution": (8, 16), "win_offset": (0, 68)},
                r"win_offset: OffsetX of {} .*, got 68; the nearest is 64",
            ),
            ({"binxy": (9, 1)}, "binxy: "),
            ({"exposure_ms": 0.001}, r"exposure_ms of {} .* must be from 0.02 to 1000, got 0.001"),
            ({"nodes": {"NoSuchThing": 1}}, r"nodes: .*{} .*NoSuchThing"),
        ],
    )
    def test_unsupported_settings_are_refused_and_the_camera_released(
        self, make: Make, bench: Any, values: Any, words: str
    ) -> None:
        driver = make(open_it=False, **values)
        with pytest.raises(SettingsError, match=words.replace("{}", self.vendor)):
            driver.open()
        assert not bench.sensors[0].is_open
        with pytest.raises(CameraError, match="is not open"):
            driver.start()

    def test_an_unknown_pixel_format_names_those_that_there_are(self, make: Make) -> None:
        wrong = self.raw16.replace("12", "112").replace("RAW16", "RAV16")
        with pytest.raises(
            SettingsError, match=rf"pixel_format '{wrong}' cannot be recorded from {self.vendor}"
        ) as caught:
            make(pixel_format=wrong)
        assert f"did you mean {self.raw16}?" in str(caught.value)

    def test_nothing_changes_the_light_by_itself(self, make: Make, bench: Any) -> None:
        make()
        assert bench.sensors[0].gain_db == 0

    def test_the_template_of_settings_loads_unchanged(self, make: Make, bench: Any) -> None:
        settings = read_settings(ASSETS / self.template)
        sensor = bench.sensors[0]
        offset, size = settings.win_offset, settings.win_resolution or settings.resolution
        assert size is not None
        full = size if all(size) else settings.resolution
        assert full is not None
        sensor.rows, sensor.columns = full[0] + offset[0], full[1] + offset[1]
        driver = driver_class(self.name)(settings)
        driver.open()
        try:
            assert driver.frame_shape == settings.resolution
            assert driver.frame_dtype == settings.dtype_in
            driver.start()
            read(driver, 1)
        finally:
            driver.close()

    # ---- connecting ----

    def test_the_serial_number_chooses_the_camera(self, make: Make, bench: Any) -> None:
        first, second = make(), make(serial_num=10000002)
        assert [sensor.is_open for sensor in bench.sensors] == [True, True]
        first.close()
        assert [sensor.is_open for sensor in bench.sensors] == [False, True]
        second.close()

    def test_a_serial_number_that_is_not_there_is_said(self, make: Make) -> None:
        with pytest.raises(CameraNotFound, match="serial number '10000007'"):
            make(serial_num="10000007")

    def test_without_a_camera_the_error_says_what_to_check(self, make: Make, bench: Any) -> None:
        bench.sensors.clear()
        with pytest.raises(CameraNotFound, match=rf"no {self.vendor} camera was found.*check power"):
            make()

    def test_a_camera_that_is_open_elsewhere_is_refused(self, make: Make, bench: Any) -> None:
        make()
        with pytest.raises(CameraError, match=r"cannot be opened.*is it open already, here or in another program"):
            make()
        bench.sensors[1].is_open = False
        make(serial_num="10000002")

    def test_wrong_options_are_refused(self, make: Make) -> None:
        with pytest.raises(ArgumentError, match=r"queue must hold at least 2 frames.*got 1"):
            make(queue=1)
        with pytest.raises(ArgumentError, match="compat must be None or 'openhsi', got 'upstream'"):
            make(compat="upstream")
