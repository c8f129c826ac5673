"""What is stored for each line beside its pixels: name, type and unit of a column."""

from dataclasses import dataclass

import numpy as np

from openhsi_shared.errors import ArgumentError
from openhsi_shared.groups import check_name, numbers

__all__ = ["COLUMNS", "OTHER_VARIABLES", "Column"]

OTHER_VARIABLES = ("datacube", "x", "y", "wavelength", "time", "line_crc32")
"""Variables that every file has besides columns: no names of columns."""


@dataclass(frozen=True)
class Column:
    """A column of numbers, one for each line. ArgumentError for what a file cannot hold."""

    name: str
    dtype: str
    """A numpy type string, such as "int64"."""
    unit: str
    """As CF writes it; "1" where there is none."""
    long_name: str

    def __post_init__(self) -> None:
        check_name("column", self.name)
        if self.name in OTHER_VARIABLES:
            raise ArgumentError(f"column {self.name!r} has the name of another variable of the file: choose another")
        try:
            dtype = np.dtype(self.dtype)
        except TypeError as error:
            raise ArgumentError(f"column {self.name!r} is of no type of numpy: {error}") from error
        numbers(f"column {self.name!r}", np.zeros(0, dtype))


COLUMNS = (
    Column("time_ns", "int64", "ns", "time of the line (UTC)"),
    Column("frame_id", "int64", "1", "the camera's count of frames"),
    Column("camera_time_ns", "int64", "ns", "the camera's own clock"),
    Column("temperature", "float32", "degC", "camera temperature"),
)
"""Those of every camera: UTC in ns, the unwrapped frame id, the camera's own clock (-1 = unknown), degrees Celsius."""
