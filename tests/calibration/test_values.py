"""What a calibration serves, its curves, and wavelengths of columns."""

import numpy as np
import pytest
from scipy.interpolate import interp1d

from openhsi_shared.calibration import Calibration, read_calibration, wavelengths_of_columns
from openhsi_shared.drivers.simulated import CALIBRATION_PATH
from openhsi_shared.errors import CalibrationError
from openhsi_shared.processing_levels import LEVELS
from tests.support.level_oracle import CALIBRATION, make_calibration


def test_it_says_which_levels_it_serves_and_what_the_others_miss():
    assert CALIBRATION.levels_served == (-1, 0, 1, 2, 3, 4, 5, 6, 7, 8)
    assert Calibration().levels_served == (-1, 0)
    like_a_real_one = make_calibration(spec_rad_ref_luminance=None)
    assert like_a_real_one.levels_served == (-1, 0, 1, 2, 3)
    assert {level: like_a_real_one.missing_for(level) for level in (3, 4, 8)} == {
        3: (),
        4: ("spec_rad_ref_luminance",),
        8: ("spec_rad_ref_luminance",),
    }
    assert make_calibration(rad_fit_x=None).levels_served == (-1, 0, 1, 2, 3, 4, 5, 7)
    assert Calibration().missing_for(5) == LEVELS[5].needs


def test_what_is_missing_can_be_added():
    lacking = make_calibration(spec_rad_ref_luminance=None)
    whole = lacking.with_values(spec_rad_ref_luminance=52020.0)
    assert len(whole.levels_served) == 10
    assert whole.dims == lacking.dims
    assert whole.coordinates.keys() == lacking.coordinates.keys()
    assert "spec_rad_ref_luminance" not in lacking


def test_a_value_of_another_form_does_not_keep_the_axes_of_the_old_one():
    flat = CALIBRATION.with_values(rad_ref=np.zeros((3, 4)))
    assert "rad_ref" not in flat.dims


def test_a_calibration_that_was_changed_is_no_files():
    changed = read_calibration(CALIBRATION_PATH).with_values(camera_id="other")
    assert (changed.path, changed.sha256) == (None, "")


@pytest.mark.parametrize("name", ["sfit", "rad_fit"])
def test_a_curve_is_the_cubic_spline_that_openhsi_makes(name):
    calibration = read_calibration(CALIBRATION_PATH)
    nm = calibration["wavelengths"]
    theirs = interp1d(calibration[f"{name}_x"], calibration[f"{name}_y"], kind="cubic")(nm)
    np.testing.assert_array_equal(calibration.curve(name, nm), theirs)


def test_a_curve_may_lie_in_any_order():
    turned = CALIBRATION.with_values(sfit_x=CALIBRATION["sfit_x"][::-1], sfit_y=CALIBRATION["sfit_y"][::-1])
    np.testing.assert_array_equal(turned.curve("sfit", [400.0, 500.0]), CALIBRATION.curve("sfit", [400.0, 500.0]))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"sfit_y": None},
            "that was given does not contain 'sfit_y', expected the curve sfit_x, sfit_y: spec",
        ),
        ({"sfit_x": np.arange(60.0)}, r"has shapes \(60,\), \(61,\), expected at least 4 points"),
        ({"sfit_x": np.full(61, 400.0)}, "expected at least 4 points of finite values at different wavelengths"),
        ({"sfit_y": np.full(61, np.nan)}, "expected at least 4 points of finite values"),
        ({"sfit_x": np.linspace(440, 560, 61)}, "covers 440 to 560 nm, but is needed from 430 to 512.947 nm"),
        ({"sfit_x": np.linspace(380, 500, 61)}, "covers 380 to 500 nm, but is needed from 430"),
    ],
)
def test_a_curve_that_is_none_or_too_short_is_refused(changed, message):
    with pytest.raises(CalibrationError, match=message):
        make_calibration(**changed).curve("sfit", CALIBRATION["wavelengths"])


WAVELENGTHS, SHIFTS = np.array([400.0, 402.0, 405.0, 409.0]), np.array([2, 1, 0], np.int16)


def test_wavelengths_go_on_for_the_columns_that_the_smile_costs():
    calibration = {"wavelengths": WAVELENGTHS, "smile_shifts": SHIFTS}
    assert wavelengths_of_columns(calibration, 6).tolist() == [400, 402, 405, 409, 413, 417]


def test_without_a_smile_there_is_a_wavelength_for_each_column():
    assert wavelengths_of_columns({"wavelengths": WAVELENGTHS}, 4).tolist() == WAVELENGTHS.tolist()


@pytest.mark.parametrize(
    ("calibration", "n_columns"),
    [
        ({}, 6),
        ({"wavelengths": WAVELENGTHS, "smile_shifts": SHIFTS}, 7),
        ({"wavelengths": WAVELENGTHS, "smile_shifts": SHIFTS}, 4),
        ({"wavelengths": np.array([400.0])}, 1),
    ],
)
def test_a_calibration_for_other_frames_gives_no_wavelengths(calibration, n_columns):
    assert wavelengths_of_columns(calibration, n_columns) is None
