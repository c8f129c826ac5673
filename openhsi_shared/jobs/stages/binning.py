"""The stages that bin bands, cross-track pixels or lines: their mean or sum."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, StageNotApplicable
from openhsi_shared.jobs.stages.pixels import (
    as_compiled,
    check_number,
    check_real,
    compiled_type,
    float_type,
    labels_of,
)
from openhsi_shared.jobs.stages.stage import LineFormat, Stage
from openhsi_shared.levels.compiled import compiled_loop

__all__ = ["BinBands", "BinLines", "BinPixels", "compiled_bin"]

How = Literal["mean", "sum"]


class _Bin(Stage):
    """What the three have in common.

    A mean is float32, or float64 of float64 and of integers from 32 bits on; it is computed in float64. A sum of
    integers is exact, in the smallest integer type that has room for any; a sum of floats is of the type of a mean.
    NaN stays NaN.
    """

    n: int
    how: How
    takes_strided_out = True
    _what: Literal["bands", "cross-track pixels", "lines"]

    def __post_init__(self) -> None:
        self.n = check_number(self.code, "n", self.n)
        if self.how not in ("mean", "sum"):
            raise ArgumentError(f"{self.code}: how must be 'mean' or 'sum', got {self.how!r}")

    def check(self, source: LineFormat) -> None:
        """StageNotApplicable for other types than real numbers, and if there are fewer than `n`."""
        check_real(self.code, source)
        out = self.out_format(source)
        if 0 in (out.n_lines, *out.line_shape):
            n_rows, n_bands = source.line_shape
            there = f"{source.n_lines} lines of {n_rows} cross-track pixels and {n_bands} bands"
            raise StageNotApplicable(f"{self.code}: there are no n={self.n} {self._what}: there are {there}")

    def out_dtype(self, source: LineFormat) -> np.dtype[Any]:
        """Of a mean, or of a sum that has room for any. StageNotApplicable if no integer type has."""
        if self.how == "mean" or source.dtype.kind == "f":
            return float_type(source.dtype)
        low, high = (int(end) * self.n for end in (np.iinfo(source.dtype).min, np.iinfo(source.dtype).max))
        for size in (2, 4, 8):
            found = np.dtype(f"{source.dtype.kind}{size}")
            if np.iinfo(found).min <= low and high <= np.iinfo(found).max:
                return found
        raise StageNotApplicable(
            f"{self.code}: a sum of {self.n} values of {source.dtype} may exceed any integer type: use how=mean"
        )

    def out_format(self, source: LineFormat) -> LineFormat:
        """Fewer lines, pixels or bands, of no level; a sum is a quantity of its own unless it is one of counts."""
        is_same = self.how == "mean" or source.quantity == "counts"
        return (
            super()
            .out_format(source)
            .replace(
                level=None,
                quantity=source.quantity if is_same else None,
                labels=labels_of(source, f"{self.how} of {self.n} {self._what}", is_same_quantity=is_same),
            )
        )

    def prepare(self, source: LineFormat) -> None:
        """Compile the loop: takes a second the first time."""
        n_bands = self.n if self._what == "bands" else 1
        self._loop = compiled_bin(source.dtype, self.out_dtype(source), n_bands, is_mean=self.how == "mean")
        self._n_pixels = np.array([self.n if self._what == "cross-track pixels" else 1])

    def apply(self, lines: NDArray[Any], out: NDArray[Any]) -> None:
        """Bin line by line."""
        lines = as_compiled(lines)
        for y, made in enumerate(out):
            self._loop(lines[y : y + 1], self._n_pixels, made)


@dataclass
class BinBands(_Bin):
    """Mean or sum of each `n` neighbouring bands; a rest at the end is dropped.

    A mean is float32, or float64 of float64 and of integers from 32 bits on. A sum of integers is exact. NaN stays NaN.
    """

    n: int = 2
    how: How = "mean"

    code = "bin_bands"
    _what = "bands"

    def out_shape(self, source: LineFormat) -> tuple[int, int]:
        """(cross-track, wavelength)."""
        return source.line_shape[0], source.line_shape[1] // self.n

    def out_format(self, source: LineFormat) -> LineFormat:
        """The centre of a band is the mean of the centres."""
        made = super().out_format(source)
        if source.wavelengths_nm is None:
            return made
        n = made.line_shape[1]
        return made.replace(wavelengths_nm=source.wavelengths_nm[: n * self.n].reshape(n, self.n).mean(axis=1))


@dataclass
class BinPixels(_Bin):
    """Mean or sum of each `n` neighbouring cross-track pixels; a rest at the end is dropped.

    A mean is float32, or float64 of float64 and of integers from 32 bits on. A sum of integers is exact. NaN stays NaN.
    """

    n: int = 2
    how: How = "mean"

    code = "bin_pixels"
    _what = "cross-track pixels"

    def out_shape(self, source: LineFormat) -> tuple[int, int]:
        """(cross-track, wavelength)."""
        return source.line_shape[0] // self.n, source.line_shape[1]


@dataclass
class BinLines(_Bin):
    """Mean or sum of each `n` lines in a row. If one of them is damaged or failed, so is the result.

    Of fewer lines at the end there is a mean, but no sum, which would be smaller than the others. A mean is float32,
    or float64 of float64 and of integers from 32 bits on. A sum of integers is exact. NaN stays NaN.
    """

    n: int = 2
    how: How = "mean"

    code = "bin_lines"
    _what = "lines"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.lines_per_result = self.n

    def out_format(self, source: LineFormat) -> LineFormat:
        """Fewer lines."""
        made = super().out_format(source)
        return made.replace(n_lines=source.n_lines // self.n) if self.how == "sum" else made

    def apply_within(self, lines: NDArray[Any], out: NDArray[Any], before: int, good: NDArray[np.bool_]) -> None:  # noqa: ARG002 - part of the protocol
        """Bin lines; `lines` has no halo."""
        lines = as_compiled(lines)
        for y, made in enumerate(out):
            self._loop(lines[y * self.n : (y + 1) * self.n], self._n_pixels, made)


def compiled_bin(
    dtype: np.dtype[Any], out_dtype: np.dtype[Any], n_bands: int = 1, *, is_mean: bool
) -> Callable[..., None]:
    """A loop (lines, [pixels], out): all lines, each so many pixels and `n_bands` bands become one. Blocks to compile.

    Sums of integers are of the type of `out`, others float64; the order of the additions is always the same.
    """
    is_exact = not is_mean and out_dtype.kind in "iu"
    number: Any = out_dtype.type if is_exact else np.float64
    return compiled_loop(_bin_of(n_bands, number, is_mean), f"{compiled_type(dtype)}:3", "int64:1", f"{out_dtype}:2")


@functools.cache
def _bin_of(n_bands: int, number: Any, is_mean: bool) -> Callable[..., None]:
    """The loop for `n_bands`, which is a constant: four times as fast for a few bands."""

    def bin_lines(lines: NDArray[Any], n_pixels: NDArray[Any], out: NDArray[Any]) -> None:
        n, n_out = n_pixels[0], out.shape[1]
        sums = np.zeros(n_out, number)
        for row in range(out.shape[0]):
            sums[:] = number(0)
            for line in range(lines.shape[0]):
                for pixel in range(row * n, (row + 1) * n):
                    bands = lines[line, pixel]
                    for band in range(n_out):
                        total = number(0)
                        for index in range(band * n_bands, (band + 1) * n_bands):
                            total += bands[index]
                        sums[band] += total
            for band in range(n_out):
                if is_mean:
                    out[row, band] = sums[band] / (lines.shape[0] * n * n_bands)
                else:
                    out[row, band] = sums[band]

    return bin_lines
