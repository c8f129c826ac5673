"""Deflate of shuffled lines at the speed of memory: a plane of bytes that does not shrink is stored, not compressed.

The low bytes of a line with shot noise hold almost eight bits of information each. A compressor takes most of its time
for them, and saves nothing. A deflate stream may contain stored blocks beside compressed ones, so each plane has what
pays, and every reader of netCDF-4 reads the stream (RFC 1950 and RFC 1951).
"""

import struct

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from openhsi_shared.files.checksums import end_vector_code

__all__ = ["PlaneDeflate", "max_stream_bytes", "take_plane"]

HEADER = b"\x78\x01"
"""Of zlib: deflate, with a window of 32 KiB."""
LAST = b"\x01\x00\x00\xff\xff"
"""The end of a stream: an empty stored block with the bit of the last one."""
MAX_STORED = 65535
"""Bytes of a stored block at most."""
STORED_HEADER = 5
"""Bytes before those of a stored block."""
HAS_TO_SHRINK_TO = 0.95
"""A plane that compression does not make smaller than this is stored."""
TRIAL_EVERY = 8
"""Lines after which compression of a stored plane is tried again: scenes change."""
TRIAL_BYTES = 1 << 15
"""Bytes of a plane that are compressed for a trial, each time other ones. If they shrink, the whole plane is tried."""


class PlaneDeflate:
    """Deflates lines of pixels of one type, (x, wavelength) or transposed. For one thread."""

    def __init__(self, dtype: np.dtype[np.generic], n_pixels: int, level: int) -> None:
        self._level = level
        self._unsigned = np.dtype(f"u{dtype.itemsize}")
        self._plane = np.empty(n_pixels, np.uint8)
        self._is_stored = [True] * dtype.itemsize
        self._n_lines = 0

    def compress(self, line: NDArray[np.generic], out: NDArray[np.uint8]) -> int:
        """Put the stream of one line into `out`, and return its length.

        The line is contiguous and little-endian, and `out` has at least `max_stream_bytes`.
        """
        pixels = line.reshape(-1).view(self._unsigned)
        end, checksum = _put(out, 0, HEADER), 1
        for number in range(pixels.itemsize):
            packed = self._packed(pixels, number)
            if packed is None:
                end, checksum = self._store(pixels, number, out, end, checksum)
            else:
                end, checksum = _put(out, end, packed), isal_zlib.adler32(self._plane, checksum)
        end = _put(out, end, LAST)
        end = _put(out, end, struct.pack(">I", checksum))
        self._n_lines += 1
        end_vector_code()
        return end

    def _packed(self, pixels: NDArray[np.unsignedinteger], number: int) -> bytes | None:
        """A plane compressed, which is left in `_plane`; or None if it is to be stored."""
        if self._is_stored[number]:
            n_trials, is_no_trial = divmod(self._n_lines, TRIAL_EVERY)
            if is_no_trial or not self._shrinks(pixels, number, n_trials * TRIAL_BYTES % pixels.size):
                return None
        take_plane(pixels, number, self._plane)
        packed = self._deflated(self._plane)
        self._is_stored[number] = len(packed) > HAS_TO_SHRINK_TO * pixels.size
        return None if self._is_stored[number] else packed

    def _shrinks(self, pixels: NDArray[np.unsignedinteger], number: int, begin: int) -> bool:
        """Whether the plane of the pixels from `begin` on becomes smaller."""
        part = pixels[begin : begin + TRIAL_BYTES]
        plane = self._plane[: part.size]
        take_plane(part, number, plane)
        return len(self._deflated(plane)) <= HAS_TO_SHRINK_TO * part.size

    def _deflated(self, data: NDArray[np.uint8]) -> bytes:
        """Deflate blocks without the bit of the last one, which end at a byte."""
        packer = isal_zlib.compressobj(self._level, isal_zlib.DEFLATED, -15)
        packed: bytes = packer.compress(data) + packer.flush(isal_zlib.Z_SYNC_FLUSH)
        return packed

    def _store(
        self, pixels: NDArray[np.unsignedinteger], number: int, out: NDArray[np.uint8], at: int, checksum: int
    ) -> tuple[int, int]:
        """Put stored blocks of a plane at `at`, straight from the pixels; returns their end, and the new checksum."""
        for begin in range(0, pixels.size, MAX_STORED):
            part = pixels[begin : begin + MAX_STORED]
            at = _put(out, at, _stored_header(part.size))
            stored = out[at : at + part.size]
            take_plane(part, number, stored)
            checksum = isal_zlib.adler32(stored, checksum)
            end_vector_code()  # the next cast is code for SSE
            at += part.size
        return at, checksum


def max_stream_bytes(n_pixels: int, itemsize: int) -> int:
    """Length of the longest stream of a line."""
    n_blocks = -(-n_pixels // MAX_STORED)
    return len(HEADER) + itemsize * (n_pixels + STORED_HEADER * n_blocks) + len(LAST) + 4


def take_plane(pixels: NDArray[np.unsignedinteger], number: int, out: NDArray[np.uint8]) -> None:
    """Copy byte `number` of each pixel, counted from the lowest; `pixels` are contiguous and little-endian.

    These are the lowest bytes of the pixels that begin `number` bytes later: a cast takes them, three times as fast as
    a strided copy, and twice as fast as a shift.
    """
    if number == 0:
        np.copyto(out, pixels, casting="unsafe")
    else:
        size = pixels.dtype.itemsize
        later = np.frombuffer(pixels.view(np.uint8).data[number : number - size], pixels.dtype)
        np.copyto(out[:-1], later, casting="unsafe")
        out[-1] = pixels.view(np.uint8)[number - size]


def _stored_header(n_bytes: int) -> bytes:
    return struct.pack("<BHH", 0, n_bytes, n_bytes ^ 0xFFFF)


def _put(out: NDArray[np.uint8], at: int, data: bytes | memoryview) -> int:
    """Copy `data` to `at`; returns its end. Releases the interpreter's lock while it copies much."""
    end = at + len(data)
    np.copyto(out[at:end], np.frombuffer(data, np.uint8))
    return end
