"""Groups of a cube as a NetCDF file of their own, beside a file of a format that has no groups."""

import h5py
import numpy as np

from openhsi_shared.durable import PartFile
from openhsi_shared.files.exporting.description import Description
from openhsi_shared.files.memory_file import MemoryFile
from openhsi_shared.files.variables import GroupWriter, put_attributes
from openhsi_shared.groups import Variable

__all__ = ["GROUPS", "write_groups"]

GROUPS = "_groups.nc4"
"""Ends its name. Not `.nc`: it is no cube."""


def write_groups(part: PartFile, description: Description) -> None:
    """Write the groups, with the dimensions of the cube that they use. SaveError."""
    memory = MemoryFile()
    with h5py.File(memory, "w", libver=("v108", "v108"), track_order=True) as file:
        root = GroupWriter(file)
        axes = {name: variable for name, variable in description.variables.items() if variable.dims == (name,)}
        n_lines, (x, bands) = description.n_lines, description.line_shape
        sizes = {"x": x, "y": n_lines, "wavelength": bands}
        root.add_dimensions(sizes, {name: axes.get(name, _counted(name, size)) for name, size in sizes.items()})
        for name, group in description.groups.items():
            root.add_group(name, group)
        put_attributes(file.id, {"Conventions": "CF-1.11", "complete": 1})
    part.resize(memory.size)
    for offset, data in memory.extents():
        part.write_at(offset, data)


def _counted(name: str, size: int) -> Variable:
    return Variable((name,), np.arange(size))
