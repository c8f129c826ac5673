"""The raw disk: the same bytes by `pwrite` and `fsync`, directly or through the page cache."""

import mmap
import os
import time
from pathlib import Path

__all__ = ["RawBytes"]

BLOCK = 8 << 20


class RawBytes:
    """Page-aligned bytes in memory, to be written as fast as the system can."""

    def __init__(self, n_bytes: int) -> None:
        self.n_bytes = -(-n_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._data = memoryview(mmap.mmap(-1, self.n_bytes))
        block = os.urandom(BLOCK)
        for begin in range(0, self.n_bytes, BLOCK):
            end = min(begin + BLOCK, self.n_bytes)
            self._data[begin:end] = block[: end - begin]

    def write(self, path: Path, is_direct: bool) -> float:
        """Write all bytes to a new file, durably, and return the seconds that it took. OSError if this fails."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | (os.O_DIRECT if is_direct else 0)
        begun = time.perf_counter()
        fd = os.open(path, flags, 0o600)
        try:
            os.posix_fallocate(fd, 0, self.n_bytes)
            for begin in range(0, self.n_bytes, BLOCK):
                block = self._data[begin : begin + BLOCK]
                if os.pwrite(fd, block, begin) != len(block):
                    raise OSError(f"{path}: a block was not written completely")
            os.fsync(fd)
        finally:
            os.close(fd)
        seconds = time.perf_counter() - begun
        if path.stat().st_size != self.n_bytes:
            raise OSError(f"{path} has {path.stat().st_size} bytes, expected {self.n_bytes}")
        return seconds

    def can_be_direct(self, folder: Path) -> bool:
        """Whether the file system of `folder` supports O_DIRECT."""
        if not hasattr(os, "O_DIRECT"):
            return False
        path = folder / "direct"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_DIRECT, 0o600))
        except OSError:
            return False
        finally:
            path.unlink(missing_ok=True)
        return True
