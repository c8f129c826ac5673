"""Small pieces of a file, gathered into large writes."""

import mmap

from openhsi_shared.durable import PAGE, PartFile

__all__ = ["BlockWriter"]


class BlockWriter:
    """Gathers pieces that follow each other into large writes at whole pages, through memory of its own.

    For pieces that do not lie in memory as they shall lie in the file. Call `flush` at the end.
    """

    def __init__(self, part: PartFile, n_bytes: int = 8 << 20) -> None:
        self._part = part
        self._block = memoryview(mmap.mmap(-1, n_bytes + PAGE))  # begins at a page
        self._begin = 0
        self._end = 0
        self._offset = 0

    def put(self, offset: int, data: memoryview) -> None:
        """Take a copy of `data` for the place `offset`. A small gap behind the last piece is filled with zeros."""
        data = data.cast("B")
        gap = offset - self._offset - (self._end - self._begin)
        if self._begin == self._end or not 0 <= gap < PAGE:
            self.flush()
            self._offset = offset
            self._begin = self._end = offset % PAGE
        elif gap:
            self._append(memoryview(bytes(gap)))
        self._append(data)

    def _append(self, data: memoryview) -> None:
        while data:
            n = min(len(data), len(self._block) - self._end)
            self._block[self._end : self._end + n] = data[:n]
            self._end += n
            data = data[n:]
            if self._end == len(self._block):
                self._write(self._end // PAGE * PAGE)

    def _write(self, until: int) -> None:
        """Write what lies before `until` in the block; the rest, less than a page, moves to the front."""
        self._part.write_at(self._offset, self._block[self._begin : until])
        self._offset += until - self._begin
        rest = self._end - until
        self._block[:rest] = self._block[until : self._end]
        self._begin, self._end = 0, rest

    def flush(self) -> None:
        """Write what was put and not yet written."""
        if self._end > self._begin:
            self._write(self._end)
