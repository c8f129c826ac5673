"""Anomalies by Reed and Xiaoli, against numpy and Spectral Python."""

import logging

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError, StageNotApplicable
from openhsi_shared.jobs.stages.anomaly import ReedXiaoli
from openhsi_shared.moments import NO_PIXELS, joined, moments_of
from tests.support.stage_runs import line_format, prepared, run_in_blocks

N_BANDS = 9


def made_lines(n_lines=41, dtype="float32"):
    rng = np.random.default_rng(2)
    mixing = rng.normal(size=(N_BANDS, N_BANDS))
    lines = (rng.normal(size=(n_lines, 70, N_BANDS)) @ mixing) * 20 + 1000
    lines[17, 33, 4] += 900
    return lines.astype(dtype)


def by_numpy(lines, surveyed):
    pixels = lines[surveyed].reshape(-1, N_BANDS).astype(np.float64)
    pixels = pixels[np.isfinite(pixels).all(axis=1)]
    inverse = np.linalg.inv(np.cov(pixels.T))
    centred = lines.astype(np.float64) - pixels.mean(axis=0)
    with np.errstate(all="ignore"):
        return np.einsum("nxb,bc,nxc->nx", centred, inverse, centred)


@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
def test_the_result_is_that_of_numpy_and_of_spectral_python(dtype):
    spectral = pytest.importorskip("spectral")
    lines = made_lines(dtype=dtype)
    found = run_in_blocks(ReedXiaoli(), lines, 6)[:, :, 0]
    assert np.allclose(found, by_numpy(lines, slice(None)), rtol=1e-6)
    assert np.allclose(found, spectral.rx(lines.astype(np.float64)), rtol=1e-6)
    assert np.unravel_index(np.argmax(found), found.shape) == (17, 33)
    assert found.mean() == pytest.approx(N_BANDS, rel=0.01)


def test_of_a_long_cube_lines_are_surveyed_all_over_it():
    lines = made_lines()
    stage = ReedXiaoli(n=10)
    surveyed = stage.survey_lines(line_format(lines))
    assert list(surveyed) == [0, 5, 10, 15, 20, 25, 30, 35, 40]
    assert np.allclose(run_in_blocks(stage, lines, 6)[:, :, 0], by_numpy(lines, surveyed), rtol=1e-5)


def test_blocks_of_every_size_give_the_same_bits():
    lines = made_lines(23)
    lines[4, 5, 6] = np.nan
    good = np.arange(23) != 8
    whole = run_in_blocks(ReedXiaoli(), lines, 23, good)
    for size in range(1, 23):
        assert np.array_equal(run_in_blocks(ReedXiaoli(), lines, size, good), whole, equal_nan=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_pixel_without_a_number_is_nan_and_does_not_spoil_the_others(bad):
    lines = made_lines()
    lines[4, 5, 6] = bad
    lines[7, :, 2] = bad
    found = run_in_blocks(ReedXiaoli(), lines, 6)[:, :, 0]
    is_nan = np.isnan(found)
    assert is_nan[4, 5]
    assert is_nan[7].all()
    assert is_nan.sum() == 71
    assert np.allclose(found[~is_nan], by_numpy(lines, slice(None))[~is_nan], rtol=1e-5)


def test_a_distance_that_float32_cannot_have_is_nan_not_infinity():
    lines = made_lines(dtype="float64")
    lines[20, 5, 1] = 1e30
    found = run_in_blocks(ReedXiaoli(n=2), lines, 6)[:, :, 0]
    assert np.argwhere(~np.isfinite(found)).tolist() == [[20, 5]]
    assert np.isnan(found[20, 5])


def test_dead_and_doubled_bands_change_nothing_and_are_reported(caplog):
    lines = made_lines()
    wide = np.concatenate([lines, np.full_like(lines[:, :, :1], 7), lines[:, :, :1]], axis=2)
    with caplog.at_level(logging.WARNING):
        found = run_in_blocks(ReedXiaoli(), wide, 6)
    assert "2 of 11 directions have no variance" in caplog.text
    assert np.allclose(found, run_in_blocks(ReedXiaoli(), lines, 6), rtol=1e-4)
    wide[20, 30, N_BANDS] = 8  # in a band that is dead elsewhere: not hidden
    assert run_in_blocks(ReedXiaoli(n=2), wide, 6)[20, 30, 0] > 1e3


def test_moments_do_not_lose_digits_of_large_numbers():
    pixels = np.random.default_rng(0).normal(size=(4, 100, 3)) + 1e8
    n, mean, products = NO_PIXELS
    moments = NO_PIXELS
    for line in pixels:
        moments = joined(moments, moments_of(line))
    flat = pixels.reshape(-1, 3)
    n, mean, products = moments
    assert n == 400
    assert np.allclose(mean, flat.mean(axis=0), rtol=1e-14)
    assert np.allclose(products / (n - 1), np.cov((flat - 1e8).T), rtol=1e-6)
    assert joined(joined(NO_PIXELS, moments_of(pixels[0] * np.nan)), moments_of(pixels[0])).n == 100


def test_lines_that_have_no_covariance_are_refused_before_the_run():
    lines = made_lines()
    with pytest.raises(StageNotApplicable, match="2 or more"):
        ReedXiaoli().check(line_format(lines[:, :, :1]))
    with pytest.raises(StageNotApplicable, match=r"needs more than 9 pixels, and 9 are surveyed.*bin_bands"):
        ReedXiaoli().check(line_format(lines[:3, :3]))
    with pytest.raises(StageNotApplicable, match="real numbers"):
        ReedXiaoli().check(line_format(lines.astype(complex)))


def test_pixels_that_have_no_covariance_are_refused_after_the_survey():
    lines = made_lines()
    with pytest.raises(StageNotApplicable, match="all alike"):
        prepared(ReedXiaoli(), lines * 0 + 3, line_format(lines))
    lines[:, :, 0] = np.nan
    with pytest.raises(StageNotApplicable, match="0 of the pixels surveyed have finite values"):
        prepared(ReedXiaoli(), lines, line_format(lines))


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "9"])
def test_a_number_of_lines_that_is_none_is_refused(n):
    with pytest.raises(ArgumentError, match="number of lines"):
        ReedXiaoli(n=n)
