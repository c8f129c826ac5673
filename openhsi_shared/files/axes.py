"""The names of the axes of a file's variables."""

from typing import Any

import h5py

__all__ = ["axes_of"]


def axes_of(file: Any) -> dict[str, tuple[str, ...]]:
    """Name the axes of each variable, in its order; "" for an axis that has no name.

    What a variable itself says of its axes lies in HDF5's global heap, which has no checksum: where that is damaged,
    HDF5 may search in it for ever. So each dimension is asked for its users, which is in a place that has one.
    """
    variables = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
    names = {variable: name for name, variable in variables.items()}
    axes = {name: [""] * variable.ndim for name, variable in variables.items()}
    for name, variable in variables.items():
        if variable.is_scale and variable.ndim == 1:
            axes[name] = [name]  # a dimension's own variable lies on itself
        for reference, axis in variable.attrs.get("REFERENCE_LIST", ()):
            user = names.get(file[reference])
            if user is not None:
                axes[user][axis] = name
    return {name: tuple(found) for name, found in axes.items()}
