"""A sparse file in memory: stores what is written, and nothing for the gaps.

HDF5 writes its own structures into it, a few hundred kilobytes of a file of gigabytes. Chunks are not stored: only the
offset of an expected chunk is recorded, for the caller that writes it to the disk.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from openhsi_shared.files.seekable import SeekableFile

__all__ = ["MemoryFile"]

PAGE = 4096


class MemoryFile(SeekableFile):
    """A file of any size; gaps read as zeros. No operation can fail with a disk error."""

    def __init__(self) -> None:
        super().__init__()
        self._pages: dict[int, memoryview] = {}
        self._written: dict[int, int] = {}
        self._expected: memoryview | None = None
        self._chunk_offset: int | None = None

    def expect_chunk(self, chunk: memoryview) -> None:
        """When `chunk` is written next, record only its offset."""
        self._expected = chunk
        self._chunk_offset = None

    def chunk_offset(self) -> int | None:
        """Offset at which the expected chunk was written, or None if it was not."""
        self._expected = None
        return self._chunk_offset

    def extents(self, max_gap: int = 0) -> Iterator[tuple[int, memoryview]]:
        """What was written, as (offset, bytes) in the order of offsets; adjacent pieces are merged.

        So are those with up to `max_gap` bytes between them, which are zeros then.
        """
        begin = end = 0
        for offset, until in sorted(self._written.items()):
            if offset > end + max_gap:
                if end > begin:
                    yield begin, self._read(begin, min(end, self.size))
                begin = offset
            end = max(end, until)
        if end > begin:
            yield begin, self._read(begin, min(end, self.size))

    def _read(self, begin: int, end: int) -> memoryview:
        data = memoryview(bytearray(max(0, end - begin)))  # it may have been truncated since
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
        """Store `data` at the file position, or only record the offset of an expected chunk."""
        view = memoryview(data).cast("B")
        n = len(view)
        if self._expected is not None and n == len(self._expected) and _address(view) == _address(self._expected):
            self._chunk_offset, self._expected = self._position, None
        else:
            self._written[self._position] = max(self._position + n, self._written.get(self._position, 0))
            kept, begin = memoryview(bytearray(view)), 0  # one copy, of which whole pages are stored as slices
            while begin < n:
                page, skip = divmod(self._position + begin, PAGE)
                part = kept[begin : begin + PAGE - skip]
                if len(part) == PAGE:
                    self._pages[page] = part
                else:
                    self._pages.setdefault(page, memoryview(bytearray(PAGE)))[skip : skip + len(part)] = part
                begin += len(part)
        self._position += n
        self.size = max(self.size, self._position)
        return n

    def readinto(self, buffer: Any, /) -> int:
        """Fill all of `buffer` from the file position."""
        view = memoryview(buffer).cast("B")
        view[:] = self._read(self._position, self._position + len(view))
        self._position += len(view)
        return len(view)


def _address(view: memoryview) -> int:
    address: int = np.frombuffer(view, np.uint8).ctypes.data
    return address
