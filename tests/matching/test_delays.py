"""Delays between channels."""

import doctest

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError
from openhsi_shared.matching import delays
from openhsi_shared.matching.delays import differences_of, estimate_shift, shifted_rows

MS = 1e6


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(delays).failed == 0


def test_differences_suggest_a_threshold_that_they_fit_into():
    rng = np.random.default_rng(0)
    found = differences_of(rng.normal(0, 1 * MS, 1000), 1 / 120)
    assert found.n == found.counts.sum() == 1000
    assert 2.5e-3 < found.threshold_s < 6e-3
    assert found.shift_s is None


def test_a_constant_shift_is_found():
    found = differences_of(np.random.default_rng(0).normal(7 * MS, 0.2 * MS, 500), 1 / 50)
    assert found.shift_s == pytest.approx(7e-3, abs=1e-4)
    assert 7e-3 < found.threshold_s < 2e-2


def test_what_is_unrelated_suggests_nothing():
    found = differences_of(np.random.default_rng(0).uniform(-500 * MS, 500 * MS, 1000), 0.1)
    assert found.threshold_s is None
    assert found.shift_s is None
    few = differences_of([1, 2, 3])
    assert (few.n, few.threshold_s, few.shift_s) == (3, None, None)
    assert differences_of([]).n == 0
    assert differences_of(np.zeros(20)).threshold_s == 0


@pytest.mark.parametrize("n", [-10, -3, 0, 1, 10])
def test_a_shift_by_rows_is_found_in_either_sign(n):
    rng = np.random.default_rng(1)
    signal = rng.normal(size=300)
    column, other = signal[20 + n : 220 + n], -signal[20:220] + rng.normal(0, 0.1, 200)
    assert estimate_shift(column, other) == n


def test_nan_are_left_out_and_the_smaller_of_equal_shifts_counts():
    period = np.tile([0.0, 1.0, 5.0, 2.0], 20)
    assert estimate_shift(period, period) == 0
    assert estimate_shift(np.where(np.arange(80) % 7, period, np.nan), period) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.ones(50), np.arange(50)), "neither may be constant"),
        ((np.arange(3), np.arange(3)), "from 3 rows: at least 5"),
        ((np.arange(3), np.arange(4)), "for the same rows"),
        ((np.arange(9), np.arange(9), -1), "most must be"),
    ],
)
def test_where_no_shift_can_be_known_it_is_an_error(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        estimate_shift(*arguments)


def test_shifted_columns_have_the_value_of_an_earlier_row():
    parts = shifted_rows(10, {"a": 3, "b": -2}, ["ref", "a", "b"])
    rows = np.arange(10)
    assert rows[parts["ref"]].tolist() == [3, 4, 5, 6, 7]
    assert rows[parts["a"]].tolist() == [0, 1, 2, 3, 4]
    assert rows[parts["b"]].tolist() == [5, 6, 7, 8, 9]
    assert [len(rows[part]) for part in shifted_rows(2, {"a": 3}, ["ref", "a"]).values()] == [0, 0]
