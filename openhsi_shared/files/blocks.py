"""Small pieces of a file, gathered into large writes."""

import mmap

import numpy as np

from openhsi_shared.durable import PAGE, PartFile

__all__ = ["BlockWriter"]


class BlockWriter:
    """Gathers consecutive pieces into large, page-aligned writes, through a buffer of its own.

    For pieces whose layout in memory differs from that in the file. Call `flush` at the end.
    """

    def __init__(self, part: PartFile, n_bytes: int = 8 << 20) -> None:
        self._part = part
        self._block = memoryview(mmap.mmap(-1, n_bytes + PAGE))  # page-aligned
        self._array = np.frombuffer(self._block, np.uint8)
        self._begin = 0
        self._end = 0
        self._offset = 0

    def put(self, offset: int, data: memoryview) -> None:
        """Copy `data`, to be written at `offset`. A gap of less than a page after the last piece becomes zeros."""
        data = data.cast("B")
        gap = offset - self._offset - (self._end - self._begin)
        if self._begin == self._end or not 0 <= gap < PAGE:
            self.flush()
            self._offset = offset
            self._begin = self._end = offset % PAGE
        elif gap:
            self._append(memoryview(bytes(gap)))
        self._append(data)

    def put_pages(self, offset: int, memory: memoryview, begin: int, end: int) -> None:
        """Write memory[begin:end] at `offset`, without a copy if both begin at a page; the page before is overwritten.

        As `put`, for much data: only what follows the last whole page is gathered.
        """
        if offset % PAGE or begin % PAGE or end - begin < PAGE:
            self.put(offset, memory[begin:end])
            return
        n_before = self._end - self._begin
        if n_before and offset - PAGE == self._offset and n_before <= PAGE:  # the rest of the last call
            memory[begin - PAGE : begin - PAGE + n_before] = self._block[self._begin : self._end]
            memory[begin - PAGE + n_before : begin] = bytes(PAGE - n_before)
            offset, begin = offset - PAGE, begin - PAGE
        else:
            self.flush()
        end_of_pages = end - (end - begin) % PAGE
        self._part.write_at(offset, memory[begin:end_of_pages])
        self._begin, self._end, self._offset = 0, end - end_of_pages, offset + end_of_pages - begin
        self._block[: self._end] = memory[end_of_pages:end]

    def _append(self, data: memoryview) -> None:
        while data:
            n = min(len(data), len(self._block) - self._end)
            # by numpy, which releases the interpreter's lock meanwhile
            np.copyto(self._array[self._end : self._end + n], np.frombuffer(data[:n], np.uint8))
            self._end += n
            data = data[n:]
            if self._end == len(self._block):
                self._write(self._end // PAGE * PAGE)

    def _write(self, until: int) -> None:
        """Write the block up to `until`; the remainder, less than a page, moves to the front."""
        self._part.write_at(self._offset, self._block[self._begin : until])
        self._offset += until - self._begin
        n_left = self._end - until
        self._block[:n_left] = self._block[until : self._end]
        self._begin, self._end = 0, n_left

    def flush(self) -> None:
        """Write what is still buffered."""
        if self._end > self._begin:
            self._write(self._end)
