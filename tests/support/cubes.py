"""Cubes whose every pixel says which line it is of, in memory as slots have it."""

import uuid
from typing import Any

import numpy as np

from openhsi_shared.dataset import Cube

TIME_NS = 1_700_000_000_123_456_789


def slot_memory(n_stored: int, x: int, bands: int, dtype: Any = np.uint16, shift: int = 0) -> np.ndarray:
    """Lines as in a slot: the first at a page (plus `shift` bytes), large ones whole pages apart."""
    size = np.dtype(dtype).itemsize
    line_bytes = x * bands * size
    stride = line_bytes if line_bytes < 65536 else -(-line_bytes // 4096) * 4096
    base = np.full(stride * n_stored + 8192, 0xEE, np.uint8)
    begin = -base.ctypes.data % 4096 + shift
    pixels = base[begin : begin + stride * n_stored].view(dtype)
    return np.lib.stride_tricks.as_strided(pixels, (n_stored, x, bands), (stride, bands * size, size))


def make_cube(
    n_lines: int = 6,
    x: int = 5,
    bands: int = 7,
    dtype: Any = np.uint16,
    *,
    n_stored: int | None = None,
    first: int = 0,
    shift: int = 0,
    columns: dict[str, Any] | None = None,
    **options: Any,
) -> Cube:
    n_stored = n_lines if n_stored is None else n_stored
    memory = slot_memory(n_stored, x, bands, dtype, shift)
    noise = np.random.default_rng(0).integers(0, 60000, (x, bands))
    memory[:] = 77  # what a partial cube must not show
    for index in range(n_lines):
        with np.errstate(over="ignore"):  # float16 becomes infinite here and there
            memory[(first + index) % n_stored] = (noise + 1000 * index).astype(dtype)
    numbers = np.arange(n_lines)
    known = {
        "time_ns": TIME_NS + numbers * 2_000_001,
        "frame_id": numbers + 40,
        "temperature": np.where(numbers % 3 == 1, np.nan, 20 + numbers).astype(np.float32),
        "camera_time_ns": np.full(n_lines, -1),
    }
    options.setdefault("uuid", str(uuid.uuid4()))
    return Cube(memory=memory, n_lines=n_lines, first=first, columns=known | (columns or {}), **options)
