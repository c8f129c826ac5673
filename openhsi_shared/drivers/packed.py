"""Unpacking of packed pixels of 10 or 12 bits to uint16.

There are two kinds of packing. The newer one, "Mono12p" (PFNC, USB3 Vision), is a bit stream, least significant bit
first. The older one, "Mono12Packed" (GigE Vision), packs two pixels into three bytes, with the low bits of both in the
middle one. Lines are not padded.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import FrameError

__all__ = ["PIXEL_FORMATS", "PixelFormat", "bytes_at"]

Words = NDArray[Any]

BLOCK = 16384
"""Groups that are unpacked at a time, so that temporary arrays fit into the processor's cache."""


@dataclass(frozen=True)
class Packing:
    """Packing in groups of bytes, two or four pixels per group."""

    group_bytes: int
    group_pixels: int
    spread: Callable[[Words], Words]
    """Converts groups, each a little-endian word, into words of 16 bits per pixel."""

    @property
    def word(self) -> np.dtype[Any]:
        """The word for a group, as long as its unpacked pixels."""
        return np.dtype(f"<u{2 * self.group_pixels}")

    def unpack(self, data: NDArray[np.uint8], pixels: NDArray[Any]) -> None:
        """Fill `pixels`, one-dimensional, from exactly the bytes of these pixels."""
        step, n, word = self.group_bytes, self.group_pixels, self.word
        n_words = max(0, (len(data) - word.itemsize) // step + 1)  # a word extends beyond its group, not beyond data
        spread = pixels[: n_words * n].view(word)
        for first in range(0, n_words, BLOCK):
            room = spread[first : first + BLOCK]
            words = np.ndarray(room.shape, word, data, first * step, (step,))
            room[:] = self.spread(words.copy())  # aligned, which the next operations need to be fast
        for group in range(n_words, -(-len(pixels) // n)):
            rest = data[group * step : (group + 1) * step].tobytes().ljust(word.itemsize, b"\0")
            last = self.spread(np.frombuffer(rest, word)).view("<u2")
            end = pixels[group * n : (group + 1) * n]
            end[:] = last[: len(end)]


@dataclass(frozen=True)
class PixelFormat:
    """Format of the pixels in the bytes that a camera sends."""

    name: str
    """GenICam's name, such as "Mono12Packed"."""
    n_bits: int
    packing: Packing | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an unpacked pixel."""
        return np.dtype(np.uint8 if self.n_bits == 8 else "<u2")

    def n_bytes(self, n_pixels: int) -> int:
        """Number of bytes of `n_pixels`.

        >>> PIXEL_FORMATS["Mono12p"].n_bytes(6), PIXEL_FORMATS["Mono12p"].n_bytes(5)
        (9, 8)
        """
        if self.packing is None:
            return n_pixels * self.dtype.itemsize
        return -(-n_pixels * self.packing.group_bytes // self.packing.group_pixels)

    def unpack(self, data: NDArray[np.uint8], out: NDArray[Any]) -> None:
        """Fill `out` (C order) from the bytes of a frame, one-dimensional; surplus bytes are ignored.

        Raises FrameError if there are too few.
        """
        needed = self.n_bytes(out.size)
        if len(data) < needed:
            raise FrameError(f"a frame of {out.shape} pixels {self.name} has {needed} bytes, got {len(data)}")
        if self.packing is None:
            np.copyto(out, data[:needed].view(self.dtype).reshape(out.shape))
        else:
            self.packing.unpack(data[:needed], out.reshape(-1))


def bytes_at(pointer: Any, n_bytes: int) -> NDArray[np.uint8]:
    """View a buffer of a vendor's library, valid until it is requeued. FrameError for a null pointer."""
    address = ctypes.cast(pointer, ctypes.c_void_p).value
    if not address:
        raise FrameError(f"a frame of {n_bytes} bytes came without its data")
    memory: Any = (ctypes.c_uint8 * n_bytes).from_address(address)
    return np.frombuffer(memory, np.uint8)


def _spread_12p(words: Words) -> Words:
    return (words & 0xFFF) | (words & 0xFFF000) << 4


def _spread_12_packed(words: Words) -> Words:
    return (words << 4 & 0xFF0) | (words >> 8 & 0xF) | (words & 0xFFF000) << 4


def _spread_10p(words: Words) -> Words:
    return (words & 0x3FF) | (words & 0x3FF << 10) << 6 | (words & 0x3FF << 20) << 12 | (words & 0x3FF << 30) << 18


def _spread_10_packed(words: Words) -> Words:
    first = (words << 2 & 0x3FC) | (words >> 8 & 0x3)
    second = (words >> 14 & 0x3FC) | (words >> 12 & 0x3)
    return first | second << 16


PIXEL_FORMATS = {
    known.name: known
    for known in (
        PixelFormat("Mono16", 16),
        PixelFormat("Mono14", 14),
        PixelFormat("Mono12", 12),
        PixelFormat("Mono12p", 12, Packing(3, 2, _spread_12p)),
        PixelFormat("Mono12Packed", 12, Packing(3, 2, _spread_12_packed)),
        PixelFormat("Mono10", 10),
        PixelFormat("Mono10p", 10, Packing(5, 4, _spread_10p)),
        PixelFormat("Mono10Packed", 10, Packing(3, 2, _spread_10_packed)),
        PixelFormat("Mono8", 8),
    )
}
"""Supported formats by name: largest bit depth first, unpacked before packed."""
