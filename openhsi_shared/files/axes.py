"""Axes of variables, found through their dimensions."""

from collections.abc import Iterator, Mapping
from typing import Any

import h5py

__all__ = [
    "NOT_A_COORDINATE",
    "axes_of",
    "is_dimension_only",
    "members_of",
    "n_dangling_references",
    "names_not_utf8",
    "walk",
]

DIMENSION_ID = "_Netcdf4Dimid"
"""Attribute of netCDF's dimensions."""
NOT_A_COORDINATE = "_nc4_non_coord_"
"""Before the stored name of a variable that has the name of a dimension, and is not its coordinate."""
DIMENSION_ONLY = b"This is a netCDF dimension but not a netCDF variable"


def axes_of(variables: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Name the axes of each variable, in its order; "" for an axis that has no name.

    `variables`: path to HDF5 dataset, including the dimensions. A variable's references to its dimensions are stored in
    HDF5's global heap, which has no checksum: if that is damaged, HDF5 may loop endlessly. So the references of each
    dimension to its variables are read, which are stored where there is a checksum.
    """
    paths = {variable: path for path, variable in variables.items()}
    axes = {path: [""] * variable.ndim for path, variable in variables.items()}
    for path, variable in sorted(variables.items(), key=lambda item: DIMENSION_ID in item[1].attrs):
        name = path.rpartition("/")[2]
        if variable.is_scale and variable.ndim == 1:
            axes[path] = [name]  # a coordinate variable has itself as its dimension
        for reference, axis in variable.attrs.get("REFERENCE_LIST", ()):
            target = paths.get(_target(variable, reference))
            if target is not None and _has_size_of(variable, variables[target].shape[axis]):
                axes[target][axis] = name  # last those of netCDF: h5py can attach more scales to an axis
    return {path: tuple(found) for path, found in axes.items()}


def _has_size_of(scale: Any, size: int) -> bool:
    """Whether a scale can be the dimension of an axis of this size. The length of an unlimited one may differ."""
    return scale.ndim != 1 or scale.maxshape[0] is None or scale.shape[0] == size


def n_dangling_references(variables: Mapping[str, Any]) -> int:
    """Number of references of dimensions to variables that are missing or cannot be opened."""
    references = [
        (variable, reference)
        for variable in variables.values()
        for reference, _ in variable.attrs.get("REFERENCE_LIST", ())
    ]
    return sum(_target(variable, reference) is None for variable, reference in references)


def _target(variable: Any, reference: Any) -> Any:
    """The object of a reference; None if it cannot be opened: damaged, or removed by another program."""
    try:
        return variable.file[reference]
    except (OSError, RuntimeError, KeyError, ValueError):
        return None


def is_dimension_only(variable: Any) -> bool:
    """Whether it is what netCDF calls a dimension without a variable."""
    name = variable.attrs.get("NAME", b"")
    return bool(variable.is_scale) and isinstance(name, bytes) and name.startswith(DIMENSION_ONLY)


def members_of(group: Any) -> Iterator[tuple[str, Any]]:
    """Datasets and groups that are stored in a group, by name; None for what cannot be opened.

    Soft and external links are left out, as are named types and names that are not UTF-8 (`names_not_utf8`).
    """
    for name in group:
        if isinstance(name, bytes) or not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        try:
            item = group[name]
        except (OSError, RuntimeError, KeyError, ValueError):
            item = None
        if item is None or isinstance(item, h5py.Dataset | h5py.Group):
            yield name, item


def names_not_utf8(target: Any) -> list[str]:
    """Names in a group, or of attributes, that h5py cannot decode and netCDF refuses, with their bytes escaped."""
    return [name.decode("utf-8", "backslashreplace") for name in target if isinstance(name, bytes)]


def walk(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield all datasets and groups of a file by path: "time", "gps", "gps/lat", ...; groups before their members.

    What cannot be opened is left out.
    """
    to_visit, seen = [("", file)], {file["/"]}
    while to_visit:
        prefix, group = to_visit.pop()
        for name, item in members_of(group):
            if item is None or item in seen:  # a group can be linked into itself
                continue
            yield prefix + name, item
            if isinstance(item, h5py.Group):
                seen.add(item)
                to_visit.append((f"{prefix}{name}/", item))
