"""Axes of variables, found through their dimensions."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import h5py
from h5py import h5r

__all__ = [
    "NOT_A_COORDINATE",
    "axes_of",
    "is_dimension_only",
    "members_of",
    "n_dangling_references",
    "names_not_utf8",
]

DIMENSION_ID = "_Netcdf4Dimid"
"""Attribute of netCDF's dimensions."""
NOT_A_COORDINATE = "_nc4_non_coord_"
"""Before the stored name of a variable that has the name of a dimension, and is not its coordinate."""
DIMENSION_ONLY = b"This is a netCDF dimension but not a netCDF variable"


def axes_of(
    variables: Mapping[str, Any], attributes: Callable[[str], Mapping[str | bytes, Any]]
) -> dict[str, tuple[str, ...]]:
    """Name the axes of each variable, in its order; "" for an axis that has no name.

    `variables`: path to HDF5 dataset, including the dimensions; `attributes`: those of such a path. A variable's
    references to its dimensions are stored in HDF5's global heap, which has no checksum: if that is damaged, HDF5 may
    loop endlessly. So the references of each dimension to its variables are read, which are stored where there is a
    checksum.
    """
    paths = {variable.id: path for path, variable in variables.items()}
    axes = {path: [""] * variable.ndim for path, variable in variables.items()}
    for path, variable in sorted(variables.items(), key=lambda item: DIMENSION_ID in attributes(item[0])):
        name = path.rpartition("/")[2]
        if variable.ndim == 1 and variable.is_scale:
            axes[path] = [name]  # a coordinate variable has itself as its dimension
        for reference, axis in attributes(path).get("REFERENCE_LIST", ()):
            target = paths.get(_target(variable, reference))
            if target is not None and _has_size_of(variable, variables[target].shape[axis]):
                axes[target][axis] = name  # last those of netCDF: h5py can attach more scales to an axis
    return {path: tuple(found) for path, found in axes.items()}


def _has_size_of(scale: Any, size: int) -> bool:
    """Whether a scale can be the dimension of an axis of this size. The length of an unlimited one may differ."""
    return scale.ndim != 1 or scale.maxshape[0] is None or scale.shape[0] == size


def n_dangling_references(
    variables: Mapping[str, Any], attributes: Callable[[str], Mapping[str | bytes, Any]]
) -> int:  # fmt: skip
    """Number of references of dimensions to variables that are missing or cannot be opened."""
    references = [
        (variable, reference)
        for path, variable in variables.items()
        for reference, _ in attributes(path).get("REFERENCE_LIST", ())
    ]
    return sum(_target(variable, reference) is None for variable, reference in references)


def _target(variable: Any, reference: Any) -> Any:
    """The id of the object of a reference; None if it cannot be opened: damaged, or removed by another program."""
    try:
        return h5r.dereference(reference, variable.id)
    except (OSError, RuntimeError, KeyError, ValueError):
        return None


def is_dimension_only(variable: Any, attributes: Mapping[str | bytes, Any]) -> bool:
    """Whether it is what netCDF calls a dimension without a variable."""
    name = attributes.get("NAME", b"")
    return isinstance(name, bytes) and bool(variable.is_scale) and name.startswith(DIMENSION_ONLY)


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
