"""Frames become the lines that the formulas say, and what cannot be served is refused when the plan is made."""

from itertools import product

import numpy as np
import pytest

from openhsi_shared.calibration import Calibration
from openhsi_shared.errors import CalibrationError, FrameError, LevelError
from openhsi_shared.levels import LevelPlan, check_level
from openhsi_shared.processing_levels import LEVELS
from tests.support.level_oracle import (
    CALIBRATION,
    FWHM_NM,
    N_COLUMNS,
    N_ROWS,
    ROWS,
    SHAPE,
    Formulas,
    line_of,
    make_calibration,
    make_frame,
    make_plan,
)
from tests.support.products import some

FLOATS = {"rtol": 2e-6, "atol": 1e-6}


@pytest.mark.parametrize("exposure_ms", [10.0, 15.0, 7.3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("level", LEVELS)
def test_every_level_is_what_its_formula_says(level, dtype, exposure_ms):
    plan, frame = make_plan(level, frame_dtype=np.dtype(dtype), exposure_ms=exposure_ms), make_frame(dtype)
    expected = Formulas(exposure_ms).level(level, frame)
    line = line_of(plan, frame)
    assert line.shape == expected.shape
    assert line.dtype == (dtype if level < 2 else np.float32)
    if level < 4:
        np.testing.assert_array_equal(line, expected)
    else:
        np.testing.assert_allclose(line, expected, rtol=2e-6, atol=2e-6 * abs(expected).max())


WIDTHS = (2.0, 3.1, 9.0, 30.0)
IN_EVERY_RUN = [(2, 2.0), (2, 9.0), (3, 3.1), (3, 30.0), (4, 9.0), (4, 30.0), (5, 2.0), (5, 9.0), (7, 3.1), (8, 30.0)]
"""A kernel is compiled for each width and each way of making bands."""


@pytest.mark.parametrize(("level", "fwhm_nm"), some(*IN_EVERY_RUN, all_of=product((2, 3, 4, 5, 7, 8), WIDTHS)))
def test_bands_of_every_width_hold_their_columns(level, fwhm_nm):
    plan, frame, formulas = make_plan(level, fwhm_nm=fwhm_nm), make_frame(seed=3), Formulas(fwhm_nm=fwhm_nm)
    expected = formulas.level(level, frame)
    np.testing.assert_allclose(line_of(plan, frame), expected, rtol=2e-6, atol=2e-6 * abs(expected).max())
    np.testing.assert_allclose(plan.wavelengths_nm, formulas.wavelengths(level), rtol=0, atol=1e-4)


@pytest.mark.parametrize("exposure_ms", [10.0, 15.0, 7.3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("level", LEVELS)
def test_compat_is_openhsis_arithmetic_bit_for_bit(level, dtype, exposure_ms):
    plan = make_plan(level, frame_dtype=np.dtype(dtype), exposure_ms=exposure_ms, compat="openhsi")
    frame, formulas = make_frame(dtype), Formulas(exposure_ms, buffer=dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = formulas.level(level, frame).astype(dtype if level < 2 else np.float32)
    line = line_of(plan, frame)
    assert line.dtype == expected.dtype
    assert line.tobytes() == expected.tobytes()
    if level >= 2:
        assert plan.wavelengths_nm.tolist() == formulas.wavelengths(level).tolist()


def test_radiance_is_the_same_whichever_way_its_bands_are_made():
    """Even light on a camera whose pixels answer alike, calibrated at wavelengths that agree."""
    nm = 430 + 2.0 * np.arange(N_COLUMNS)
    flat = np.zeros((N_ROWS, SHAPE[1], 2, 3), np.int32) + np.array([50, 450, 850])
    even = make_calibration(wavelengths=nm, wavelengths_linear=nm, rad_ref=flat, sfit_y=np.full(61, 8.0))
    frame = np.full(SHAPE, 250, np.uint16)
    by_hand = (250 - 50) * 10000 / 800 * 8 / 52020
    for level in (4, 5, 7):
        np.testing.assert_allclose(line_of(make_plan(level, calibration=even), frame), by_hand, rtol=1e-6)
    summed = line_of(make_plan(5, calibration=even, compat="openhsi"), frame)
    np.testing.assert_allclose(summed, 2 * by_hand, rtol=1e-6)


def test_a_known_frame_gives_known_numbers():
    """By hand: row 3 of the frame is row 0 of the line, its smile is 0; row 16 is row 13, its smile is 4."""
    frame = (np.arange(SHAPE[0])[:, None] * 100 + np.arange(SHAPE[1])).astype(np.uint16)
    assert line_of(make_plan(1), frame)[[0, 13], :2].tolist() == [[300, 301], [1604, 1605]]
    assert line_of(make_plan(2), frame)[[0, 13], :2].tolist() == [[601, 605], [3209, 3213]]


def test_wavelengths_follow_the_level():
    nm = CALIBRATION["wavelengths"]
    assert make_plan(1).wavelengths_nm.tolist() == nm.tolist()
    for level in (-1, 0):
        assert make_plan(level).wavelengths_nm[:N_COLUMNS].tolist() == nm.tolist()
        assert len(make_plan(level).wavelengths_nm) == SHAPE[1]
    assert make_plan(0, calibration=Calibration()).wavelengths_nm is None
    fast = make_plan(4).wavelengths_nm
    assert fast.dtype == np.float64
    assert fast[:2].tolist() == [431.3, 435.1]


def test_only_a_level_that_changes_nothing_lets_the_camera_fill_the_line():
    assert make_plan(-1).is_identity
    assert make_plan(0, rows=slice(0, SHAPE[0])).is_identity
    assert not make_plan(0).is_identity
    flat = make_calibration(smile_shifts=np.zeros(SHAPE[0], np.int16))
    assert not make_plan(1, rows=slice(0, SHAPE[0]), calibration=flat).is_identity
    assert not make_plan(-1, custom_tfms=[np.negative]).is_identity


@pytest.mark.parametrize("level", [0, 1, 4, 7])
@pytest.mark.parametrize("compat", [None, "openhsi"])
def test_a_frame_counts_by_its_numbers_not_by_how_it_lies_in_memory(level, compat):
    plan, frame = make_plan(level, compat=compat), make_frame()
    expected = line_of(plan, frame)
    locked = frame.copy()
    locked.flags.writeable = False
    odd = np.frombuffer(b"x" + frame.tobytes(), np.uint8)[1:].view(np.uint16).reshape(SHAPE)
    for other in (locked, np.asfortranarray(frame), np.repeat(frame, 2, axis=1)[:, ::2], odd, frame.astype(">u2")):
        np.testing.assert_array_equal(line_of(plan, other), expected)
    np.testing.assert_array_equal(line_of(plan, frame.astype(np.int64)), expected)


@pytest.mark.parametrize("level", [1, 3, 6])
def test_a_line_or_frame_of_another_shape_is_refused_before_memory_is_touched(level):
    plan = make_plan(level)
    line = np.zeros(plan.line_shape, plan.line_dtype)
    with pytest.raises(FrameError, match=r"a frame of \(20, 47\) for a line of .*, expected \(20, 48\)"):
        plan.apply(np.zeros((20, 47), np.uint16), line)
    with pytest.raises(FrameError, match=r"for a line of .* \(13, "):
        plan.apply(make_frame(), line[:-1])
    with pytest.raises(FrameError, match="for a line of float64"):
        plan.apply(make_frame(), np.zeros(plan.line_shape))


@pytest.mark.parametrize("level", [5, 8])
def test_another_exposure_makes_another_plan_of_the_same_lines(level):
    plan, frame = make_plan(level, exposure_ms=10.0), make_frame()
    longer = plan.with_exposure(18.0)
    expected = Formulas(18.0).level(level, frame)
    np.testing.assert_allclose(line_of(longer, frame), expected, rtol=2e-6, atol=2e-6 * abs(expected).max())
    assert (longer.line_shape, longer.line_dtype) == (plan.line_shape, plan.line_dtype)
    assert plan.with_exposure(10.0) is plan


def test_the_lamp_is_the_one_that_was_asked_for_or_the_brightest():
    frame = make_frame()
    dim = Formulas(luminance=5000).level(4, frame)
    np.testing.assert_allclose(line_of(make_plan(4, luminance=5000), frame), dim, rtol=2e-6, atol=2e-6 * abs(dim).max())
    np.testing.assert_array_equal(
        line_of(make_plan(4, luminance=None), frame), line_of(make_plan(4, luminance=1e4), frame)
    )


def test_a_lamp_that_was_not_measured_at_the_exposure_is_not_the_brightest():
    partly = CALIBRATION["rad_ref"].astype(np.float32)
    partly[:, :, 0, 2] = np.nan
    frame, calibration = make_frame(), make_calibration(rad_ref=partly)
    expected = line_of(make_plan(4, luminance=5000), frame)
    np.testing.assert_allclose(line_of(make_plan(4, calibration=calibration), frame), expected, rtol=1e-6)


def test_where_the_camera_did_not_answer_to_the_lamp_there_is_no_radiance():
    blind = CALIBRATION["rad_ref"].copy()
    blind[5, 10] = 40
    frame, calibration = make_frame(), make_calibration(rad_ref=blind)
    shift = CALIBRATION["smile_shifts"][5]
    line = line_of(make_plan(5, calibration=calibration), frame)
    assert np.argwhere(np.isnan(line)).tolist() == [[5, (10 - shift) // 2]]
    assert np.isfinite(line_of(make_plan(4, calibration=calibration), frame)).all()


# ---- refused ---------------------------------------------------------------------------------

NEEDED = {
    1: "smile_shifts",
    2: "wavelengths_linear",
    3: "wavelengths",
    4: "spec_rad_ref_luminance",
    5: "rad_ref",
    6: "rad_fit_y",
    7: "sfit_x",
    8: "rad_fit_x",
}


@pytest.mark.parametrize("compat", [None, "openhsi"])
@pytest.mark.parametrize("level", NEEDED)
def test_a_level_that_the_calibration_cannot_serve_is_refused(level, compat):
    lacking = make_calibration(**{NEEDED[level]: None})
    with pytest.raises(
        LevelError, match=rf"processing_lvl={level} needs {NEEDED[level]}, which .* does not hold: .*levels -1"
    ):
        make_plan(level, calibration=lacking, compat=compat)


def test_everything_that_is_missing_is_named_at_once():
    with pytest.raises(
        LevelError, match=r"needs smile_shifts, wavelengths, rad_ref, sfit_x, sfit_y, spec_\w+, but no calib"
    ):
        LevelPlan(level=7, frame_shape=SHAPE, frame_dtype=np.dtype(np.uint16), rows=ROWS)
    two = make_calibration(rad_ref=None, sfit_y=None)
    with pytest.raises(
        LevelError, match=r"needs rad_ref, sfit_y, which .*it supports the levels -1, 0, 1, 2, 3; pass a cal_path"
    ):
        make_plan(4, calibration=two)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"smile_shifts": np.zeros(13, np.int16)}, r"smile_shifts .* for 13 rows, but row_slice keeps 14 \(3 to 17\)"),
        ({"smile_shifts": np.full(14, -1, np.int16)}, "go from -1 to -1, expected from 0 to less than the 48"),
        ({"smile_shifts": np.full(14, 48, np.int16)}, "go from 48 to 48, expected from 0"),
        (
            {"wavelengths": np.linspace(430, 510, 43)},
            "wavelengths .* has 43 values, but 44 columns are left of a frame of 48",
        ),
        ({"rad_ref": np.zeros((14, 47, 2, 3))}, "rad_ref .* is for .*47.*, but frames keep 14 rows of 48 columns"),
        ({"rad_ref": np.zeros((13, 48, 2, 3))}, "rad_ref .* is for .*13.*, but frames keep 14 rows"),
    ],
)
def test_a_calibration_of_another_camera_is_refused(changed, message):
    with pytest.raises(LevelError, match=message):
        make_plan(7, calibration=make_calibration(**changed))


def test_compat_takes_a_calibration_for_more_rows_as_openhsi_does():
    plan = make_plan(1, rows=slice(3, 13), compat="openhsi")
    frame = make_frame()
    np.testing.assert_array_equal(line_of(plan, frame), Formulas().level(1, frame)[:10])
    with pytest.raises(LevelError, match="for 14 rows, but row_slice keeps 10"):
        make_plan(1, rows=slice(3, 13))


@pytest.mark.parametrize("level", [2, 3])
@pytest.mark.parametrize("fwhm_nm", [0.5, 500.0])
def test_bands_without_columns_are_refused(level, fwhm_nm):
    with pytest.raises(LevelError, match=rf"fwhm_nm={fwhm_nm:g} yields no bands from 44 .*expected at least 1\.9"):
        make_plan(level, fwhm_nm=fwhm_nm)


@pytest.mark.parametrize("luminance", [123, 0])
def test_a_lamp_that_is_not_in_the_calibration_is_refused(luminance):
    with pytest.raises(LevelError, match=rf"luminance={luminance} is not in .* expected one of \[5000, 10000\]"):
        make_plan(4, luminance=luminance)


def with_reference(rad_ref=None, dims=CALIBRATION.dims, **coordinates):
    values = dict(CALIBRATION) | ({} if rad_ref is None else {"rad_ref": rad_ref})
    return Calibration(values, dims, {**CALIBRATION.coordinates, **coordinates})


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (Calibration(dict(CALIBRATION)), r"rad_ref with values of exposure \(ms\), rad_ref with values of luminance"),
        (
            with_reference(dims={"rad_ref": ("cross_track", "wavelength_index", "integration", "luminance")}),
            r"rad_ref, numbers on the axes .*exposure, luminance \(it is int32 on .*'integration'",
        ),
        (
            with_reference(
                CALIBRATION["rad_ref"][:, :, 0], {"rad_ref": ("cross_track", "wavelength_index", "luminance")}
            ),
            r"rad_ref, numbers on the axes .* \(it is int32 on \('cross_track', 'wavelength_index', 'luminance'\)\)",
        ),
        (with_reference(exposure=np.array([0, 20])), r"rad_ref at exposures > 0 ms \(they are \[0, 20\]\)"),
        (with_reference(exposure=np.array([np.nan, 20])), r"rad_ref at exposures > 0 ms"),
        (with_reference(exposure=np.array(["a", "b"])), r"rad_ref with values of exposure \(ms\)"),
        (with_reference(luminance=np.array([1, 5000, 10000])), r"rad_ref at luminance 0 \(the dark\)"),
        (
            with_reference(CALIBRATION["rad_ref"][..., :1], luminance=np.array([0])),
            r"rad_ref at a luminance above 0 \(a lamp\)",
        ),
    ],
)
def test_references_that_do_not_serve_are_refused_and_told_before(calibration, message):
    for level in (4, 5, 6, 7, 8):
        for compat in (None, "openhsi"):
            with pytest.raises(LevelError, match=f"processing_lvl={level} needs {message}.*, which"):
                make_plan(level, calibration=calibration, compat=compat)
    assert calibration.levels_served == (-1, 0, 1, 2, 3)


@pytest.mark.parametrize("compat", [None, "openhsi"])
@pytest.mark.parametrize("level", [4, 5, 6, 7, 8])
def test_the_dark_is_that_of_luminance_0_wherever_it_lies(level, compat):
    luminances, exposures = [1, 2, 0], [1, 0]
    shuffled = with_reference(
        CALIBRATION["rad_ref"][:, :, exposures][..., luminances],
        luminance=CALIBRATION.coordinates["luminance"][luminances],
        exposure=CALIBRATION.coordinates["exposure"][exposures],
    )
    assert shuffled.levels_served == tuple(LEVELS)
    for changed in ({}, {"luminance": 5000}, {"exposure_ms": 15.0}, {"exposure_ms": 19.0}):
        expected = line_of(make_plan(level, compat=compat, **changed), make_frame())
        got = line_of(make_plan(level, compat=compat, calibration=shuffled, **changed), make_frame())
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("compat", [None, "openhsi"])
@pytest.mark.parametrize(("plane", "luminance"), [(0, None), (0, 5000), (1, 5000), (slice(1, None), None)])
def test_a_reference_without_a_number_is_an_error_where_it_is_needed(plane, luminance, compat):
    blank = CALIBRATION["rad_ref"].astype(np.float32)
    blank[:, :, 0, plane] = np.nan
    calibration = make_calibration(rad_ref=blank)
    with pytest.raises(CalibrationError, match=r"no finite value at luminance \d+ and exposure 10 ms: set another"):
        make_plan(4, calibration=calibration, luminance=luminance, compat=compat)
    make_plan(4, calibration=calibration, luminance=luminance, compat=compat, exposure_ms=20.0)


@pytest.mark.parametrize("compat", [None, "openhsi"])
@pytest.mark.parametrize("value", [0, -5.0, np.nan, np.inf, "52020", True, np.array([1.0, 2.0])])
def test_a_luminance_of_sfit_that_is_none_is_an_error_where_it_is_needed(value, compat):
    calibration = make_calibration(spec_rad_ref_luminance=value)
    for level in (4, 5, 6, 7, 8):
        with pytest.raises(CalibrationError, match=r"spec_rad_ref_luminance of .* must be a number > 0.*, got"):
            make_plan(level, calibration=calibration, compat=compat)
    assert calibration.levels_served == (-1, 0, 1, 2, 3)
    make_plan(3, calibration=calibration, compat=compat)


@pytest.mark.parametrize("compat", [None, "openhsi"])
def test_a_smile_that_is_no_whole_number_of_columns_is_an_error_from_level_1_on(compat):
    halves = make_calibration(smile_shifts=CALIBRATION["smile_shifts"] / 2)
    with pytest.raises(CalibrationError, match=r"smile_shifts of .* must be whole numbers of columns.*round them"):
        make_plan(1, calibration=halves, compat=compat)
    assert halves.levels_served == (-1, 0)
    whole = make_calibration(smile_shifts=CALIBRATION["smile_shifts"].astype(np.float64))
    np.testing.assert_array_equal(
        line_of(make_plan(1, calibration=whole, compat=compat), make_frame()), line_of(make_plan(1), make_frame())
    )


def test_a_level_whose_curve_is_none_is_not_served():
    assert make_calibration(rad_fit_y=np.full(61, np.nan)).levels_served == (-1, 0, 1, 2, 3, 4, 5, 7)
    assert make_calibration(sfit_y="bright").levels_served == (-1, 0, 1, 2, 3)


def test_references_lie_on_axes_by_name():
    order = ("luminance", "exposure", "cross_track", "wavelength_index")
    turned = np.transpose(CALIBRATION["rad_ref"], (3, 2, 0, 1))
    calibration = Calibration({**CALIBRATION, "rad_ref": turned}, {"rad_ref": order}, CALIBRATION.coordinates)
    frame = make_frame()
    np.testing.assert_array_equal(line_of(make_plan(4, calibration=calibration), frame), line_of(make_plan(4), frame))


@pytest.mark.parametrize("dtype", [np.int32, np.float32, ">u2"])
def test_frames_that_are_no_digital_numbers_are_refused_from_level_1_on(dtype):
    make_plan(0, frame_dtype=np.dtype(dtype))
    with pytest.raises(LevelError, match=r"processing_lvl=2 needs frames of uint8 or uint16, got"):
        make_plan(2, frame_dtype=np.dtype(dtype))


@pytest.mark.parametrize("level", [-2, 9, True, "0", 0.5, None])
def test_level_that_is_not_there_is_refused(level):
    with pytest.raises(LevelError, match=r"processing_lvl must be one of \(-1, 0, 1, 2, 3, 4, 5, 6, 7, 8\) .*, got"):
        make_plan(level)
    with pytest.raises(LevelError, match="processing_lvl must be one of"):
        check_level(level)


def test_compat_with_another_program_is_refused():
    with pytest.raises(LevelError, match="compat must be None or 'openhsi', got 'envi'"):
        make_plan(0, compat="envi")


def test_frame_that_is_none_of_this_camera_is_refused():
    plan = LevelPlan(level=-1, frame_shape=(5, 6), frame_dtype=np.dtype(np.uint16), rows=slice(1, 4))
    with pytest.raises(FrameError, match=r"a frame of shape \(6, 5\), expected \(5, 6\)"):
        plan.check(np.zeros((6, 5), np.uint16))
    with pytest.raises(FrameError, match="values from 0 to 65536 does not fit into uint16"):
        plan.check(np.arange(30).reshape(5, 6) * 65536 // 29)
    with pytest.raises(FrameError, match="values from -1 to 0 does not fit into uint16"):
        plan.check(np.array([[-1] + [0] * 5] * 5))
    with pytest.raises(FrameError, match="a frame of float64, expected uint16"):
        plan.check(np.zeros((5, 6)))
    plan.check(np.full((5, 6), 65535, np.int64))


def test_the_width_of_bands_of_this_test_is_openhsis():
    assert FWHM_NM == 4.0
    assert make_plan(2).line_shape == (14, 22)
    assert make_plan(3).line_shape == (14, 20)
