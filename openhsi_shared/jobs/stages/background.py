"""The stages that subtract a background: of the lines around each, or one for the whole cube."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, StageNotApplicable
from openhsi_shared.jobs.stages.sampling import evenly_spread
from openhsi_shared.jobs.stages.stage import LineFormat, Stage
from openhsi_shared.jobs.stages.windows import How, compile_windows, of_windows

__all__ = ["RunningBackground", "SparseBackground"]

MAX_N = 1001
"""Lines of a running background: so many lines must be in memory, beside each block, in each worker."""
TILE_BYTES = 1 << 20
"""Of a window of lines that is processed at once, in the caches."""


class _Background(Stage):
    """What both have in common: the background is subtracted, in float32, or float64 where it is needed."""

    takes_strided_out = True

    n: int
    how: How

    def __post_init__(self) -> None:
        if self.how not in ("median", "mean"):
            raise ArgumentError(f"{self.code}: how must be 'median' or 'mean', got {self.how!r}")
        if isinstance(self.n, bool) or not isinstance(self.n, int | np.integer) or not 2 <= self.n <= MAX_N:
            raise ArgumentError(f"{self.code}: n must be a number of lines from 2 to {MAX_N}, got {self.n!r}")
        self.n = int(self.n)

    def check(self, source: LineFormat) -> None:
        """Refuse complex numbers, and cubes of a single line, of which nothing would be left."""
        if np.dtype(source.dtype).kind not in "biuf":
            raise StageNotApplicable(f"{self.code}: the pixels are {source.dtype}, expected real numbers")
        if source.n_lines < 2:
            raise StageNotApplicable(
                f"{self.code}: the background of 1 line is the line itself: expected a cube of 2 lines or more; "
                "the stage dark subtracts lines of another file"
            )

    def out_dtype(self, source: LineFormat) -> np.dtype[Any]:
        """float32, or float64 for float64 and integers of more than 16 bits."""
        return np.result_type(source.dtype, np.float32)

    def out_format(self, source: LineFormat) -> LineFormat:
        """The same unit and wavelengths; no level any more, and a quantity that is a difference."""
        labels = {key: value for key, value in source.labels.items() if key != "standard_name"}
        name = f"{source.labels.get('long_name', 'values')}, {self.how} of {self.n} lines subtracted"
        labels |= {"long_name": name}
        return super().out_format(source).replace(level=None, quantity=None, labels=labels)


@dataclass
class RunningBackground(_Background):
    """Each line minus the median, or the mean, of the `n` lines around it, pixel by pixel and band by band.

    The window of a line are the (n - 1) / 2 lines before it, itself, and as many behind; with an even n, one more
    before than behind. At the ends of a cube it is cut off. NaN, infinity, and lines that are damaged, count for
    nothing in it; where a line itself is not finite, the result is NaN. Computed in float64. Of an even number of
    values the median is the mean of the two in the middle.
    """

    code = "running_background"

    n: int = 25
    how: How = "median"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.halo = (self.n // 2, (self.n - 1) // 2)

    def prepare(self, source: LineFormat) -> None:
        """Compile the loop, which takes a second for the first time."""
        compile_windows(self.how, _working_type(source.dtype))

    def apply_within(self, lines: NDArray[Any], out: NDArray[Any], before: int, good: NDArray[np.bool_]) -> None:
        """Subtract the background, in tiles of pixels that fit into the caches."""
        dtype = _working_type(lines.dtype)
        middles = np.arange(before, before + len(out))
        starts = np.maximum(middles - self.halo[0], 0)
        stops = np.minimum(middles + self.halo[1] + 1, len(lines))
        n_rows = max(1, TILE_BYTES // (lines[:, 0].size * dtype.itemsize))
        for first in range(0, lines.shape[1], n_rows):
            rows = slice(first, first + n_rows)
            tile = lines[:, rows].astype(dtype)
            tile[~good] = np.nan
            background = of_windows(self.how, tile.reshape(len(lines), -1), starts, stops)
            _subtract(tile[middles], background.reshape(len(out), *tile.shape[1:]), out[:, rows])


@dataclass
class SparseBackground(_Background):
    """Each line minus one background: the median, or the mean, of at most `n` lines, evenly spread over the cube.

    These are read in a survey before. NaN, infinity and lines that are damaged count for nothing in it; where all of
    them are so, and where a line itself is not finite, the result is NaN. Computed in float64.
    """

    code = "sparse_background"

    n: int = 51
    how: How = "median"

    def survey_lines(self, source: LineFormat) -> range:
        """At most `n` lines, evenly distributed."""
        return evenly_spread(source.n_lines, self.n)

    def survey(self, lines: NDArray[Any]) -> NDArray[Any]:
        """A copy of the lines."""
        return lines.copy()

    def combine(self, parts: Sequence[Any]) -> NDArray[np.float64]:
        """The background (x, wavelength). StageNotApplicable if none of the lines is good."""
        lines = [line for part in parts for line in part]
        if not lines:
            raise StageNotApplicable(f"{self.code}: none of the lines surveyed could be read: is the cube damaged?")
        background = np.empty(lines[0].shape)
        whole = np.array([0]), np.array([len(lines)])
        for row in range(lines[0].shape[0]):  # so that no second copy of all lines is made
            background[row] = of_windows(self.how, np.array([line[row] for line in lines], np.float64), *whole)[0]
        return background

    def apply(self, lines: NDArray[Any], out: NDArray[Any]) -> None:
        """Subtract the background."""
        for line, result in zip(lines, out, strict=True):
            _subtract(line, self.surveyed, result)


def _working_type(dtype: Any) -> np.dtype[Any]:
    """Floats that have all numbers of a type."""
    return np.result_type(dtype, np.float32)


def _subtract(lines: NDArray[Any], background: NDArray[np.float64], out: NDArray[Any]) -> None:
    with np.errstate(all="ignore"):  # what overflows is not finite, and becomes NaN
        np.subtract(lines, background, out=out, casting="same_kind", dtype=np.float64)
    if not np.isfinite(out).all():
        out[~np.isfinite(out)] = np.nan
