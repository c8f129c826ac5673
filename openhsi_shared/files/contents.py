"""What a file contains besides the lines, by path: read and compared with its checksums.

Paths are those of HDF5 without the first slash: "time", "gps/lat"; "" is the root. What another program added has no
checksums and is read unchecked.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from openhsi_shared.dataset import ATTRIBUTE_CHECKSUMS, CONTENTS_CHECKSUMS
from openhsi_shared.errors import ArgumentError, ChecksumError, FileError
from openhsi_shared.files.attributes import StoredAttributes, attributes_of, is_in_heap, plain, typed_attribute
from openhsi_shared.files.axes import axes_of, is_dimension_only, n_dangling_references
from openhsi_shared.files.checksums import COLUMN_CHECKSUM, attribute_crc32, object_crc32
from openhsi_shared.files.columns import read_column
from openhsi_shared.files.damage import broken_file, damaged
from openhsi_shared.files.objects import Objects
from openhsi_shared.files.packing import PACKING_ATTRIBUTES, Packing, packing_of
from openhsi_shared.groups import Variable

__all__ = ["Contents", "checksums_of", "display_name"]

ENCODINGS = {"utf-8", "ascii", "us-ascii", "latin-1", "iso-8859-1"}


class Contents:
    """Variables, attributes and groups of an open file."""

    def __init__(self, path: Path, file: Any, is_ours: bool, version: int, check: bool) -> None:
        """`is_ours`: it has checksums; `version`: of the format; `check`: also verify those of attributes."""
        self.path, self.is_ours = path, is_ours
        self._file, self._version, self._check = file, version, check
        self._objects = Objects(path, file)
        self._good: set[str] = set()
        """Objects whose attributes were compared with their checksums."""

    @property
    def file(self) -> Any:
        """The open file. ArgumentError if it was closed."""
        self._require_open()
        return self._file

    @property
    def objects(self) -> Objects:
        """The groups and datasets of the file. ArgumentError if it was closed."""
        self._require_open()
        return self._objects

    def _require_open(self) -> None:
        if not self._file:
            raise ArgumentError(f"{self.path} is closed: open it again with open_cube")

    # ---- listing ----

    @cached_property
    def written(self) -> Mapping[str, int] | None:
        """Variables and groups ("gps/") that were written, with their checksums. None for a file without that list.

        ChecksumError if the list is damaged.
        """
        if not self.is_ours or (self._version < 2 and CONTENTS_CHECKSUMS not in self.objects.attributes("")):
            return None
        with damaged(self.path, "the list of its contents"):
            listed = json.loads(plain(self.objects.attributes("")[CONTENTS_CHECKSUMS]))
            return {str(path): int(checksum) for path, checksum in listed.items()}

    def is_written(self, path: str) -> bool:
        """Whether this library wrote the variable, and not another program that added it."""
        if self.written is not None:
            return path in self.written
        if not self.is_ours or "/" in path:
            return False
        if path == "line_crc32" or path not in self.objects:
            return True
        info = [self.file.id.links.get_info(name.encode("utf-8")) for name in (path, "line_crc32")]
        return not all(link.corder_valid for link in info) or info[0].corder < info[1].corder  # which is written last

    def is_written_group(self, path: str) -> bool:
        """Whether this library wrote the group."""
        return self.written is not None and f"{path}/" in self.written

    def has(self, path: str) -> bool:
        """Whether such a variable or group exists, or existed when the file was written."""
        with damaged(self.path, display_name(path)):
            return path in self.objects or path in (self.written or ())

    def is_dimension_only(self, path: str) -> bool:
        """Whether netCDF has no variable of that name, only a dimension: its values mean nothing."""
        with damaged(self.path, display_name(path)):
            return path in self.objects and self._is_dimension_only(path, self._dataset(path))

    def _is_dimension_only(self, path: str, dataset: Any) -> bool:
        return is_dimension_only(dataset, self.objects.attributes(path))

    def members(self, group: str) -> tuple[list[str], list[str]]:
        """Names of the variables, and of the groups, in a group: those that exist, and those that were written."""
        prefix = f"{group}/" if group else ""
        variables, groups = dict[str, None](), dict[str, None]()
        for path in self.written or ():
            name = path.removeprefix(prefix)
            if path.startswith(prefix) and name and "/" not in name.removesuffix("/"):
                (groups if name.endswith("/") else variables)[name.removesuffix("/")] = None
        with damaged(self.path, display_name(group, is_group=True)):
            parts = group.split("/") if group else []
            within = {self._group("/".join(parts[:depth])) for depth in range(len(parts) + 1)}
            self._group(group)
            for name, item in self.objects.members(group):
                if isinstance(item, h5py.Group):
                    if item not in within:  # a group that is linked into itself has no end
                        groups[name] = None
                elif self.written is None if item is None else not self._is_dimension_only(prefix + name, item):
                    variables[name] = None  # what cannot be opened may be a dimension, where all variables are listed
        return list(variables), list(groups)

    def _group(self, path: str) -> Any:
        item = self.objects[path]
        if not isinstance(item, h5py.Group):
            raise ValueError("it is no group")
        return item

    @cached_property
    def _at_root(self) -> dict[str, Any]:
        members = dict(self.objects.members(""))
        for name, item in members.items():
            if item is None and (name == "datacube" or self.is_written(name)):
                raise OSError(f"{name} cannot be opened")
        return {name: item for name, item in members.items() if isinstance(item, h5py.Dataset)}

    @cached_property
    def root_axes(self) -> dict[str, tuple[str, ...]]:
        """Names of the axes of the variables at the root."""
        return axes_of(self._at_root, self.objects.attributes)

    def n_dangling_references(self) -> int:
        """Number of references of root dimensions to variables that are missing or cannot be opened."""
        return n_dangling_references(self._at_root, self.objects.attributes)

    @cached_property
    def _axes(self) -> dict[str, tuple[str, ...]]:
        datasets = {path: item for path, item in self.objects.all.items() if isinstance(item, h5py.Dataset)}
        return axes_of(datasets, self.objects.attributes)

    @property
    def written_by(self) -> str:
        """The version attribute that netCDF's library writes (`_NCProperties`); "" if there is none."""
        return str(plain(self.objects.attributes("").get("_NCProperties", "")))

    # ---- reading ----

    def variable(self, path: str) -> Variable:
        """Read a variable. ChecksumError if it is damaged, or missing though it was written."""
        with damaged(self.path, display_name(path)):
            dataset = self._dataset(path)
            dims = self._dims(path, dataset)
            values = self._values(path, dataset, dims)
            attributes = self._attributes(path, display_name(path))
            if values.dtype == "S1" and str(attributes.get("_Encoding", "")).lower() in ENCODINGS and values.ndim:
                texts = np.ascontiguousarray(values).view(f"S{values.shape[-1]}")[..., 0]
                values, dims = np.char.decode(texts, attributes.pop("_Encoding")), dims[:-1]
            return Variable(dims, values, attributes)

    def values(self, path: str) -> NDArray[Any]:
        """Read only its values, in their stored form."""
        with damaged(self.path, display_name(path)):
            dataset = self._dataset(path)
            return self._values(path, dataset, self._dims(path, dataset))

    def packing(self, path: str) -> Packing | None:
        """How the numbers of a variable are packed or masked; None if they are stored as they are."""
        with damaged(self.path, display_name(path)):
            dataset, stored = self._dataset(path), self.objects.attributes(path)
            found = {str(name): typed_attribute(stored, str(name)) for name in PACKING_ATTRIBUTES.intersection(stored)}
            return packing_of(f"{display_name(path)} of {self.path}", found, dataset.dtype)

    def numbers(self, path: str) -> NDArray[Any]:
        """Read the values of a variable, decoded: NaN where a number is missing. FileError if they are no numbers."""
        values, packing = self.values(path), self.packing(path)
        if values.dtype.kind not in "iuf":
            raise FileError(f"{display_name(path)} of {self.path} is {values.dtype}, expected numbers")
        return values if packing is None else packing.decode(values)

    def dims(self, path: str) -> tuple[str, ...]:
        """Names of the axes of a variable."""
        with damaged(self.path, display_name(path)):
            return self._dims(path, self._dataset(path))

    def shape(self, path: str) -> tuple[int, ...]:
        """Number of values along each axis of a variable."""
        with damaged(self.path, display_name(path)):
            return tuple(self._dataset(path).shape)

    def has_checksum(self, path: str) -> bool:
        """Whether the variable has a checksum of its values."""
        with damaged(self.path, display_name(path)):
            self._dataset(path)
            return COLUMN_CHECKSUM in self.objects.attributes(path)

    def checksum(self, path: str) -> int | None:
        """The checksum of its values that is stored with a variable; None if there is none."""
        with damaged(self.path, display_name(path)):
            self._dataset(path)
            checksum = plain(self.objects.attributes(path).get(COLUMN_CHECKSUM))
            return checksum if isinstance(checksum, int) else None

    def attributes(self, path: str, is_group: bool = False) -> dict[str, Any]:
        """Attributes of a variable or a group: texts, numbers, rows of numbers. ChecksumError if one is damaged."""
        what = display_name(path, is_group)
        with damaged(self.path, what):
            _ = self._group(path) if is_group else self._dataset(path)
            if is_group and self.is_written_group(path):
                self._compare(f"{path}/", object_crc32(checksums_of(self.objects.attributes(path))))
            return self._attributes(path, what)

    def root_attributes(self) -> dict[str, Any]:
        """Attributes of the whole file. ChecksumError if one is damaged."""
        with broken_file(self.path):
            return self._attributes("", "")

    def _dataset(self, path: str) -> Any:
        if path not in self.objects:
            if self.written is not None and path in self.written:
                raise ValueError("it was written, but is not in the file")
            raise FileError(f"{self.path} has no variable {path!r}; it has {sorted(map(str, self.file))}")
        dataset = self.objects[path]
        if not isinstance(dataset, h5py.Dataset):
            raise ValueError("it is no variable")
        return dataset

    def _dims(self, path: str, dataset: Any) -> tuple[str, ...]:
        dims = (self._axes if "/" in path else self.root_axes).get(path, ("",) * dataset.ndim)
        return tuple(dim or f"{path.rpartition('/')[2]}_{axis}" for axis, dim in enumerate(dims))

    def _values(self, path: str, dataset: Any, dims: tuple[str, ...]) -> NDArray[Any]:
        if self.is_written(path):
            stored = self.objects.attributes(path)
            values, checksum = read_column(self.path, dataset, stored), plain(stored[COLUMN_CHECKSUM])
            if self.written is not None:
                kind = dataset.dtype.newbyteorder("<").str
                self._compare(path, object_crc32(checksums_of(stored), dims, dataset.shape, kind, checksum))
            return values
        if is_in_heap(dataset.id.get_type()):
            self.objects.check_heap()
        text = h5py.check_string_dtype(dataset.dtype)
        return np.asarray(dataset.asstr()[()] if text is not None and text.length is None else dataset[()])

    def _compare(self, path: str, found: int) -> None:
        if self.written is not None and self.written[path] != found:
            raise ValueError("it is not what was written under this name")

    def _attributes(self, path: str, owner: str) -> dict[str, Any]:
        stored = self.objects.attributes(path)
        attributes = attributes_of(stored)
        if self.is_ours and self._check and path not in self._good:
            for name, checksum in json.loads(checksums_of(stored) or "{}").items():
                if name not in attributes or attribute_crc32(typed_attribute(stored, name)) != checksum:
                    raise ChecksumError(
                        f"{self.path}: the attribute {name}{f' of {owner}' if owner else ''} is damaged: its checksum "
                        f"is not the one that was written; open the file with check=False to read it unchecked"
                    )
            self._good.add(path)
        return attributes


def checksums_of(stored: StoredAttributes) -> str:
    """The checksums of attributes of a variable, group or file, as stored; "" if there are none."""
    return str(plain(stored.get(ATTRIBUTE_CHECKSUMS, "")))


def display_name(path: str, is_group: bool = False) -> str:
    """The name of a variable or a group in messages.

    >>> display_name("time"), display_name("gps/lat")
    ('the variable time', 'the variable lat of the group /gps')
    """
    if is_group:
        return f"the group /{path}"
    group, _, name = path.rpartition("/")
    return f"the variable {name}" + (f" of the group /{group}" if group else "")
