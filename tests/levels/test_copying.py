"""Pixels are copied without a bit changed, wherever they lie."""

import numpy as np
import pytest

from openhsi_shared.levels import copy_pixels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint64, np.float32, ">u2"])
@pytest.mark.parametrize("offset", [0, 1, 3])
def test_pixels_are_copied_bit_by_bit_wherever_they_lie(dtype, offset):
    values = np.random.default_rng(offset).integers(0, 256, 1000 * np.dtype(dtype).itemsize, np.uint8)
    pixels = values.view(dtype)[offset:900].reshape(-1, 1)
    out = np.zeros_like(pixels)
    copy_pixels(pixels, out)
    assert out.tobytes() == pixels.tobytes()


def test_extremes_survive():
    pixels = np.array([[np.iinfo(np.int32).min, -1, 0, np.iinfo(np.int32).max]], np.int32)
    out = np.zeros_like(pixels)
    copy_pixels(pixels, out)
    assert out.tolist() == pixels.tolist()


def test_pixels_of_another_type_that_fit_are_converted():
    out = np.zeros((1, 2), np.uint16)
    copy_pixels(np.array([[3, 65535]], np.int64), out)
    assert out.tolist() == [[3, 65535]]


def test_pixels_in_another_memory_order_are_copied_correctly():
    pixels = np.asfortranarray(np.arange(30, dtype=np.uint16).reshape(5, 6))
    out = np.zeros((5, 6), np.uint16)
    copy_pixels(pixels, out)
    assert (out == pixels).all()
