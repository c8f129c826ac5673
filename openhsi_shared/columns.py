"""Columns: values that are stored for each line beside its pixels, with name, type and unit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from openhsi_shared.errors import ArgumentError
from openhsi_shared.groups import check_attributes, check_name, numbers

__all__ = ["COLUMNS", "FRAMES_USED", "OTHER_VARIABLES", "SATURATED", "Column", "Saturation"]

OTHER_VARIABLES = ("datacube", "x", "y", "wavelength", "time", "line_crc32")
"""Variables of every file besides columns; a column cannot have one of these names."""
FLAGS = {"flag_values", "flag_masks"}
"""Attributes of the type of the variable."""


@dataclass(frozen=True)
class Column:
    """A column of numbers, one for each line. ArgumentError for what a file cannot store."""

    name: str
    dtype: str
    """A numpy type string, such as "int64"."""
    unit: str
    """In CF notation; "1" if there is none, "" if it is unknown."""
    long_name: str
    attributes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Further attributes of the variable, such as `standard_name`, or CF's `flag_values`."""

    def __post_init__(self) -> None:
        check_name("column", self.name)
        if self.name in OTHER_VARIABLES:
            raise ArgumentError(f"column {self.name!r} has the name of another variable of the file: choose another")
        try:
            dtype = np.dtype(self.dtype)
        except TypeError as error:
            raise ArgumentError(f"column {self.name!r} has an invalid numpy type: {error}") from error
        numbers(f"column {self.name!r}", np.zeros(0, dtype))
        check_attributes(f"column {self.name!r}", self.attributes)

    @property
    def labels(self) -> dict[str, Any]:
        """All attributes of its variable; flags in the type of the column, as CF requires."""
        typed = {name: np.asarray(self.attributes[name], self.dtype) for name in FLAGS & self.attributes.keys()}
        unit = {"units": self.unit} if self.unit else {}
        return {"long_name": self.long_name, **unit, **self.attributes, **typed}


COLUMNS = (
    Column("time_ns", "int64", "ns", "time of the line (UTC)"),
    Column("frame_id", "int64", "1", "the camera's count of frames"),
    Column("camera_time_ns", "int64", "ns", "the camera's own clock"),
    Column("temperature", "float32", "degC", "camera temperature"),
)
"""Columns of every camera: UTC in ns, unwrapped frame id, camera clock (-1 = unknown), degrees Celsius."""

FRAMES_USED = Column(
    "frames_used",
    "uint64",
    "1",
    "frames whose mean the line is, a bit for each",
    {"comment": "the lowest bit that is set is frame_id, and a bit k places above it frame_id + k"},
)
"""A further column of cameras that average frames. Bit k is the frame whose id is k modulo `average`."""

SATURATED = Column(
    "saturated",
    "float32",
    "1",
    "share of saturated pixels",
    {"comment": "of the pixels inside row_slice that are at full_scale or above, 0 to 1"},
)
"""Column that the writer makes, of lines that hold counts of the camera."""


class Saturation(NamedTuple):
    """Which pixels of a line are counted for `SATURATED`, and from which number on they are saturated."""

    full_scale: int
    first_row: int
    end_row: int
    """Excluded."""
