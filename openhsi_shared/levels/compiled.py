"""Compilation of kernels to machine code, cached on disk between processes."""

import functools
import pickle
from collections.abc import Callable
from types import FunctionType
from typing import Any
from zlib import crc32

import numpy as np

from openhsi_shared.loggers import safe_logger

__all__ = ["compiled", "compiled_loop"]

logger = safe_logger(__name__)


@functools.cache
def compiled(make: Callable[..., Any], constants: tuple[int, ...], dtypes: tuple[str, ...]) -> Callable[..., Any]:
    """Compile the kernel `make(*constants)` for arguments of `dtypes`; once per process. Blocks for 1 to 2 s.

    The arguments are a frame, the first row, and arrays, the last of which is the line; a dtype includes the number of
    axes, as in "float32:2". See `compiled_loop`.
    """
    return _compiled(make(*constants), (*dtypes[:1], "int64", *dtypes[1:]), make.__name__)


@functools.cache
def compiled_loop(function: Callable[..., None], *types: str) -> Callable[..., None]:
    """Compile a function for arguments of these types; once per process. Blocks for a second.

    "float64:2" is a contiguous array with two axes, "int64" a number; written to are the last one, and arrays whose
    type ends with a star. The result is cached beside the source, or in the user's cache directory if that is not
    writeable (or in numba's NUMBA_CACHE_DIR), and loaded from there the next time, in 0.1 s. It runs without the GIL.
    Sums are not reordered.
    """
    return _compiled(function, types, function.__name__)


def _compiled(function: Callable[..., Any], types: tuple[str, ...], name: str) -> Callable[..., Any]:
    try:
        kernel = _compile(function, types, is_kept=True)
    except (OSError, EOFError, pickle.UnpicklingError, RuntimeError) as error:
        logger.info("the kernel %s is compiled for this process only: %s", name, error)
        kernel = _compile(function, types, is_kept=False)
    return kernel


def _compile(function: Callable[..., Any], types: tuple[str, ...], is_kept: bool) -> Callable[..., Any]:
    """Compile for these types only; RuntimeError if `is_kept` and no cache directory is writeable."""
    import numba

    kernel = numba.njit(nogil=True, error_model="numpy")(_named(function, types))
    if is_kept:
        kernel.enable_caching()
    kernel.compile(tuple(_type_of(text, is_result=number == len(types) - 1) for number, text in enumerate(types)))
    kernel.disable_compile()  # never compile during a recording, for other types
    return kernel


def _named(function: Callable[..., Any], types: tuple[str, ...]) -> Callable[..., Any]:
    """The same function, with a name for these types, and for the constants that it was made with.

    Numba keeps all kernels of one name in one index: two processes that add theirs at the same moment may give both the
    same file, and then load one instead of the other, without a word if only the constants differ.
    """
    values = [cell.cell_contents for cell in function.__closure__ or ()]
    constants = [
        repr(value) if isinstance(value, int | float | np.generic) else type(value).__name__ for value in values
    ]
    copy = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__qualname__ = f"{function.__name__}_{crc32(repr((types, constants)).encode()):08x}"
    copy.__module__ = function.__module__
    return copy


def _type_of(text: str, is_result: bool) -> Any:
    """Numba's type of a contiguous array, or of a number; arrays that are not written to may be read-only."""
    import numba

    name, _, n_axes = text.removesuffix("*").partition(":")
    dtype = numba.from_dtype(np.dtype(name))
    is_written = is_result or text.endswith("*")
    return numba.types.Array(dtype, int(n_axes), "C", readonly=not is_written) if n_axes else dtype
