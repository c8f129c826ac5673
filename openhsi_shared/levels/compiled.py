"""Compilation of kernels to machine code, cached on disk between processes."""

import functools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from openhsi_shared.loggers import safe_logger

__all__ = ["compiled"]

logger = safe_logger(__name__)


@functools.cache
def compiled(make: Callable[..., Any], constants: tuple[int, ...], dtypes: tuple[str, ...]) -> Callable[..., Any]:
    """Compile the kernel `make(*constants)` for arguments of `dtypes`; once per process. Blocks for 1 to 2 s.

    The arguments are a frame, the first row, and arrays, the last of which is the line; a dtype includes the number of
    axes, as in "float32:2". The result is cached beside the source, or in the user's cache directory if that is not
    writeable (or in numba's NUMBA_CACHE_DIR), and loaded from there the next time, in 0.1 s. It runs without the GIL.
    """
    try:
        kernel = _compile(make(*constants), dtypes, is_kept=True)
    except (OSError, EOFError, pickle.UnpicklingError, RuntimeError) as error:
        logger.info("the kernel %s is compiled for this process only: %s", make.__name__, error)
        kernel = _compile(make(*constants), dtypes, is_kept=False)
    return kernel


def _compile(function: Callable[..., Any], dtypes: tuple[str, ...], is_kept: bool) -> Callable[..., Any]:
    """Compile for these types only; RuntimeError if `is_kept` and no cache directory is writeable."""
    import numba

    kernel = numba.njit(nogil=True, error_model="numpy")(function)
    if is_kept:
        kernel.enable_caching()
    *inputs, line = (_type_of(dtype, is_line=number == len(dtypes) - 1) for number, dtype in enumerate(dtypes))
    kernel.compile((*inputs[:1], numba.types.int64, *inputs[1:], line))
    kernel.disable_compile()  # never compile during a recording, for other types
    return kernel


def _type_of(dtype: str, is_line: bool) -> Any:
    """Numba's type of a contiguous array; only the line is written to, others may be read-only."""
    import numba

    name, n_axes = dtype.split(":")
    return numba.types.Array(numba.from_dtype(np.dtype(name)), int(n_axes), "C", readonly=not is_line)
