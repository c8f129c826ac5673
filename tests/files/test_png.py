"""The PNG of a picture: its structure, and every pixel as other programs read it."""

import io
import struct
import zlib

import numpy as np
import pytest
from matplotlib.image import imread
from PIL import Image

from openhsi_shared.drivers.simulated import SCENE_PATH
from openhsi_shared.files.png import encoded_png

SMOOTH = np.arange(200, dtype=np.uint16)[:, None] + np.arange(300, dtype=np.uint16)


def scene():
    with Image.open(SCENE_PATH) as image:
        return np.asarray(image.convert("RGB"))


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


PICTURES = {
    "scene": scene(),
    "noise": noise(37, 41, 3),
    "grey": noise(37, 41),
    "smooth": (SMOOTH // 2).astype(np.uint8),
    "wraps around": np.tile(np.array([[0, 255], [255, 0]], np.uint8), (20, 30)),
    "constant": np.full((4096, 64, 3), 255, np.uint8),
    "one pixel": noise(1, 1, 3),
    "one column": noise(9, 1, 3),
    "one row, grey": noise(1, 9),
    "turned": noise(41, 37, 3).swapaxes(0, 1),
    "every second": noise(40, 60, 3)[::2, ::-3],
    "one channel of three": noise(20, 30, 3)[..., 1],
}


@pytest.fixture(params=PICTURES, name="picture")
def _picture(request):
    return PICTURES[request.param]


def chunks_of(content):
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = [], 8
    while at < len(content):
        (n_bytes,) = struct.unpack(">I", content[at : at + 4])
        kind, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + n_bytes]
        (checksum,) = struct.unpack(">I", content[at + 8 + n_bytes : at + 12 + n_bytes])
        assert checksum == zlib.crc32(kind + data)
        found.append((kind, data))
        at += 12 + n_bytes
    return found


def test_other_programs_read_every_pixel(picture):
    content = encoded_png(picture)
    with Image.open(io.BytesIO(content)) as image:
        assert image.mode == ("L" if picture.ndim == 2 else "RGB")
        assert np.array_equal(np.asarray(image), picture)
    assert np.array_equal(np.rint(imread(io.BytesIO(content), format="png") * 255), picture)


def test_the_structure_is_that_of_the_standard(picture):
    (header, size), (data, stream), end = chunks_of(encoded_png(picture))
    assert (header, data, end) == (b"IHDR", b"IDAT", (b"IEND", b""))
    rows, columns = picture.shape[:2]
    assert struct.unpack(">IIBBBBB", size) == (columns, rows, 8, 0 if picture.ndim == 2 else 2, 0, 0, 0)
    assert len(zlib.decompress(stream)) == rows * (1 + columns * (1 if picture.ndim == 2 else 3))


@pytest.mark.parametrize(("name", "factor"), [("scene", 1.15), ("noise", 1.05), ("smooth", 1.15)])
def test_it_is_about_as_small_as_that_of_pillow(name, factor):
    theirs = io.BytesIO()
    Image.fromarray(PICTURES[name]).save(theirs, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    assert len(encoded_png(PICTURES[name])) <= factor * len(theirs.getvalue())
