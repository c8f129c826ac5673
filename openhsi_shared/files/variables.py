"""Writes variables, dimensions, attributes and groups into HDF5 in netCDF-4 layout."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import h5py
import numpy as np
from h5py import h5ds, h5s, h5t
from numpy.typing import NDArray

from openhsi_shared.attributes import attribute_value
from openhsi_shared.dataset import ATTRIBUTE_CHECKSUMS
from openhsi_shared.files.checksums import (
    COLUMN_CHECKSUM,
    LONG_ATTRIBUTE,
    attribute_crc32,
    attribute_length,
    crc32_of,
    object_crc32,
)
from openhsi_shared.groups import NUMBER_TYPES, Group, Variable

__all__ = ["GroupWriter", "put_attributes", "put_checked"]

LARGEST_COLUMN_CHUNK = 65536
CHUNK_BYTES = 1 << 20
"""Chunk size of a variable with several dimensions, but at least one row."""


class GroupWriter:
    """Writes a group of a file, or its root."""

    contents: dict[str, int]
    """The checksum of each variable and group written so far, in the whole file, by path."""
    ids: Iterator[int]
    """netCDF ids for further dimensions, in the whole file."""
    dimensions: dict[str, Any]
    """Dimensions that variables can use: of this group and of the enclosing groups."""

    def __init__(self, target: Any, outer: "GroupWriter | None" = None, path: str = "") -> None:
        """`target`: the empty group of h5py, with its creation order tracked; `outer`: the enclosing group."""
        self._target, self._path = target, path
        self.contents = {} if outer is None else outer.contents
        self.ids = iter(range(1 << 31)) if outer is None else outer.ids
        self.dimensions = {} if outer is None else dict(outer.dimensions)
        self._is_root = outer is None

    def add_dimensions(self, sizes: Mapping[str, int], variables: Mapping[str, Variable]) -> None:
        """Write dimensions of this group; a variable of the same name becomes the coordinate variable."""
        for name, size in sizes.items():
            if name in variables:
                scale = self._make_variable(name, variables[name])
                scale.make_scale(name)
            else:  # what netCDF calls a dimension without a variable
                scale = self._target.create_dataset(name, (size,), ">f4", track_order=True)
                scale.make_scale(f"This is a netCDF dimension but not a netCDF variable.{size:10d}")
            scale.attrs["_Netcdf4Dimid"] = np.int32(next(self.ids))
            self.dimensions[name] = scale

    def add_variable(self, name: str, variable: Variable) -> None:
        """Write a variable, along existing dimensions."""
        self.attach(self._make_variable(name, variable), variable.dims)

    def attach(self, dataset: Any, dims: tuple[str, ...]) -> None:
        """Attach the dimensions of a dataset."""
        for axis, dim in enumerate(dims):
            h5ds.attach_scale(dataset.id, self.dimensions[dim].id, axis)

    def add_group(self, name: str, group: Group) -> None:
        """Write a group with all its contents."""
        path = f"{self._path}{name}"
        target = self._target.create_group(name, track_order=True)
        self.contents[f"{path}/"] = object_crc32(put_checked(target.id, _storable(group.attributes), every=True))
        inner = GroupWriter(target, self, f"{path}/")
        variables = {key: _as_stored(variable) for key, variable in group.variables.items()}
        sizes: dict[str, int] = {}
        for variable in variables.values():
            sizes |= zip(variable.dims, variable.data.shape, strict=True)
        own = {dim: size for dim, size in sizes.items() if dim not in self.dimensions}
        inner.add_dimensions(own, variables)
        for key, variable in variables.items():
            if key not in own:
                inner.add_variable(key, variable)
        for key, nested in group.groups.items():
            inner.add_group(key, nested)

    def _make_variable(self, name: str, variable: Variable) -> Any:
        data = np.ascontiguousarray(variable.data, variable.data.dtype.newbyteorder("<"))
        options = {"chunks": _chunks(data), "fletcher32": True} if data.size else {}  # an empty dataset has no chunks
        dataset = self._target.create_dataset(name, data=data, track_order=True, **options)
        attributes = variable.attributes if self._is_root else _storable(variable.attributes)
        values_crc32 = crc32_of(data)
        text = put_checked(dataset.id, attributes, every=not self._is_root)
        put_attributes(dataset.id, {COLUMN_CHECKSUM: np.uint32(values_crc32)})
        checksum = object_crc32(text, variable.dims, data.shape, data.dtype.str, values_crc32)
        self.contents[f"{self._path}{name}"] = checksum
        return dataset


def _chunks(data: NDArray[Any]) -> tuple[int, ...]:
    """Chunks of equal size of whole rows, so that the last one is almost full."""
    if data.ndim == 1:
        return (min(len(data), LARGEST_COLUMN_CHUNK),)
    n_chunks = max(1, min(len(data), data.nbytes // CHUNK_BYTES))
    return (-(-len(data) // n_chunks), *data.shape[1:])


def _as_stored(variable: Variable) -> Variable:
    """Convert texts to netCDF's character arrays, which every reader supports: bytes along one more dimension."""
    if variable.data.dtype.kind != "U":
        return variable
    encoded = np.char.encode(variable.data, "utf-8")
    length = max(1, encoded.dtype.itemsize)
    letters = np.ascontiguousarray(encoded.astype(f"S{length}")).view("S1").reshape(*variable.data.shape, length)
    return Variable((*variable.dims, f"string{length}"), letters, {**variable.attributes, "_Encoding": "utf-8"})


def _storable(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: attribute_value(value) for name, value in attributes.items()}


def put_checked(target: Any, attributes: Mapping[str, Any], every: bool = False) -> str:
    """Write attributes, and checksums of `every` one or of long ones; return the checksums as stored."""
    attributes = {name: _plain(value) for name, value in attributes.items()}
    put_attributes(target, attributes)
    checked = {
        name: attribute_crc32(value)
        for name, value in attributes.items()
        if every or attribute_length(value) > LONG_ATTRIBUTE
    }
    if not checked:
        return ""
    text = json.dumps(checked)
    put_attributes(target, {ATTRIBUTE_CHECKSUMS: text})
    return text


def put_attributes(target: Any, attributes: Mapping[str, Any]) -> None:
    """Write attributes; texts with a fixed length, as netCDF does, because any reader supports that.

    What netCDF has no attribute for, such as a list of texts of another program, becomes a text (`attribute_value`).
    """
    for name, given in attributes.items():
        key, value = name.encode("utf-8"), _plain(given)
        if isinstance(value, str):
            data = value.encode("utf-8")
            kind, array = _text_type(len(data)), np.array(data, f"S{max(len(data), 1)}")
        else:
            array = np.asarray(value)
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
            kind = _number_type(array.dtype)
        h5py.h5a.create(target, key, kind, _space(array.shape)).write(array, mtype=kind)


def _plain(value: Any) -> Any:
    """An attribute that netCDF has: texts and numbers in their type as they are, all else by `attribute_value`."""
    if isinstance(value, str):
        return value if value.isascii() else attribute_value(value)
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        return attribute_value(value)
    if array.dtype.kind == "S" and array.ndim < 2:
        return value
    is_number = array.dtype.newbyteorder("<").str[1:] in NUMBER_TYPES
    return value if is_number and array.ndim < 2 else attribute_value(value)


# A file with channels has a thousand attributes: making types and spaces again for each takes half of their time.


@lru_cache(maxsize=256)
def _text_type(n_bytes: int) -> Any:
    kind = h5t.C_S1.copy()
    kind.set_size(max(n_bytes, 1))
    kind.set_cset(h5t.CSET_UTF8)
    kind.set_strpad(h5t.STR_NULLPAD if n_bytes else h5t.STR_NULLTERM)
    return kind


@lru_cache(maxsize=64)
def _number_type(dtype: np.dtype[Any]) -> Any:
    return h5t.py_create(dtype)


@lru_cache(maxsize=64)
def _space(shape: tuple[int, ...]) -> Any:
    return h5s.create_simple(shape) if shape else h5s.create(h5s.SCALAR)
