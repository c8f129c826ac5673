"""Encodes a line as the bytes of its chunk, and decodes it.

In the file a line is stored as in memory, (x, wavelength), or transposed, (wavelength, x). For compression the bytes
are shuffled as by HDF5: the first bytes of all pixels, then the second ones, ..., in one deflate or zstd stream.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        if number:
            np.right_shift(pixels, 8 * number, out=part, casting="unsafe")  # four times as fast as a strided copy
        else:
            np.copyto(part, pixels, casting="unsafe")


def unshuffled(data: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Undo `shuffled`."""
    planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).reshape(-1).view(dtype)


def encoder(layout: Layout) -> Callable[[NDArray[Any]], memoryview]:
    """Return the function that turns a line into the bytes of its chunk; thread-safe."""
    compress = _compressor(layout)
    scratch = threading.local()

    def encode(line: NDArray[Any]) -> memoryview:
        pixels = little_endian(line if layout.old_style else line.T)
        if compress is None:
            return pixels.reshape(-1).view(np.uint8).data
        if pixels.itemsize > 1:
            if not hasattr(scratch, "planes"):
                scratch.planes = np.empty(pixels.nbytes, np.uint8)
            shuffled(pixels, scratch.planes)
            pixels = scratch.planes
        return memoryview(compress(pixels.reshape(-1).view(np.uint8).data))

    return encode


def _compressor(layout: Layout) -> Callable[[memoryview], bytes] | None:
    level = layout.compression_level
    if layout.compression is None:
        return None
    if layout.compression == "deflate":
        from isal import isal_zlib

        return lambda data: isal_zlib.compress(data, level)
    import zstandard

    own = threading.local()  # a compressor must not be shared by threads

    def compress(data: memoryview) -> bytes:
        if not hasattr(own, "compressor"):
            own.compressor = zstandard.ZstdCompressor(level=level)
        compressed: bytes = own.compressor.compress(data)
        return compressed

    return compress


def decompress(data: bytes, compression: Compression, n_bytes: int) -> bytes:
    """Undo the compression. ValueError if the result does not have `n_bytes`."""
    if compression == "deflate":
        from isal import isal_zlib

        stream_error: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # the stub calls it an instance
        try:  # limited: a damaged stream may expand to gigabytes
            result: bytes = isal_zlib.decompressobj().decompress(data, n_bytes + 1)
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
