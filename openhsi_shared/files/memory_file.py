"""A file in memory that keeps what is written into it, and nothing for the places in between.

HDF5 writes its own structures into it, a few hundred kilobytes of a file of gigabytes. The large blocks go another way:
of a chunk that passes through here only its place is kept, for whoever writes it to the disk.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from openhsi_shared.files.seekable import PlacedFile

__all__ = ["SparseFile"]

PAGE = 4096


class SparseFile(PlacedFile):
    """A file of any size; what was never written reads as zeros. Nothing in it can fail for want of a disk."""

    def __init__(self) -> None:
        super().__init__()
        self._pages: dict[int, memoryview] = {}
        self._written: dict[int, int] = {}
        self._expected: memoryview | None = None
        self._place: int | None = None

    def expect(self, chunk: memoryview) -> None:
        """Do not keep `chunk` when it is written next, only its place."""
        self._expected = chunk
        self._place = None

    def place(self) -> int | None:
        """Where the chunk that was expected has been written, or None if it was not."""
        self._expected = None
        return self._place

    def extents(self) -> Iterator[tuple[int, memoryview]]:
        """What was written, as (offset, bytes) in the order of offsets; pieces that touch are one."""
        begin = end = 0
        for offset, until in sorted(self._written.items()):
            if offset > end:
                if end > begin:
                    yield begin, self._read(begin, min(end, self.size))
                begin = offset
            end = max(end, until)
        if end > begin:
            yield begin, self._read(begin, min(end, self.size))

    def _read(self, begin: int, end: int) -> memoryview:
        data = memoryview(bytearray(max(0, end - begin)))  # it may have been cut since
        at = 0
        while at < len(data):
            page, skip = divmod(begin + at, PAGE)
            n = min(PAGE - skip, len(data) - at)
            kept = self._pages.get(page)
            if kept is not None:
                data[at : at + n] = kept[skip : skip + n]
            at += n
        return data

    def write(self, data: Any, /) -> int:
        """Keep `data` at the place, or only the place of an expected chunk."""
        view = memoryview(data).cast("B")
        n = len(view)
        if self._expected is not None and n == len(self._expected) and _address(view) == _address(self._expected):
            self._place, self._expected = self._at, None
        else:
            self._written[self._at] = max(self._at + n, self._written.get(self._at, 0))
            kept, begin = memoryview(bytearray(view)), 0  # one copy, of which whole pages are kept as parts
            while begin < n:
                page, skip = divmod(self._at + begin, PAGE)
                part = kept[begin : begin + PAGE - skip]
                if len(part) == PAGE:
                    self._pages[page] = part
                else:
                    self._pages.setdefault(page, memoryview(bytearray(PAGE)))[skip : skip + len(part)] = part
                begin += len(part)
        self._at += n
        self.size = max(self.size, self._at)
        return n

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer` from the place; always all of it."""
        view = memoryview(buffer).cast("B")
        view[:] = self._read(self._at, self._at + len(view))
        self._at += len(view)
        return len(view)


def _address(view: memoryview) -> int:
    address: int = np.frombuffer(view, np.uint8).ctypes.data
    return address
