"""The stage that cuts out cross-track pixels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.jobs.stages.pixels import check_slice, range_of
from openhsi_shared.jobs.stages.stage import LineFormat, Stage

__all__ = ["Crop"]


@dataclass
class Crop(Stage):
    """Cut out cross-track pixels; without `rows`, all stay.

    Digital numbers have no level any more: calibrations are for all rows of a sensor.
    """

    rows: slice | None = None  # type: ignore[assignment] # openhsi's word; the stage gives no rows of a table
    """Which ones, such as slice(5, 600), or slice(-100, None) for the last ones. All of them must exist."""

    code = "crop"
    takes_strided_out = True

    def __post_init__(self) -> None:
        check_slice(self.code, "rows", self.rows)

    def check(self, source: LineFormat) -> None:
        """StageNotApplicable if there are no such pixels."""
        self._kept(source)

    def out_format(self, source: LineFormat) -> LineFormat:
        """Fewer pixels."""
        n_rows, n_bands = source.line_shape
        n = len(self._kept(source))
        level = None if source.quantity in (None, "counts") and n < n_rows else source.level
        return source.replace(line_shape=(n, n_bands), level=level)

    def out_shape(self, source: LineFormat) -> tuple[int, int]:
        """(cross-track, wavelength)."""
        return self.out_format(source).line_shape

    def prepare(self, source: LineFormat) -> None:
        """Find the pixels."""
        kept = self._kept(source)
        self._rows = slice(kept.start, kept.stop)

    def apply(self, lines: NDArray[Any], out: NDArray[Any]) -> None:
        """Copy the pixels."""
        np.copyto(out, lines[:, self._rows])

    def _kept(self, source: LineFormat) -> range:
        return range_of(self.code, "rows", self.rows, source.line_shape[0], "cross-track pixels")
