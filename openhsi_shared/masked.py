"""Frames with a mask: masked pixels are NaN, or refused."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.errors import FrameError

__all__ = ["unmasked"]


def unmasked(pixels: ArrayLike, what: str = "a frame has") -> NDArray[Any]:
    """`np.asarray(pixels)`, but with NaN where they are masked. FrameError if their type has no NaN, or for no array.

    >>> unmasked(np.ma.masked_equal([1.0, -9999.0], -9999)).tolist()
    [1.0, nan]
    """
    if type(pixels) is np.ndarray or not isinstance(pixels, np.ma.MaskedArray):  # the first one is the fast one
        try:
            return np.asarray(pixels)
        except ValueError as error:
            raise FrameError(f"{what} parts of unequal shapes, expected an array or a number: {error}") from error
    line: Any = pixels
    if line.dtype.kind != "f" and np.ma.is_masked(line):
        raise FrameError(
            f"{what} masked pixels of {line.dtype}, which has no NaN for them: expected floats, or no masked pixels, "
            f"such as of .filled(0)"
        )
    filled: NDArray[Any] = line.filled(np.nan) if line.dtype.kind == "f" else line.data
    return filled
