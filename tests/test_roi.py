"""Regions of interest, against the definition and the neighbour's numbers."""

import builtins
import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from openhsi_shared import roi
from openhsi_shared.errors import ArgumentError
from openhsi_shared.roi import find_roi, find_roi_slice, lit_rows, profiles

TYPES = ("uint8", "uint16", "int16", "int32", "uint32", "int64", "float32", "float64")


def profile(*bright, n=40, dark=0.0, light=1.0):
    values = np.full(n, dark)
    for first, last in bright:
        values[first : last + 1] = light
    return values


def medfilt(values, n):
    from scipy.signal import medfilt  # here: all workers import this module, and this takes them half a second

    return medfilt(values, n)


def of_the_neighbour(values, threshold, enlarge):
    """Its numbers, as its documentation describes them."""
    values = medfilt(values, 5)
    bright = np.nonzero(values > values.min() * (1 - threshold) + values.max() * threshold)[0]
    radius = len(bright) // 2
    centre = bright[radius]
    return max(centre - radius - enlarge, 0), min(centre + radius + enlarge, len(values) - 1)


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(roi).failed == 0


@pytest.mark.parametrize(
    ("bright", "enlarge", "expected"),
    [
        ([(10, 14)], 0, (10, 15)),
        ([(10, 15)], 3, (7, 19)),
        ([(36, 39)], 0, (36, 40)),
        ([(0, 3)], 10, (0, 14)),
        ([(2, 7), (30, 35)], 0, (2, 36)),
        ([(10, 11)], 0, None),
        ([], 5, None),
        ([(0, 39)], 0, None),
    ],
)
def test_the_region_is_the_hull_with_both_ends(bright, enlarge, expected):
    found = find_roi_slice(profile(*bright), 0.2, enlarge)
    assert found == (expected and slice(*expected))


@pytest.mark.parametrize(
    ("bright", "enlarge", "expected"),
    [
        ([(10, 14)], 0, (10, 14)),
        ([(10, 15)], 0, (10, 16)),
        ([(10, 15)], 3, (7, 19)),
        ([(36, 39)], 0, (36, 39)),
        ([(0, 3)], 10, (0, 14)),
        ([(2, 7), (30, 35)], 0, (24, 36)),
        ([(10, 11)], 0, None),
    ],
)
def test_compat_gives_the_numbers_of_the_neighbour(bright, enlarge, expected):
    assert find_roi_slice(profile(*bright), 0.2, enlarge, compat=True) == (expected and slice(*expected))


numbers = st.one_of(st.integers(0, 1000).map(float), st.floats(-1e6, 1e6))


@settings(deadline=None)
@given(hypothesis_numpy.arrays(np.float64, st.integers(1, 60), elements=numbers), st.floats(0, 0.99), st.integers(0, 9))
def test_profiles_equal_the_definition(values, threshold, enlarge):
    filtered = medfilt(values, 5) if len(values) >= 5 else np.array([np.median(w) for w in windows(values)])
    np.testing.assert_array_equal(roi._median_of_five(values), filtered)
    limit = filtered.min() * (1 - threshold) + filtered.max() * threshold
    bright = np.flatnonzero(filtered > limit)
    found = find_roi_slice(values, threshold, enlarge)
    if filtered.min() == filtered.max() or bright.size == 0:
        assert found is None
    else:
        assert found == slice(max(bright[0] - enlarge, 0), min(bright[-1] + 1 + enlarge, len(values)))
    if len(values) >= 5 and bright.size:
        compat = find_roi_slice(values, threshold, enlarge, compat=True)
        assert (compat.start, compat.stop) == of_the_neighbour(values, threshold, enlarge)


def windows(values):
    padded = np.pad(values, 2)
    return [padded[i : i + 5] for i in range(len(values))]


@pytest.mark.parametrize("dtype", TYPES)
def test_sums_are_exact(dtype):
    rng = np.random.default_rng(0)
    for shape in [(67, 129), (1, 5), (5, 1), (0, 3)]:
        most = 2 ** (8 * np.dtype(dtype).itemsize) - 1 if dtype.startswith("u") else 30000
        image = rng.integers(0, most, shape, endpoint=True, dtype=np.uint64).astype(dtype)
        image[:1] = most
        of_rows, of_columns = profiles(image)
        whole = image.astype(object) if dtype.startswith(("u", "i")) else image.astype(np.float64)
        assert of_rows.tolist() == whole.sum(axis=1).tolist()
        assert of_columns.tolist() == whole.sum(axis=0).tolist()
        for part in (image[::2], image.T):
            assert profiles(part)[0].tolist() == part.sum(axis=1).tolist()


def test_compat_sums_floats_to_the_bit_as_numpy():
    image = np.random.default_rng(1).normal(size=(200, 300)).astype(np.float32)
    of_rows, of_columns = profiles(image, compat=True)
    assert of_rows.tobytes() == image.sum(1).tobytes()
    assert of_columns.tobytes() == image.sum(0).tobytes()


def spot(dtype="uint16", shape=(120, 160), at=(50, 90), sigma=8):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    exponent = ((rows - at[0]) ** 2 + (columns - at[1]) ** 2) / (2 * sigma**2)
    return (3000 * np.exp(-exponent) + 20).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES[1:])
def test_a_spot_is_cut_out_and_enlarged_by_rows_and_columns(dtype):
    image = spot(dtype)
    rows, columns = find_roi(image, 0.2, (2, 5))
    assert (rows.start + rows.stop - 1) / 2 == 50
    assert (columns.start + columns.stop - 1) / 2 == 90
    assert (columns.stop - columns.start) - (rows.stop - rows.start) == 6
    in_compat = find_roi(image, 0.2, (2, 5), compat=True)
    for part, axis, enlarge in zip(in_compat, (1, 0), (2, 5), strict=True):
        assert (part.start, part.stop) == of_the_neighbour(image.sum(axis), 0.2, enlarge)
    assert find_roi(np.full((9, 9), 7, dtype), 0.2, (0, 0)) is None


def test_nan_is_no_light():
    image = spot("float64")
    dark = find_roi(image, 0.2, (0, 0))
    image[3, 3] = image[100, 5] = np.nan
    assert find_roi(image, 0.2, (0, 0)) == dark
    assert find_roi_slice(np.full(20, np.nan), 0.2, 0) is None


def test_read_only_images_are_images():
    image = spot()
    image.setflags(write=False)
    assert find_roi(image, 0.2, (0, 0)) == find_roi(spot(), 0.2, (0, 0))


def test_without_numba_the_region_is_the_same(monkeypatch):
    expected = find_roi(spot(), 0.2, (1, 1))
    real = builtins.__import__

    def without_numba(name, *rest, **more):
        if name == "numba":
            raise ImportError(name)
        return real(name, *rest, **more)

    roi._kernel.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without_numba)
    assert find_roi(spot(), 0.2, (1, 1)) == expected
    assert roi._kernel("uint16") is None
    roi._kernel.cache_clear()


def test_two_kernels_that_are_kept_at_the_same_moment_have_files_of_their_own(monkeypatch, tmp_path):
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    for name in ("int16", "int32"):
        roi._kernel.cache_clear()
        assert roi._kernel(name) is not None
        for index in tmp_path.rglob("*.nbi"):
            index.unlink()  # another process has read it before
    roi._kernel.cache_clear()
    assert len([*tmp_path.rglob("*.nbc")]) == 2


def test_lit_rows_are_a_row_slice():
    flat = np.full((100, 50), 10, np.uint16)
    flat[12:88] = 2000
    flat[40] = 0  # a dead row
    assert lit_rows(flat) == slice(12, 88)
    with pytest.raises(ArgumentError, match="no row of the flat field is brighter"):
        lit_rows(np.ones((9, 9)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: find_roi_slice(np.zeros((3, 3)), 0.2, 0), "a profile has one axis"),
        (lambda: find_roi_slice([1, 2], 1.0, 0), "threshold must be from 0 to below 1"),
        (lambda: find_roi_slice([1, 2], 0.2, -1), "enlarge >= 0"),
        (lambda: find_roi(np.zeros(9), 0.2, (0, 0)), "an image has two axes"),
        (lambda: find_roi(np.zeros((3, 3)), 0.2, (0,)), "expand must be two numbers"),
        (lambda: find_roi_slice(["a"], 0.2, 0), "a profile has one axis of numbers"),
    ],
)
def test_what_is_no_image_is_refused(call, words):
    with pytest.raises(ArgumentError, match=words):
        call()
