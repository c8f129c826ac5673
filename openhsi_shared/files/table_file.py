"""A file with what is known of the lines of a cube, and rows of a table, without the lines themselves.

Its variables along `y`, its groups and its attributes are those of a cube's file, with the same checksums.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import h5py

from openhsi_shared import dataset
from openhsi_shared.dataset import CONTENTS_CHECKSUMS, FORMAT, Cube
from openhsi_shared.durable import PartFile
from openhsi_shared.errors import FileError
from openhsi_shared.files.attributes import plain
from openhsi_shared.files.contents import Contents
from openhsi_shared.files.damage import broken_file
from openhsi_shared.files.memory_file import MemoryFile
from openhsi_shared.files.opening import open_hdf5
from openhsi_shared.files.pieces import write_extents
from openhsi_shared.files.variables import GroupWriter, put_attributes, put_checked
from openhsi_shared.files.versions import check_version
from openhsi_shared.groups import Group, Variable

__all__ = ["OpenTable", "is_table", "write_table", "write_variables"]


def write_table(part: PartFile, cube: Cube) -> None:
    """Write the metadata of a cube along `y`, its groups, and its attributes. SaveError."""
    variables = {name: one for name, one in dataset.coordinates(cube).items() if one.dims == ("y",)}
    attributes = {**dataset.global_attributes(cube), "durability": "fsync"}
    write_variables(part, {"y": cube.n_lines}, variables, attributes, cube.groups)


def write_variables(
    part: PartFile,
    dimensions: Mapping[str, int],
    variables: Mapping[str, Variable],
    attributes: Mapping[str, Any],
    groups: Mapping[str, Group] = MappingProxyType({}),
) -> None:
    """Write a complete file of variables along these dimensions, with checksums. SaveError."""
    memory = MemoryFile()
    with h5py.File(memory, "w", libver=("v108", "v108"), track_order=True) as file:
        root = GroupWriter(file)
        put_checked(file.id, attributes)
        root.add_dimensions(dimensions, variables)
        for name, variable in variables.items():
            if name not in dimensions:
                root.add_variable(name, variable)
        for name, group in groups.items():
            root.add_group(name, group)
        put_attributes(file.id, {CONTENTS_CHECKSUMS: json.dumps(root.contents), "complete": 1})
    write_extents(memory.extents(), memory.size, part)


class OpenTable:
    """An open file of `write_table`, or of `write_variables`: use it in a `with` block. FileError for any other."""

    contents: Contents

    def __init__(self, path: Path) -> None:
        self._file = open_hdf5(path)
        try:
            with broken_file(path):
                version = check_version(path, self._file.attrs)
                if not _is_of_table(self._file):
                    has = sorted(map(str, self._file))[:9]
                    raise FileError(f"{path} is no table of a job, and no reference: it contains {has}")
                self.contents = Contents(path, self._file, True, version, True)
        except BaseException:
            self._file.close()
            raise

    @property
    def attributes(self) -> dict[str, Any]:
        """Global attributes. ChecksumError if one is damaged."""
        return self.contents.root_attributes()

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def is_table(path: Path) -> bool:
    """Whether a file is a complete one of `write_table`. FileError if it cannot be opened."""
    with open_hdf5(path) as file, broken_file(path):
        return _is_of_table(file)


def _is_of_table(file: Any) -> bool:
    attributes = file.attrs
    is_ours = plain(attributes.get("format")) == FORMAT and CONTENTS_CHECKSUMS in attributes
    return is_ours and "datacube" not in file and "_NCProperties" not in attributes and "complete" in attributes
