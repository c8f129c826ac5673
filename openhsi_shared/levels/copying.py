"""Copying pixels at the speed of memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["copy_pixels"]


def copy_pixels(pixels: NDArray[Any], out: NDArray[Any]) -> None:
    """Copy numbers that fit into `out`, at the speed of memory wherever the two lie.

    Large copies by `np.copyto` end in the processor's own instruction for copying, which on many takes nearly twice as
    long when the two addresses differ modulo a cache line. They mostly do: a line begins at a page, a frame in an array
    of numpy's 16 bytes behind one. Arithmetic does not mind; with floats it is slower.
    """
    if pixels.dtype == out.dtype and out.dtype.kind in "iu":
        np.positive(pixels, out=out)
    else:
        np.copyto(out, pixels, casting="unsafe")
