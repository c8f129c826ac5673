"""A number among the attributes of a finished file, set in place by as few bytes as can be.

HDF5 would write whole blocks of its own, one after the other, and on a failing disk it hides the errno. So it only
shows what it would write: that is kept apart, compared with what is there, and the few bytes that differ are written.
"""

from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from openhsi_shared.durable import PartFile
from openhsi_shared.files.seekable import PlacedFile

__all__ = ["mark"]


def mark(part: PartFile, name: str, value: int) -> None:
    """Set the attribute `name` of a file that is not published yet, to be synced afterwards.

    Where it is there as a number, that takes one small write, so nobody who dies leaves half of it. SaveError
    with the true errno if it cannot be written; OSError or RuntimeError for what is no such file, which is unchanged.
    """
    with closing(_Changes(part.path)) as changes:
        with h5py.File(changes, "r+") as file:
            file.attrs.modify(name, np.int64(value))
        for offset, data in changes.differences():
            part.write_at(offset, memoryview(data))
        part.resize(changes.size)


class _Changes(PlacedFile):
    """A file as it would be after what is written here; the one on the disk stays as it is."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.stat().st_size)
        self._file = path.open("rb", buffering=0)
        self._pieces: list[tuple[int, bytes]] = []

    def differences(self) -> list[tuple[int, bytes]]:
        """What has to be written, as (offset, bytes) from the first to the last byte that differs in each piece."""
        found = []
        for offset, data in self._pieces:
            self._file.seek(offset)
            there = np.frombuffer(self._file.read(len(data)).ljust(len(data), b"\0"), np.uint8)
            differs = np.flatnonzero(there != np.frombuffer(data, np.uint8))
            if differs.size:
                begin, end = int(differs[0]), int(differs[-1]) + 1
                found.append((offset + begin, data[begin:end]))
        return found

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer` from the file, and from what was written here."""
        view = memoryview(buffer).cast("B")
        n = max(0, min(len(view), self.size - self._at))
        self._file.seek(self._at)
        data = self._file.read(n)
        view[:n] = data.ljust(n, b"\0")
        for offset, data in self._pieces:
            begin, end = max(offset, self._at), min(offset + len(data), self._at + n)
            if begin < end:
                view[begin - self._at : end - self._at] = data[begin - offset : end - offset]
        self._at += n
        return n

    def write(self, data: Any, /) -> int:
        """Keep `data` apart."""
        kept = bytes(data)
        self._pieces.append((self._at, kept))
        self._at += len(kept)
        self.size = max(self.size, self._at)
        return len(kept)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
