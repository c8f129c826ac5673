"""Encodes a line as the bytes of its chunk, and decodes it.

In the file a line is stored as in memory, (x, wavelength), or transposed, (wavelength, x). For compression the bytes
are shuffled as by HDF5: the first bytes of all pixels, then the second ones, ..., in one deflate or zstd stream.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.files.deflate import PlaneDeflate, take_plane
from openhsi_shared.files.image import Layout
from openhsi_shared.save_options import Compression

__all__ = ["decompress", "encoder", "little_endian", "shuffled", "unshuffled"]


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
    return np.ascontiguousarray(planes.T).reshape(-1).view(dtype)


def encoder(layout: Layout) -> Callable[[NDArray[Any]], memoryview]:
    """Return the function that turns a line into the bytes of its chunk; thread-safe."""
    compressors = threading.local()  # none may be used by two threads

    def encode(line: NDArray[Any]) -> memoryview:
        pixels = little_endian(line if layout.old_style else line.T)
        if layout.compression is None:
            return pixels.reshape(-1).view(np.uint8).data
        if not hasattr(compressors, "own"):
            compressors.own = _compressor(layout)
        packed: memoryview = compressors.own(pixels)
        return packed

    return encode


def _compressor(layout: Layout) -> Callable[[NDArray[Any]], memoryview]:
    if layout.compression == "deflate":
        return PlaneDeflate(layout.dtype, layout.line_bytes // layout.dtype.itemsize, layout.compression_level).compress
    import zstandard

    zstd = zstandard.ZstdCompressor(level=layout.compression_level)
    planes = np.empty(layout.line_bytes, np.uint8)

    def compress(pixels: NDArray[Any]) -> memoryview:
        shuffled(pixels, planes)
        return memoryview(zstd.compress(planes.data))

    return compress


def decompress(data: bytes, compression: Compression, n_bytes: int) -> bytes:
    """Undo the compression. ValueError if the result does not have `n_bytes`."""
    if compression == "deflate":
        from isal import isal_zlib

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
