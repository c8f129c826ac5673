"""Contract tests of drivers: authors of drivers subclass `CameraContract`.

Complete test file of a driver::

    class TestMyDriver(CameraContract):
        @pytest.fixture
        def driver(self):
            return MyDriver(CameraSettings(resolution=(32, 64)))

The fixture returns a driver that is not open; the tests open and close it. It must deliver about 30 frames per run, for
a few runs.
"""

import gc
import math
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.drivers import Driver, FrameStamp, FrameStatus, HasTemperature
from openhsi_shared.errors import CameraError, FrameError, FrameTimeout
from openhsi_shared.frames.ids import FrameIds
from openhsi_shared.packages import needed_by
from openhsi_shared.testing.leftovers import require_no_leftovers

with needed_by("openhsi_shared.testing", "contract"):
    import pytest

__all__ = ["CameraContract"]


class CameraContract:
    """The contract of `openhsi_shared.drivers.Driver`, one test for each of its sentences."""

    patience_s = 5.0
    """Timeout of a frame."""
    counts_frames = True
    """The camera has a frame counter: its stamps have a frame id. False: they have none."""
    other_exposure_ms = 3.0
    """An exposure that the camera supports."""

    @pytest.fixture
    def driver(self) -> Driver:
        """Return the driver to be tested, not open. Every subclass overrides it."""
        raise NotImplementedError(
            "subclasses of CameraContract must define a fixture `driver` that returns a driver, not open"
        )

    # ---- before and after ----

    def test_opening_is_idempotent(self, driver: Driver) -> None:
        """`open` may be called again, also while streaming, without effect."""
        with closing(driver):
            driver.open()
            before = (driver.frame_shape, driver.frame_dtype, driver.frame_id_period)
            driver.open()
            assert (driver.frame_shape, driver.frame_dtype, driver.frame_id_period) == before
            driver.start()
            first = self.read(driver)[1].frame_id
            driver.open()
            second, *_, status = self.read(driver)[1]
            assert status is FrameStatus.GOOD, "a second `open` broke the stream"
            assert first is None or second is None or first != second, "a second `open` restarted the stream"

    def test_an_open_driver_knows_its_frames(self, driver: Driver) -> None:
        """Shape, type and period are valid once it is open."""
        with closing(driver):
            driver.open()
            rows, columns = driver.frame_shape
            assert rows > 0, "frame_shape is (rows, columns)"
            assert columns > 0, "frame_shape is (rows, columns)"
            assert driver.frame_dtype == np.dtype(driver.frame_dtype), "frame_dtype is a numpy dtype"
            assert driver.frame_id_period is None or driver.frame_id_period > 2

    def test_closing_is_idempotent_also_before_opening(self, driver: Driver) -> None:
        """`close` may be called at any time."""
        driver.close()
        driver.open()
        driver.close()
        driver.close()

    def test_a_driver_can_be_closed_while_it_streams_and_opened_again(self, driver: Driver) -> None:
        """`close` stops the stream, and `open` works again."""
        for _ in range(2):
            with streaming(driver):
                self.read(driver)

    @pytest.mark.parametrize("state", ["never opened", "open", "stopped", "closed"])
    def test_reading_what_does_not_stream_is_an_error_at_once(self, driver: Driver, state: str) -> None:
        """`read_into` raises CameraError without waiting if no frame can arrive."""
        with closing(driver):
            driver.open()
            room = np.empty(driver.frame_shape, driver.frame_dtype)
            if state == "stopped":
                driver.start()
                driver.stop()
            elif state != "open":
                driver.close()
            begun = time.monotonic()
            with pytest.raises(CameraError):
                driver.read_into(room, 60.0)
            assert time.monotonic() - begun < 30.0

    def test_a_closed_driver_refuses_to_start_and_to_be_set(self, driver: Driver) -> None:
        """Use after `close` raises CameraError."""
        driver.open()
        driver.close()
        with pytest.raises(CameraError):
            driver.start()
        with pytest.raises(CameraError):
            driver.set_exposure(self.other_exposure_ms)

    def test_ctrl_c_stays_with_the_program(self, driver: Driver) -> None:
        """A vendor's package must not replace the handler of SIGINT: programs could no longer be interrupted."""
        before = signal.getsignal(signal.SIGINT)
        with closing(driver):
            driver.open()
            driver.start()
            self.read(driver)
            assert signal.getsignal(signal.SIGINT) is before, "the driver took Ctrl-C"
            driver.stop()
        assert signal.getsignal(signal.SIGINT) is before, "the driver took Ctrl-C"

    def test_nothing_is_left_behind(self, driver: Driver) -> None:
        """Cycles of open, stream and close leak no thread, process or file descriptor."""
        require_no_leftovers(lambda: self.one_round(driver), self.patience_s)

    # ---- frames ----

    def test_a_frame_fills_the_room_it_is_given_and_nothing_else(self, driver: Driver) -> None:
        """Every pixel of `out` is written, in place, and nothing outside of it."""
        random = np.random.default_rng(1)
        with streaming(driver):
            rows, columns = driver.frame_shape
            untouched = np.ones(driver.frame_shape, bool)
            for _ in range(5):  # a pixel may keep its value by chance, but not five times
                around = noise(random, (3, rows, columns), driver.frame_dtype)
                before = around.copy()
                self.read(driver, around[1])
                assert np.array_equal(around[[0, 2]], before[[0, 2]]), "the driver wrote outside `out`"
                untouched &= around[1] == before[1]
        assert not untouched.any(), f"{untouched.sum()} pixels of `out` were never written"

    def test_a_frame_is_never_touched_again(self, driver: Driver) -> None:
        """The driver keeps no reference to `out` when `read_into` returns."""
        with streaming(driver):
            first = np.empty(driver.frame_shape, driver.frame_dtype)
            self.read(driver, first)
            copy, kept = first.copy(), weakref.ref(first)
            for _ in range(5):
                self.read(driver)
            assert np.array_equal(first, copy), "a later frame changed an earlier one"
            del first
            gc.collect()
            assert kept() is None, "the driver keeps a reference to `out`"

    def test_room_that_does_not_fit_is_refused(self, driver: Driver) -> None:
        """Another shape or type of `out` raises FrameError, and streaming continues."""
        with streaming(driver):
            rows, columns = driver.frame_shape
            for room in (
                np.empty((rows + 1, columns), driver.frame_dtype),
                np.empty((1, rows, columns), driver.frame_dtype),
                np.empty((rows, columns), np.float64),
            ):
                with pytest.raises(FrameError):
                    driver.read_into(room, self.patience_s)
            self.read(driver)

    def test_frame_ids_grow(self, driver: Driver) -> None:
        """Ids are integers that strictly increase once unwrapped, also after a restart."""
        with closing(driver):
            driver.open()
            ids, seen = FrameIds(driver.frame_id_period), []
            for _ in range(2):
                driver.start()
                ids.restart()
                for _ in range(15):
                    frame_id = self.read(driver)[1].frame_id
                    if not self.counts_frames:
                        assert frame_id is None, "counts_frames = False, but a frame has an id"
                        continue
                    assert isinstance(frame_id, int), f"a frame id is an int, got {frame_id!r}"
                    seen.append(ids.unwrap(frame_id))
                driver.stop()
            assert all(a < b for a, b in pairwise(seen)), f"ids do not increase: {seen}"

    def test_stamps_make_sense(self, driver: Driver) -> None:
        """Times never decrease, the host's are between start and now, and frames are good."""
        began = time.monotonic_ns()
        with streaming(driver):
            stamps = [self.read(driver)[1] for _ in range(15)]
        ended = time.monotonic_ns()
        host = [stamp.monotonic_ns for stamp in stamps if stamp.monotonic_ns is not None]
        camera = [stamp.camera_ns for stamp in stamps if stamp.camera_ns is not None]
        assert len(host) in (0, len(stamps)), "some frames have a host time and some have none"
        assert len(camera) in (0, len(stamps)), "some frames have a camera time and some have none"
        assert host == sorted(host), f"host times step back: {host}"
        assert camera == sorted(camera), f"camera times step back: {camera}"
        margin_ns = 10**9  # the middle of an exposure that had begun before
        assert all(began - margin_ns <= ns <= ended for ns in host), f"{host} outside {began} to {ended}"
        assert {stamp.status for stamp in stamps} == {FrameStatus.GOOD}

    def test_starting_and_stopping_are_idempotent(self, driver: Driver) -> None:
        """`start` while streaming has no effect; `stop` may be called at any time once it is open."""
        with closing(driver):
            driver.open()
            driver.stop()
            driver.start()
            first = self.read(driver)[1].frame_id
            driver.start()
            second = self.read(driver)[1].frame_id
            assert first is None or second is None or first != second, "a second `start` restarted the stream"
            driver.stop()
            driver.stop()

    def test_no_time_to_wait_gives_a_frame_or_frame_timeout(self, driver: Driver) -> None:
        """A timeout of 0 returns a queued frame or raises FrameTimeout; the stream is unaffected."""
        with streaming(driver):
            room = np.empty(driver.frame_shape, driver.frame_dtype)
            begun = time.monotonic()
            for _ in range(3):
                with suppress(FrameTimeout):
                    driver.read_into(room, 0.0)
            assert time.monotonic() - begun < self.patience_s
            self.read(driver)

    # ---- exposure, temperature ----

    def test_the_exposure_can_be_set_while_it_streams(self, driver: Driver) -> None:
        """`set_exposure` returns the exposure that the camera applied, and streaming continues."""
        with streaming(driver):
            self.read(driver)
            taken = driver.set_exposure(self.other_exposure_ms)
            assert 0 < taken < math.inf, f"set_exposure({self.other_exposure_ms}) returned {taken!r}"
            self.read(driver)

    @pytest.mark.parametrize("exposure_ms", [0.0, -1.0, math.nan, math.inf])
    def test_an_invalid_exposure_is_refused(self, driver: Driver, exposure_ms: float) -> None:
        """It raises ValueError, and streaming continues."""
        with streaming(driver):
            with pytest.raises(ValueError, match="exposure_ms"):
                driver.set_exposure(exposure_ms)
            self.read(driver)

    def test_the_temperature_can_be_read_from_another_thread(self, driver: Driver) -> None:
        """With a temperature sensor: a number or NaN, while frames are read."""
        if not isinstance(driver, HasTemperature):
            pytest.skip("this camera has no temperature sensor")
        read, temperatures = driver.temperature_celsius, []
        with streaming(driver):
            thread = threading.Thread(target=lambda: temperatures.append(read()))
            thread.start()
            self.read(driver)
            thread.join(self.patience_s)
        assert len(temperatures) == 1, "temperature_celsius raised or did not return"
        assert isinstance(temperatures[0], float)

    # ---- helpers ----

    def read(self, driver: Driver, room: NDArray[Any] | None = None) -> tuple[NDArray[Any], FrameStamp]:
        """Read the next frame."""
        if room is None:
            room = np.empty(driver.frame_shape, driver.frame_dtype)
        return room, driver.read_into(room, self.patience_s)

    def one_round(self, driver: Driver) -> None:
        """Open, read three frames, close."""
        with streaming(driver):
            for _ in range(3):
                self.read(driver)


@contextmanager
def closing(driver: Driver) -> Iterator[None]:
    """Close the driver at the end, whatever happens."""
    try:
        yield
    finally:
        driver.close()


@contextmanager
def streaming(driver: Driver) -> Iterator[None]:
    """Open and start; close at the end."""
    with closing(driver):
        driver.open()
        driver.start()
        yield


def noise(random: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Random bytes as an array of this shape, so that pixels that are not overwritten are detected."""
    return np.frombuffer(random.bytes(math.prod(shape) * dtype.itemsize), dtype).reshape(shape).copy()
