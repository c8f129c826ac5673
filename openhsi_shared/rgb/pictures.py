"""From means of bands to 8 bits: the range of a picture, and what is left out of it."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError
from openhsi_shared.rgb.bands import decimation

__all__ = ["picture", "stretch"]

NOISE = 1e-6
"""Relative differences below this are due to float32 rounding."""
MAX_EXCESS, MIN_ROBUST = 2.0, 300
"""A picture is robust by default if the range of all pixels is this many times as wide as that of typical ones, and it
has so many values."""
MAX_GAP = 3.0
"""A colour is left out of the range of a picture if it differs from the others by this many times their range."""
MEDIAN_PIXELS, PERCENTILE_PIXELS = 256, 1 << 17
"""Pixels of a row of which the median is taken, and of a picture of which percentiles are."""
MEDIAN_ROWS = 256
"""Rows of which it is taken at once."""
SCALED_PIXELS = 1 << 14
"""Pixels converted to 8 bits at once, in the caches."""


def stretch(image: NDArray[Any], robust: bool | float = False, hist_eq: bool = False) -> NDArray[np.uint8]:
    """Map `image` (any shape) to 0..255, all channels alike, which preserves hues.

    By default from minimum to maximum. `robust`: from the 2nd to the 98th percentile, or from the given one to its
    counterpart. `hist_eq`: histogram equalisation. Both together: ArgumentError. Non-finite values become 0. A constant
    image becomes 255, or 0 if its value is not above 0.
    """
    image = np.asarray(image)
    return _stretched(image, tail_of(robust, hist_eq), hist_eq)


def tail_of(robust: bool | float, hist_eq: bool = False) -> float:
    """The percentile of `robust`, 0 for none. ArgumentError if it is invalid, or given together with `hist_eq`."""
    if hist_eq and robust is not False:
        raise ArgumentError(f"robust={robust!r} and hist_eq=True are mutually exclusive: omit one")
    tail = 2.0 if robust is True else float(robust)
    if robust is not False and not 0 <= tail < 50:
        raise ArgumentError(f"robust={robust!r} must be True or a percentile of at least 0 and below 50")
    return tail


def _stretched(image: NDArray[Any], tail: float, hist_eq: bool) -> NDArray[np.uint8]:
    """Map `image` to 0..255."""
    is_number = np.isfinite(image)
    are_numbers = bool(is_number.all())
    values = image if are_numbers else image[is_number]
    result = np.zeros(image.shape, np.uint8)
    if values.size == 0:
        return result
    low, high = float(values.min()), float(values.max())
    if hist_eq and not _is_constant(low, high):
        result[is_number] = _equalised(image[is_number].astype(np.float64), low, high)
        return result
    low, high = _range_of(low, high, image, tail)
    pixels, scaled = image.reshape(-1), result.reshape(-1)
    for begin in range(0, pixels.size, SCALED_PIXELS):
        place = slice(begin, begin + SCALED_PIXELS)
        scaled[place] = _scaled(pixels[place], low, high, are_numbers)
    return result


def _is_constant(low: float, high: float) -> bool:
    return high - low <= NOISE * max(abs(low), abs(high))


def _range_of(
    low: float, high: float, typical: NDArray[Any], tail: float, max_excess: float = 1.0
) -> tuple[float, float]:
    """The range of a picture of values from `low` to `high`: the percentiles of those that are `typical`.

    From end to end if the range is not `max_excess` times as wide as that of the percentiles.
    """
    if tail == 0 or _is_constant(low, high):
        return low, high
    part = typical[np.isfinite(typical)].astype(np.float64)
    if part.size:
        begin, end = (float(value) for value in np.percentile(part, [tail, 100 - tail]))
        is_few_bright = _is_constant(begin, end)  # pixels: they are shown
        if not is_few_bright and high - low > max_excess * (end - begin):
            return begin, end
    return low, high


def _scaled(pixels: NDArray[Any], low: float, high: float, are_numbers: bool) -> NDArray[np.float64]:
    """Map `low` and below to 0, `high` and above to 255. If not all `are_numbers`, what is none becomes 0.

    A constant becomes 255, or 0 if it is not above 0.
    """
    block = pixels.astype(np.float64)  # a difference of float32 may exceed float32
    if not are_numbers:
        is_none = ~np.isfinite(block)
        block[is_none] = low
    if _is_constant(low, high):
        block[...] = 255 if high > 0 else 0
    else:
        np.clip(np.divide(block - low, high - low, out=block), 0, 1, out=block)
        np.rint(np.multiply(block, 255, out=block), out=block)
    if not are_numbers:
        block[is_none] = 0
    return block


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
        medians = np.concatenate(
            [
                _medians(image, axis, ends, others[chosen // n_channels], chosen % n_channels)
                for ends in np.split(np.arange(n), range(MEDIAN_ROWS, n, MEDIAN_ROWS))
            ]
        )
        n_out, n_known = max(1, n // 50), int(np.isfinite(medians).sum())  # rows without numbers are sorted last
        kept[axis] = np.sort(np.argsort(medians)[n_out : n_known - n_out])
    n_values = len(kept[0]) * len(kept[1]) * n_channels
    step = math.ceil(math.sqrt(n_values / PERCENTILE_PIXELS)) if n_values else 1
    return _without_stuck_channels(image[np.ix_(kept[0][::step], kept[1][::step], np.arange(n_channels))])


def _medians(
    image: NDArray[Any], axis: int, rows: NDArray[np.intp], others: NDArray[np.intp], channels: NDArray[np.intp]
) -> NDArray[Any]:
    """Median of these pixels of each row along an axis, the upper one of two; infinite without numbers."""
    index = (rows[:, None], others) if axis == 0 else (others, rows[:, None])
    pixels = image[(*index, channels)]
    is_number = np.isfinite(pixels)
    middle = np.minimum(is_number.sum(axis=1) // 2, pixels.shape[1] - 1)
    found: NDArray[Any] = np.sort(np.where(is_number, pixels, np.inf), axis=1)[np.arange(len(rows)), middle]
    return found


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
    maximum. No copy of the means is made, except for `hist_eq`.
    """
    is_default = robust is None and not hist_eq and lines_mean.size >= MIN_ROBUST
    tail = tail_of(is_default if robust is None else robust, hist_eq)
    n_lines, n_cross, n_channels = lines_mean.shape
    shown = lines_mean[:: decimation(n_lines), :: decimation(n_cross)]
    if hist_eq:
        image = np.ascontiguousarray(_stretched(shown, 0, hist_eq).swapaxes(0, 1))
    else:
        image = _in_blocks(shown, tail, MAX_EXCESS if is_default else 1.0)
    return image[..., 0] if n_channels == 1 else image


def _in_blocks(shown: NDArray[Any], tail: float, max_excess: float) -> NDArray[np.uint8]:
    """(cross_track, n_lines, channels), as 8 bits of some lines at a time."""
    n_lines, n_cross, n_channels = shown.shape
    result = np.zeros((n_cross, n_lines, n_channels), np.uint8)
    n = max(1, SCALED_PIXELS // max(1, n_cross * n_channels))
    blocks = [slice(first, first + n) for first in range(0, n_lines, n)]
    low, high, are_numbers = math.inf, -math.inf, True
    for lines in blocks:
        values = shown[lines]
        is_number = np.isfinite(values)
        if not is_number.all():
            values, are_numbers = values[is_number], False
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low > high:
        return result
    low, high = _range_of(low, high, _typical(shown) if tail > 0 else shown[:0], tail, max_excess)
    for lines in blocks:
        scaled = _scaled(shown[lines], low, high, are_numbers)
        for channel in range(n_channels):  # a quarter of the time that one copy of all takes
            result[:, lines, channel] = scaled[..., channel].T
    return result
