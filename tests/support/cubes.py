"""Cubes whose pixels identify their line, in memory with the layout of slots."""

import uuid
from typing import Any

import numpy as np

from openhsi_shared.dataset import Cube, time_variable
from openhsi_shared.files.encoding import Encoder
from openhsi_shared.files.image import Layout
from openhsi_shared.groups import Group, Variable

TIME_NS = 1_700_000_000_123_456_789


def slot_memory(n_stored: int, x: int, bands: int, dtype: Any = np.uint16, shift: int = 0) -> np.ndarray:
    """Lines as in a slot: the first page-aligned (plus `shift` bytes), large ones all page-aligned."""
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
    memory[:] = 77  # must not appear in a partial cube
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


def make_groups(n_lines: int = 6, x: int = 5, bands: int = 7, n_samples: int = 11) -> dict[str, Group]:
    """Groups like those of channels, marks and references: nested, with axes of the cube and of their own."""
    random = np.random.default_rng(1)
    times = TIME_NS + np.arange(n_samples) * 5_000_000
    samples = {"units": "m s-2", "long_name": "acceleration", "coordinates": "time"}
    imu = Group(
        {
            "time": time_variable(times, "time"),
            "id": Variable(("time",), np.arange(n_samples, dtype=np.uint64) + 2**63),
            "samples": Variable(("time", "axis"), random.normal(size=(n_samples, 3)), samples),
            "age": Variable(("y",), random.normal(size=n_lines), {"units": "s", "long_name": "age of the sample"}),
        },
        {"source": "IMU", "rate": 200.5, "range": [-2, 2], "story": "a" * 3000, "filter": None},
    )
    white = Group(
        {
            "spectra": Variable(("x", "wavelength"), random.integers(0, 4000, (x, bands)).astype(np.uint16)),
            "frames": Variable(("frame", "x", "wavelength"), random.normal(size=(4, x, bands)).astype(np.float32)),
        },
        {"exposure_ms": 2.5},
    )
    marks = Group(
        {
            "text": Variable(("mark",), np.array(["start", "", "B\u00e4ume\nund mehr"])),
            "time": time_variable(times[:3], "mark"),
        },
        {},
        {"of_user": Group({"weight": Variable(("mark",), np.array([1, -1, 127], np.int8))}, {"who": "me"})},
    )
    return {"imu": imu, "references": Group(groups={"white": white}), "marks": marks}


def chunk_of(line: np.ndarray, layout: Layout) -> bytes:
    """The bytes of a line in a file."""
    encoder = Encoder(layout)
    encoded = encoder.block(1)
    encoder.encode(line, encoded)
    [(begin, end)] = encoded.spans
    chunk: bytes = encoded.memory[begin:end].tobytes()
    return chunk
