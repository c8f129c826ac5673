"""Kernels compiled to machine code, or loaded where an earlier process has left them."""

import functools
import logging
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["compiled"]

logger = logging.getLogger(__name__)


@functools.cache
def compiled(make: Callable[..., Any], constants: tuple[int, ...], dtypes: tuple[str, ...]) -> Callable[..., Any]:
    """Compile the kernel `make(*constants)` for arguments of `dtypes`; once in a process. Blocks for a second or two.

    The arguments are a frame, the first row, and arrays, the last of which is the line; a dtype's name tells the number
    of its axes, as in "float32:2". It is kept beside the source, or in the user's cache directory where that cannot be
    written (numba's NUMBA_CACHE_DIR may name another), and only loaded there the next time, in 0.1 s. It runs without
    the interpreter's lock.
    """
    try:
        kernel = _compile(make(*constants), dtypes, is_kept=True)
    except (OSError, EOFError, pickle.UnpicklingError, RuntimeError) as error:
        logger.info("the kernel %s is compiled for this process only: %s", make.__name__, error)
        kernel = _compile(make(*constants), dtypes, is_kept=False)
    return kernel


def _compile(function: Callable[..., Any], dtypes: tuple[str, ...], is_kept: bool) -> Callable[..., Any]:
    """Compile for these types and no others; raises RuntimeError if it is to be kept and there is no place for it."""
    import numba

    kernel = numba.njit(nogil=True, error_model="numpy")(function)
    if is_kept:
        kernel.enable_caching()
    *inputs, line = (_type_of(dtype, is_line=number == len(dtypes) - 1) for number, dtype in enumerate(dtypes))
    kernel.compile((*inputs[:1], numba.types.int64, *inputs[1:], line))
    kernel.disable_compile()  # not in the middle of a recording, for arguments of another type
    return kernel


def _type_of(dtype: str, is_line: bool) -> Any:
    """Name in numba for a contiguous array; only the line is written to, so others may be read-only."""
    import numba

    name, n_axes = dtype.split(":")
    return numba.types.Array(numba.from_dtype(np.dtype(name)), int(n_axes), "C", readonly=not is_line)
