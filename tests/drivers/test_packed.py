"""Packed pixels are what the conventions say, bit by bit."""

import ctypes

import numpy as np
import pytest

from openhsi_shared.drivers.packed import PIXEL_FORMATS, bytes_at
from openhsi_shared.errors import FrameError


def streamed(pixels, n_bits):
    """One stream of bits, least significant first (PFNC 2.x, "p")."""
    number = sum(int(pixel) << n_bits * place for place, pixel in enumerate(pixels))
    return number.to_bytes(-(-len(pixels) * n_bits // 8), "little")


def gige_packed(pixels, n_bits):
    """Two pixels in three bytes: high bits, low bits of both, high bits (GigE Vision, "Packed")."""
    n_low = n_bits - 8
    packed = []
    for first, second in zip(pixels[::2], [*pixels[1::2], 0], strict=False):
        low = 2**n_low
        packed += [int(first) >> n_low, int(first) % low | int(second) % low << 4, int(second) >> n_low]
    return bytes(packed)


PACKERS = {
    "Mono12p": (streamed, 12),
    "Mono12Packed": (gige_packed, 12),
    "Mono10p": (streamed, 10),
    "Mono10Packed": (gige_packed, 10),
}


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 3), (1, 4), (3, 3), (5, 7), (2, 10), (64, 101), (200, 333)])
def test_a_packed_frame_is_unpacked_whatever_its_size(name, shape):
    pack, n_bits = PACKERS[name]
    pixels = np.random.default_rng(2).integers(0, 2**n_bits, shape, dtype=np.uint16)
    data = np.frombuffer(pack(pixels.reshape(-1), n_bits), np.uint8)
    room = np.full((3, *shape), 0xFFFF, np.uint16)
    PIXEL_FORMATS[name].unpack(data, room[1])
    assert np.array_equal(room[1], pixels)
    assert (room[[0, 2]] == 0xFFFF).all()  # and nothing beside it


@pytest.mark.parametrize("name", PACKERS)
def test_every_value_of_a_pixel_comes_through_at_every_place(name):
    pack, n_bits = PACKERS[name]
    pixels = np.concatenate([np.roll(np.arange(2**n_bits), place) for place in range(4)]).astype(np.uint16)
    out = np.empty((4, 2**n_bits), np.uint16)
    PIXEL_FORMATS[name].unpack(np.frombuffer(pack(pixels, n_bits), np.uint8), out)
    assert np.array_equal(out.reshape(-1), pixels)


def test_known_bytes_of_the_conventions():
    out = np.empty((1, 2), np.uint16)
    data = np.array([0xAB, 0xCD, 0xEF], np.uint8)
    PIXEL_FORMATS["Mono12p"].unpack(data, out)
    assert [hex(pixel) for pixel in out[0]] == ["0xdab", "0xefc"]
    PIXEL_FORMATS["Mono12Packed"].unpack(data, out)
    assert [hex(pixel) for pixel in out[0]] == ["0xabd", "0xefc"]


def test_what_is_not_packed_is_copied():
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    out = np.empty((3, 4), np.uint16)
    PIXEL_FORMATS["Mono12"].unpack(np.frombuffer(pixels.tobytes() + b"trailer", np.uint8), out)
    assert np.array_equal(out, pixels)


@pytest.mark.parametrize("name", PIXEL_FORMATS)
def test_too_few_bytes_are_refused(name):
    known = PIXEL_FORMATS[name]
    out = np.empty((5, 7), known.dtype)
    with pytest.raises(FrameError, match=rf"a frame of \(5, 7\) pixels {name} has {known.n_bytes(35)} bytes, got 8"):
        known.unpack(np.zeros(8, np.uint8), out)


def test_memory_of_a_library_is_seen_where_it_is():
    memory = (ctypes.c_ubyte * 4)(1, 2, 3, 4)
    assert bytes_at(ctypes.cast(memory, ctypes.POINTER(ctypes.c_ubyte)), 4).tolist() == [1, 2, 3, 4]
    with pytest.raises(FrameError, match="a frame of 4 bytes came without its data"):
        bytes_at(ctypes.POINTER(ctypes.c_ubyte)(), 4)
