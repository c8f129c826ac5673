"""What functions of a user return, as lines and as rows of a table; all else is refused with its reason."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import FrameError, StageNotApplicable
from openhsi_shared.jobs.stages.row_fields import Columns, check_names, check_numbers, stored_type
from openhsi_shared.masked import unmasked

__all__ = ["as_line", "as_rows", "cast", "is_rows", "named_columns"]

# ---- rows ----


def is_rows(result: Any) -> bool:
    """Whether a result can only be meant as rows: a mapping, a structured array, a list of either, or an empty list."""
    if isinstance(result, Mapping) or getattr(result, "dtype", np.dtype(float)).names is not None:
        return True
    if isinstance(result, list | tuple):
        return not result or is_rows(result[0]) or getattr(result[0], "_fields", None) is not None
    return False


def named_columns(result: Any, names: Sequence[str] | None, what: str) -> Columns:
    """The columns of the rows that a function returned; {} if there are none and `names` are not known.

    Rows are a list, or another iterable, of mappings, named tuples, or, with `names`, of tuples; a structured array; a
    mapping of numbers (one row), or of arrays of one length. StageNotApplicable for all else.
    """
    if isinstance(result, Iterator):
        result = list(result)
    if isinstance(result, np.ndarray | np.void):
        columns = _columns_of_array(np.atleast_1d(result), names, what)
    elif isinstance(result, Mapping):
        columns = {name: np.atleast_1d(np.asarray(values)) for name, values in result.items()}
    elif isinstance(result, Iterable) and not isinstance(result, str | bytes):
        columns = _columns_of_list(list(result), names, what)
    else:
        raise StageNotApplicable(
            f"{what} returned {_described(result)}, expected rows: a list of mappings such as {{'x': 3, 'mean': 0.5}}, "
            "[] if a line has none"
        )
    lengths = {name: values.shape for name, values in columns.items()}
    if len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
        raise StageNotApplicable(
            f"{what} returned ragged rows: fields of the shapes {lengths}, expected one number a row"
        )
    if columns and names is not None:
        check_names(columns, names, what)
    return columns


def as_rows(columns: Columns, dtype: np.dtype[Any], what: str) -> NDArray[Any]:
    """Rows as a structured array of that type. StageNotApplicable for values that it does not have."""
    n_rows = len(next(iter(columns.values()))) if columns else 0
    rows = np.empty(n_rows, dtype)
    for name, values in columns.items() if n_rows else ():
        returned = f"{what} returned for field {name!r}"
        check_numbers(values, returned)
        rows[name] = cast(values, dtype[name], returned, is_rounded=True)
    return rows


def _columns_of_array(array: NDArray[Any], names: Sequence[str] | None, what: str) -> Columns:
    if array.dtype.names is not None:
        return {name: array[name] for name in array.dtype.names}
    if array.size == 0:
        return _no_rows(names)
    if names is None or array.ndim != 2 or array.shape[1] != len(names):
        raise StageNotApplicable(
            f"{what} returned {_described(array)}, expected rows (n, {len(names or ())}) of {list(names or ())}"
        )
    return {name: array[:, number] for number, name in enumerate(names)}


def _columns_of_list(rows: list[Any], names: Sequence[str] | None, what: str) -> Columns:
    if not rows:
        return _no_rows(names)
    found = [_row(row, names, what) for row in rows]
    for row in found[1:]:
        check_names(row, list(found[0]), what)
    return {name: np.array([_number(row[name], name, what) for row in found]) for name in found[0]}


def _row(row: Any, names: Sequence[str] | None, what: str) -> Mapping[str, Any]:
    if isinstance(row, Mapping):
        return row
    if isinstance(row, np.void) and row.dtype.names:
        return {name: row[name] for name in row.dtype.names}
    own = getattr(row, "_fields", names)
    if own is None or not isinstance(row, Sequence | np.ndarray) or isinstance(row, str | bytes):
        raise StageNotApplicable(
            f"{what} returned a list with {_described(row)}, expected mappings such as {{'x': 3, 'mean': 0.5}}, or "
            "tuples with fields= given"
        )
    if len(row) != len(own):
        raise StageNotApplicable(f"{what} returned ragged rows: {len(row)} values, expected {len(own)}: {list(own)}")
    return dict(zip(own, row, strict=True))


def _number(value: Any, name: str, what: str) -> Any:
    if np.ndim(value) != 0 or np.asarray(value).dtype.kind not in "biuf":
        raise StageNotApplicable(f"{what} returned {_described(value)} for field {name!r}, expected a number")
    return value


def _no_rows(names: Sequence[str] | None) -> Columns:
    return {name: np.zeros(0) for name in names or ()}


# ---- lines ----


def as_line(result: Any, what: str) -> NDArray[Any]:
    """A line that a function returned, as (x, band), NaN where it is masked. StageNotApplicable for all else."""
    expected = "expected an array of numbers (cross-track, wavelength) or (cross-track,)"
    try:
        array = unmasked(result, f"{what} returned")
    except (FrameError, ValueError) as error:  # ragged lists
        raise StageNotApplicable(f"{what} returned no line: {error}; {expected}") from error
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or array.size == 0:
        raise StageNotApplicable(f"{what} returned {_described(result)}, {expected}")
    array = array.astype(stored_type(array.dtype, what), copy=False)
    return array[:, np.newaxis] if array.ndim == 1 else array


def cast(values: NDArray[Any], dtype: np.dtype[Any], what: str, *, is_rounded: bool = False) -> NDArray[Any]:
    """The values in another type. StageNotApplicable if they change; floats may be rounded if `is_rounded`."""
    if values.dtype == dtype or np.can_cast(values.dtype, dtype, "safe"):
        return values.astype(dtype, copy=False)
    with np.errstate(all="ignore"):
        found = values.astype(dtype)
    if is_rounded and dtype.kind == "f":
        is_same = bool(np.array_equal(np.isfinite(found), np.isfinite(values)))
    else:
        is_same = np.array_equal(found, values, equal_nan=dtype.kind == "f" and values.dtype.kind == "f")
    if not is_same:
        raise StageNotApplicable(
            f"{what} values of {values.dtype} that {dtype} does not have, such as {_lost(values, found)}"
        )
    return found


def _lost(values: NDArray[Any], found: NDArray[Any]) -> Any:
    return values[~((found == values) & np.isfinite(found))].ravel()[0]


def _described(result: Any) -> str:
    if isinstance(result, np.ndarray):
        return f"an array of {result.dtype} of the shape {result.shape}"
    return "None" if result is None else f"{type(result).__name__} {result!r:.60}"
