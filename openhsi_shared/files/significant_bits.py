"""Rounds floats to some bits of their fraction, so that they compress better."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError

__all__ = ["attributes_of_rounding", "check_significant_bits", "round_to_bits"]

WORDS: dict[int, Any] = {4: np.uint32, 8: np.uint64}


def check_significant_bits(n_bits: int, dtype: np.dtype[Any]) -> None:
    """ArgumentError unless numbers of this type can be rounded to `n_bits` bits."""
    if dtype.kind != "f" or dtype.itemsize not in WORDS:
        raise ArgumentError(f"significant_bits={n_bits} rounds float32 or float64, but the result is {dtype}: omit it")
    n_fraction = np.finfo(dtype).nmant
    if isinstance(n_bits, bool) or not isinstance(n_bits, int) or not 1 <= n_bits <= n_fraction:
        raise ArgumentError(f"significant_bits is {n_bits!r}, expected 1 to {n_fraction} for {dtype}, or None")


def round_to_bits(values: NDArray[Any], n_bits: int) -> None:
    """Round float32 or float64 in place to `n_bits` bits behind the leading one: to the nearest, ties to even.

    The relative error is at most 2^-(n_bits + 1), of numbers that are not subnormal. NaN, infinities, and what would
    become infinite, are unchanged. As the method BitRound of netCDF.

    >>> values = np.array([1.0, 1.01, np.nan, np.inf], np.float32)
    >>> round_to_bits(values, 4)
    >>> values.tolist()
    [1.0, 1.0, nan, inf]
    """
    words = values.view(WORDS[values.itemsize])
    word = words.dtype.type
    n_dropped = np.finfo(values.dtype).nmant - n_bits
    if n_dropped == 0:
        return
    is_odd = (words >> word(n_dropped)) & word(1)
    rounded = words + (is_odd + word((1 << (n_dropped - 1)) - 1))
    rounded &= ~word((1 << n_dropped) - 1)
    np.copyto(values, rounded.view(values.dtype), where=np.isfinite(rounded.view(values.dtype)) & np.isfinite(values))


def attributes_of_rounding(n_bits: int) -> dict[str, Any]:
    """Attributes of a variable whose numbers are rounded."""
    return {"significant_bits": n_bits, "rounding": f"to nearest; the relative error is at most 2^-{n_bits + 1}"}
