"""Spectral indices of lines, against a plain loop."""

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError, StageNotApplicable
from openhsi_shared.jobs.stages.index import Index
from tests.support.stage_runs import line_format, run_in_blocks

WAVELENGTHS = np.arange(600.0, 900.0, 5.0)
RED, INFRARED = 14, 40


def made_lines(dtype="float32"):
    lines = np.random.default_rng(1).uniform(1, 4000, (23, 7, len(WAVELENGTHS))).astype(dtype)
    lines[3, 2, [RED, INFRARED]] = 0
    return lines


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64"])
def test_ndvi_is_the_quotient_of_two_bands(dtype):
    lines = made_lines(dtype)
    red, infrared = lines[:, :, RED].astype(float), lines[:, :, INFRARED].astype(float)
    with np.errstate(all="ignore"):
        expected = ((infrared - red) / (infrared + red)).astype(np.float32)
    found = run_in_blocks(Index(), lines, 5, wavelengths_nm=WAVELENGTHS)
    assert found.shape == (23, 7, 1)
    assert found.dtype == np.float32
    assert np.array_equal(found[:, :, 0], expected, equal_nan=True)
    assert np.isnan(found[3, 2])
    assert np.isfinite(found).sum() > 150


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_pixel_without_a_number_in_a_band_of_the_formula_is_nan(bad):
    lines = made_lines()
    lines[5, 1, RED] = bad
    lines[6, 1, RED + 1] = bad  # not in the formula
    found = run_in_blocks(Index("R800/R670"), lines, 5, wavelengths_nm=WAVELENGTHS)
    assert np.isnan(found[5, 1])
    assert np.isfinite(found[6, 1])
    other = run_in_blocks(Index("R670/R800"), lines, 5, wavelengths_nm=WAVELENGTHS)
    assert np.isnan(other[5, 1])


def test_a_result_that_float32_cannot_have_is_nan_not_infinity():
    lines = made_lines("float64")
    lines[1, 1, RED] = 1e-300
    found = run_in_blocks(Index("R800/R670"), lines, 5, wavelengths_nm=WAVELENGTHS)
    assert np.isnan(found[1, 1, 0])
    assert not np.isinf(found).any()


@pytest.mark.parametrize("formula", ["ndvi", "R650_740/R800", "exp(R800/5000)**0.3 - log(R640_850)"])
def test_blocks_of_every_size_give_the_same_bits(formula):
    lines = made_lines()
    whole = run_in_blocks(Index(formula), lines, len(lines), wavelengths_nm=WAVELENGTHS)
    for size in range(1, len(lines)):
        found = run_in_blocks(Index(formula), lines, size, wavelengths_nm=WAVELENGTHS)
        assert np.array_equal(found, whole, equal_nan=True)


def test_a_range_is_the_mean_of_its_bands_also_where_they_are_in_disorder():
    order = np.random.default_rng(3).permutation(len(WAVELENGTHS))
    lines = made_lines()
    inside = (WAVELENGTHS >= 650) & (WAVELENGTHS <= 740)
    expected = lines[:, :, inside].astype(float).mean(axis=2)
    for given, wavelengths in ((lines, WAVELENGTHS), (lines[:, :, order], WAVELENGTHS[order])):
        found = run_in_blocks(Index("R650_740"), np.ascontiguousarray(given), 4, wavelengths_nm=wavelengths)
        assert np.allclose(found[:, :, 0], expected, rtol=1e-6)


def test_the_result_says_what_it_is_made_of():
    result = Index().out_format(line_format(made_lines(), WAVELENGTHS + 1, quantity="reflectance", level=8))
    assert (result.line_shape, result.level, result.quantity, result.wavelengths_nm) == ((7, 1), None, None, None)
    assert result.labels == {
        "units": "1",
        "long_name": "ndvi of reflectance",
        "index_formula": "(R800-R670)/(R800+R670)",
        "index_bands": "R800: 801 nm, R670: 671 nm",
    }


def test_lines_that_do_not_have_the_bands_are_refused_before_the_run():
    lines = made_lines()
    with pytest.raises(StageNotApplicable, match="needs the wavelengths of the bands"):
        Index().check(line_format(lines))
    with pytest.raises(StageNotApplicable, match="R531 has no band within 15 nm: there are 60 bands from 600 to 895"):
        Index("pri").check(line_format(lines, WAVELENGTHS))
    with pytest.raises(StageNotApplicable, match="real numbers"):
        Index().check(line_format(lines.astype(complex), WAVELENGTHS))


def test_a_formula_is_checked_where_it_is_given():
    with pytest.raises(ArgumentError, match="no formula of an index"):
        Index("R800 + nir")
