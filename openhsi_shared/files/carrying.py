"""Groups and extra columns of a saved cube, carried over into a cube that is computed from it."""

from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from openhsi_shared.columns import COLUMNS, OTHER_VARIABLES, Column
from openhsi_shared.dataset import Group
from openhsi_shared.errors import OpenHSIError
from openhsi_shared.files.checksums import COLUMN_CHECKSUM
from openhsi_shared.files.packing import PACKING_ATTRIBUTES
from openhsi_shared.files.reading import OpenCube, open_cube
from openhsi_shared.groups import check_groups
from openhsi_shared.loggers import safe_logger

__all__ = ["Carried", "carried_from"]

logger = safe_logger(__name__)

NOT_CARRIED = {"units", "long_name", COLUMN_CHECKSUM} | PACKING_ATTRIBUTES
"""Attributes of a column that it has anyway, or that are valid for the stored numbers only."""


class Carried(NamedTuple):
    """What is carried over."""

    groups: dict[str, Group]
    columns: dict[str, NDArray[Any]]
    descriptions: tuple[Column, ...]
    """Of `columns`."""
    left_out: tuple[str, ...]
    """Names of groups and columns that are not carried over; the log contains the reason."""


def carried_from(path: Path, n_lines: int, line_shape: tuple[int, int]) -> Carried:
    """Read what is carried over from the cube `path` into one of `n_lines` lines of `line_shape` (x, wavelength).

    Left out: everything if the number of lines differs; a group that is damaged, or with variables along an axis that
    has another size in the new cube. Never raises for these, so that the lines are saved.
    """
    carried = Carried({}, {}, (), ())
    try:
        with open_cube(path) as cube:
            return _from(cube, n_lines, line_shape)
    except (OpenHSIError, OSError) as error:
        logger.warning("groups and extra columns of %s are left out: %s", path, error)
        return carried._replace(left_out=("all",))


def _from(cube: OpenCube, n_lines: int, line_shape: tuple[int, int]) -> Carried:
    groups, columns, descriptions, left_out = dict[str, Group](), dict[str, NDArray[Any]](), list[Column](), list[str]()
    known = {*OTHER_VARIABLES, *(column.name for column in COLUMNS)}
    dimensions = {"x": line_shape[0], "y": n_lines, "wavelength": line_shape[1]}
    variables = [name for name in cube.contents.members("")[0] if name not in known]
    for name in [*variables, *cube.groups]:
        try:
            if len(cube.lines) != n_lines:
                raise OpenHSIError(f"it belongs to {len(cube.lines)} lines, but {n_lines} are saved")
            if name in cube.groups:
                group = cube.groups[name].read()
                check_groups({name: group}, dimensions, ())
                groups[name] = group
            else:
                dims, values, labels = cube.contents.variable(name)
                if dims != ("y",):
                    raise OpenHSIError(f"its dimensions are {dims}, and only columns along y are carried over")
                unit, long_name = str(labels.get("units", "")), str(labels.get("long_name", name))
                numbers = cube.of_lines(values if cube.contents.packing(name) is None else cube.contents.numbers(name))
                more = {key: value for key, value in labels.items() if key not in NOT_CARRIED}
                descriptions.append(Column(name, numbers.dtype.str, unit, long_name, more))
                columns[name] = numbers
        except (OpenHSIError, OSError) as error:
            logger.warning("%s of %s is left out: %s", name, cube.path, error)
            left_out.append(name)
    return Carried(groups, columns, tuple(descriptions), tuple(left_out))
