"""Levels -1 and 0: a line is what the frame is, cropped or not, digit for digit."""

import numpy as np
import pytest

from openhsi_shared.errors import FrameError, LevelError
from openhsi_shared.levels import LevelPlan


def plan_of(level=-1, shape=(6, 4), dtype="uint16", rows=slice(1, 4)):
    return LevelPlan(level=level, frame_shape=shape, frame_dtype=np.dtype(dtype), rows=rows)


def frame_of(plan):
    return np.arange(np.prod(plan.frame_shape), dtype=plan.frame_dtype).reshape(plan.frame_shape)


def test_raw_line_is_the_frame():
    plan = plan_of(-1)
    assert plan.is_identity
    assert (plan.line_shape, plan.line_dtype) == ((6, 4), np.uint16)
    line = np.zeros(plan.line_shape, plan.line_dtype)
    plan.apply(frame_of(plan), line)
    assert np.array_equal(line, frame_of(plan))


def test_level_0_keeps_the_rows_that_see_the_slit():
    plan = plan_of(0)
    assert not plan.is_identity
    assert plan.line_shape == (3, 4)
    line = np.zeros(plan.line_shape, plan.line_dtype)
    plan.apply(frame_of(plan), line)
    assert np.array_equal(line, frame_of(plan)[1:4])


def test_level_0_that_keeps_all_rows_does_nothing_to_a_frame():
    assert plan_of(0, rows=slice(0, 6)).is_identity


@pytest.mark.parametrize("level", [-2, 9, 0.5, "0", None, True, False, 0.0])
def test_level_that_does_not_exist_is_refused(level):
    with pytest.raises(LevelError, match=r"processing_lvl must be one of \(-1, 0.*\) \(raw, cropped.*\), got"):
        plan_of(level)


@pytest.mark.parametrize("shape", [(6, 5), (4, 6), (6,), (6, 4, 1), (), (0, 4)])
def test_frame_of_another_shape_is_refused(shape):
    with pytest.raises(FrameError, match=r"a frame of shape .*, expected \(6, 4\) \(cross-track, wavelength\)"):
        plan_of().check(np.zeros(shape, np.uint16))


@pytest.mark.parametrize(
    ("dtype", "given", "value", "words"),
    [
        ("uint16", "float32", 1, "a frame of float32, expected uint16: convert it, or set pixel_format"),
        ("uint8", "uint16", 256, "values from 256 to 256 does not fit into uint8"),
        ("uint16", "int16", -1, "values from -1 to -1 does not fit into uint16"),
        ("int32", "uint32", 2**31, "does not fit into int32"),
        ("float32", "int64", 1, "a frame of int64, expected float32"),
        ("float32", "float64", 1, "a frame of float64, expected float32"),
        ("uint16", "complex64", 1, "a frame of complex64, expected"),
        ("uint16", "U3", 1, "a frame of <U3, expected"),
        ("uint16", "O", 1, "a frame of object, expected"),
    ],
)
def test_frame_whose_values_might_not_fit_is_refused(dtype, given, value, words):
    plan = plan_of(dtype=dtype)
    with pytest.raises(FrameError, match=words):
        plan.check(np.full(plan.frame_shape, value, given))


@pytest.mark.parametrize(
    ("dtype", "given", "value"),
    [
        ("uint16", "uint16", 65535),
        ("uint16", ">u2", 513),
        ("uint16", "uint8", 255),
        ("uint16", "int64", 65535),
        ("uint8", "uint16", 255),
        ("uint8", "bool", 1),
        ("int32", "uint32", 2**31 - 1),
        ("float32", "uint16", 65535),
        ("float32", "float16", 0.5),
    ],
)
@pytest.mark.parametrize("level", [-1, 0])
def test_frame_whose_values_fit_becomes_a_line_with_the_same_values(level, dtype, given, value):
    plan = plan_of(level, dtype=dtype)
    frame = np.full(plan.frame_shape, value, given)
    plan.check(frame)
    line = np.zeros(plan.line_shape, plan.line_dtype)
    plan.apply(frame, line)
    assert (line == value).all()


@pytest.mark.parametrize("level", [-1, 0])
def test_frame_with_gaps_in_memory_is_taken_too(level):
    plan = plan_of(level)
    wide = np.arange(6 * 8, dtype=np.uint16).reshape(6, 8)[:, ::2]
    plan.check(wide)
    line = np.zeros(plan.line_shape, plan.line_dtype)
    plan.apply(wide, line)
    assert np.array_equal(line, wide if level == -1 else wide[1:4])
