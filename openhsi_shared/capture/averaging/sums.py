"""Sums of the frames of one line, with which of them are in it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import LevelError
from openhsi_shared.levels.compiled import compiled_loop
from openhsi_shared.packages import require

__all__ = ["FrameSums"]

USED, COUNT, TIME, TIME_SUM, CAMERA, CAMERA_SUM, LAST_TIME = range(7)
"""Numbers of a state: bits of the frames; how many; time of the first one, and the sum of the others' differences to
it; the same by the camera's clock, -1 if it is unknown for one; time of the last one."""
SHIFT = 31
"""Division by k, up to 64, is multiplication by 2^31 / k, rounded up: exact below 2^25. Sums of 16 bits are smaller."""


class FrameSums:
    """Adds up frames of one line, at most 64, and computes their mean: nearest, halves up, for integers.

    A frame is added, with its bit and its times, by one call of machine code, which a signal handler cannot interrupt.
    """

    def __init__(self, line_shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        """`line_shape` is (cross-track, bands) of a processed line. Compiling takes a second, the first time.

        LevelError for integers of 64 bits, whose sums overflow; PackageMissing without numba.
        """
        require("average", "numba")
        if dtype.kind in "iu" and dtype.itemsize == 8:
            raise LevelError(f"average adds up lines, and sums of {dtype} overflow: use custom_tfms of another type")
        self.dtype = dtype
        self._is_small = dtype.kind in "iu" and dtype.itemsize <= 2
        kind = "float64" if dtype.kind == "f" else "int32" if self._is_small else "int64"
        self._sums = np.zeros(int(np.prod(line_shape)), kind)
        self._state = np.zeros(7, np.int64)
        self._used = memoryview(self._state.data)
        line, sums = f"{dtype.name}:1", f"{kind}:1"
        self._add = compiled_loop(_add, line, "int64", "int64", "int64", "int64:1*", sums)
        if self._is_small:
            self._mean: Any = compiled_loop(_mean_of_small, sums, "uint32", "int32", "int32", line)
        else:
            self._mean = compiled_loop(_mean_of_large if kind == "int64" else _mean_of_floats, sums, "int64", line)

    def add(self, line: NDArray[Any], place: int, monotonic_ns: int, camera_ns: int | None) -> None:
        """Add a contiguous line, with the time of its frame; `place` in its group, from 0 to 63, is its bit."""
        bit = 1 << place if place < 63 else -(1 << 63)
        self._add(line.reshape(-1), bit, monotonic_ns, -1 if camera_ns is None else camera_ns, self._state, self._sums)

    @property
    def used(self) -> int:
        """A bit for each frame that was added, by its place; 0 before the first."""
        return self._used[USED] & 0xFFFF_FFFF_FFFF_FFFF

    @property
    def monotonic_ns(self) -> int:
        """Mean of the times of the frames, at least one."""
        _, n, first, total, *_ = self._used
        return first + total // n

    @property
    def camera_ns(self) -> int | None:
        """Mean of the times by the camera's clock; None if it is unknown for one."""
        _, n, _, _, first, total, _ = self._used
        return None if first == -1 else first + total // n

    @property
    def span_ns(self) -> int:
        """Time from the first frame to the last one."""
        return self._used[LAST_TIME] - self._used[TIME]

    def mean_into(self, line: NDArray[Any]) -> None:
        """Compute the mean of the frames, at least one, into a contiguous line."""
        n, flat = self._used[COUNT], line.reshape(-1)
        if self._is_small:
            least = int(np.iinfo(self.dtype).min)
            self._mean(self._sums, -(-(1 << SHIFT) // n), n // 2 - least * n, least, flat)
        else:
            self._mean(self._sums, n, flat)

    def clear(self) -> None:
        """Forget the frames."""
        self._used[USED] = 0


# ---- kernels, see `levels.kernels` ---------------------------------------------------


def _add(line: Any, bit: Any, time_ns: Any, camera_ns: Any, state: Any, sums: Any) -> None:
    if state[0] == 0:
        state[1] = 0
        state[2] = time_ns
        state[3] = 0
        state[4] = camera_ns
        state[5] = 0
        for j in range(len(sums)):
            sums[np.uint64(j)] = line[np.uint64(j)]
    else:
        for j in range(len(sums)):
            sums[np.uint64(j)] += line[np.uint64(j)]
        state[3] += time_ns - state[2]
        state[5] += camera_ns - state[4]
        if camera_ns == -1:
            state[4] = -1
    state[0] |= bit
    state[1] += 1
    state[6] = time_ns


def _mean_of_small(sums: Any, factor: Any, more: Any, least: Any, line: Any) -> None:
    for j in range(len(sums)):
        positive = np.uint32(sums[np.uint64(j)] + more)
        line[np.uint64(j)] = np.int32((np.uint64(positive) * np.uint64(factor)) >> np.uint64(31)) + least


def _mean_of_large(sums: Any, n: Any, line: Any) -> None:
    for j in range(len(sums)):
        line[np.uint64(j)] = (sums[np.uint64(j)] + n // 2) // n


def _mean_of_floats(sums: Any, n: Any, line: Any) -> None:
    for j in range(len(sums)):
        line[np.uint64(j)] = sums[np.uint64(j)] / n
