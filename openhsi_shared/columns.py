"""What is stored for each line beside its pixels: name, type and unit of a column."""

from dataclasses import dataclass

__all__ = ["COLUMNS", "Column"]


@dataclass(frozen=True)
class Column:
    """A column of numbers, one for each line."""

    name: str
    dtype: str
    """A numpy type string, such as "int64"."""
    unit: str
    """As CF writes it; "1" where there is none."""
    long_name: str


COLUMNS = (
    Column("time_ns", "int64", "ns", "time of the line (UTC)"),
    Column("frame_id", "int64", "1", "the camera's count of frames"),
    Column("camera_time_ns", "int64", "ns", "the camera's own clock"),
    Column("temperature", "float32", "degC", "camera temperature"),
)
"""Those of every camera: UTC in ns, the unwrapped frame id, the camera's own clock (-1 = unknown), degrees Celsius."""
