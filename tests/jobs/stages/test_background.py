"""Backgrounds, against plain loops, and in blocks of every size."""

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError, StageNotApplicable
from openhsi_shared.jobs.stages.background import RunningBackground, SparseBackground
from openhsi_shared.jobs.stages.sampling import evenly_spread
from tests.support.products import each_value_once
from tests.support.stage_runs import line_format, prepared, run_in_blocks

N_LINES = 37
TYPES = ["uint8", "uint16", "int32", "float32", "float64"]


def made_lines(dtype="float32", shape=(N_LINES, 5, 4), has_gaps=False):
    rng = np.random.default_rng(4)
    lines = rng.normal(120, 30, shape).clip(1, 250).astype(dtype)
    if has_gaps:
        lines[rng.random(shape) < 0.2] = np.nan
        lines[rng.random(shape) < 0.05] = np.inf
        lines[:, 1, 1] = np.nan  # never has a value
        lines[3:6] = np.nan
    return lines


def loop(lines, good, how, windows):
    """Each pixel minus the median or the mean of its window, by numpy."""
    out = np.full(lines.shape, np.nan)
    for i in np.flatnonzero(good):
        window = [lines[k].astype(np.float64) for k in windows(i) if good[k]]
        for place in np.ndindex(lines.shape[1:]):
            values = [line[place] for line in window if np.isfinite(line[place])]
            if values and np.isfinite(lines[i][place]):
                middle = np.median(values) if how == "median" else np.mean(values)
                out[i][place] = np.float64(lines[i][place]) - middle
    return out


@pytest.mark.parametrize(("how", "n"), each_value_once(["median", "mean"], [2, 3, 6, 25, 101]))
def test_a_running_background_is_that_of_the_lines_around(n, how):
    lines = made_lines(has_gaps=True)
    good = np.ones(N_LINES, bool)
    good[[0, 11, 12, 36]] = False
    before, behind = n // 2, (n - 1) // 2
    expected = loop(lines, good, how, lambda i: range(max(0, i - before), min(N_LINES, i + behind + 1)))
    found = run_in_blocks(RunningBackground(n=n, how=how), lines, 8, good)
    assert found.dtype == np.float32
    if how == "median":
        assert np.array_equal(found, expected.astype(np.float32), equal_nan=True)
    else:
        assert np.allclose(found, expected, rtol=1e-6, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize(("how", "dtype"), each_value_once(["median", "mean"], TYPES))
def test_integers_have_exact_means_and_medians(dtype, how):
    lines = made_lines(dtype)
    good = np.ones(N_LINES, bool)
    expected = loop(lines, good, how, lambda i: range(max(0, i - 4), min(N_LINES, i + 5)))
    found = run_in_blocks(RunningBackground(n=9, how=how), lines, 16)
    assert found.dtype == (np.float64 if dtype in ("int32", "float64") else np.float32)
    assert np.allclose(found, expected, rtol=1e-7, atol=1e-5 if found.dtype == np.float32 else 1e-12)
    if how == "median" or dtype != "float64":
        exact = dtype.startswith(("u", "i")) or how == "median"
        assert not exact or np.array_equal(found, expected.astype(found.dtype))


@pytest.mark.parametrize("how", ["median", "mean"])
@pytest.mark.parametrize("has_gaps", [False, True])
def test_blocks_of_every_size_give_the_same_bits(how, has_gaps):
    lines = made_lines(has_gaps=has_gaps) * np.float32(1.1e5) + np.float32(0.3)
    good = np.arange(N_LINES) % 11 != 7
    for stage in (RunningBackground(n=11, how=how), SparseBackground(n=9, how=how)):
        whole = run_in_blocks(stage, lines, N_LINES, good)
        for size in range(1, N_LINES):
            assert np.array_equal(run_in_blocks(stage, lines, size, good), whole, equal_nan=True), (stage, size)


def test_wide_lines_are_done_in_tiles(monkeypatch):
    lines = made_lines()
    whole = run_in_blocks(RunningBackground(n=5), lines, 7)
    monkeypatch.setattr("openhsi_shared.jobs.stages.background.TILE_BYTES", 1)
    assert np.array_equal(run_in_blocks(RunningBackground(n=5), lines, 7), whole)


@pytest.mark.parametrize("how", ["median", "mean"])
@pytest.mark.parametrize("n", [2, 7, 500])
def test_a_sparse_background_is_that_of_lines_all_over_the_cube(n, how):
    lines = made_lines(has_gaps=True)
    good = np.ones(N_LINES, bool)
    good[[0, 18]] = False
    surveyed = evenly_spread(N_LINES, n)
    assert len(surveyed) <= n
    assert surveyed[0] <= N_LINES - 1 - surveyed[-1] <= surveyed[0] + 1
    expected = loop(lines, good, how, lambda i: surveyed)
    found = run_in_blocks(SparseBackground(n=n, how=how), lines, 10, good)
    assert np.allclose(found, expected, rtol=1e-6, atol=1e-5, equal_nan=True)


def test_a_background_of_no_good_line_is_an_error():
    lines = made_lines()
    with pytest.raises(StageNotApplicable, match="none of the lines surveyed"):
        prepared(SparseBackground(), lines, line_format(lines), np.arange(N_LINES) < 0)


def test_the_result_is_a_difference_with_the_unit_of_the_lines():
    lines = made_lines()
    source = line_format(lines, np.arange(4.0), quantity="radiance", level=4)
    result = RunningBackground(n=5, how="mean").out_format(source)
    assert result.labels["units"] == "uW cm-2 sr-1 nm-1"
    assert "mean of 5 lines subtracted" in result.labels["long_name"]
    assert (result.level, result.quantity, result.wavelengths_nm[3]) == (None, None, 3)


@pytest.mark.parametrize("stage", [RunningBackground, SparseBackground])
@pytest.mark.parametrize("values", [{"n": 1}, {"n": 0}, {"n": 2.5}, {"n": True}, {"n": 1002}, {"how": "mode"}])
def test_what_is_no_background_is_refused_where_it_is_made(stage, values):
    with pytest.raises(ArgumentError, match=f"{stage.code}: (n|how) must be .*, got"):
        stage(**values)


@pytest.mark.parametrize("stage", [RunningBackground(), SparseBackground()])
def test_a_single_line_and_complex_numbers_are_refused_before_the_run(stage):
    with pytest.raises(StageNotApplicable, match="2 lines or more"):
        stage.check(line_format(made_lines()[:1]))
    with pytest.raises(StageNotApplicable, match="real numbers"):
        stage.check(line_format(made_lines().astype(complex)))
