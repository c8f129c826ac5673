"""Base of file-like objects for h5py: position and size."""

import io

__all__ = ["SeekableFile"]


class SeekableFile(io.RawIOBase):
    """Subclasses read and write at `_position`, and advance it."""

    size: int
    """Length in bytes."""

    def __init__(self, size: int = 0) -> None:
        super().__init__()
        self.size = size
        self._position = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Set the position, and return it."""
        self._position = offset + (0, self._position, self.size)[whence]
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def truncate(self, size: int | None = None, /) -> int:
        """Set the length."""
        self.size = self._position if size is None else size
        return self.size

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True
