"""What the cubes of a flight have in common, for its dataset."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.dataset import Variable
from openhsi_shared.files.packing import PACKING_ATTRIBUTES
from openhsi_shared.files.reading import OpenCube

__all__ = ["common_of"]


def common_of(flight: Iterable[OpenCube]) -> tuple[dict[str, Variable], dict[str, Any]]:
    """Variables that all cubes have: along `y` one after the other, else those of the first one; equal attributes."""
    columns: dict[str, list[NDArray[Any]]] = {}
    variables: dict[str, Variable] = {}
    attributes: dict[str, Any] = {}
    for number, cube in enumerate(flight):
        names = [name for name in cube.contents.members("")[0] if name not in ("datacube", "line_crc32", "time", "y")]
        found = {name: cube.contents.variable(name) for name in names}
        found = {
            name: each._replace(dims=("y",), data=cube.of_lines(each.data)) if name in cube.axes_of_lines else each
            for name, each in found.items()
        }
        if number == 0:
            variables, attributes = found, dict(cube.attributes)
        variables = {name: each for name, each in variables.items() if name in found and _are_alike(found[name], each)}
        attributes = {name: each for name, each in attributes.items() if _is_equal(each, cube.attributes.get(name))}
        for name, each in found.items():
            columns.setdefault(name, []).append(each.data)
    for name, each in variables.items():
        if each.dims == ("y",):
            variables[name] = each._replace(data=np.concatenate(columns[name]))
    return variables, attributes


def _are_alike(first: Variable, second: Variable) -> bool:
    names = ("units", "calendar", *PACKING_ATTRIBUTES)
    return first.dims == second.dims and all(
        _is_equal(first.attributes.get(name), second.attributes.get(name)) for name in names
    )


def _is_equal(first: Any, second: Any) -> bool:
    return bool(np.array_equal(np.asarray(first), np.asarray(second)))
