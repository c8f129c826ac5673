"""Moments of spectra that were added up part by part, against numpy; distances are tested with the stage of jobs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from openhsi_shared.moments import BandMoments, Joined, band_moments_of, bands_joined


def lines_of(seed: int, n: int) -> np.ndarray:
    lines = np.random.default_rng(seed).normal(1e4, 1, (n, 7, 3)).astype(np.float32)
    lines[n // 2, 2] = np.nan, np.inf, 1e4
    lines[0, :, 1] = np.nan
    return lines


def test_moments_of_bands_are_those_of_numpy_without_what_is_not_finite() -> None:
    lines = lines_of(1, 40)
    total: Joined[BandMoments] = Joined(bands_joined)
    for number, line in enumerate(lines):
        assert total.add(number, band_moments_of(line))
    found = total.total()
    pixels = np.where(np.isfinite(lines), lines, np.nan).reshape(-1, 3).astype(np.float64)
    assert found is not None
    assert found.n.tolist() == np.isfinite(pixels).sum(axis=0).tolist()
    assert np.allclose(found.mean, np.nanmean(pixels, axis=0), rtol=1e-14)
    assert np.allclose(found.squares / (found.n - 1), np.nanvar(pixels, axis=0, ddof=1), rtol=1e-10)


def test_moments_of_whole_numbers_are_those_of_numpy() -> None:
    line = np.random.default_rng(2).integers(0, 65536, (644, 20), np.uint16)
    n, mean, squares = band_moments_of(line)
    assert (n == 644).all()
    assert np.allclose(mean, line.mean(axis=0))
    assert np.allclose(squares, line.var(axis=0) * 644)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.integers(0, 200), unique=True, max_size=60), st.randoms(use_true_random=False))
def test_a_joined_sum_does_not_depend_on_the_order_of_its_parts(numbers, random) -> None:
    parts = {number: float(np.random.default_rng(number).normal() * 10.0 ** (number % 30)) for number in numbers}
    sums = []
    for _ in range(3):
        joined: Joined[float] = Joined(lambda one, other: one + other)
        random.shuffle(numbers)
        for number in numbers:
            assert joined.add(number, parts[number])
            assert not joined.add(number, 1e300)
        sums.append(joined.total())
    assert len(set(sums)) == 1
    assert sums[0] is None or np.isclose(sums[0], sum(parts.values()))
