"""Sums of frames: the mean is the nearest number, halves up, for every type and number of frames."""

import numpy as np
import pytest

from openhsi_shared.capture.averaging.sums import FrameSums
from openhsi_shared.errors import LevelError


def exact_mean(frames):
    """Nearest, halves up, with whole numbers of any size."""
    n = len(frames)
    return np.array([(2 * int(total) + n) // (2 * n) for total in frames.astype(object).sum(axis=0).ravel()])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int8", "int16", "uint32", "int32"])
def test_mean_of_integers_is_the_nearest_with_halves_up_for_each_number_of_frames(dtype):
    limits, shape = np.iinfo(dtype), (3, 5)
    sums = FrameSums(shape, np.dtype(dtype))
    random = np.random.default_rng(4)
    for n in range(1, 65):
        frames = random.integers(limits.min, limits.max, (n, *shape), dtype, endpoint=True)
        frames[:, 0], frames[:, 1, :2] = limits.max, limits.min
        for place, frame in enumerate(frames):
            sums.add(frame, place, 1_000 + 2 * place, None)
        line = np.empty(shape, dtype)
        sums.mean_into(line)
        assert line.ravel().tolist() == exact_mean(frames).tolist()
        assert sums.used == (1 << n) - 1
        sums.clear()
        assert sums.used == 0


def test_mean_of_floats_is_that_of_doubles_and_nan_where_a_frame_has_none():
    frames = np.random.default_rng(1).normal(size=(5, 4, 6)).astype(np.float32)
    frames[3, 2, 2] = np.nan
    sums = FrameSums((4, 6), np.dtype(np.float32))
    for place, frame in enumerate(frames):
        sums.add(frame, place, 0, None)
    line = np.empty((4, 6), np.float32)
    sums.mean_into(line)
    np.testing.assert_array_equal(line, frames.astype(np.float64).mean(axis=0).astype(np.float32))
    assert np.isnan(line[2, 2])


def test_times_are_means_and_the_camera_clock_is_unknown_if_it_is_for_one_frame():
    sums, frame = FrameSums((1, 1), np.dtype("uint8")), np.zeros((1, 1), np.uint8)
    for place, camera_ns in ((2, 10), (5, 40), (63, 1_000_000)):
        sums.add(frame, place, 10**18 + camera_ns, camera_ns)
    assert (sums.monotonic_ns, sums.camera_ns, sums.span_ns) == (10**18 + 333_350, 333_350, 999_990)
    assert sums.used == 1 << 2 | 1 << 5 | 1 << 63
    sums.add(frame, 7, 10**18, None)
    assert sums.camera_ns is None


def test_integers_of_64_bits_are_refused():
    with pytest.raises(LevelError, match="sums of int64 overflow: use custom_tfms"):
        FrameSums((1, 1), np.dtype(np.int64))
