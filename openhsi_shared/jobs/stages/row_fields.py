"""The fields of the rows that a function gives: their names, types and units."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, StageNotApplicable

__all__ = ["Columns", "Field", "check_names", "check_numbers", "fields_of", "parse_fields", "stored_type"]

Columns = Mapping[str, NDArray[Any]]
"""Rows as one array for each field."""


class Field(NamedTuple):
    """A column of a table."""

    name: str
    dtype: np.dtype[Any]
    units: str
    """"" if it has none."""

    def __str__(self) -> str:
        return f"{self.name} {self.dtype.name} {self.units}".rstrip()


def parse_fields(fields: Any) -> tuple[Field, ...]:
    """Fields from a mapping of names to types, or to (type, units), a structured dtype, or a text. ArgumentError.

    >>> [str(field) for field in parse_fields({"x": int, "mean": ("float32", "W m-2")})]
    ['x int64', 'mean float32 W m-2']
    >>> parse_fields("x int64; mean float32 W m-2")[1].units
    'W m-2'
    """
    given: list[tuple[Any, list[Any]]] = []
    if isinstance(fields, str):
        words = [part.split(maxsplit=2) for part in fields.split(";") if part.strip()]
        given = [(name, rest) for name, *rest in words]
    elif isinstance(fields, np.dtype) and fields.names:
        given = [(name, [fields[name]]) for name in fields.names]
    elif isinstance(fields, Mapping):
        given = [(name, list(value) if isinstance(value, tuple | list) else [value]) for name, value in fields.items()]
    if not given:
        raise ArgumentError(f"fields must be names and types, such as {{'x': int, 'mean': float}}, got {fields!r:.80}")
    found = tuple(_field(name, *values) for name, values in given)
    names = [field.name for field in found]
    if len(set(names)) < len(names):
        raise ArgumentError(f"fields must have different names, got {names}")
    return found


def _field(name: Any, dtype: Any = None, units: Any = "") -> Field:
    if not isinstance(name, str) or not name.isidentifier() or name == "y":
        raise ArgumentError(f"the name of a field must be one word, and not y, which is the line, got {name!r}")
    try:
        if dtype is None:
            raise TypeError("no type")
        found = np.dtype(dtype)
    except TypeError as error:
        raise ArgumentError(
            f"field {name!r} must have a type of numbers, such as int or 'float32', got {dtype!r}"
        ) from error
    if not isinstance(units, str) or ";" in units:
        raise ArgumentError(f"the units of field {name!r} must be a text without ';', got {units!r}")
    return Field(name, stored_type(found, f"field {name!r}"), units.strip())


def fields_of(columns: Sequence[Columns], what: str) -> tuple[Field, ...]:
    """The fields of columns that were returned for some lines: the types that have the values of all."""
    found = [each for each in columns if each]
    if not found:
        raise StageNotApplicable(
            f"{what} returned no row when it was tried, so that the types are unknown: give them, as in "
            "fields={'x': int, 'mean': float}"
        )
    names = list(found[0])
    for other in found[1:]:
        check_names(other, names, what)
    try:
        return tuple(
            Field(parse_fields({name: np.uint8})[0].name, _type_of([each[name] for each in found], name, what), "")
            for name in names
        )
    except ArgumentError as error:
        raise StageNotApplicable(f"{what}: {error}") from error


def _type_of(values: Sequence[NDArray[Any]], name: str, what: str) -> np.dtype[Any]:
    for array in values:
        check_numbers(array, f"{what} returned for field {name!r}")
    return stored_type(np.result_type(*values), f"{what}: field {name!r}")


def check_names(columns: Mapping[str, Any], names: Sequence[str], what: str) -> None:
    """StageNotApplicable unless these are the fields, in any order."""
    if set(columns) != set(names):
        raise StageNotApplicable(
            f"{what} returned rows with the fields {list(columns)}, expected {list(names)} in each"
        )


def check_numbers(values: NDArray[Any], what: str) -> None:
    """StageNotApplicable unless they are real numbers."""
    if values.size and values.dtype.kind not in "biuf":
        raise StageNotApplicable(f"{what} {values.dtype}, expected numbers")


def stored_type(dtype: np.dtype[Any], what: str) -> np.dtype[Any]:
    """The type in a file: uint8 for bool, float32 for float16, float64 for what is wider."""
    if dtype.kind not in "biuf":
        raise ArgumentError(f"{what} has the type {dtype}, expected real numbers")
    if dtype.kind == "f":
        return np.dtype(np.float64 if dtype.itemsize > 4 else np.float32)
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
