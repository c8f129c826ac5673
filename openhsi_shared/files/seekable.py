"""What a file for HDF5 must have that is none: a place, and a length."""

import io

__all__ = ["PlacedFile"]


class PlacedFile(io.RawIOBase):
    """Whoever reads and writes begins at `_at`, and moves it on."""

    size: int
    """The length to which it was last set."""

    def __init__(self, size: int = 0) -> None:
        super().__init__()
        self.size = size
        self._at = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place."""
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def truncate(self, size: int | None = None, /) -> int:
        """Set the length."""
        self.size = self._at if size is None else size
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
