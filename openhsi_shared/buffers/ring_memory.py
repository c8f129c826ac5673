"""Memory layout of a ring, and the order in which it is written and read.

Words, then a log of the newest items, then the items themselves::

    items      │ 7 7 8 8 8 8 · · 5 5 6 6 6 6 7 7 │     item 7 begins near the end, and wraps around
    positions only increase: BEGUN >= COMMITTED             index = position % size

BEGUN is set to the end of an item before its bytes are written, COMMITTED afterwards. A reader copies, then checks by
BEGUN whether the bytes were overwritten meanwhile: a torn copy is never returned.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from openhsi_shared.buffers.fence import Fence
from openhsi_shared.buffers.memory import PAGE
from openhsi_shared.buffers.ring_file import RingFile
from openhsi_shared.errors import RingNotFound

__all__ = ["Item", "RingMemory", "create_ring", "release"]

MAGIC = int.from_bytes(b"oh_ring1", "little")
N_WORDS = 64
IS_READY, DTYPE, SIZE, N_ROWS, CLOSED = range(5)
BEGUN, N_BEGUN = 16, 17
"""Position, and number of items, up to which bytes may be changing. Written before the bytes."""
COMMITTED, N_PUT = 32, 33
"""The same for complete items. Written after the bytes; only the creator writes any of these."""
MAX_ROWS = 4096
"""Maximum number of newest items in the log."""
NUMBER, POSITION, LENGTH = range(3)
"""Columns of the log; the last one is the time."""


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One item, copied out of a ring."""

    number: int
    """0 for the first item ever put."""
    time_ns: int
    """Time of the `put`: ns since 1970, UTC."""
    start: int
    """As `put` returned it: negative if the item wraps around."""
    stop: int
    data: NDArray[Any]
    """1-D, a copy."""
    missed: int = 0
    """In `follow`: number of items overwritten between the previous item and this one."""

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.data, dtype) if copy else np.asarray(self.data, dtype)


class RingMemory:
    """The memory of a ring, mapped in one process."""

    def __init__(self, file: RingFile) -> None:
        """View `file`. RingNotFound, and the file is closed, if it is not initialised."""
        mapped = file.mapped
        if mapped is None or len(mapped) < 8 * N_WORDS or np.frombuffer(mapped, np.int64, 1)[IS_READY] != MAGIC:
            file.close()
            raise RingNotFound(f"{file.name!r} is no ring, or is not initialised yet: try again")
        self.words = _words_of(file)
        self.size, n_rows = self.words[SIZE], self.words[N_ROWS]
        self.dtype = np.dtype(self.words[DTYPE].to_bytes(8, "little").rstrip(b"\0").decode())
        self._log = memoryview(mapped).cast("B")[8 * N_WORDS : 8 * (N_WORDS + 4 * n_rows)].cast("q")
        self._n_rows = n_rows
        self._items = np.frombuffer(mapped, self.dtype, self.size, _begin_of_items(n_rows))
        self.values = self._items.view()
        """All values, read-only."""
        self.values.flags.writeable = False
        self.fence = Fence()

    @property
    def n_put(self) -> int:
        """Number of items ever put."""
        return self.words[N_PUT]

    @property
    def is_closed(self) -> bool:
        """Whether its creator has closed it."""
        return bool(self.words[CLOSED])

    def put(self, array: NDArray[Any]) -> tuple[int, int]:
        """Copy an array of the right type, not larger than the ring, after the last item; one thread at a time."""
        words, log, n = self.words, self._log, array.size
        number, position = words[N_PUT], words[COMMITTED]
        if n == 0:
            return position % self.size, position % self.size
        words[BEGUN] = max(words[BEGUN], position + n)  # an interrupted put may have set it higher
        words[N_BEGUN] = number + 1
        self.fence()
        indices = self._write(position % self.size, array)
        row = 4 * (number % self._n_rows)
        log[row], log[row + 1], log[row + 2], log[row + 3] = number, position, n, time.time_ns()
        self.fence()
        words[COMMITTED] = position + n
        words[N_PUT] = number + 1
        return indices

    def _write(self, start: int, array: NDArray[Any]) -> tuple[int, int]:
        stop = start + array.size
        if stop < self.size:
            np.copyto(self._items[start:stop].reshape(array.shape), array)
            return start, stop
        flat, n_first = array.reshape(-1), self.size - start
        self._items[start:] = flat[:n_first]
        self._items[: stop - self.size] = flat[n_first:]
        return start - self.size, stop - self.size

    def item(self, number: int) -> Item | None:
        """Copy an item; None if it is overwritten, or being overwritten."""
        row = 4 * (number % self._n_rows)
        _, position, n, time_ns = self._log[row : row + 4].tolist()
        self.fence()
        if not self._is_whole(number, position):  # or its row belongs to a later item
            return None
        data = self.copy(position, n)
        self.fence()
        if not self._is_whole(number, position):
            return None
        start = position % self.size
        wrapped = self.size if start + n >= self.size else 0
        return Item(number, time_ns, start - wrapped, start + n - wrapped, data)

    def _is_whole(self, number: int, position: int) -> bool:
        return self.words[N_BEGUN] - number <= self._n_rows and self.words[BEGUN] - position <= self.size

    def _known(self) -> NDArray[np.int64]:
        """Rows of the log that are consistent: (item, [number, position, length, time])."""
        n_put = self.n_put  # read before, and N_BEGUN after
        self.fence()
        log = np.array(self._log).reshape(-1, 4)
        self.fence()
        return log[(log[:, NUMBER] >= max(0, self.words[N_BEGUN] - self._n_rows)) & (log[:, NUMBER] < n_put)]

    def oldest(self, number: int) -> int:
        """Find the first item from `number` on that is not overwritten; else the number of the next `put`."""
        n_put, known = self.n_put, self._known()
        is_there = (known[:, NUMBER] >= number) & (self.words[BEGUN] - known[:, POSITION] <= self.size)
        return int(known[is_there, NUMBER].min(initial=max(number, n_put)))

    def read(self, start: int, n: int) -> NDArray[Any] | None:
        """Copy `n` values from index `start` on, if they are whole items, or part of one; None while they change.

        IndexError if nothing was put there yet, LookupError if other items are stored there until the next put.
        """
        begun, committed = self.words[BEGUN], self.words[COMMITTED]
        position = committed - n - (committed - n - start) % self.size  # in the newest round that is complete
        if position < 0:
            raise IndexError("empty")
        if begun - position <= self.size and self._holds_items(position, position + n):
            data = self.copy(position, n)
            self.fence()
            return data if self.words[BEGUN] - position <= self.size else None
        if begun <= committed:
            raise LookupError("overwritten")
        return None

    def _holds_items(self, begin: int, end: int) -> bool:
        known = self._known()
        begins, ends = known[:, POSITION], known[:, POSITION] + known[:, LENGTH]
        return bool(np.any((begins <= begin) & (end <= ends)) or (np.any(begins == begin) and np.any(ends == end)))

    def copy(self, position: int, n: int) -> NDArray[Any]:
        """Copy without checking whether the values are consistent."""
        start = position % self.size
        n_first = self.size - start
        if n <= n_first:
            return self._items[start : start + n].copy()
        data = np.empty(n, self.dtype)
        data[:n_first] = self._items[start:]
        data[n_first:] = self._items[: n - n_first]
        return data


def _words_of(file: RingFile) -> "memoryview[int]":
    """The words, each of which is loaded and stored atomically."""
    return memoryview(file.mapped).cast("B")[: 8 * N_WORDS].cast("q")


def _begin_of_items(n_rows: int) -> int:
    return -(-8 * (N_WORDS + 4 * n_rows) // PAGE) * PAGE


def create_ring(name: str, size: int, dtype: np.dtype[Any]) -> RingFile:
    """Create the file of an empty ring for `size` items. RingExists, MemoryShortage."""
    n_rows = min(size, MAX_ROWS)
    file = RingFile.create(name, _begin_of_items(n_rows) + size * dtype.itemsize)
    words = _words_of(file)
    words[DTYPE] = int.from_bytes(dtype.str.encode().ljust(8, b"\0"), "little")
    words[SIZE], words[N_ROWS] = size, n_rows
    np.frombuffer(file.mapped, np.int64, 4 * n_rows, 8 * N_WORDS)[::4] = -1  # no number yet
    words[IS_READY] = MAGIC  # last: from now on others may attach
    return file


def release(file: RingFile) -> None:
    """Close `file`; in the process that created it, first mark the ring as closed."""
    if file.is_creator and file.mapped is not None:
        _words_of(file)[CLOSED] = 1
    file.close()
