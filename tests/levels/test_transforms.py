"""A user's own functions, alone and between openhsi's."""

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError, LevelError
from tests.support.level_oracle import N_COLUMNS, SHAPE, Formulas, line_of, make_calibration, make_frame, make_plan


def every_other(frame):
    return frame[:, ::2]


def halve(frame):
    return frame / 2


def test_functions_run_one_after_the_other_instead_of_the_level():
    plan, frame = make_plan(-1, custom_tfms=[every_other, halve]), make_frame()
    assert plan.line_shape == (20, 24)
    assert plan.line_dtype == np.float64
    np.testing.assert_array_equal(line_of(plan, frame), frame[:, ::2] / 2)


def test_functions_that_keep_the_type_keep_it():
    plan, frame = make_plan(4, custom_tfms=[every_other]), make_frame()
    assert plan.line_dtype == np.uint16
    np.testing.assert_array_equal(line_of(plan, frame), frame[:, ::2])


def test_with_compat_the_type_follows_the_level_as_in_openhsi():
    assert make_plan(1, custom_tfms=[halve], compat="openhsi").line_dtype == np.uint16
    assert make_plan(2, custom_tfms=[every_other], compat="openhsi").line_dtype == np.float32


def test_no_function_at_all_is_the_frame():
    plan, frame = make_plan(4, custom_tfms=[]), make_frame()
    np.testing.assert_array_equal(line_of(plan, frame), frame)


def test_functions_combine_with_openhsis_transforms():
    source = make_plan(5)
    steps = source.transforms
    plan, frame = make_plan(5, custom_tfms=[steps.crop, steps.fast_smile, steps.dn2rad, halve]), make_frame()
    pixels = Formulas()
    expected = pixels.radiance(pixels.level(1, frame), pixels.dark, pixels.lit, pixels.curve("sfit", pixels.nm))
    assert plan.line_shape == (14, N_COLUMNS)
    np.testing.assert_allclose(line_of(plan, frame), expected / 2, rtol=2e-6, atol=2e-6 * abs(expected).max())


@pytest.mark.parametrize("level", [2, 3, 4, 6])
def test_the_transforms_make_the_levels(level):
    steps, frame = make_plan(level).transforms, make_frame()
    names = {2: ["fast_bin"], 3: ["slow_bin"], 4: ["fast_bin", "dn2rad"], 6: ["fast_bin", "dn2rad", "rad2ref_6SV"]}
    chain = [steps.crop, steps.fast_smile, *(getattr(steps, name) for name in names[level])]
    expected = Formulas().level(level, frame)
    line = line_of(make_plan(level, custom_tfms=chain), frame)
    np.testing.assert_allclose(line, expected, rtol=2e-6, atol=2e-6 * abs(expected).max())


def test_wavelengths_are_told_where_the_columns_are_still_known():
    steps = make_plan(2).transforms
    assert len(make_plan(-1, custom_tfms=[np.negative]).wavelengths_nm) == SHAPE[1]
    assert len(make_plan(0, custom_tfms=[steps.crop, steps.fast_smile]).wavelengths_nm) == N_COLUMNS
    assert make_plan(0, custom_tfms=[lambda frame: frame[:, :7]]).wavelengths_nm is None
    assert len(make_plan(2, custom_tfms=[steps.crop, steps.fast_smile, steps.fast_bin]).wavelengths_nm) == 22


@pytest.mark.parametrize("functions", [halve, "halve", [halve, None], 5])
def test_what_is_no_list_of_functions_is_refused(functions):
    with pytest.raises(ArgumentError, match="custom_tfms must be a list of functions from frame to frame, got"):
        make_plan(0, custom_tfms=functions)


def test_a_function_that_fails_is_named():
    def explode(frame):
        raise ZeroDivisionError("boom")

    with pytest.raises(LevelError, match=r"custom_tfms \['explode'\] failed on a frame of zeros, \(20, 48\): ZeroDiv"):
        make_plan(0, custom_tfms=[explode])


@pytest.mark.parametrize("result", [np.zeros(3), np.zeros((0, 3)), np.array([["a"]]), 5])
def test_what_is_no_line_is_refused(result):
    with pytest.raises(LevelError, match=r"custom_tfms .* returned .*, expected a line: a 2-D array"):
        make_plan(0, custom_tfms=[lambda frame: result])


def test_a_transform_that_the_calibration_does_not_serve_says_so():
    lacking = make_calibration(rad_ref=None)
    steps = make_plan(2, calibration=lacking).transforms
    with pytest.raises(LevelError, match="needs rad_ref"):
        make_plan(2, calibration=lacking, custom_tfms=[steps.crop, steps.fast_smile, steps.dn2rad])
