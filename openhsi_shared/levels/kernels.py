"""Kernels: loops over the pixels of a frame that read each once and write the line.

Plain Python functions, to be compiled by `compiled`; numba turns the arguments of their factories (the columns per
band) into constants, without which the inner loop would not be vectorised. Indices are unsigned, because negative ones
count from the end, and testing for them at each pixel makes a kernel six times slower.

`frame` is (rows, columns) of uint8 or uint16; row i of `line` comes from row `first_row + i` of the frame, from column
`shifts[i]` on. Nothing is checked here.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = [
    "make_calibrated_sum",
    "make_shift",
    "make_sum",
    "make_uneven_sum",
    "make_uneven_weighing",
    "make_weighing",
]

Kernel = Callable[..., None]


def make_shift() -> Kernel:
    """Smile correction only."""

    def shift(frame: Any, first_row: Any, shifts: Any, line: Any) -> None:
        n_columns = line.shape[1]
        for i in range(line.shape[0]):
            pixels = frame[first_row + i, shifts[i] : shifts[i] + n_columns]
            out = line[i]
            for j in range(n_columns):
                out[np.uint64(j)] = pixels[np.uint64(j)]

    return shift


def make_sum(width: int) -> Kernel:
    """Sums of `width` columns each."""

    def sum_columns(frame: Any, first_row: Any, shifts: Any, line: Any) -> None:
        n_bands = line.shape[1]
        for i in range(line.shape[0]):
            pixels = frame[first_row + i, shifts[i] : shifts[i] + n_bands * width]
            out = line[i]
            for band in range(n_bands):
                total = np.uint32(0)
                for t in range(width):
                    total += np.uint32(pixels[np.uint64(band * width + t)])
                out[np.uint64(band)] = np.int32(total)

    return sum_columns


def make_calibrated_sum(width: int) -> Kernel:
    """(sum of `width` columns - dark) x gain; `dark` and `gain` are per band."""

    def calibrate(frame: Any, first_row: Any, shifts: Any, dark: Any, gain: Any, line: Any) -> None:
        n_bands = line.shape[1]
        for i in range(line.shape[0]):
            pixels = frame[first_row + i, shifts[i] : shifts[i] + n_bands * width]
            out, dark_row, gain_row = line[i], dark[i], gain[i]
            for band in range(n_bands):
                total = np.uint32(0)
                for t in range(width):
                    total += np.uint32(pixels[np.uint64(band * width + t)])
                k = np.uint64(band)
                out[k] = (np.float32(np.int32(total)) - dark_row[k]) * gain_row[k]

    return calibrate


def make_weighing(width: int) -> Kernel:
    """Sum of pixel x gain over `width` columns, - offset; `gain` is per pixel, `offset` per band."""

    def weigh(frame: Any, first_row: Any, shifts: Any, gain: Any, offset: Any, line: Any) -> None:
        n_bands = line.shape[1]
        n_columns = n_bands * width
        weighed = np.empty(n_columns, np.float32)  # of one row: it fits into the L1 cache
        for i in range(line.shape[0]):
            pixels = frame[first_row + i, shifts[i] : shifts[i] + n_columns]
            out, gain_row, offset_row = line[i], gain[i], offset[i]
            for j in range(n_columns):
                weighed[np.uint64(j)] = np.float32(pixels[np.uint64(j)]) * gain_row[np.uint64(j)]
            for band in range(n_bands):
                total = weighed[np.uint64(band * width)]
                for t in range(1, width):
                    total += weighed[np.uint64(band * width + t)]
                out[np.uint64(band)] = total - offset_row[np.uint64(band)]

    return weigh


def make_uneven_sum(least: int) -> Kernel:
    """Sums of bands that have `least` columns or more, from each of `edges` to the next."""

    def sum_bands(frame: Any, first_row: Any, shifts: Any, edges: Any, line: Any) -> None:
        n_bands = line.shape[1]
        n_columns = np.int64(edges[n_bands])
        numbers = np.empty(n_columns, np.float32)
        for i in range(line.shape[0]):
            pixels = frame[first_row + i, shifts[i] : shifts[i] + n_columns]
            out = line[i]
            for j in range(n_columns):
                numbers[np.uint64(j)] = np.float32(pixels[np.uint64(j)])
            for band in range(n_bands):
                begin = edges[np.uint64(band)]
                total = numbers[begin]
                for t in range(1, least):
                    total += numbers[begin + np.uint64(t)]
                for t in range(begin + np.uint64(least), edges[np.uint64(band + 1)]):
                    total += numbers[np.uint64(t)]
                out[np.uint64(band)] = total

    return sum_bands


def make_uneven_weighing(least: int) -> Kernel:
    """`make_weighing` for bands that have `least` columns or more, from each of `edges` to the next."""

    def weigh_bands(frame: Any, first_row: Any, shifts: Any, edges: Any, gain: Any, offset: Any, line: Any) -> None:
        n_bands = line.shape[1]
        n_columns = np.int64(edges[n_bands])
        weighed = np.empty(n_columns, np.float32)
        for i in range(line.shape[0]):
            pixels = frame[first_row + i, shifts[i] : shifts[i] + n_columns]
            out, gain_row, offset_row = line[i], gain[i], offset[i]
            for j in range(n_columns):
                weighed[np.uint64(j)] = np.float32(pixels[np.uint64(j)]) * gain_row[np.uint64(j)]
            for band in range(n_bands):
                begin = edges[np.uint64(band)]
                total = weighed[begin]
                for t in range(1, least):
                    total += weighed[begin + np.uint64(t)]
                for t in range(begin + np.uint64(least), edges[np.uint64(band + 1)]):
                    total += weighed[np.uint64(t)]
                out[np.uint64(band)] = total - offset_row[np.uint64(band)]

    return weigh_bands
