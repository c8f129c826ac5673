"""Fast copying of pixels, at memory bandwidth."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["copy_pixels"]


def copy_pixels(pixels: NDArray[Any], out: NDArray[Any]) -> None:
    """Copy values that fit into `out`, at memory bandwidth for any alignment.

    Large copies by `np.copyto` use the processor's copy instruction, which on many processors takes nearly twice as
    long if the two addresses differ modulo a cache line. They mostly do: a line begins at a page, a frame in an array
    of numpy 16 bytes after one. Arithmetic on integers is not affected; on floats it is slower.
    """
    if pixels.dtype == out.dtype and out.dtype.kind in "iu":
        np.positive(pixels, out=out)
    else:
        np.copyto(out, pixels, casting="unsafe")
