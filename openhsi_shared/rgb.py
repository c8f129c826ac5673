"""RGB pictures of lines: the bands of red, green and blue, their means, and the conversion to 8 bits.

::

    lines (n, X, L) ──mean_of_bands──▶ (n, X, 3 or 1) float32 ──picture──▶ (X, n, 3) or (X, n) uint8

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
    "picture",
    "preview_bands",
    "stretch",
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
NOISE = 1e-6
"""Relative differences below this are due to float32 rounding."""
MAX_EXCESS, MIN_ROBUST = 2.0, 300
"""A picture is robust by default if the range of all pixels is this many times as wide as that of typical ones, and it
has so many values."""
HUGE = 1e24
"""Larger numbers are no light: infinity, fill values, a stuck band. They are ignored where a pixel has others."""
MAX_GAP = 3.0
"""A colour is left out of the range of a picture if it differs from the others by this many times their range."""
MEDIAN_PIXELS, PERCENTILE_PIXELS = 256, 1 << 17
"""Pixels of a row of which the median is taken, and of a picture of which percentiles are."""
READ_BYTES = 64 << 20
"""Bytes per read of lines in a file."""
SCALED_PIXELS = 1 << 14
"""Pixels converted to 8 bits at once, in the caches."""
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


def stretch(image: NDArray[Any], robust: bool | float = False, hist_eq: bool = False) -> NDArray[np.uint8]:
    """Map `image` (any shape) to 0..255, all channels alike, which preserves hues.

    By default from minimum to maximum. `robust`: from the 2nd to the 98th percentile, or from the given one to its
    counterpart. `hist_eq`: histogram equalisation. Both together: ArgumentError. Non-finite values become 0. A constant
    image becomes 255, or 0 if its value is not above 0.
    """
    image = np.asarray(image)
    return _stretched(image, image, tail_of(robust, hist_eq), hist_eq)


def tail_of(robust: bool | float, hist_eq: bool = False) -> float:
    """The percentile of `robust`, 0 for none. ArgumentError if it is invalid, or given together with `hist_eq`."""
    if hist_eq and robust is not False:
        raise ArgumentError(f"robust={robust!r} and hist_eq=True are mutually exclusive: omit one")
    tail = 2.0 if robust is True else float(robust)
    if robust is not False and not 0 <= tail < 50:
        raise ArgumentError(f"robust={robust!r} must be True or a percentile of at least 0 and below 50")
    return tail


def _stretched(
    image: NDArray[Any], typical: NDArray[Any], tail: float, hist_eq: bool, max_excess: float = 1.0
) -> NDArray[np.uint8]:
    """Map `image` to 0..255, between percentiles of its part `typical` if its range is `max_excess` times as wide."""
    is_number = np.isfinite(image)
    values = image if is_number.all() else image[is_number]
    result = np.zeros(image.shape, np.uint8)
    if values.size == 0:
        return result
    low, high = float(values.min()), float(values.max())
    if high - low <= NOISE * max(abs(low), abs(high)):
        result[is_number] = 255 if high > 0 else 0
        return result
    if hist_eq:
        result[is_number] = _equalised(image[is_number].astype(np.float64), low, high)
        return result
    part = typical[np.isfinite(typical)].astype(np.float64)
    if tail > 0 and part.size:
        tails = [float(value) for value in np.percentile(part, [tail, 100 - tail])]
        if tails[1] - tails[0] > NOISE * max(abs(tails[0]), abs(tails[1])):  # else few bright pixels: show them
            low, high = tails if high - low > max_excess * (tails[1] - tails[0]) else (low, high)
    _scale(image, low, high, result)
    return result


def _scale(image: NDArray[Any], low: float, high: float, result: NDArray[np.uint8]) -> None:
    """Map `low` and what is below it, and what is no number, to 0, `high` and what is above it to 255."""
    pixels, scaled = image.reshape(-1), result.reshape(-1)
    for begin in range(0, pixels.size, SCALED_PIXELS):
        block = pixels[begin : begin + SCALED_PIXELS].astype(np.float64)  # a difference of float32 may exceed float32
        block[~np.isfinite(block)] = low
        np.clip(np.divide(block - low, high - low, out=block), 0, 1, out=block)
        np.rint(np.multiply(block, 255, out=block), out=block)
        scaled[begin : begin + SCALED_PIXELS] = block


def _equalised(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Map each value to the fraction of values below it, in 65536 steps between `low` and `high`."""
    counts, _ = np.histogram(values, bins=1 << 16, range=(low, high))
    below = np.cumsum(counts) - counts
    step = np.clip((values - low) * ((1 << 16) / (high - low)), 0, (1 << 16) - 1).astype(np.intp)
    shares: NDArray[np.float64] = np.rint(255 * below / max(1, below[step.max()]))
    return shares[step]


def _typical(image: NDArray[Any]) -> NDArray[Any]:
    """`image` (n_lines, cross_track, channels) without its brightest and darkest rows and lines, and stuck channels.

    A stuck row or band of the sensor, or a line with a flash, may be more than the percentiles leave out. 2 % of the
    rows, at least one, are left out at either end, and of the lines alike; none of fewer than four.
    """
    n_channels, kept = image.shape[2], [np.arange(image.shape[axis]) for axis in (0, 1)]
    for axis in (0, 1):
        n, others = len(kept[axis]), kept[1 - axis]
        if n < 4:
            continue
        n_pixels = len(others) * n_channels
        chosen = np.arange(0, n_pixels, max(1, n_pixels // MEDIAN_PIXELS))
        pixels = np.moveaxis(image, axis, 0)[:, others[chosen // n_channels], chosen % n_channels]
        is_number = np.isfinite(pixels)
        middle = np.minimum(is_number.sum(axis=1) // 2, pixels.shape[1] - 1)
        medians = np.sort(np.where(is_number, pixels, np.inf), axis=1)[np.arange(n), middle]
        n_out, n_known = max(1, n // 50), int(np.isfinite(medians).sum())  # rows without numbers are sorted last
        kept[axis] = np.sort(np.argsort(medians)[n_out : n_known - n_out])
    n_values = len(kept[0]) * len(kept[1]) * n_channels
    step = math.ceil(math.sqrt(n_values / PERCENTILE_PIXELS)) if n_values else 1
    return _without_stuck_channels(image[np.ix_(kept[0][::step], kept[1][::step])])


def _without_stuck_channels(image: NDArray[Any]) -> NDArray[Any]:
    """Leave out channels of one value, if others have more, and one that is far from all the others: a stuck band."""
    known = [channel[np.isfinite(channel)].astype(np.float64) for channel in np.moveaxis(image, -1, 0)]
    ranges = {number: np.percentile(values, [2, 98]).tolist() for number, values in enumerate(known) if values.size}
    varying = {n: (low, high) for n, (low, high) in ranges.items() if high - low > NOISE * max(abs(low), abs(high))}
    for number in sorted(varying, key=lambda n: max(map(abs, varying[n])), reverse=True):
        others = [varying[n] for n in varying if n != number]
        if not others:
            break
        (low, high), (begin, end) = varying[number], (min(map(min, others)), max(map(max, others)))
        if max(low - end, begin - high) > MAX_GAP * (end - begin):
            del varying[number]
            break
    return image[..., sorted(varying)] if varying else image


def picture(
    lines_mean: NDArray[Any], *, robust: bool | float | None = False, hist_eq: bool = False
) -> NDArray[np.uint8]:
    """Convert means of bands (n_lines, cross_track, 3 or 1) into a picture.

    Its shape is (cross_track, n_lines, 3), or (cross_track, n_lines) for one channel: one pixel per cross-track pixel
    (down) and line (to the right). A side above 4096 is decimated: every second, third ... pixel is shown. `robust` and
    `hist_eq` are those of `stretch`, but the range of a robust picture also ignores single rows and lines that are
    brighter or darker than the others, as a stuck row of the sensor, and a colour with a stuck band. robust=None is
    robust only where the range of all pixels is more than twice as wide, such as by a glint; else from minimum to
    maximum.
    """
    is_default = robust is None and not hist_eq and lines_mean.size >= MIN_ROBUST
    tail = tail_of(is_default if robust is None else robust, hist_eq)
    n_lines, n_cross, n_channels = lines_mean.shape
    shown = lines_mean[:: decimation(n_lines), :: decimation(n_cross)]
    typical = _typical(shown) if tail > 0 else shown
    stretched = _stretched(shown, typical, tail, hist_eq, MAX_EXCESS if is_default else 1.0)
    image = np.ascontiguousarray(stretched.swapaxes(0, 1))
    return image[..., 0] if n_channels == 1 else image
