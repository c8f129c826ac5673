"""Binned values are those of a plain loop, in types that no sum wraps around in, whatever the blocks are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhsi_shared.errors import ArgumentError, StageNotApplicable
from openhsi_shared.jobs.line_flag import LineFlag
from openhsi_shared.jobs.stages.binning import BinBands, BinLines, BinPixels
from openhsi_shared.processing_levels import LABELS
from openhsi_shared.testing.stage_contract import format_of
from tests.support.products import each_value_once
from tests.support.stages import plan_of, run

AXES = {BinLines: 0, BinPixels: 1, BinBands: 2}


def cube(dtype, shape=(11, 7, 9)):
    random = np.random.default_rng(8)
    if np.dtype(dtype).kind == "f":
        return random.normal(size=shape).astype(dtype)
    return random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def by_a_loop(lines, axis, n, how, dtype):
    """Mean or sum of n neighbours, in Python's own numbers; a mean of fewer lines at the end."""
    lines = np.moveaxis(lines, axis, 0)
    found = []
    for first in range(0, len(lines), n):
        group = lines[first : first + n]
        if len(group) < n and (axis > 0 or how == "sum"):
            break
        total = np.zeros(group.shape[1:], object)
        for one in group:
            total = total + one.astype(object)
        found.append((total / len(group) if how == "mean" else total).astype(dtype))
    return np.moveaxis(np.array(found), 0, axis)


CASES = [
    ("u1", "mean", 2, "f4"),
    ("u1", "sum", 4, "u2"),
    ("u2", "mean", 3, "f4"),
    ("u2", "sum", 3, "u4"),
    ("i2", "sum", 2, "i4"),
    ("u4", "mean", 2, "f8"),
    ("u4", "sum", 2, "u8"),
    ("f2", "mean", 2, "f4"),
    ("f4", "mean", 3, "f4"),
    ("f4", "sum", 2, "f4"),
    ("f8", "mean", 2, "f8"),
]


@pytest.mark.parametrize(("kind", "case"), each_value_once(tuple(AXES), CASES))
def test_it_is_a_plain_loop(kind, case):
    dtype, how, n, out = case
    lines = cube(dtype)
    plan = plan_of(format_of(lines), kind(n, how), block_lines=2)
    made, _ = run(plan, lines, gap=8)
    expected = by_a_loop(lines, AXES[kind], n, how, out)
    assert (made.dtype, made.shape) == (np.dtype(out), expected.shape)
    np.testing.assert_allclose(made, expected, rtol=0 if out[0] != "f" else 1e-6, atol=0)
    if dtype[0] != "f":
        np.testing.assert_array_equal(made, expected)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 12), block_lines=st.integers(1, 12), how=st.sampled_from(["mean", "sum"]))
def test_any_blocks_give_the_same(n, block_lines, how):
    lines = cube("f4")
    stages = BinPixels(2, how), BinLines(min(n, 11), how), BinBands(3, how)
    results = [run(plan_of(format_of(lines), *stages, block_lines=size), lines)[0] for size in (block_lines, 100)]
    assert results[0].tobytes() == results[1].tobytes()


def test_sums_have_room_for_all():
    lines = np.full((2, 2, 300), 65535, np.uint16)
    made, _ = run(plan_of(format_of(lines), BinBands(300, "sum")), lines)
    assert made.tolist() == [[[300 * 65535]] * 2] * 2
    with pytest.raises(
        StageNotApplicable, match="a sum of 2 values of int64 may exceed any integer type: use how=mean"
    ):
        BinBands(2, "sum").check(format_of(np.zeros((2, 2, 2), np.int64)))


def test_nan_stays_where_it_is():
    lines = np.ones((4, 4, 4), np.float32)
    lines[1, 2, 3] = np.nan
    made, _ = run(plan_of(format_of(lines), BinBands(2), BinPixels(2), BinLines(2)), lines)
    assert np.argwhere(np.isnan(made)).tolist() == [[0, 1, 1]]


def test_a_damaged_line_makes_its_bin_nan():
    lines = cube("u2")
    good = np.arange(11) != 4
    made, results = run(plan_of(format_of(lines), BinLines(3), block_lines=2), lines, good)
    flags = np.concatenate([result.flags for result in results])
    assert flags.tolist() == [LineFlag.GOOD, LineFlag.DAMAGED, LineFlag.GOOD, LineFlag.GOOD]
    assert np.isnan(made[1]).all()
    np.testing.assert_allclose(made[3], lines[9:].mean(axis=0), rtol=1e-6)


def test_bands_are_labelled_by_the_mean_of_their_centres():
    nm = np.array([400.0, 402, 406, 410, 415, 417, 420, 421, 430])
    lines = cube("f4")
    result = plan_of(format_of(lines, wavelengths_nm=nm, level=4), BinBands(2)).result
    assert result.wavelengths_nm.tolist() == [401.0, 408.0, 416.0, 420.5]
    assert (result.level, result.quantity) == (None, "radiance")
    assert result.labels == LABELS["radiance"] | {"long_name": "at-sensor spectral radiance, mean of 2 bands"}
    pixels = plan_of(format_of(lines, wavelengths_nm=nm, level=4), BinPixels(2, "sum")).result
    assert pixels.wavelengths_nm.tolist() == nm.tolist()
    assert pixels.quantity is None
    assert "standard_name" not in pixels.labels
    assert plan_of(format_of(cube("u2")), BinLines(2, "sum")).result.quantity == "counts"


@pytest.mark.parametrize(
    ("stage", "why"),
    [
        (BinBands(10), "there are no n=10 bands: there are 11 lines of 7 cross-track pixels and 9 bands"),
        (BinPixels(8), "no n=8 cross-track pixels"),
        (BinLines(12, "sum"), "no n=12 lines"),
    ],
)
def test_fewer_than_n_are_refused(stage, why):
    with pytest.raises(StageNotApplicable, match=why):
        stage.check(format_of(cube("u2")))
    assert plan_of(format_of(cube("u2")), BinLines(12)).result.n_lines == 1


def test_parameters_are_checked():
    for n in (0, -1, 1.5, True, "2"):
        with pytest.raises(ArgumentError, match=f"bin_bands: n must be a whole number from 1 on, got {n!r}"):
            BinBands(n)
    with pytest.raises(ArgumentError, match="how must be 'mean' or 'sum', got 'median'"):
        BinLines(2, "median")
    with pytest.raises(StageNotApplicable, match="pixels are complex64, expected integers or floats"):
        BinBands().check(format_of(np.zeros((2, 2, 2), np.complex64)))
