"""Numbers as users give them: those of Python and of numpy, and no truth values."""

import math
from numbers import Integral, Real
from typing import Any, TypeGuard

__all__ = ["is_finite", "is_number", "is_whole"]


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a real number, NaN and the infinite ones included.

    >>> import numpy as np
    >>> is_number(np.float32(1)), is_number(np.int64(1)), is_number(True), is_number(np.True_), is_number("1")
    (True, True, False, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool)


def is_finite(value: Any) -> TypeGuard[float]:
    """Whether it is a real number that is finite, also as a float.

    >>> is_finite(1), is_finite(math.nan), is_finite(10**400)
    (True, False, False)
    """
    try:
        return is_number(value) and math.isfinite(value)
    except OverflowError:
        return False


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether it is an integer; 1.0 is none.

    >>> import numpy as np
    >>> is_whole(np.uint8(1)), is_whole(1.0), is_whole(True)
    (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)
