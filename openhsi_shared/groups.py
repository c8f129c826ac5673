"""netCDF-4 groups of variables beside a cube, validated when they are created."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.errors import ArgumentError

__all__ = [
    "RESERVED_ATTRIBUTES",
    "Group",
    "Variable",
    "check_attributes",
    "check_groups",
    "check_name",
    "check_not_reserved",
    "numbers",
]

_NO_SURROGATE = r"(?![\ud800-\udfff])"
"""Before a set of characters; as a part of the set it takes each process 5 ms to compile."""
NAME = re.compile(rf"{_NO_SURROGATE}[^\x00-/:-@\[-`{{-\x7f](?:{_NO_SURROGATE}[^\x00-\x1f\x7f/])*(?<! )")
MAX_NAME_BYTES = 200
NUMBER_TYPES = {"i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"}
"""Numeric types of netCDF-4."""
TEXT_LENGTH = re.compile(r"string\d+")
"""Names of the dimensions along which the bytes of texts are stored."""
RESERVED_ATTRIBUTES = frozenset({"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS"})
"""Attributes that HDF5 and netCDF reserve, like every name that begins with an underscore."""
FILL_VALUE = "_FillValue"
CHECKSUM_ATTRIBUTES = frozenset({"values_crc32", "attributes_crc32", "contents_crc32"})


class Variable(NamedTuple):
    """A small array of the file, with the names of its dimensions and its attributes."""

    dims: tuple[str, ...]
    data: NDArray[Any]
    attributes: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Group:
    """Variables, attributes and further groups that are stored together. ArgumentError for what netCDF cannot store.

    A dimension that the root (`x`, `y`, `wavelength`) or an enclosing group has is inherited, and sizes must be equal;
    any other dimension belongs to the group. Data are numbers of a type that netCDF has, or texts without null
    characters, along dimensions of another name. Variables have at least one dimension: a single value is an attribute.
    """

    variables: Mapping[str, Variable] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, "Group"] = field(default_factory=dict)
    hides: frozenset[str] = frozenset()
    """Names of outer dimensions that variables along other ones may have. xarray's DataTree shows the coordinate of the
    outer dimension in their place (`to_dataset(inherit=False)` does not)."""

    def __post_init__(self) -> None:
        variables = {name: _checked(name, variable) for name, variable in self.variables.items()}
        object.__setattr__(self, "variables", variables)
        check_attributes("a group", self.attributes)
        check_groups({"group": self}, {}, ())

    def walk(self, path: str = "") -> Iterator[tuple[str, "Group"]]:
        """Yield this group and all groups in it, each with its path."""
        yield path, self
        for name, group in self.groups.items():
            yield from group.walk(f"{path}/{name}")


def check_name(what: str, name: Any) -> None:
    """ArgumentError for a name that netCDF cannot store (variable, dimension, group or attribute)."""
    is_name = isinstance(name, str) and NAME.fullmatch(name) and len(name.encode()) <= MAX_NAME_BYTES
    if not is_name or not unicodedata.is_normalized("NFC", name):
        raise ArgumentError(
            f"{what} {name!r:.80} is not a name for netCDF: expected a text that begins with a letter or digit, "
            f"without / and control characters, without a space at its end, in Unicode form NFC, "
            f"up to {MAX_NAME_BYTES} bytes"
        )


def check_not_reserved(what: str, name: str) -> None:
    """ArgumentError for a name that variables and dimensions cannot have."""
    if TEXT_LENGTH.fullmatch(name):
        raise ArgumentError(f"{what} is reserved for the length of texts: choose another name")


def numbers(what: str, data: ArrayLike) -> NDArray[Any]:
    """Return an array of numbers. ArgumentError for a type that netCDF does not have."""
    array = np.asarray(data)
    if array.dtype.newbyteorder("<").str[1:] not in NUMBER_TYPES:
        raise ArgumentError(
            f"{what} is of {array.dtype}, expected numbers of a type that netCDF has: {', '.join(sorted(NUMBER_TYPES))}"
        )
    return array


def check_groups(groups: Mapping[str, Group], dimensions: Mapping[str, int], taken: tuple[str, ...]) -> None:
    """ArgumentError if groups do not fit where they are to be stored.

    `dimensions`: names and sizes that they inherit; `taken`: other names in their parent.
    """
    for name, group in groups.items():
        check_name("group", name)
        if not isinstance(group, Group):
            raise ArgumentError(f"group {name!r} is {group!r:.60}, expected a Group")
        if name in taken or name in dimensions or TEXT_LENGTH.fullmatch(name):
            raise ArgumentError(f"group {name!r} has the name of a variable or dimension beside it: choose another one")
        own = _own_dimensions(name, group, dimensions)
        check_groups(group.groups, {**dimensions, **own}, tuple(group.variables))


def _own_dimensions(where: str, group: Group, inherited: Mapping[str, int]) -> dict[str, int]:
    own: dict[str, int] = {}
    for name, variable in group.variables.items():
        if name in inherited and name not in group.hides:
            raise ArgumentError(
                f"variable {name!r} of group {where!r} has the name of a dimension outside of the group: choose "
                f"another name for the variable, and for its dimension if it is one of its own"
            )
        for dim, size in zip(variable.dims, variable.data.shape, strict=True):
            expected = inherited.get(dim, own.setdefault(dim, size))
            if size != expected:
                raise ArgumentError(
                    f"variable {name!r} of group {where!r} has {size} values along {dim!r}, which has {expected}: "
                    f"choose another name for the dimension if it is not the same one"
                )
    own = {dim: size for dim, size in own.items() if dim not in inherited}
    for name in own.keys() & group.variables.keys():
        if group.variables[name].dims != (name,):
            raise ArgumentError(
                f"variable {name!r} of group {where!r} has the name of a dimension, but the axes "
                f"{group.variables[name].dims}, expected {(name,)}"
            )
    return own


def _checked(name: str, variable: Variable) -> Variable:
    """The validated variable, its data as an array."""
    check_name("variable", name)
    dims, given, attributes = variable
    data = _texts(name, given) if _is_text(np.asarray(given)) else numbers(f"variable {name!r}", given)
    if not isinstance(dims, tuple) or data.ndim != len(dims) or data.ndim == 0 or len(set(dims)) != data.ndim:
        raise ArgumentError(
            f"variable {name!r} has {data.ndim} axes, but the dimensions {dims!r}: expected a different name for each, "
            f"and at least one; a single value can be an attribute"
        )
    if data.dtype.kind == "U" and name in dims:  # stored along a second axis, as netCDF's coordinates cannot be
        raise ArgumentError(f"variable {name!r} has texts along the dimension of its own name: choose another name")
    for dim in dims:
        check_name(f"dimension of variable {name!r},", dim)
    for reserved in (name, *dims):
        check_not_reserved(f"{reserved!r} of variable {name!r}", reserved)
    kept = dict(attributes)
    if FILL_VALUE in kept:
        kept[FILL_VALUE] = _fill_value(name, data, kept[FILL_VALUE])
    check_attributes(f"variable {name!r}", kept.keys() - {FILL_VALUE})
    return Variable(dims, data, kept)


def _fill_value(name: str, data: NDArray[Any], value: Any) -> NDArray[Any]:
    """Convert to the type of the data, as netCDF requires."""
    given = np.asarray(value)
    if data.dtype.kind != "U" and given.size == 1 and given.dtype.kind in "iuf":
        with np.errstate(invalid="ignore", over="ignore"):
            found: NDArray[Any] = given.reshape(1).astype(data.dtype)
        if data.dtype.kind == "f" or np.array_equal(found, given.reshape(1)):
            return found
    raise ArgumentError(f"{FILL_VALUE} of variable {name!r} is {value!r:.60}, expected a number of {data.dtype}")


def _is_text(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "UT" or (array.dtype.kind == "O" and all(isinstance(one, str) for one in array.flat))


def _texts(name: str, given: ArrayLike) -> NDArray[np.str_]:
    texts = np.asarray(given)
    for text in texts.flat:
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise ArgumentError(
                f"variable {name!r} has the text {text!r:.80}, expected Unicode characters without null"
            )
    return texts.astype(np.str_)


def check_attributes(what: str, attributes: Iterable[str]) -> None:
    """ArgumentError for names that attributes cannot have."""
    for name in attributes:
        check_name(f"attribute of {what},", name)
        if name in RESERVED_ATTRIBUTES or name in CHECKSUM_ATTRIBUTES:
            raise ArgumentError(f"attribute {name!r} of {what} has a reserved name")
