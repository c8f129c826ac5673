"""Encodes a line as the bytes of its chunk, and decodes it.

In the file a line is stored as in memory, (x, wavelength), or transposed, (wavelength, x). For compression the bytes
are shuffled as by HDF5: the first bytes of all pixels, then the second ones, ..., in one deflate or zstd stream.
"""

import mmap
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from openhsi_shared.durable import PAGE
from openhsi_shared.files.deflate import PlaneDeflate, max_stream_bytes, take_plane
from openhsi_shared.files.image import LARGE_LINE, Layout
from openhsi_shared.save_options import Compression

__all__ = ["Encoded", "Encoder", "decoded", "decompress", "little_endian", "shuffled", "unshuffled"]


def little_endian(line: NDArray[Any]) -> NDArray[Any]:
    """Return the line in C order, little-endian, as in the file; without a copy if it has that layout."""
    return np.ascontiguousarray(line, line.dtype.newbyteorder("<"))


def shuffled(line: NDArray[Any], out: NDArray[np.uint8]) -> None:
    """Put the first bytes of all pixels, then the second ones, ..., into `out`."""
    size = line.dtype.itemsize
    pixels = line.reshape(-1).view(f"u{size}")
    for number, part in enumerate(out.reshape(size, -1)):
        take_plane(pixels, number, part)


def unshuffled(data: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Undo `shuffled`."""
    planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1)
    pixels: NDArray[Any] = planes[-1].astype(f"<u{dtype.itemsize}")
    for plane in planes[-2::-1]:  # numpy shifts 16 bytes at a time, but moves single bytes
        pixels <<= 8
        pixels |= plane
    return pixels.view(dtype)


class Encoder:
    """Encodes lines as the bytes of their chunks, in the order and the alignment that they have in the file.

    Thread-safe: each thread has a compressor of its own, and fills its own block of memory.
    """

    def __init__(self, layout: Layout, free: "list[Encoded] | None" = None) -> None:
        """`free`: blocks of an earlier one, which are used again; those that are released are put there."""
        self._layout = layout
        self._own = threading.local()
        self._max_bytes = _max_bytes(layout)
        self._alignment = PAGE if self._max_bytes >= LARGE_LINE else 1
        self._free: list[Encoded] = [] if free is None else free

    def block(self, n_lines: int) -> "Encoded":
        """Return memory for the chunks of so many lines, to be given back by `release`."""
        n_bytes = n_lines * -(-self._max_bytes // self._alignment) * self._alignment
        try:
            encoded = self._free.pop()  # not asked for before: another thread may take it meanwhile
        except IndexError:
            encoded = Encoded(n_bytes)
        if len(encoded.memory) < PAGE + n_bytes:
            encoded = Encoded(n_bytes)
        encoded.spans.clear()
        return encoded

    def encode(self, line: NDArray[Any], encoded: "Encoded") -> None:
        """Put the chunk of the next line (x, wavelength) into `encoded`."""
        if not hasattr(self._own, "compress"):
            self._own.compress = _compressor(self._layout)
        begin = -(-encoded.end // self._alignment) * self._alignment
        encoded.memory[encoded.end : begin] = 0
        pixels = little_endian(line if self._layout.old_style else line.T)
        encoded.spans.append((begin, begin + self._own.compress(pixels, encoded.memory[begin:])))

    def release(self, encoded: "Encoded") -> None:
        """Give a block back that is not used any more."""
        self._free.append(encoded)


class Encoded:
    """Chunks of consecutive lines in one block of memory, which begins with a page that is free."""

    def __init__(self, n_bytes: int) -> None:
        self.memory = np.frombuffer(mmap.mmap(-1, PAGE + n_bytes), np.uint8)  # page-aligned
        self.spans: list[tuple[int, int]] = []
        """Where each chunk begins and ends. If chunks are large, each begins at a page, as in the file."""

    @property
    def end(self) -> int:
        """End of the last chunk."""
        return self.spans[-1][1] if self.spans else PAGE


Compressor = Callable[[NDArray[Any], NDArray[np.uint8]], int]
"""Put the chunk of a line, contiguous and little-endian, into an array of bytes; returns its length."""


def _compressor(layout: Layout) -> Compressor:
    """Return a compressor for one thread."""
    if layout.compression == "deflate":
        return PlaneDeflate(layout.dtype, layout.line_bytes // layout.dtype.itemsize, layout.compression_level).compress
    if layout.compression is None:
        return _copy
    import zstandard

    zstd = zstandard.ZstdCompressor(level=layout.compression_level)
    planes = np.empty(layout.line_bytes, np.uint8)

    def compress(pixels: NDArray[Any], out: NDArray[np.uint8]) -> int:
        shuffled(pixels, planes)
        return _copy(np.frombuffer(zstd.compress(planes.data), np.uint8), out)

    return compress


def _max_bytes(layout: Layout) -> int:
    """Maximum length of a chunk."""
    if layout.compression == "deflate":
        return max_stream_bytes(layout.line_bytes // layout.dtype.itemsize, layout.dtype.itemsize)
    if layout.compression is None:
        return layout.line_bytes
    return layout.line_bytes + layout.line_bytes // 128 + 512  # more than ZSTD_COMPRESSBOUND


def _copy(data: NDArray[Any], out: NDArray[np.uint8]) -> int:
    """Copy all bytes of `data`; releases the interpreter's lock meanwhile."""
    np.copyto(out[: data.nbytes], data.reshape(-1).view(np.uint8))
    return data.nbytes


def decoded(chunk: bytes, layout: Layout) -> NDArray[Any]:
    """The line (x, wavelength) of a chunk, as a view. ValueError if it is not the chunk of a line."""
    if layout.compression is not None:
        chunk = decompress(chunk, layout.compression, layout.line_bytes)
    if len(chunk) != layout.line_bytes:
        raise ValueError(f"{len(chunk)} bytes are not a line of {layout.line_bytes} bytes")
    is_shuffled = layout.compression is not None and layout.dtype.itemsize > 1
    pixels = unshuffled(chunk, layout.dtype) if is_shuffled else np.frombuffer(chunk, layout.dtype)
    return pixels.reshape(layout.line_shape) if layout.old_style else pixels.reshape(layout.line_shape[::-1]).T


def decompress(data: bytes, compression: Compression, n_bytes: int) -> bytes:
    """Undo the compression. ValueError if the result does not have `n_bytes`."""
    if compression == "deflate":
        stream_error: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # the stub calls it an instance
        try:  # limited: a damaged stream may expand to gigabytes
            stream = isal_zlib.decompressobj()
            result: bytes = stream.decompress(data, n_bytes + 1)
            if len(result) == n_bytes and not stream.eof:
                raise ValueError("is not a deflate stream: it has no end")
        except stream_error as error:
            raise ValueError(f"is not a deflate stream: {error}") from error
    else:
        import zstandard

        try:
            result = zstandard.ZstdDecompressor().decompress(data, max_output_size=n_bytes)
        except zstandard.ZstdError as error:
            raise ValueError(f"is not a zstd stream: {error}") from error
    if len(result) != n_bytes:
        raise ValueError(f"decompresses to {len(result)} bytes or more, expected {n_bytes}")
    return result
