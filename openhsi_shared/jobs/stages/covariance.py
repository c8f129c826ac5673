"""Mean and covariance of spectra, added up part by part, and distances by them.

Own loops, not BLAS: it starts as many threads as there are cores in each worker, and its sums depend on their number.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.levels.compiled import compiled_loop

__all__ = ["NO_PIXELS", "Moments", "compile_loops", "joined", "moments_of", "squared_distances"]


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
