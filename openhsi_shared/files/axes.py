"""The names of the axes of variables, and how objects of a file are found."""

from collections.abc import Iterator, Mapping
from typing import Any

import h5py

__all__ = ["axes_of", "is_dimension_only", "members_of", "n_lost_users", "walk"]

NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"


def axes_of(variables: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Name the axes of each variable, in its order; "" for an axis that has no name.

    `variables`: path to HDF5 dataset, with those that are dimensions. What a variable itself says of its axes lies in
    HDF5's global heap, which has no checksum: where that is damaged, HDF5 may search in it for ever. So each dimension
    is asked for its users, which is in a place that has one.
    """
    paths = {variable: path for path, variable in variables.items()}
    axes = {path: [""] * variable.ndim for path, variable in variables.items()}
    for path, variable in variables.items():
        name = path.rpartition("/")[2]
        if variable.is_scale and variable.ndim == 1:
            axes[path] = [name]  # a dimension's own variable lies on itself
        for reference, axis in variable.attrs.get("REFERENCE_LIST", ()):
            user = paths.get(_target(variable, reference))
            if user is not None:
                axes[user][axis] = name
    return {path: tuple(found) for path, found in axes.items()}


def n_lost_users(variables: Mapping[str, Any]) -> int:
    """How many variables dimensions have that are not there any more, or cannot be opened."""
    references = [
        (variable, reference)
        for variable in variables.values()
        for reference, _ in variable.attrs.get("REFERENCE_LIST", ())
    ]
    return sum(_target(variable, reference) is None for variable, reference in references)


def _target(variable: Any, reference: Any) -> Any:
    """What a reference leads to; None if that cannot be opened: it is damaged, or was removed by another program."""
    try:
        return variable.file[reference]
    except (OSError, RuntimeError, KeyError, ValueError):
        return None


def is_dimension_only(variable: Any) -> bool:
    """Whether it is what netCDF calls a dimension without a variable."""
    name = variable.attrs.get("NAME", b"")
    return bool(variable.is_scale) and isinstance(name, bytes) and name.startswith(NO_VARIABLE)


def members_of(group: Any) -> Iterator[tuple[str, Any]]:
    """Datasets and groups that are stored in a group, by name; None for what cannot be opened.

    What is only linked to, and may lie in another file, is left out, as are types that have a name.
    """
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        try:
            item = group[name]
        except (OSError, RuntimeError, KeyError, ValueError):
            item = None
        if item is None or isinstance(item, h5py.Dataset | h5py.Group):
            yield name, item


def walk(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield all datasets and groups of a file by path, such as "time", "gps" and "gps/lat", each group before its own.

    What cannot be opened is left out.
    """
    waiting, seen = [("", file)], {file["/"]}
    while waiting:
        prefix, group = waiting.pop()
        for name, item in members_of(group):
            if item is None or item in seen:  # a group can be linked into itself
                continue
            yield prefix + name, item
            if isinstance(item, h5py.Group):
                seen.add(item)
                waiting.append((f"{prefix}{name}/", item))
