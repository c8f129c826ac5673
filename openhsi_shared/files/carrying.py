"""Groups and extra columns of a saved cube, carried over into a cube that is computed from it."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.columns import COLUMNS, FRAMES_USED, OTHER_VARIABLES, SATURATED, Column
from openhsi_shared.errors import OpenHSIError
from openhsi_shared.files.checksums import COLUMN_CHECKSUM
from openhsi_shared.files.packing import PACKING_ATTRIBUTES
from openhsi_shared.files.reading import OpenCube, open_cube
from openhsi_shared.groups import Group, Variable, check_groups
from openhsi_shared.loggers import safe_logger

__all__ = ["DETECTIONS", "HIDDEN_BY_DETECTIONS", "Carried", "carried_from", "carried_of"]

logger = safe_logger(__name__)

NOT_CARRIED = {"units", "long_name", COLUMN_CHECKSUM} | PACKING_ATTRIBUTES
"""Attributes of a column that it has anyway, or that are valid for the stored numbers only."""


DETECTIONS = "detections"
"""Name of the group, and of its dimension, with the rows of a job's table. Its `y` is the line of each row."""
HIDDEN_BY_DETECTIONS = frozenset(("x", "y", "wavelength"))
"""Dimensions of a cube that variables of this group may be named as."""


class Carried(NamedTuple):
    """What is carried over."""

    groups: dict[str, Group]
    columns: dict[str, NDArray[Any]]
    descriptions: tuple[Column, ...]
    """Of `columns`."""
    left_out: tuple[str, ...]
    """Names of groups and columns that are not carried over; the log contains the reason."""


def carried_from(
    path: Path, n_lines: int, line_shape: tuple[int, int], chosen: NDArray[np.intp] | None = None
) -> Carried:
    """Read what is carried over from the cube `path` into one of `n_lines` lines of `line_shape` (x, wavelength).

    `chosen`: the line of the source that each line has its values from; None: all, if there are as many. Left out:
    everything if the number of lines differs; a group that is damaged, or with variables along another axis that has
    another size in the new cube. Never raises for these, so that the lines are saved.
    """
    carried = Carried({}, {}, (), ())
    try:
        with open_cube(path) as cube:
            found = carried_of(cube, n_lines, line_shape, chosen)
        found.columns.pop(FRAMES_USED.name, None)  # lines that are read again have ids of lines, not of frames
        return found._replace(descriptions=tuple(one for one in found.descriptions if one.name in found.columns))
    except (OpenHSIError, OSError) as error:
        logger.warning("groups and extra columns of %s are left out: %s", path, error)
        return carried._replace(left_out=("all",))


def carried_of(cube: OpenCube, n_lines: int, line_shape: tuple[int, int], chosen: NDArray[np.intp] | None) -> Carried:
    """As `carried_from`, of an open cube. Raises FileError for a cube that cannot be read at all."""
    groups, columns, descriptions, left_out = dict[str, Group](), dict[str, NDArray[Any]](), list[Column](), list[str]()
    known = {*OTHER_VARIABLES, *(column.name for column in COLUMNS)}
    dimensions = {"x": line_shape[0], "y": n_lines, "wavelength": line_shape[1]}
    variables = [name for name in cube.contents.members("")[0] if name not in known]
    for name in [*variables, *cube.groups]:
        try:
            if chosen is None and len(cube.lines) != n_lines:
                raise OpenHSIError(f"it belongs to {len(cube.lines)} lines, but {n_lines} are saved")
            if name in cube.groups:
                group = cube.groups[name].read()
                if name == DETECTIONS:
                    _check_same_lines(len(cube.lines), chosen)
                    group = replace(group, hides=HIDDEN_BY_DETECTIONS)
                group = _of_lines(group, len(cube.lines), chosen)
                check_groups({name: group}, dimensions, (SATURATED.name,))
                groups[name] = group
            else:
                dims, values, labels = cube.contents.variable(name)
                if dims != ("y",):
                    raise OpenHSIError(f"its dimensions are {dims}, and only columns along y are carried over")
                unit, long_name = str(labels.get("units", "")), str(labels.get("long_name", name))
                if name == SATURATED.name and long_name != SATURATED.long_name:
                    raise OpenHSIError(f"it has the name of a variable of this library, but is {long_name!r}")
                numbers = cube.of_lines(values if cube.contents.packing(name) is None else cube.contents.numbers(name))
                more = {key: value for key, value in labels.items() if key not in NOT_CARRIED}
                descriptions.append(Column(name, numbers.dtype.str, unit, long_name, more))
                columns[name] = numbers if chosen is None else numbers[chosen]
        except (OpenHSIError, OSError) as error:
            logger.warning("%s of %s is left out: %s", name, cube.path, error)
            left_out.append(name)
    return Carried(groups, columns, tuple(descriptions), tuple(left_out))


def _check_same_lines(n_lines: int, chosen: NDArray[np.intp] | None) -> None:
    if chosen is not None and not np.array_equal(chosen, np.arange(n_lines)):
        raise OpenHSIError("its rows belong to lines by their numbers, which are others in the result")


def _of_lines(group: Group, n_lines: int, chosen: NDArray[np.intp] | None) -> Group:
    """The group with the values of the chosen lines, in variables along the `y` of the cube."""
    if chosen is None:
        return group
    variables = dict(group.variables)
    for name, (dims, data, attributes) in group.variables.items():
        if "y" in dims and data.shape[dims.index("y")] == n_lines:
            variables[name] = Variable(dims, data.take(chosen, axis=dims.index("y")), attributes)
    return replace(
        group, variables=variables, groups={name: _of_lines(one, n_lines, chosen) for name, one in group.groups.items()}
    )
