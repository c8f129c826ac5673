"""The last lines in colour: means of their bands, and the pixels painted from them."""

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.tap import LineName
from openhsi_shared.rgb import Band

__all__ = ["History", "Strip", "colours_of", "to_pixels"]

MAX_WIDTH = 1024
"""Maximum number of pixels shown across-track."""
N_RECENT = 512
"""Number of lines that determine the brightness range."""
TAIL = 2.0
"""Percentile shown as black; 100 minus it is shown as white."""
TOLERANCE = 0.15
"""The range changes if it is off by more than this share of it: each change repaints all lines."""


class Strip(NamedTuple):
    """Painted lines, oldest first."""

    pixels: NDArray[np.uint32]
    """(lines, cross-track), RGBA"""
    names: list[LineName]
    end: int
    """Number of lines appended so far, up to the last of these."""
    version: int
    """Identifies the brightness range with which they were painted."""


def colours_of(line: NDArray[np.generic], bands: Sequence[Band], step: int) -> NDArray[np.float32]:
    """Average the bands of each colour in a line (cross-track, wavelength), of every `step`th pixel.

    The result is a copy, (cross-track, colours). Only these bands are read.
    """
    return np.stack([line[::step, band].mean(axis=-1, dtype=np.float32) for band in bands], axis=-1)


def to_pixels(means: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint32]:
    """Paint means (..., colours), from `low` (black) to `high` (white); NaN is black."""
    with np.errstate(invalid="ignore"):
        scaled = (means - np.float32(low)) * np.float32(255 / max(high - low, 1e-30))
        grey = np.nan_to_num(np.clip(scaled, 0, 255), nan=0.0).astype(np.uint8)
    pixels = np.empty((*means.shape[:-1], 4), np.uint8)
    pixels[..., :3] = grey  # a single colour is broadcast to three
    pixels[..., 3] = 255
    painted: NDArray[np.uint32] = pixels.view(np.uint32)[..., 0]
    return painted


class History:
    """A ring of the last `n` lines. One thread appends, others read."""

    def __init__(self, n: int, n_cross: int, n_colours: int) -> None:
        self.n, self.step = n, -(-n_cross // MAX_WIDTH)
        self.width = -(-n_cross // self.step)
        self.n_seen = 0
        """Lines appended so far; the last `n` of them are stored."""
        self.low, self.high, self.version = 0.0, 0.0, 0
        self._means = np.zeros((n, self.width, n_colours), np.float32)
        self._pixels = np.zeros((n, self.width), np.uint32)
        self._names: list[LineName] = [LineName(0, 0)] * n
        self._lock = threading.Lock()

    def append(self, means: Sequence[NDArray[np.float32]], names: Sequence[LineName]) -> None:
        """Add lines, (cross-track, colours) each, and paint them; repaint all lines if the range has changed much."""
        with self._lock:
            rows = (self.n_seen + np.arange(len(names))) % self.n
            for row, mean, name in zip(rows.tolist(), means, names, strict=True):
                self._means[row] = mean
                self._names[row] = name
            self.n_seen += len(names)
            if self._range_has_changed():
                self.version += 1
                self._pixels[:] = to_pixels(self._means, self.low, self.high)
            else:
                self._pixels[rows] = to_pixels(self._means[rows], self.low, self.high)

    def _range_has_changed(self) -> bool:
        recent = self._means[self._rows(max(0, self.n_seen - min(N_RECENT, self.n)), self.n_seen)][::4, ::4]
        values = recent[np.isfinite(recent)]
        if not values.size:
            return False
        low, high = (float(value) for value in np.percentile(values, [TAIL, 100 - TAIL]))
        if high <= low:  # a constant image, or a few pixels on a constant background
            low, high = float(values.min()), float(values.max())
        if high <= low:
            low, high = min(0.0, low), max(high, low + 1)
        allowed = TOLERANCE * (self.high - self.low)
        if self.version and abs(low - self.low) <= allowed and abs(high - self.high) <= allowed:
            return False
        self.low, self.high = low, high
        return True

    def _rows(self, begin: int, end: int) -> NDArray[np.intp]:
        return np.arange(begin, end) % self.n

    def since(self, seen: int, at_most: int) -> Strip:
        """Lines after the first `seen`, at most the newest `at_most`."""
        with self._lock:
            return self._strip(max(seen, self.n_seen - at_most, self.n_seen - self.n, 0), self.n_seen)

    def before(self, end: int, n: int) -> Strip:
        """The last `n` of the first `end` lines, as far as they are still stored."""
        with self._lock:
            end = max(min(end, self.n_seen), 0)
            return self._strip(max(end - n, self.n_seen - self.n, 0), end)

    def _strip(self, begin: int, end: int) -> Strip:
        rows = self._rows(min(begin, end), end)
        return Strip(self._pixels[rows], [self._names[row] for row in rows], end, self.version)
