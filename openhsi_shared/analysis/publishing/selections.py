"""Selections of h5pyd: "[0:10:2,3:5]", with indices and lists of indices too, and points."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["selected"]

PART = re.compile(r"\[[\d,\s]*\]|[^,\[\]]+")


def selected(array: NDArray[Any], select: str | None = None, points: Any = None) -> NDArray[Any]:
    """Return a part of an array, as a view where that is possible. ValueError if it is not within the array.

    `points`: numbers of rows, one for each axis, after each other, or as rows. An index keeps its axis.

    >>> selected(np.arange(12).reshape(3, 4), "[0:3:2,1]").tolist()
    [[1], [9]]
    """
    if points is not None:
        return _at_points(array, points)
    if not select:
        return array
    text = select.strip()
    parts = PART.findall(text[1:-1])
    if not (text.startswith("[") and text.endswith("]")) or len(parts) != array.ndim:
        raise ValueError(f"selection {select!r}: expected [...] with {array.ndim} parts, for the shape {array.shape}")
    try:
        chosen = [_part(part.strip(), n) for part, n in zip(parts, array.shape, strict=True)]
    except ValueError as error:
        raise ValueError(f"selection {select!r} of the shape {array.shape}: {error}") from error
    lists = [axis for axis, one in enumerate(chosen) if isinstance(one, list)]
    if lists and lists[-1] - lists[0] + 1 != len(lists):
        raise ValueError(f"selection {select!r}: lists of indices must be beside each other")
    try:
        part: NDArray[Any] = array[tuple(chosen)]
    except IndexError as error:
        raise ValueError(f"selection {select!r}: {error}") from error
    return part


def _part(text: str, n: int) -> slice | list[int]:
    if text.startswith("["):
        indices = [int(one) for one in text[1:-1].split(",") if one.strip()]
        if any(not 0 <= index < n for index in indices):
            raise ValueError(f"expected indices from 0 to {n - 1}, got {text}")
        return indices
    first, colon, rest = text.partition(":")
    stop, _, step = rest.partition(":")
    begin = int(first) if first else 0
    end = begin + 1 if not colon else int(stop) if stop else n
    by = int(step) if step else 1
    if not 0 <= begin <= end <= n or by < 1:
        raise ValueError(f"expected a range from 0 to {n}, got {text!r}")
    return slice(begin, end, by)


def _at_points(array: NDArray[Any], points: Any) -> NDArray[Any]:
    try:
        rows = np.asarray(points, np.uint64).reshape(-1, max(1, array.ndim))
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"points: expected rows of {array.ndim} indices: {error}") from error
    if array.ndim == 0 or np.any(rows >= np.asarray(array.shape, np.uint64)):
        raise ValueError(f"points: expected indices within the shape {array.shape}")
    chosen: NDArray[Any] = array[tuple(rows.T.astype(np.intp))]
    return chosen
