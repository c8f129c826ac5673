"""Small curves, looked at pixel by pixel."""

import numpy as np
import pytest

from openhsi_shared.viewer.curve import BOTTOM, LEFT, LINE, RIGHT, TOP, curve_picture

SIZE = (420, 240)
WIDTH, HEIGHT = SIZE[0] - LEFT - RIGHT, SIZE[1] - TOP - BOTTOM


def line_pixels(picture):
    """(row, column) of the pixels of the curve."""
    return np.argwhere((picture == LINE).all(axis=-1))


def test_a_curve_is_where_its_values_are():
    x = np.linspace(400, 1000, 61)
    pixels = line_pixels(curve_picture(x, (x - 400) / 6, "nm", SIZE, top=100))
    share = (pixels[:, 1] - LEFT) / WIDTH
    height = 1 - (pixels[:, 0] - TOP) / HEIGHT
    assert len(pixels) > 300
    assert np.abs(share - height).max() < 0.02


def test_the_axis_ends_at_the_largest_value_unless_it_is_told():
    x = np.arange(10.0)
    assert line_pixels(curve_picture(x, np.full(10, 50.0), "", SIZE))[:, 0].mean() == pytest.approx(TOP, abs=1)
    low = line_pixels(curve_picture(x, np.full(10, 50.0), "", SIZE, top=100))[:, 0].mean()
    assert low == pytest.approx(TOP + HEIGHT / 2, abs=1)
    clipped = line_pixels(curve_picture(x, np.full(10, 500.0), "", SIZE, top=100))
    assert clipped[:, 0].mean() == pytest.approx(TOP, abs=1)


def test_what_is_no_number_is_left_out():
    values = np.array([0, np.nan, 10, np.inf, 5])
    with_gaps = curve_picture(np.arange(5), values, "", SIZE)
    assert np.array_equal(with_gaps, curve_picture(np.array([0, 2, 4]), np.array([0, 10, 5]), "", SIZE))


@pytest.mark.parametrize("values", [[], [np.nan], [7.0], [0.0, 0.0], [-3.0, -3.0]])
def test_odd_curves_are_a_picture(values):
    picture = curve_picture(np.arange(len(values)), np.array(values), "band", SIZE)
    assert picture.shape == (240, 420, 3)


def test_over_time_the_axis_begins_at_the_least_value_and_a_hole_is_a_gap():
    values = np.array([100.0, 101, np.nan, np.nan, 101, 100])
    pixels = line_pixels(curve_picture(np.arange(6.0), values, "", SIZE, over_time=True))
    assert pixels[:, 0].max() == pytest.approx(TOP + HEIGHT, abs=1)
    assert pixels[:, 0].min() == pytest.approx(TOP, abs=1)
    share = (pixels[:, 1] - LEFT) / WIDTH
    assert not ((share > 0.25) & (share < 0.75)).any()
