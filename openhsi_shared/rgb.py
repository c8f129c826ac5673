"""Pictures of lines: which bands make red, green and blue, their means, and how these become 8 bits.

::

    lines (n, X, L) ──mean_of_bands──▶ (n, X, 3 or 1) float32 ──picture──▶ (X, n, 3) or (X, n) uint8

Everything goes by blocks of a few megabytes, so that a picture never costs a second copy of the cube.
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
    "Lines",
    "Range",
    "decimation",
    "mean_of_bands",
    "picture",
    "preview_bands",
    "stretch",
]

Band = slice | NDArray[np.intp]
"""Where the bands of one colour lie on the wavelength axis: a slice where they are neighbours, else their indices."""
Range = float | tuple[float, float]
"""What a colour is made of, in nm: the first and last wavelength, or one wavelength."""

PREVIEW_RANGES_NM: tuple[Range, Range, Range] = ((640.0, 670.0), (530.0, 590.0), (450.0, 510.0))
"""Red, green and blue of a preview."""
SHOW_NM: tuple[Range, Range, Range] = (640.0, 550.0, 470.0)
"""Red, green and blue of `show`."""

HALF_WIDTH_NM = 15.0
"""A single wavelength means the bands that are no further away than this."""
LARGEST_SIDE = 4096
"""A picture has no more pixels than this on a side."""
NOISE = 1e-6
"""Values that differ by less than this share of them differ by the rounding of float32 only."""
READ_BYTES = 64 << 20
"""What is read at once of lines that lie in a file."""
BLOCK_PIXELS = 1 << 20
"""What is averaged at once: 4 MB as float32 stay in the caches, and the interpreter is needed seldom."""


class Lines(Protocol):
    """What pictures are made of: an array (along-track, cross-track, wavelength), or what slices like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(along-track, cross-track, wavelength)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        ...

    def __getitem__(self, lines: Any, /) -> Any:
        """Lines of a slice along the first axis, as an array."""
        ...


def preview_bands(
    wavelengths_nm: ArrayLike | None, n_bands: int, ranges: Sequence[Range] = PREVIEW_RANGES_NM
) -> list[Band]:
    """Find the bands of red, green and blue; one entry with all bands (grey) where there is no saying.

    That is so without wavelengths, with mere indices in their place (0, 1, 2 ..., as openhsi writes without a
    calibration), and where a range holds no band. A single wavelength is the bands within 15 nm, at least the nearest
    one; it holds none where it lies more than 15 nm outside of the spectrum. Raises ArgumentError for wavelengths that
    are not `n_bands`.

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
    if not np.isfinite(wavelengths).any() or np.array_equal(wavelengths, np.arange(n_bands)):
        return grey
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
        raise ArgumentError(f"a colour is one wavelength or (first, last) in nm, got {wanted!r}")
    inside = np.flatnonzero((wavelengths >= low) & (wavelengths <= high))
    near = low <= np.nanmax(wavelengths) and high >= np.nanmin(wavelengths)
    if inside.size == 0 and near and np.isscalar(wanted):
        return np.array([np.nanargmin(np.abs(wavelengths - float(wanted)))])  # type: ignore[arg-type]
    return inside


def _as_slice(band: NDArray[np.intp]) -> Band:
    if band[-1] - band[0] == band.size - 1:
        return slice(int(band[0]), int(band[-1]) + 1)
    return band


def decimation(n_pixels: int) -> int:
    """Every how many pixels of a side are shown: 1 up to 4096, a whole number above.

    >>> [decimation(n) for n in (1, 4096, 4097, 100_000)]
    [1, 1, 2, 25]
    """
    return max(1, -(-n_pixels // LARGEST_SIDE))


def mean_of_bands(lines: Lines, bands: Sequence[Band], step: int = 1) -> NDArray[np.float32]:
    """Average the bands of every colour in every `step`th line: (n_lines, cross_track, len(bands)).

    NaN and infinity are left out; a pixel that has nothing else is NaN. Works by blocks, most of its time without the
    interpreter's lock, in this thread alone. Raises ArgumentError if `lines` has not three axes.
    """
    if len(lines.shape) != 3:
        raise ArgumentError(f"lines have shape {tuple(lines.shape)}, expected (along_track, cross_track, wavelength)")
    n_lines, n_cross, n_bands = lines.shape
    n_shown = len(range(0, n_lines, step))
    means = np.empty((n_shown, n_cross, len(bands)), np.float32)
    line_pixels = max(1, n_cross * n_bands)
    at_once = max(1, BLOCK_PIXELS // line_pixels)
    n_read = max(1, READ_BYTES // (line_pixels * np.dtype(lines.dtype).itemsize) // at_once) * at_once
    buffer = np.empty((min(at_once, n_shown), n_cross, n_bands), np.float32)
    for first in range(0, n_shown, n_read):
        end = min(first + n_read, n_shown)
        read = np.asarray(lines[first * step : end * step : step])
        for begin in range(0, len(read), at_once):
            block = read[begin : begin + at_once]
            _mean_of_block(block, buffer[: len(block)], bands, means[first + begin : first + begin + len(block)])
    return means


def _mean_of_block(
    block: NDArray[Any], buffer: NDArray[np.float32], bands: Sequence[Band], means: NDArray[np.float32]
) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        if block.dtype == np.float32:
            floats = block
        else:
            np.copyto(buffer, block)  # in one go: cast by slices of bands it would take twice as long
            floats = buffer
        for colour, band in enumerate(bands):
            part = floats[..., band]
            # einsum, because it is as fast as BLAS here and starts no threads that would fight with the writing
            np.einsum("nxl->nx", part, out=means[..., colour])
            means[..., colour] /= part.shape[-1]
            if block.dtype.kind == "f":
                _leave_out_what_is_no_number(part, means[..., colour])


def _leave_out_what_is_no_number(part: NDArray[np.float32], mean: NDArray[np.float32]) -> None:
    """Compute again, of the pixels that came out as no number, the mean of the bands that are numbers."""
    bad = ~np.isfinite(mean)
    if bad.any():
        values = part[bad].astype(np.float64)
        finite = np.isfinite(values)
        count = finite.sum(-1)
        total = np.where(finite, values, 0).sum(-1)
        mean[bad] = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def stretch(image: NDArray[Any], robust: bool | float = False, hist_eq: bool = False) -> NDArray[np.uint8]:
    """Map `image` (any shape) onto 0..255, all channels alike, so that hues stay.

    By default from the least value to the largest. `robust`: from the 2nd to the 98th percentile, or from the one that
    is given to its counterpart. `hist_eq`: every grey value about equally often. Both together: ArgumentError.
    What is no number becomes 0. One value everywhere becomes 255, or 0 if it is not above 0.
    """
    if hist_eq and robust is not False:
        raise ArgumentError(f"robust={robust!r} and hist_eq=True exclude each other: leave one out")
    tail = 2.0 if robust is True else float(robust)
    if robust is not False and not 0 <= tail < 50:
        raise ArgumentError(f"robust={robust!r} must be True or a percentile of at least 0 and below 50")
    image = np.asarray(image)
    is_number = np.isfinite(image)
    values = image[is_number].astype(np.float64)  # the range of float32 does not fit into float32
    result = np.zeros(image.shape, np.uint8)
    if values.size == 0:
        return result
    low, high = float(values.min()), float(values.max())
    if high - low <= NOISE * max(abs(low), abs(high)):
        result[is_number] = 255 if high > 0 else 0
        return result
    if hist_eq:
        result[is_number] = _equalised(values, low, high)
        return result
    if tail > 0:
        tails = [float(value) for value in np.percentile(values, [tail, 100 - tail])]
        if tails[1] - tails[0] > NOISE * max(abs(low), abs(high)):  # else a few bright pixels before nothing: show them
            low, high = tails
    result[is_number] = np.rint(255 * np.clip((values - low) / (high - low), 0, 1))
    return result


def _equalised(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Put each value at the share of values below it, in 65536 steps between `low` and `high`."""
    counts, _ = np.histogram(values, bins=1 << 16, range=(low, high))
    below = np.cumsum(counts) - counts
    step = np.clip((values - low) * ((1 << 16) / (high - low)), 0, (1 << 16) - 1).astype(np.intp)
    shares: NDArray[np.float64] = np.rint(255 * below / max(1, below[step.max()]))
    return shares[step]


def picture(lines_mean: NDArray[Any], *, robust: bool | float = False, hist_eq: bool = False) -> NDArray[np.uint8]:
    """Turn means of bands (n_lines, cross_track, 3 or 1) into a picture.

    It is (cross_track, n_lines, 3), or (cross_track, n_lines) of one channel: one pixel per cross-track pixel (down)
    and line (to the right). A side above 4096 is decimated: every second, third ... pixel is shown. `robust` and
    `hist_eq` are those of `stretch`.
    """
    n_lines, n_cross, n_channels = lines_mean.shape
    shown = lines_mean[:: decimation(n_lines), :: decimation(n_cross)]
    image = np.ascontiguousarray(stretch(shown, robust, hist_eq).swapaxes(0, 1))
    return image[..., 0] if n_channels == 1 else image
