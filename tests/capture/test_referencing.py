"""Frames are averaged exactly, and a reference that shows the wrong thing is refused with its figures."""

import numpy as np
import pytest

from openhsi_shared.capture.referencing import Averaged, average_frames, check_brightness, check_number
from openhsi_shared.errors import ArgumentError, ReferenceRefused
from openhsi_shared.levels import LevelPlan

RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize("level", [-1, 0])
def test_mean_and_deviation_are_those_of_the_lines(level):
    frames = RANDOM.integers(60_000, 65_536, (50, 9, 14)).astype(np.uint16)
    rows = slice(2, 7)
    plan = LevelPlan(level=level, frame_shape=(9, 14), frame_dtype=np.dtype(np.uint16), rows=rows)
    waiting = iter([(frame, good) for frame in frames for good in (False, True)])

    def next_frame(out):
        out[:], good = next(waiting)
        return good

    taken = average_frames(next_frame, 50, plan, rows, 65_000)
    lines = frames if level == -1 else frames[:, rows]
    np.testing.assert_array_equal(taken.mean, lines.mean(axis=0).astype(np.float32))
    np.testing.assert_allclose(taken.standard_deviation, lines.std(axis=0, ddof=1), rtol=1e-6)
    assert taken.saturated == (frames[:, rows] >= 65_000).mean()
    assert taken.raw_mean == pytest.approx(frames[:, rows].mean() / 65_000)
    assert taken.raw_median == pytest.approx(np.median(frames[:, rows].mean(axis=0)) / 65_000)


def test_frames_that_are_never_complete_end():
    plan = LevelPlan(level=-1, frame_shape=(2, 3), frame_dtype=np.dtype(np.uint8), rows=slice(0, 2))
    with pytest.raises(ReferenceRefused, match="1000 frames were incomplete"):
        average_frames(lambda _: False, 5, plan, slice(0, 2), 255)


@pytest.mark.parametrize(
    ("kind", "values", "why"),
    [
        ("dark", {"raw_mean": 0.2}, None),
        ("dark", {"raw_mean": 0.21}, "the dark reference is bright: its mean is 21 % of full scale, at most 20 %"),
        ("white", {"raw_median": 0.1, "saturated": 0.001}, None),
        ("white", {"raw_median": 0.8, "saturated": 0.0011}, "is saturated: 0.11 % of its pixels are at full scale"),
        ("white", {"raw_median": 0.09}, "the white reference is dark: its median is 9 % of full scale, at least 10 %"),
    ],
)
def test_what_is_refused(kind, values, why):
    empty = np.zeros((1, 1), np.float32)
    usual = {"saturated": 0.0, "raw_mean": 0.5, "raw_median": 0.5}
    taken = Averaged(mean=empty, standard_deviation=empty, n_frames=2, **usual | values)
    if why is None:
        assert check_brightness(kind, taken) == values["raw_mean" if kind == "dark" else "raw_median"]
    else:
        with pytest.raises(ReferenceRefused, match=why):
            check_brightness(kind, taken)


@pytest.mark.parametrize("n", [1, 0, -3, 2.0, "20", True, None, 100_001])
def test_n_is_a_number_of_frames(n):
    with pytest.raises(ArgumentError, match="n must be a whole number of frames from 2"):
        check_number(n)
