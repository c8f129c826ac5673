"""Dynamic region of interest (ROI): the part of an image, or of its profile, that is lit."""

import functools
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.errors import ArgumentError
from openhsi_shared.loggers import safe_logger

__all__ = ["find_roi", "find_roi_slice", "lit_rows", "profiles"]

logger = safe_logger(__name__)

ACCUMULATORS = {"uint8": "uint32", "uint16": "uint32", "int16": "int64", "int32": "int64", "uint32": "uint64"}
ACCUMULATORS |= {"float32": "float64", "float64": "float64"}
MOST_PIXELS = 65536
"""A sum of so many pixels of 16 bits fits into 32."""


def find_roi_slice(profile: ArrayLike, threshold: float, enlarge: int, compat: bool = False) -> slice | None:
    """The bright part of a profile (n,), as a slice with both of its ends included; None if it is constant.

    Bright is what is above min * (1 - threshold) + max * threshold, of the profile after a median of five, for which
    zeros are beyond its ends: spots of one or two pixels do not count. All that lies between two bright pixels is
    included. `enlarge` pixels more are taken at either side, as far as there are any. NaN counts as the minimum.
    `compat` computes the numbers of the EPICS recorder, which are around the median of the bright pixels, and without
    the last one. ArgumentError for a threshold that is not from 0 to below 1, or a negative `enlarge`.

    >>> find_roi_slice([0, 0, 0, 9, 9, 9, 9, 0, 0, 0], 0.2, 1)
    slice(2, 8, None)
    """
    values = np.asarray(profile)
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise ArgumentError(f"a profile has one axis of numbers, got shape {values.shape} of {values.dtype}")
    if not 0 <= threshold < 1 or enlarge < 0:
        raise ArgumentError(f"threshold must be from 0 to below 1, enlarge >= 0, got {threshold!r} and {enlarge!r}")
    if values.size == 0:
        return None
    if values.dtype.kind == "f" and not compat and np.isnan(values).any():
        values = np.where(np.isnan(values), np.nanmin(values) if not np.isnan(values).all() else 0.0, values)
    values = _median_of_five(values)
    low, high = values.min(), values.max()
    if not compat and not low < high:
        return None
    bright = np.flatnonzero(values > low * (1 - threshold) + high * threshold)
    if bright.size == 0:
        return None
    if compat:
        radius = bright.size // 2
        centre = int(bright[radius])
        return slice(max(centre - radius - enlarge, 0), min(centre + radius + enlarge, values.size - 1))
    return slice(max(int(bright[0]) - enlarge, 0), min(int(bright[-1]) + 1 + enlarge, values.size))


def find_roi(
    image: NDArray[Any], threshold: float, expand: Sequence[int], compat: bool = False
) -> tuple[slice, slice] | None:
    """The lit rows and columns of an image (n_rows, n_columns); None if there are none.

    `expand` are the pixels to enlarge it by: (rows, columns). Each is found as in `find_roi_slice` with `threshold`, in
    the sums of all rows and of all columns. ArgumentError for what is no image, or arguments that are not valid. The
    first image of a type compiles a kernel for it, which takes a second, or 0.1 s when it has been compiled before.
    """
    if len(expand) != 2:
        raise ArgumentError(f"expand must be two numbers of pixels, for rows and for columns, got {expand!r}")
    of_rows, of_columns = profiles(image, compat)
    rows = find_roi_slice(of_rows, threshold, expand[0], compat)
    columns = find_roi_slice(of_columns, threshold, expand[1], compat)
    return None if rows is None or columns is None else (rows, columns)


def lit_rows(flat_field: ArrayLike, threshold: float = 0.5) -> slice:
    """The rows of a flat field (cross-track, wavelength) that are lit, for `row_slice` of the settings.

    These are the rows whose sum is above `threshold` between that of the darkest row and that of the brightest.
    ArgumentError if all rows are alike.
    """
    found = find_roi_slice(profiles(np.asarray(flat_field))[0], threshold, 0)
    if found is None:
        raise ArgumentError("no row of the flat field is brighter than the others: is it dark, or cropped already?")
    return found


def profiles(image: NDArray[Any], compat: bool = False) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sums of each row, and of each column, of an image: integers exactly, in one pass; floats in float64.

    `compat` sums as numpy does, to the last bit.
    """
    if image.ndim != 2 or image.dtype.kind not in "biuf":
        raise ArgumentError(f"an image has two axes of numbers, got shape {image.shape} of {image.dtype}")
    is_exact_so = image.dtype.kind != "f" or not compat
    name = image.dtype.name
    if is_exact_so and name in ACCUMULATORS and max(image.shape) <= MOST_PIXELS and image.flags.c_contiguous:
        kernel = _kernel(name)
        if kernel is not None:
            of_rows = np.empty(image.shape[0], ACCUMULATORS[name])
            of_columns = np.zeros(image.shape[1], ACCUMULATORS[name])
            kernel(image, of_rows, of_columns)
            return of_rows, of_columns
    wide = None if compat or image.dtype.kind != "f" else np.float64
    return image.sum(axis=1, dtype=wide), image.sum(axis=0, dtype=wide)


def _median_of_five(values: NDArray[Any]) -> NDArray[Any]:
    """By a network of minima and maxima: the same bits as those of a sort, and faster."""
    padded = np.zeros(values.size + 4, values.dtype)
    padded[2:-2] = values
    a, b, c, d, e = (padded[shift : shift + values.size] for shift in range(5))
    least, most = np.minimum, np.maximum
    lower = most(least(a, b), least(c, d))
    upper = least(most(a, b), most(c, d))
    return np.asarray(most(least(e, lower), least(most(e, lower), upper)))


@functools.cache
def _kernel(dtype: str) -> Callable[..., None] | None:
    """The compiled sums for images of a type, which run without the GIL; None without numba."""
    try:
        import numba
    except ImportError:
        logger.info("numba is not installed: regions of images are found more slowly")
        return None

    zero = np.dtype(ACCUMULATORS[dtype]).type(0)

    def sums(image: Any, of_rows: Any, of_columns: Any) -> None:
        for i in range(image.shape[0]):
            total = zero
            row = image[i]
            for j in range(row.shape[0]):
                total += row[j]
                of_columns[j] += row[j]
            of_rows[i] = total

    sums.__qualname__ = f"sums_{dtype}"  # a file of its own, see `openhsi_shared.levels.compiled`
    # NaN must stay NaN: only the order of sums is free
    kernel = numba.njit(nogil=True, fastmath={"reassoc", "contract"} if dtype.startswith("float") else False)(sums)
    with suppress(RuntimeError, OSError):  # no directory for it is writeable: it is compiled each time
        kernel.enable_caching()
    sums_of = numba.types.Array(numba.from_dtype(np.dtype(ACCUMULATORS[dtype])), 1, "C")
    kernel.compile((numba.types.Array(numba.from_dtype(np.dtype(dtype)), 2, "C", readonly=True), sums_of, sums_of))
    kernel.disable_compile()
    return kernel
