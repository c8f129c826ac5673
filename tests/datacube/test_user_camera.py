"""A user's own camera class, mixed with `SharedOpenHSI` as openhsi documents it."""

import re
from typing import ClassVar

import numpy as np
import pytest

from openhsi_shared import SharedOpenHSI, SharedSimulatedCamera
from openhsi_shared.errors import CameraError, FrameError, NothingToSave, UnknownKeyword
from tests.support.flow import CAMERA, SHAPE, account, cubes_in, frame, read, run
from tests.support.process_faults import writers_of
from tests.support.products import each_value_once


class MyBase:
    """Hardware that counts its frames, and records the calls it gets."""

    def __init__(self, serial=None, **keywords):
        super().__init__(**keywords)
        self.serial, self.n, self.told, self.temperatures = serial, 0, [], iter(range(20, 99))
        self.next_frames = {}

    def start_cam(self):
        self.told.append("start")

    def stop_cam(self):
        self.told.append("stop")

    def get_img(self):
        self.n += 1
        return self.next_frames.get(self.n - 1, frame(self.n - 1))

    def get_temp(self):
        self.told.append("temperature")
        return next(self.temperatures)

    def set_exposure(self, exposure_ms):
        self.told.append(exposure_ms)


class SharedMine(MyBase, SharedOpenHSI):
    pass


class SharedLayered(SharedMine):
    def start_cam(self):
        self.told.append("lamp on")
        super().start_cam()

    def stop_cam(self):
        super().stop_cam()
        self.told.append("lamp off")


class Bare:
    def __init__(self, **keywords):
        super().__init__(**keywords)
        self.is_on = False

    def start_cam(self):
        self.is_on = True

    def stop_cam(self):
        self.is_on = False

    def get_img(self):
        assert self.is_on
        return frame(0)


def _mine(camera=SharedMine, **keywords):
    return camera(**{"n_lines": 8, "resolution": SHAPE, **keywords})


def test_a_user_camera_records_without_a_gap(tmp_path):
    with _mine(serial=7) as cam:
        for _ in range(5):
            cam.collect()
            cam.save(tmp_path)
        assert cam.serial == 7
    assert account(tmp_path) == (list(range(40)), [])


def test_the_camera_is_started_once_and_stopped_once_whoever_asks(tmp_path):
    with _mine() as cam:
        cam.start_cam()
        cam.start_cam()
        cam.collect()
        cam.collect()
        cam.stop_cam()
        cam.stop_cam()
        cam.collect()
        told = cam.told
    assert [word for word in told if word != "temperature"] == ["start", "stop", "start", "stop"]


def test_a_chain_of_super_calls_reaches_every_class_once():
    with _mine(SharedLayered) as cam:
        cam.start_cam()
        cam.collect()
        cam.stop_cam()
        cam.collect()
    words = [word for word in cam.told if word != "temperature"]
    assert words == ["lamp on", "start", "stop", "lamp off"] * 2


def test_a_camera_that_could_not_start_is_asked_again():
    class Moody(MyBase, SharedOpenHSI):
        def start_cam(self):
            super().start_cam()
            if len(self.told) == 1:
                raise RuntimeError("busy")

    with _mine(Moody) as cam:
        with pytest.raises(RuntimeError, match="busy"):
            cam.collect()
        cam.collect()
        assert cam.told[:2] == ["start", "start"]
        assert cam.n_collected == 8


def test_start_cam_may_have_arguments_of_its_own():
    class Choosy(MyBase, SharedOpenHSI):
        def start_cam(self, gain=1):
            self.told.append(gain)

    with _mine(Choosy) as cam:
        cam.start_cam(gain=5)
        cam.collect()
        assert cam.told[0] == 5


def test_the_temperature_is_read_between_lines_and_at_most_once_a_second(tmp_path):
    with _mine(n_lines=300) as cam:
        cam.collect()
        saved = read(cam.save(tmp_path).result(60).path)
        assert cam.told.count("temperature") <= 2
    assert set(saved.temperatures) <= {20.0, 21.0}


def test_a_camera_without_a_thermometer_has_no_temperatures(tmp_path):
    class Mine(Bare, SharedOpenHSI):
        pass

    with _mine(Mine) as cam:
        cam.collect()
        saved = read(cam.save(tmp_path).result(60).path)
    assert np.isnan(saved.temperatures).all()


def test_a_thermometer_that_fails_costs_no_line(tmp_path, caplog):
    class Feverish(MyBase, SharedOpenHSI):
        def get_temp(self):
            raise OSError("no answer")

    with _mine(Feverish) as cam:
        cam.collect()
        saved = read(cam.save(tmp_path).result(60).path)
    assert saved.numbers == list(range(8))
    assert np.isnan(saved.temperatures).all()
    assert "get_temp failed" in caplog.text


BAD = [
    (None, "shape (), expected"),
    (None, "SharedMine.get_img returned None: "),
    ((True, np.zeros(SHAPE, np.uint16)), "SharedMine.get_img returned a tuple (bool, ndarray): "),
    (np.zeros((16, 31), np.uint16), "shape (16, 31), expected (16, 32)"),
    (np.zeros(SHAPE, np.float64), "float64, expected uint16"),
    (np.full(SHAPE, 1 << 16, np.int32), "does not fit into uint16"),
]


def test_a_frame_that_does_not_fit_is_an_error_and_the_lines_before_are_kept(tmp_path):
    with _mine() as cam:
        for first, (bad, words) in zip(range(0, 24, 4), BAD, strict=True):
            cam.next_frames[first + 3] = bad
            with pytest.raises(FrameError, match=re.escape(words)):
                cam.collect()
            assert cam.n_collected == 3
            saved = read(cam.save(tmp_path).result(60).path)
            assert saved.numbers == [first, first + 1, first + 2]
            with pytest.raises(FrameError):
                cam.put(bad)


@pytest.mark.parametrize(
    "bad", [None, (True, np.zeros(SHAPE)), 7, np.zeros(SHAPE[1], np.uint16), np.ma.masked_all(SHAPE, np.uint16)]
)
def test_a_mean_is_of_frames_only_and_not_of_what_numpy_makes_one(bad):
    with _mine() as cam:
        cam.next_frames[1] = bad
        with pytest.raises(FrameError, match=r"SharedMine\.get_img returned"):
            cam.avgNimgs(3)


def test_a_bad_frame_while_lines_go_round_leaves_every_line_accounted_for(tmp_path):
    with _mine() as cam:
        cam.next_frames[11] = None
        cam.collect()
        with pytest.raises(FrameError):
            cam.collect()
        saved = read(cam.save(tmp_path).result(60).path)
    assert saved.numbers == list(range(saved.numbers[0], 11))
    assert len(saved.numbers) + saved.attributes["lines_overwritten"] == 11
    assert saved.attributes["lines_lost"] == 0


def test_what_the_camera_raises_comes_out_and_the_lines_are_saved(tmp_path):
    class Fragile(MyBase, SharedOpenHSI):
        def get_img(self):
            if self.n == 11:
                raise ZeroDivisionError("inside the vendor's package")
            return super().get_img()

    with pytest.raises(ZeroDivisionError, match="vendor"), _mine(Fragile) as cam:  # noqa: PT012 - in the loop
        while True:
            cam.collect()
            cam.save(tmp_path)
    assert [len(saved.lines) for saved in cubes_in(tmp_path)] == [8, 3]
    assert "ZeroDivisionError" in cubes_in(tmp_path)[-1].attributes["ended_by"]


def test_a_camera_may_hand_out_the_same_buffer_every_time(tmp_path):
    class Reusing(MyBase, SharedOpenHSI):
        def get_img(self):
            if not hasattr(self, "buffer"):
                self.buffer = np.zeros(SHAPE, np.uint16)
            self.buffer[:] = super().get_img()
            return self.buffer

    with _mine(Reusing) as cam:
        cam.collect()
        assert read(cam.save(tmp_path).result(60).path).numbers == list(range(8))


def test_a_camera_that_lacks_a_method_is_told_so():
    class Blind(SharedOpenHSI):
        def start_cam(self): ...
        def stop_cam(self): ...

    with _mine(Blind) as cam, pytest.raises(CameraError, match="Blind has no get_img"):
        cam.collect()


def test_a_constructor_that_fails_leaves_no_process_and_no_memory():
    class Broken(MyBase, SharedOpenHSI):
        def __init__(self, **keywords):
            super().__init__(**keywords)
            raise CameraError("no camera on this bus")

    before = writers_of()
    with pytest.raises(CameraError, match="no camera on this bus"):
        _mine(Broken)
    assert writers_of() == before


def test_a_mistyped_keyword_of_a_user_camera_names_the_nearest_one():
    with pytest.raises(UnknownKeyword, match=r"SharedMine\(\) has no keyword 'n_line' \(did you mean n_lines\?\)"):
        _mine(n_line=5)


def test_the_exposure_and_the_mean_work_as_the_camera_does_them(tmp_path):
    with _mine() as cam:
        cam.set_exposure(3)
        assert cam.told == [3]
        np.testing.assert_allclose(cam.avgNimgs(2), np.mean([frame(0), frame(1)], axis=0), rtol=1e-6)
        with pytest.raises(NothingToSave):
            cam.save(tmp_path)
        cam.collect()
        assert cam.status().lines_lost == 0


SCRIPT = (
    CAMERA
    + """
from openhsi_shared import SharedOpenHSI, SharedSimulatedCamera
import numpy as np, sys
class MyBase:
    def __init__(self, **keywords):
        super().__init__(**keywords)
        self.n = 0
    def start_cam(self): print("start", "tqdm" in sys.modules)  # nothing is left to be imported while it streams
    def stop_cam(self): print("stop")
    def get_img(self):
        self.n += 1
        return np.full((16, 32), self.n, np.uint16)
    def get_temp(self): return 21.5
    def set_exposure(self, exposure_ms): pass
class SharedMine(MyBase, SharedOpenHSI):
    pass
print("main")
cam = SharedMine(n_lines=8, resolution=(16, 32))
for _ in range(3):
    cam.collect()
    p = cam.save("out")
cam.stop_cam()
"""
)


@pytest.mark.parametrize(("how", "method"), each_value_once(["script", "stdin", "-c"], ["fork", "forkserver", "spawn"]))
def test_a_program_without_a_guard_works_whatever_the_start_method(tmp_path, how, method):
    code = f"import multiprocessing; multiprocessing.set_start_method({method!r})\n{SCRIPT}"
    code, output, errors = run(code, tmp_path, how)
    assert (code, output, errors) == (0, "main\nstart True\nstop\n", "")
    lines = np.concatenate([saved.lines for saved in cubes_in(tmp_path / "out")])
    assert lines[:, 0, 0].tolist() == list(range(1, 25))


# ---- its exposure ----


class Rounding(MyBase):
    def set_exposure(self, exposure_ms):
        super().set_exposure(exposure_ms)
        self.settings["exposure_ms"] = round(exposure_ms)


class Renamed(MyBase):
    def set_exposure(self, milliseconds):
        super().set_exposure(milliseconds)


class SharedRenamed(Renamed, SharedOpenHSI):
    pass


class SharedRounding(Rounding, SharedOpenHSI):
    pass


@pytest.mark.parametrize(
    ("camera", "how"),
    each_value_once([SharedMine, SharedRounding, SharedRenamed], ["settings", "reinitialise", "set_exposure"]),
)
def test_its_hardware_does_the_exposure_that_settings_and_files_tell(tmp_path, camera, how):
    taken = 5.0 if camera is SharedRounding else 4.7
    with _mine(camera, exposure_ms=2) as cam:
        assert cam.told == []  # the hardware is not there while settings are read
        if how == "settings":
            cam.settings["exposure_ms"] = 4.7
        elif how == "set_exposure":
            cam.set_exposure(**{"milliseconds" if camera is SharedRenamed else "exposure_ms": 4.7})
        else:
            cam.reinitialise(exposure_ms=4.7)
        assert (cam.told, cam.settings["exposure_ms"]) == ([4.7], taken)
        cam.reinitialise(n_lines=2)
        assert (cam.told, cam.settings["exposure_ms"]) == ([4.7], taken)
        cam.collect()
        assert read(cam.save(tmp_path).result(60).path).attributes["exposure_ms"] == taken


def test_an_exposure_that_its_hardware_refuses_is_not_told_as_if_it_were_true():
    class Strict(MyBase, SharedOpenHSI):
        def set_exposure(self, exposure_ms):
            raise ValueError(f"{exposure_ms} ms is too long")

    with _mine(Strict, exposure_ms=2) as cam:
        with pytest.raises(ValueError, match=r"9\.0 ms is too long"):
            cam.settings["exposure_ms"] = 9
        assert cam.settings["exposure_ms"] == 2


class OfNoObject(MyBase):
    told_of_all: ClassVar[list[float]] = []

    @staticmethod
    def set_exposure(exposure_ms):
        OfNoObject.told_of_all.append(exposure_ms)


class SharedOfNoObject(OfNoObject, SharedOpenHSI):
    pass


def test_set_exposure_may_be_static():
    with _mine(SharedOfNoObject) as cam:
        cam.settings["exposure_ms"] = 3
        cam.reinitialise(exposure_ms=4)
        assert OfNoObject.told_of_all == [3, 4]


class Chatty(SharedSimulatedCamera):
    def set_exposure(self, exposure_ms):
        super().set_exposure(exposure_ms)
        self.settings["exposure_ms"] = exposure_ms


def test_a_camera_with_a_driver_may_be_told_twice():
    with Chatty(n_lines=2, resolution=SHAPE) as cam:
        cam.set_exposure(3)
        cam.settings["exposure_ms"] = 4
        assert cam.settings["exposure_ms"] == cam._plan.exposure_ms == 4
