"""What is stored in an open cube besides its lines: settings of the recording, bands, further columns and groups."""

import json
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.columns import COLUMNS, OTHER_VARIABLES, SATURATED
from openhsi_shared.errors import FileError
from openhsi_shared.files.reading import OpenCube
from openhsi_shared.loggers import safe_logger

if TYPE_CHECKING:
    from openhsi_shared.settings import CameraSettings

__all__ = [
    "LINE_FLAG",
    "LINE_FLAG_MEANINGS",
    "bad_lines_of",
    "extra_columns",
    "groups_of",
    "line_flags_of",
    "numbers_of_bands",
    "recorded_settings",
]

logger = safe_logger(__name__)

LINE_FLAG = "line_flag"
"""Column of a result of a job: not 0 for a line that has no values, since it failed, was damaged, or is lost."""
LINE_FLAG_MEANINGS = "good failed damaged_in_the_source lost"
"""Its attribute `flag_meanings`, from 0 on: a column of that name with others is of another program."""


def recorded_settings(cube: OpenCube) -> "CameraSettings":
    """Settings of the recording that differ from the defaults; the defaults for a file of another program."""
    from openhsi_shared.settings import CameraSettings, make_settings, without_interchanged_place

    if not cube.is_ours:
        return CameraSettings()
    recorded = json.loads(cube.attributes.get("settings", "{}"))
    defaults = CameraSettings().model_dump(mode="json")
    differing = {
        name: value for name, value in recorded.items() if name in defaults and value not in (None, defaults[name])
    }
    origin = f"settings in {cube.path}"
    return make_settings(without_interchanged_place(differing, origin), origin)


def line_flags_of(cube: OpenCube) -> NDArray[np.uint8] | None:
    """`line_flag` of each line, by which an earlier job marked those without values; None if there are none.

    None of a column of that name that another program means something else by: its lines have values.
    """
    if LINE_FLAG not in extra_columns(cube):
        return None
    if cube.contents.attributes(LINE_FLAG).get("flag_meanings") != LINE_FLAG_MEANINGS:
        return None
    flags: NDArray[np.uint8] = cube.of_lines(cube.column(LINE_FLAG)).astype(np.uint8)
    return flags if flags.any() else None


def bad_lines_of(cube: OpenCube) -> NDArray[np.bool_] | None:
    """Which lines an earlier job marked as having no values; None if there are none."""
    flags = line_flags_of(cube)
    return None if flags is None else flags != 0


def numbers_of_bands(cube: OpenCube) -> NDArray[np.float64] | None:
    """Values of `wavelength`, whatever their unit is; None if there are none."""
    if not cube.contents.has("wavelength"):
        return None
    values = cube.column("wavelength")
    return values.astype(np.float64) if values.dtype.kind in "iuf" else None


def extra_columns(cube: OpenCube) -> tuple[str, ...]:
    """Names of variables along `y`, with a value for each line, besides those of every cube."""
    known = {*OTHER_VARIABLES, *(column.name for column in (*COLUMNS, SATURATED))}
    names = [name for name in cube.contents.members("")[0] if name not in known]
    return tuple(name for name in names if cube.is_column(name))


def groups_of(cube: OpenCube) -> tuple[str, ...]:
    """Names of its groups; none, with a warning, if they cannot be read."""
    try:
        return tuple(cube.groups)
    except FileError as error:
        logger.warning("groups of %s cannot be read: %s", cube.path, error)
        return ()
