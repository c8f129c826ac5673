"""Sets a numeric attribute of a finished file in place, with as few bytes as possible.

HDF5 would write several whole blocks, and on a failing disk it hides the errno. So its writes are captured in memory
and compared with the file, and only the bytes that differ are written.
"""

from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from openhsi_shared.durable import PartFile
from openhsi_shared.files.seekable import SeekableFile

__all__ = ["patch_attribute"]


def patch_attribute(part: PartFile, name: str, value: int) -> None:
    """Set the attribute `name` of a file that is not published yet, to be synced afterwards.

    If it exists as a number, that is one small write, so a process that dies cannot leave half of it. SaveError with
    the true errno if it cannot be written; OSError or RuntimeError for a file that is not HDF5, which is unchanged.
    """
    with closing(_CapturedWrites(part.path)) as changes:
        with h5py.File(changes, "r+") as file:
            file.attrs.modify(name, np.int64(value))
        for offset, data in changes.differences():
            part.write_at(offset, memoryview(data))
        part.resize(changes.size)


class _CapturedWrites(SeekableFile):
    """A file with captured writes applied; the file on the disk is not changed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.stat().st_size)
        self._file = path.open("rb", buffering=0)
        self._pieces: list[tuple[int, bytes]] = []

    def differences(self) -> list[tuple[int, bytes]]:
        """Return what must be written: (offset, bytes) from the first to the last byte that differs in each piece."""
        found = []
        for offset, data in self._pieces:
            self._file.seek(offset)
            on_disk = np.frombuffer(self._file.read(len(data)).ljust(len(data), b"\0"), np.uint8)
            differs = np.flatnonzero(on_disk != np.frombuffer(data, np.uint8))
            if differs.size:
                begin, end = int(differs[0]), int(differs[-1]) + 1
                found.append((offset + begin, data[begin:end]))
        return found

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer` from the file and from the captured writes."""
        view = memoryview(buffer).cast("B")
        n = max(0, min(len(view), self.size - self._position))
        self._file.seek(self._position)
        data = self._file.read(n)
        view[:n] = data.ljust(n, b"\0")
        for offset, data in self._pieces:
            begin, end = max(offset, self._position), min(offset + len(data), self._position + n)
            if begin < end:
                view[begin - self._position : end - self._position] = data[begin - offset : end - offset]
        self._position += n
        return n

    def write(self, data: Any, /) -> int:
        """Capture `data`."""
        kept = bytes(data)
        self._pieces.append((self._position, kept))
        self._position += len(kept)
        self.size = max(self.size, self._position)
        return len(kept)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
