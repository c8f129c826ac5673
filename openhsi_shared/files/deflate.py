"""Deflate of shuffled lines at the speed of memory: a plane of bytes that does not shrink is stored, not compressed.

The low bytes of a line with shot noise hold almost eight bits of information each. A compressor takes most of its time
for them, and saves nothing. A deflate stream may contain stored blocks beside compressed ones, so each plane has what
pays, and every reader of netCDF-4 reads the stream (RFC 1950 and RFC 1951).
"""

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["PlaneDeflate", "take_plane"]

HEADER = b"\x78\x01"
"""Of zlib: deflate, with a window of 32 KiB."""
LAST = b"\x01\x00\x00\xff\xff"
"""The end of a stream: an empty stored block with the bit of the last one."""
MAX_STORED = 65535
"""Bytes of a stored block at most."""
HAS_TO_SHRINK_TO = 0.95
"""A plane that compression does not make smaller than this is stored."""
TRIAL_EVERY = 16
"""Lines after which compression of a stored plane is tried again: scenes change."""


class PlaneDeflate:
    """Deflates lines of pixels of one type, (x, wavelength) or transposed. For one thread."""

    def __init__(self, dtype: np.dtype[np.generic], n_pixels: int, level: int) -> None:
        from isal import isal_zlib

        self._zlib, self._level = isal_zlib, level
        self._unsigned = np.dtype(f"u{dtype.itemsize}")
        self._n_pixels = n_pixels
        self._scratch = np.empty(n_pixels, np.uint8)
        self._is_stored = [False] * dtype.itemsize
        self._n_lines = 0
        n_headers = 5 * -(-n_pixels // MAX_STORED)
        self._max_bytes = len(HEADER) + dtype.itemsize * (n_pixels + n_headers) + len(LAST) + 4

    def compress(self, line: NDArray[np.generic]) -> memoryview:
        """Return the stream of one line, which is contiguous and little-endian."""
        pixels = line.reshape(-1).view(self._unsigned)
        out = np.empty(self._max_bytes, np.uint8)
        end = _put(out, 0, HEADER)
        adler = 1
        is_trial = self._n_lines % TRIAL_EVERY == 0
        self._n_lines += 1
        for number, is_stored in enumerate(self._is_stored):
            if is_stored and not is_trial:
                for begin, piece in _stored_blocks(out, end, self._n_pixels):
                    take_plane(pixels[begin : begin + len(piece)], number, piece)
                    adler = self._zlib.adler32(piece, adler)
                    end += 5 + len(piece)
                continue
            plane = self._scratch
            take_plane(pixels, number, plane)
            adler = self._zlib.adler32(plane, adler)
            packer = self._zlib.compressobj(self._level, self._zlib.DEFLATED, -15)
            packed = packer.compress(plane) + packer.flush(self._zlib.Z_SYNC_FLUSH)  # ends at a byte
            self._is_stored[number] = len(packed) > HAS_TO_SHRINK_TO * self._n_pixels
            if self._is_stored[number]:
                for begin, piece in _stored_blocks(out, end, self._n_pixels):
                    np.copyto(piece, plane[begin : begin + len(piece)])
                    end += 5 + len(piece)
            else:
                end = _put(out, end, packed)
        end = _put(out, end, LAST)
        end = _put(out, end, struct.pack(">I", adler))
        return out[:end].data


def take_plane(pixels: NDArray[np.unsignedinteger], number: int, out: NDArray[np.uint8]) -> None:
    """Copy byte `number` of each pixel, counted from the lowest."""
    if number:
        np.right_shift(pixels, 8 * number, out=out, casting="unsafe")  # four times as fast as a strided copy
    else:
        np.copyto(out, pixels, casting="unsafe")


def _stored_blocks(out: NDArray[np.uint8], at: int, n_bytes: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Lay out stored blocks of `n_bytes` from `at`: (offset in the plane, place for its bytes) of each."""
    for begin in range(0, n_bytes, MAX_STORED):
        n = min(MAX_STORED, n_bytes - begin)
        at = _put(out, at, struct.pack("<BHH", 0, n, n ^ 0xFFFF))
        yield begin, out[at : at + n]
        at += n


def _put(out: NDArray[np.uint8], at: int, data: bytes) -> int:
    """Copy `data` to `at`; returns its end. Releases the interpreter's lock while it copies much."""
    end = at + len(data)
    np.copyto(out[at:end], np.frombuffer(data, np.uint8))
    return end
