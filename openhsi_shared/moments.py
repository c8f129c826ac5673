"""Mean, variance and covariance of spectra, added up part by part, and distances by them.

Own loops, not BLAS: it starts as many threads as there are cores in each worker, and its sums depend on their number.
"""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError
from openhsi_shared.levels.compiled import compiled_loop

__all__ = [
    "NO_PIXELS",
    "Background",
    "BandMoments",
    "Joined",
    "Moments",
    "background_of",
    "band_moments_of",
    "bands_joined",
    "compile_loops",
    "joined",
    "moments_of",
    "squared_distances",
]

MIN_VARIANCE = 1e-10
"""Of a direction in the space of spectra, as a part of the largest one: less is rounding."""

Part = TypeVar("Part")


class Moments(NamedTuple):
    """Of pixels, in float64."""

    n: int
    mean: NDArray[np.float64]
    """(band,)."""
    products: NDArray[np.float64]
    """Sums of the products of the differences from the mean: (band, band), both triangles."""


NO_PIXELS = Moments(0, np.zeros(0), np.zeros((0, 0)))


def moments_of(line: NDArray[Any]) -> Moments:
    """The moments of the pixels of a line (x, band) that are finite in all bands."""
    n_bands = line.shape[1]
    pixels = line.astype(np.float64)
    is_finite = np.isfinite(pixels).all(axis=1)
    if not is_finite.all():
        pixels = pixels[is_finite]
    if not len(pixels):
        return Moments(0, np.zeros(n_bands), np.zeros((n_bands, n_bands)))
    mean = pixels.mean(axis=0)
    pixels -= mean
    products = np.zeros((n_bands, n_bands))
    _add_products()(pixels, products)
    return Moments(len(pixels), mean, np.tril(products) + np.tril(products, -1).T)


def joined(one: Moments, other: Moments) -> Moments:
    """The moments of all pixels of both, without the loss of digits of sums of squares.

    T. F. Chan, G. H. Golub, R. J. LeVeque: Algorithms for computing the sample variance. Amer. Statistician 37 (1983).
    """
    if one.n == 0 or other.n == 0:
        return one if other.n == 0 and one.mean.size else other
    n = one.n + other.n
    step = other.mean - one.mean
    mean = one.mean + step * (other.n / n)
    products = one.products + other.products + np.outer(step, step) * (one.n * other.n / n)
    return Moments(n, mean, products)


class BandMoments(NamedTuple):
    """Of the pixels of each band, in float64: (band,)."""

    n: NDArray[np.int64]
    mean: NDArray[np.float64]
    """0 where there is no pixel."""
    squares: NDArray[np.float64]
    """Sums of the squared differences from the mean."""


def band_moments_of(line: NDArray[Any]) -> BandMoments:
    """The moments of each band of a line (x, band); pixels that are not finite count for nothing in their band.

    >>> band_moments_of(np.array([[1.0, np.nan], [3.0, 5.0]])).mean.tolist()
    [2.0, 5.0]
    """
    pixels = line.astype(np.float64)
    is_finite = np.isfinite(pixels) if line.dtype.kind == "f" else np.ones(1, np.bool_)
    if is_finite.all():
        mean = pixels.mean(axis=0)
        pixels -= mean
        return BandMoments(np.full(mean.shape, len(pixels)), mean, np.einsum("xb,xb->b", pixels, pixels))
    n = is_finite.sum(axis=0)
    mean = np.where(is_finite, pixels, 0).sum(axis=0) / np.maximum(n, 1)
    differences = np.where(is_finite, pixels - mean, 0)
    return BandMoments(n, mean, np.einsum("xb,xb->b", differences, differences))


def bands_joined(one: BandMoments, other: BandMoments) -> BandMoments:
    """The moments of all pixels of both; see `joined`."""
    n = one.n + other.n
    share = other.n / np.maximum(n, 1)
    step = other.mean - one.mean
    return BandMoments(n, one.mean + step * share, one.squares + other.squares + step * step * one.n * share)


class Joined(Generic[Part]):
    """Parts with numbers, joined to one, which does not depend on the order in which they come.

    Sums of floats depend on their order. Here the sum of parts 2k and 2k+1 is made first, then of such pairs, and so on
    as in a binary tree; so all that matters is which numbers there are. Memory grows with the logarithm of the number
    of parts, and with the number of holes.
    """

    def __init__(self, join: Callable[[Part, Part], Part]) -> None:
        """`join` makes one part of two, the one of the lower numbers first."""
        self._join = join
        self._waiting: dict[tuple[int, int], Part] = {}  # by height in the tree, and number there
        self._top = 0

    def add(self, number: int, part: Part) -> bool:
        """Add the part of a number >= 0. False if there is one already, which stays."""
        if any((height, number >> height) in self._waiting for height in range(self._top + 1)):
            return False
        height = 0
        while (other := self._waiting.pop((height, number ^ 1), None)) is not None:
            part = self._join(other, part) if number & 1 else self._join(part, other)
            height, number = height + 1, number >> 1
        self._waiting[height, number] = part
        self._top = max(self._top, height)
        return True

    def total(self) -> Part | None:
        """All parts together; None if there is none."""
        total = None
        for _, part in sorted(self._waiting.items(), key=lambda item: item[0][1] << item[0][0]):
            total = part if total is None else self._join(total, part)
        return total


class Background(NamedTuple):
    """What distances are measured from."""

    mean: NDArray[np.float64]
    lower: NDArray[np.float64]
    """Lower triangle L of the covariance C = L L^T: (band, band)."""
    n_flat: int
    """Directions without variance, such as of dead bands; they get the smallest one, 1e-10 of the largest."""

    def distances(self, line: NDArray[Any]) -> NDArray[np.float64]:
        """The squared Mahalanobis distance of each pixel of a line (x, band); NaN if one of its bands is not finite."""
        found = np.empty(len(line))
        with np.errstate(all="ignore"):  # what overflows is not finite, and becomes NaN
            squared_distances(line - self.mean, self.lower, found)
        found[~np.isfinite(found)] = np.nan
        return found


def background_of(moments: Moments) -> Background:
    """Mean and covariance of pixels. ArgumentError if there are no more of them than bands, or they are all alike."""
    n, mean, products = moments
    if n <= mean.size:
        raise ArgumentError(
            f"{n} of the pixels surveyed have finite values in all bands, expected more than the {mean.size} bands"
        )
    variances, directions = np.linalg.eigh(products / (n - 1))
    largest = variances[-1]
    if not (np.isfinite(largest) and largest > 0):
        raise ArgumentError(f"the {n} pixels surveyed are all alike, or too large to be squared")
    few = variances < largest * MIN_VARIANCE
    variances = np.where(few, largest * MIN_VARIANCE, variances)
    covariance = (directions * variances) @ directions.T
    return Background(mean, np.linalg.cholesky((covariance + covariance.T) / 2), int(few.sum()))


def squared_distances(centred: NDArray[np.float64], lower: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """|L^-1 d|^2 of each pixel d of `centred` (x, band) into `out` (x,), for the lower triangle L (band, band)."""
    _distances()(centred, lower, out)


def compile_loops() -> None:
    """Compile them, so that the first line is as fast as others: a second, or 0.1 s if they are cached on the disk."""
    _add_products()
    _distances()


def _add_products() -> Any:
    return compiled_loop(_products_loop, "float64:2", "float64:2")


def _distances() -> Any:
    return compiled_loop(_distances_loop, "float64:2", "float64:2", "float64:1")


def _products_loop(pixels: Any, products: Any) -> None:
    """Add to the lower triangle, four pixels at a time: each element is loaded and stored a fourth as often."""
    n_pixels, n_bands = pixels.shape
    n_by_four = n_pixels - n_pixels % 4
    for p in range(0, n_by_four, 4):
        a, b, c, d = pixels[p], pixels[p + 1], pixels[p + 2], pixels[p + 3]
        for j in range(n_bands):
            row = products[j]
            aj, bj, cj, dj = a[j], b[j], c[j], d[j]
            for i in range(j + 1):
                row[i] += aj * a[i] + bj * b[i] + cj * c[i] + dj * d[i]
    for p in range(n_by_four, n_pixels):
        a = pixels[p]
        for j in range(n_bands):
            row = products[j]
            aj = a[j]
            for i in range(j + 1):
                row[i] += aj * a[i]


def _distances_loop(centred: Any, lower: Any, out: Any) -> None:
    """Forward substitution, of `TILE` pixels at a time."""
    n_pixels, n_bands = centred.shape
    solved = np.empty((n_bands, 64))
    total = np.empty(64)
    rest = np.empty(64)
    for first in range(0, n_pixels, 64):
        n = min(64, n_pixels - first)
        total[:] = 0.0
        rest[:] = 0.0
        for j in range(n_bands):
            for t in range(n):
                rest[t] = centred[first + t, j]
            factors = lower[j]
            for i in range(j):
                factor = factors[i]
                before = solved[i]
                for t in range(64):
                    rest[t] -= factor * before[t]
            row = solved[j]
            scale = 1.0 / factors[j]
            for t in range(64):
                row[t] = rest[t] * scale
                total[t] += row[t] * row[t]
        for t in range(n):
            out[first + t] = total[t]
