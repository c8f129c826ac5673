"""What the cubes of a flight have in common, for its dataset."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.files.packing import PACKING_ATTRIBUTES
from openhsi_shared.files.reading import OpenCube
from openhsi_shared.groups import Variable

__all__ = ["common_of"]


def common_of(flight: Iterable[OpenCube]) -> tuple[dict[str, Variable], dict[str, Any]]:
    """Variables that all cubes have: along `y` one after the other, others if they are equal; equal attributes."""
    columns: dict[str, list[NDArray[Any]]] = {}
    variables: dict[str, Variable] = {}
    attributes: dict[str, Any] = {}
    for number, cube in enumerate(flight):
        names = [name for name in cube.contents.members("")[0] if name not in ("datacube", "line_crc32", "time", "y")]
        found = {name: _of_lines(cube, name) for name in names}
        found = {
            name: each for name, each in found.items() if "y" not in each.dims or len(each.data) == len(cube.lines)
        }
        if number == 0:
            variables, attributes = found, dict(cube.attributes)
        variables = {name: each for name, each in variables.items() if name in found and _are_alike(found[name], each)}
        variables = {
            name: each
            for name, each in variables.items()
            if each.dims[:1] == ("y",) or name == "wavelength" or _is_equal(found[name].data, each.data)
        }
        attributes = {name: each for name, each in attributes.items() if _is_equal(each, cube.attributes.get(name))}
        for name, each in found.items():
            columns.setdefault(name, []).append(each.data)
    for name, each in variables.items():
        if each.dims[:1] == ("y",):
            variables[name] = each._replace(data=np.concatenate(columns[name]))
    return variables, attributes


def _of_lines(cube: OpenCube, name: str) -> Variable:
    """A variable, with the axis `y` and without lines that are left out, if it has a value for each line."""
    found = cube.contents.variable(name)
    if name in cube.axes_of_lines or (found.dims[:1] == ("y",) and len(found.data) == cube.n_stored):
        return found._replace(dims=("y", *found.dims[1:]), data=cube.of_lines(found.data))
    return found


def _are_alike(first: Variable, second: Variable) -> bool:
    names = ("units", "calendar", *PACKING_ATTRIBUTES)
    return (first.dims, first.data.shape[1:]) == (second.dims, second.data.shape[1:]) and all(
        _is_equal(first.attributes.get(name), second.attributes.get(name)) for name in names
    )


def _is_equal(first: Any, second: Any) -> bool:
    mine, others = np.asarray(first), np.asarray(second)
    has_nan = mine.dtype.kind == others.dtype.kind == "f"  # the _FillValue that xarray gives to floats
    return bool(np.array_equal(mine, others, equal_nan=has_nan))
