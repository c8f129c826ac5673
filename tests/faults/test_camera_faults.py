"""The camera miscounts, tears frames, fails, or is too fast: lost frames are reported by id, the rest is correct."""

import threading
from itertools import product

import numpy as np
import pytest

from openhsi_shared import SharedOpenHSI, SharedSimulatedCamera, record
from openhsi_shared.capture.temperature import TemperatureWatch
from openhsi_shared.errors import ArgumentError, CameraLost, FrameError, FrameTimeout, NothingToSave
from tests.support.flow import COUNTING, SHAPE, account, cubes_in, frame, read
from tests.support.oracle import count, prove
from tests.support.process_faults import camera
from tests.support.products import some


class Counter:
    """A source whose frames bear other numbers: those of a camera's own counter."""

    def __init__(self, source, raw_ids, period):
        self._source, self._raw_ids = source, iter(raw_ids)
        self.frame_id_period = period

    def read_into(self, out, timeout_s):
        return self._source.read_into(out, timeout_s)._replace(frame_id=next(self._raw_ids))


class Miscounting(SharedSimulatedCamera):
    """The simulated camera with another counter."""

    def __init__(self, *, raw_ids, period=None, **keywords):
        self._counting = raw_ids, period
        super().__init__(**{**COUNTING, **keywords})

    def _frame_source(self):
        return Counter(self.driver, *self._counting)


# raw ids -> period, frames that became lines, their ids in the file, ids that are lost
COUNTERS = {
    "a gap": ([0, 1, 2, 5, 6, 7, 8, 9], None, range(8), [0, 1, 2, 5, 6, 7, 8, 9], [3, 4]),
    "gaps everywhere": ([0, 2, 4, 6, 8, 10, 12, 14], None, range(8), list(range(0, 15, 2)), list(range(1, 14, 2))),
    "a repeat": ([0, 1, 1, 2, 3, 4, 5, 6], None, [0, 1, 3, 4, 5, 6, 7], list(range(7)), []),
    "backwards": ([4, 5, 6, 7, 0, 1, 2, 3], None, range(8), list(range(4, 12)), []),
    "16 bit, of GigE Vision": (
        [65532, 65533, 65534, 65535, 1, 2, 3, 4],
        65535,
        range(8),
        list(range(65532, 65540)),
        [],
    ),
    "16 bit with a gap at the end": ([65534, 65535, 3, 4, 5, 6, 7, 8], 65535, range(8), None, [65536, 65537]),
    "32 bit": (
        [2**32 - 3, 2**32 - 2, 2**32 - 1, 0, 1, 2, 3, 4],
        2**32,
        range(8),
        list(range(2**32 - 3, 2**32 + 5)),
        [],
    ),
    "8 bit": ([*range(250, 256), 0, 1], 256, range(8), list(range(250, 258)), []),
    "none at all": ([None] * 8, None, range(8), list(range(8)), []),
    "beginning at a million": (range(10**6, 10**6 + 8), None, range(8), list(range(10**6, 10**6 + 8)), []),
}


DIFFERENT = ("gaps everywhere", "a repeat", "16 bit with a gap at the end", "none at all")
"""`tests/frames` has all of them, without files."""


@pytest.mark.parametrize("counter", some(*DIFFERENT, all_of=COUNTERS))
def test_what_a_camera_counts_becomes_one_growing_sequence_with_every_gap_named(tmp_path, counter):
    """C1: in the file, the status and the handle."""
    raw_ids, period, frames, ids, lost = COUNTERS[counter]
    with Miscounting(raw_ids=raw_ids, period=period, n_lines=8) as cam:
        cam.collect()
        handle = cam.save(tmp_path)
        status = cam.status()
    saved = read(handle.result(60).path)
    assert saved.numbers == list(frames)
    assert saved.lost_ids == lost
    assert status.lines_lost == handle.lines_lost == saved.attributes["lines_lost"] == len(lost)
    if ids is not None:
        assert saved.ids == ids


ODD = {
    "the other byte order": lambda number: frame(number).astype(">u2"),
    "Fortran's order": lambda number: np.asfortranarray(frame(number)),
    "a part of something larger": lambda number: np.repeat(frame(number), 2, 1)[:, ::2],
    "read-only": lambda number: np.frombuffer(frame(number).tobytes(), np.uint16).reshape(SHAPE),
    "a list of lists": lambda number: frame(number).tolist(),
    "wider numbers that fit": lambda number: frame(number).astype(np.int64),
    "a subclass": lambda number: frame(number).view(np.ma.MaskedArray),
}


class Given(SharedOpenHSI):
    """A user's camera, which returns given frames."""

    def __init__(self, make, temperature=20.0, **keywords):
        super().__init__(n_lines=8, resolution=SHAPE, **keywords)
        self.make, self.n, self.celsius = make, 0, temperature

    def start_cam(self):
        pass

    def stop_cam(self):
        pass

    def get_temp(self):
        return self.celsius

    def get_img(self):
        self.n += 1
        return self.make(self.n - 1)


def test_frames_of_any_make_keep_their_values(tmp_path):
    """C2: byte order, strides, type."""
    with Given(frame) as cam:
        for kind, make in ODD.items():
            cam.make = make
            cam.collect()
            cam.save(tmp_path / kind)
    for kind in ODD:
        assert len(cubes_in(tmp_path / kind)[0].numbers) == 8, kind
    assert prove(tmp_path, 8 * len(ODD)).saved == 8 * len(ODD)


RARE = [pytest.param(value, marks=pytest.mark.campaign) for value in (float("nan"), None, np.zeros(2))]
"""These are in `tests/capture/test_temperature.py`, too."""


@pytest.mark.parametrize("temperature", [float("inf"), "warm", *RARE])
def test_a_temperature_that_is_none_costs_no_line(tmp_path, temperature):
    """C2, C7: it is NaN, or the given value."""
    with Given(frame, temperature) as cam:
        cam.collect()
        saved = read(cam.save(tmp_path).result(60).path)
    assert saved.numbers == list(range(8))
    assert not np.isfinite(saved.temperatures).any()


FAILING = {"unplug": CameraLost, "timeout": FrameTimeout, "wrong_shape": FrameError}


@pytest.mark.parametrize(
    ("fault", "at"), some(("unplug", 0), ("timeout", 21), ("wrong_shape", 8), all_of=product(FAILING, (0, 5, 8, 21)))
)
def test_a_camera_that_fails_ends_the_recording_with_its_error_and_its_lines_saved(tmp_path, runtime, fault, at):
    """C3: the partial cube has a file, which contains why it ended."""
    keywords = {**COUNTING, "n_lines": 8, "script": {at: fault}, "progress": False, "when_full": "block"}
    with pytest.raises(FAILING[fault]), record(SharedSimulatedCamera, tmp_path / "out", **keywords) as run_:
        run_.wait(60)
    assert prove(tmp_path / "out", at).saved == at
    if at % 8:
        why = cubes_in(tmp_path / "out")[-1].attributes["ended_by"]
        assert why.startswith(f"{FAILING[fault].__name__}: ")


def test_frames_that_do_not_come_whole_are_lost_by_name_and_the_recording_goes_on(tmp_path, runtime):
    """C1, C3: in the middle, at a border of cubes, several in a row."""
    script = {3: "gap", 7: "incomplete", 8: "gap", 9: "gap", 10: "incomplete", 20: "incomplete"}
    keywords = {**COUNTING, "n_lines": 8, "n_cubes": 4, "script": script, "progress": False, "when_full": "block"}
    with record(SharedSimulatedCamera, tmp_path / "out", **keywords) as run_:
        summary = run_.wait(60)
    assert summary.lines_lost == 6
    prove(tmp_path / "out", summary.lines + 6)
    assert account(tmp_path / "out")[1] == sorted(script)


def test_a_camera_that_gives_nothing_is_an_error_and_there_is_nothing_to_save(tmp_path):
    """C5: the error reports that no frame arrived in time."""
    with camera(script={0: "timeout"}) as cam:
        with pytest.raises(FrameTimeout, match="no frame of the simulated camera"):
            cam.collect()
        with pytest.raises(NothingToSave):
            cam.save(tmp_path)
        cam.collect()
        cam.save(tmp_path)
    assert prove(tmp_path, 8).saved == 8
    with pytest.raises(ArgumentError, match="rate must be > 0"):
        camera(rate=0)


def test_a_frame_that_its_camera_overwrites_while_it_is_copied_is_found_by_the_oracle(tmp_path):
    """C6: no library can see it, the checksum that such a frame carries does."""

    def torn(number):
        made = frame(number)
        if number == 4:
            made[SHAPE[0] // 2 :] = frame(number + 1)[SHAPE[0] // 2 :]
        return made

    with Given(torn) as cam:
        cam.collect()
        cam.save(tmp_path)
    verdict = count(tmp_path, 8)
    assert [words.split(": ")[1] for words in verdict.wrong] == ["line of frame 4 is not as the camera made it"]
    assert (verdict.saved, verdict.unaccounted, verdict.doubled) == (8, (), ())


def test_a_thermometer_that_hangs_holds_up_no_line(tmp_path):
    """C7: further lines have the last temperature."""
    answer, asked = threading.Event(), threading.Event()

    def slow():
        if asked.is_set():
            answer.wait(60)
        asked.set()
        return 20.0

    with camera() as cam:
        cam._watch = TemperatureWatch(slow, period_s=0.001)
        for _ in range(4):
            cam.collect()
            cam.save(tmp_path)
        answer.set()
    assert prove(tmp_path, 32).saved == 32
    assert {value for cube in cubes_in(tmp_path) for value in cube.temperatures} == {20.0}


def test_saving_at_any_phase_of_a_cube_leaves_no_gap_and_without_a_line_it_is_refused(tmp_path):
    """C8: one line, all but one, all, none."""
    with camera(n_buffers=4) as cam:
        for n in (1, 7, 8):
            for _ in range(5):
                for _ in range(n):
                    cam.take_line() if cam._is_streaming else cam.start_streaming() or cam.take_line()
                cam.save(tmp_path)
                with pytest.raises(NothingToSave):
                    cam.save(tmp_path)
    assert prove(tmp_path, 5 * (1 + 7 + 8)).declared_lost == 0
