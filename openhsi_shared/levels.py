"""Processing levels: what is done to a frame before it becomes a line.

| level | what                               | type             |
|-------|------------------------------------|------------------|
| -1    | nothing: the frame as it is        | as the camera's  |
| 0     | cropped to the rows of `row_slice` | as the camera's  |

Levels 1 to 8 (smile, binning, radiance, reflectance) are not built yet, and refused.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import FrameError, LevelError

__all__ = ["LEVELS", "LevelPlan"]

LEVELS = (-1, 0)


@dataclass(frozen=True, kw_only=True)
class LevelPlan:
    """How frames of one camera become lines of one level."""

    level: int
    frame_shape: tuple[int, int]
    """(rows, columns) of a frame = (cross-track, wavelength)."""
    frame_dtype: np.dtype[Any]
    rows: slice
    """Rows that see the slit."""

    def __post_init__(self) -> None:
        if self.level not in LEVELS or isinstance(self.level, bool):
            raise LevelError(
                f"processing_lvl must be one of {LEVELS} (raw, or cropped to row_slice), got {self.level!r}"
            )

    @property
    def is_identity(self) -> bool:
        """Whether a line is the frame itself: then the camera may fill it in place."""
        return self.line_shape == self.frame_shape

    @property
    def line_shape(self) -> tuple[int, int]:
        """(cross-track, wavelength) of a line."""
        if self.level == -1:
            return self.frame_shape
        return self.rows.stop - self.rows.start, self.frame_shape[1]

    @property
    def line_dtype(self) -> np.dtype[Any]:
        """Type of the values of a line."""
        return self.frame_dtype

    def check(self, frame: NDArray[Any]) -> None:
        """Raise FrameError unless `frame` has the shape and fits the type that was announced, digit for digit."""
        if frame.shape != self.frame_shape:
            raise FrameError(
                f"a frame of shape {frame.shape} came, expected {self.frame_shape} (cross-track, wavelength)"
            )
        if frame.dtype == self.frame_dtype or np.can_cast(frame.dtype, self.frame_dtype, "safe"):
            return
        if frame.dtype.kind not in "iu" or self.frame_dtype.kind not in "iu":
            raise FrameError(
                f"a frame of {frame.dtype} came, expected {self.frame_dtype}: convert it, or set pixel_format"
            )
        limits = np.iinfo(self.frame_dtype)
        if frame.min() < limits.min or frame.max() > limits.max:
            values = f"{frame.dtype} with values from {frame.min()} to {frame.max()}"
            raise FrameError(f"a frame of {values} does not fit into {self.frame_dtype}")

    def apply(self, frame: NDArray[Any], line: NDArray[Any]) -> None:
        """Make `line` of a checked `frame`: one copy."""
        np.copyto(line, frame if self.is_identity else frame[self.rows], casting="unsafe")
