"""The bands of red, green and blue, and their means.

Lines are processed in blocks of a few megabytes, so that a picture never needs a second copy of the cube.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.errors import ArgumentError

__all__ = [
    "PREVIEW_RANGES_NM",
    "SHOW_NM",
    "Band",
    "BandMeans",
    "Lines",
    "Range",
    "decimation",
    "mean_of_bands",
    "preview_bands",
    "thinned",
]

Band = slice | NDArray[np.intp]
"""The bands of one colour on the wavelength axis: a slice if they are adjacent, else their indices."""
Range = float | tuple[float, float]
"""Wavelengths of a colour in nm: first and last, or a single one."""

PREVIEW_RANGES_NM: tuple[Range, Range, Range] = ((640.0, 670.0), (530.0, 590.0), (450.0, 510.0))
"""Red, green and blue of a preview."""
SHOW_NM: tuple[Range, Range, Range] = (640.0, 550.0, 470.0)
"""Red, green and blue of `show`."""

HALF_WIDTH_NM = 15.0
"""A single wavelength selects the bands within this distance."""
MAX_PREVIEW_BANDS = 48
"""Maximum number of bands that a preview shows, of all colours together."""
MAX_SIDE = 4096
"""Maximum number of pixels of a side of a picture."""
HUGE = 1e24
"""Larger numbers are no light: infinity, fill values, a stuck band. They are ignored where a pixel has others."""
READ_BYTES = 64 << 20
"""Bytes per read of lines in a file."""
BLOCK_PIXELS = 1 << 19
"""Pixels averaged at once: 2 MB as float32 fit into the caches, with little interpreter overhead."""


class Lines(Protocol):
    """Source of pictures: an array (along-track, cross-track, wavelength), or an object that slices like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(along-track, cross-track, wavelength)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        ...

    def __getitem__(self, lines: Any, /) -> Any:
        """The lines of a slice along the first axis, as an array."""
        ...


def preview_bands(
    wavelengths_nm: ArrayLike | None, n_bands: int, ranges: Sequence[Range] = PREVIEW_RANGES_NM
) -> list[Band]:
    """Find the bands of red, green and blue; a single entry with all bands (grey) where they cannot be determined.

    Grey is returned without wavelengths, with indices in their place (0, 1, 2 ..., as openhsi writes without a
    calibration), and if a range contains no band. A single wavelength selects the bands within 15 nm, at least the
    nearest one, but none if it is more than 15 nm outside of the spectrum. Raises ArgumentError if there are not
    `n_bands` wavelengths, or some are NaN.

    >>> preview_bands([450, 500, 550, 600, 650], 5)
    [slice(4, 5, None), slice(2, 3, None), slice(0, 2, None)]
    >>> preview_bands(None, 5)
    [slice(0, 5, None)]
    """
    grey: list[Band] = [slice(0, n_bands)]
    if wavelengths_nm is None:
        return grey
    wavelengths = np.asarray(wavelengths_nm, dtype=np.float64)
    if wavelengths.shape != (n_bands,):
        raise ArgumentError(f"wavelengths have shape {wavelengths.shape}, expected ({n_bands},): one for each band")
    is_number = np.isfinite(wavelengths)
    if not is_number.any() or np.array_equal(wavelengths, np.arange(n_bands)):
        return grey
    if not is_number.all():
        bands = np.flatnonzero(~is_number).tolist()
        raise ArgumentError(f"wavelengths of the bands {bands} are NaN or infinity: give a number for each, or None")
    found = [_bands_of(wavelengths, wanted) for wanted in ranges]
    return [_as_slice(band) for band in found] if all(band.size for band in found) else grey


def _bands_of(wavelengths: NDArray[np.float64], wanted: Range) -> NDArray[np.intp]:
    if isinstance(wanted, int | float | np.number):
        low, high = float(wanted) - HALF_WIDTH_NM, float(wanted) + HALF_WIDTH_NM
    else:
        try:
            low, high = (float(end) for end in wanted)
        except (TypeError, ValueError):
            low, high = math.nan, math.nan
    if not low <= high:
        raise ArgumentError(f"a colour must be one wavelength or (first, last) in nm, got {wanted!r}")
    inside = np.flatnonzero((wavelengths >= low) & (wavelengths <= high))
    near = low <= wavelengths.max() and high >= wavelengths.min()
    if inside.size == 0 and near and np.isscalar(wanted):
        return np.array([np.argmin(np.abs(wavelengths - float(wanted)))])  # type: ignore[arg-type]
    return inside


def _as_slice(band: NDArray[np.intp]) -> Band:
    if band[-1] - band[0] == band.size - 1:
        return slice(int(band[0]), int(band[-1]) + 1)
    return band


def thinned(bands: Sequence[Band]) -> list[Band]:
    """At most 48 bands of all colours together, evenly spaced in each: enough for a preview, and quickly averaged.

    The noise of 16 bands is a quarter of that of one: below 1 of 255 grey levels if that is below 1.5 %.

    >>> thinned([slice(312, 352), slice(168, 247), slice(65, 70)])
    [slice(312, 352, 3), slice(169, 247, 5), slice(65, 70, None)]
    """
    return [_every(band, MAX_PREVIEW_BANDS // len(bands)) for band in bands]


def _every(band: Band, n: int) -> Band:
    """At most `n` of the bands, with the same distance, around the same middle."""
    size = band.stop - band.start if isinstance(band, slice) else band.size
    step = -(-size // n)
    if step == 1:
        return band
    skipped = (size - 1) % step // 2
    if isinstance(band, slice):
        return slice(band.start + skipped, band.stop, step)
    return band[skipped::step]


def decimation(n_pixels: int) -> int:
    """Decimation step of a side of `n_pixels`: 1 up to 4096, a larger integer above.

    >>> [decimation(n) for n in (1, 4096, 4097, 100_000)]
    [1, 1, 2, 25]
    """
    return max(1, -(-n_pixels // MAX_SIDE))


def mean_of_bands(lines: Lines, bands: Sequence[Band], step: int = 1) -> NDArray[np.float32]:
    """Average the bands of every colour in every `step`th line: (n_lines, cross_track, len(bands)).

    NaN, infinity and numbers above 1e24 are ignored where a pixel has others; without finite ones it is NaN. Works in
    blocks, mostly without the GIL, in the calling thread only. Raises ArgumentError unless `lines` has three axes.
    """
    if len(lines.shape) != 3:
        raise ArgumentError(f"lines have shape {tuple(lines.shape)}, expected (along_track, cross_track, wavelength)")
    n_lines, n_cross, n_bands = lines.shape
    n_shown = len(range(0, n_lines, step))
    averaging = BandMeans((n_cross, n_bands), bands)
    means = np.empty((n_shown, n_cross, len(bands)), np.float32)
    n_read = max(1, READ_BYTES // max(1, n_cross * n_bands * np.dtype(lines.dtype).itemsize))
    for first in range(0, n_shown, n_read):
        end = min(first + n_read, n_shown)
        averaging.average(np.asarray(lines[first * step : end * step : step]), means[first:end])
    return means


class BandMeans:
    """Averages the bands of every colour as `mean_of_bands`, with memory of its own: for one thread."""

    def __init__(self, line_shape: tuple[int, int], bands: Sequence[Band]) -> None:
        n_cross, n_bands = line_shape
        self._bands = list(bands)
        counts = [np.arange(n_bands)[band].size for band in bands]
        self._are_few = sum(counts) <= MAX_PREVIEW_BANDS
        n_converted = max(counts) if self._are_few else n_bands
        self._at_once = max(1, BLOCK_PIXELS // max(1, n_cross * n_converted))
        shape = (n_converted, n_cross) if self._are_few else (n_cross, n_converted)
        self._floats = np.empty((self._at_once, *shape), np.float32)
        self._sums = np.empty((self._at_once, n_cross), np.float32)
        self._counts = counts

    def average(self, lines: NDArray[Any], means: NDArray[np.float32]) -> None:
        """Put the means of `lines` (n, cross-track, wavelength) into `means` (n, cross-track, colours)."""
        with np.errstate(over="ignore", invalid="ignore"):
            for begin in range(0, len(lines), self._at_once):
                place = slice(begin, begin + self._at_once)
                self._average_block(lines[place], means[place])

    def _average_block(self, block: NDArray[Any], means: NDArray[np.float32]) -> None:
        sums = self._sums[: len(block)]
        all_floats = None if self._are_few else self._all_as_floats(block)
        for colour, (band, count) in enumerate(zip(self._bands, self._counts, strict=True)):
            if (
                all_floats is None
            ):  # with the bands as rows: many additions at once, also of bands that are not adjacent
                rows = self._floats[: len(block), :count]
                np.copyto(rows.swapaxes(1, 2), block[..., band], casting="unsafe")
                np.add.reduce(rows, axis=1, out=sums)
            else:  # einsum: as fast as BLAS here, without threads that would compete with the writer
                np.einsum("nxl->nx", all_floats[..., band], out=sums)
            np.divide(sums, count, out=means[..., colour])
            if block.dtype.kind == "f":
                _recompute_huge(block[..., band], means[..., colour])

    def _all_as_floats(self, block: NDArray[Any]) -> NDArray[np.float32]:
        """All bands as float32, converted at once: slices of bands would take twice as long."""
        if block.dtype == np.float32:
            return block
        floats = self._floats[: len(block)]
        np.copyto(floats, block, casting="unsafe")
        return floats


def _recompute_huge(part: NDArray[Any], mean: NDArray[np.float32]) -> None:
    """Recompute pixels with a huge or non-finite mean from the bands that are neither, or else from finite ones."""
    bad = ~(np.abs(mean) < HUGE)
    if bad.any():
        values = part[bad].astype(np.float64)
        ordinary = np.abs(values) < HUGE
        used = np.where(ordinary.any(-1, keepdims=True), ordinary, np.isfinite(values))
        count = used.sum(-1)
        found = np.where(used, values / np.maximum(count, 1)[..., None], 0).sum(-1)  # divided first: no overflow
        limit = float(np.finfo(np.float32).max)
        mean[bad] = np.where(count > 0, np.clip(found, -limit, limit), np.nan)
