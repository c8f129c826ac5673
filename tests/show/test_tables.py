"""Tables for a notebook, and the pictures in them."""

import base64
import io
import re

import numpy as np
from PIL import Image

from openhsi_shared.show import table, thumbnail

WAVELENGTHS_NM = np.linspace(400.0, 1000.0, 61)


def picture_in(html):
    """The picture that is written into HTML, as pixels."""
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


class CountsReads:
    """Lines that note which of them were asked for."""

    def __init__(self, lines):
        self.lines, self.shape, self.dtype, self.read = lines, lines.shape, lines.dtype, []

    def __getitem__(self, lines):
        self.read += range(*lines.indices(self.shape[0]))
        return self.lines[lines]


def test_a_thumbnail_is_small_has_the_colours_and_reads_only_what_it_shows():
    lines = np.zeros((3000, 100, 61), np.uint16)
    red, blue = ((low <= WAVELENGTHS_NM) & (high >= WAVELENGTHS_NM) for low, high in ((640, 670), (450, 510)))
    lines[:1500, :, red] = lines[1500:, :, blue] = 9
    counted = CountsReads(lines)
    image = thumbnail(counted, WAVELENGTHS_NM)
    assert image.shape == (15, 429, 3)
    assert (image[:, :214] == (255, 0, 0)).all()
    assert (image[:, 216:] == (0, 0, 255)).all()
    assert counted.read == list(range(0, 3000, 7))


def test_a_table_holds_names_values_and_the_picture():
    image = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    html = table("a <cube>", [("lines", "12"), ("<lost>", "none & nothing")], image, more="<p>more</p>")
    assert np.array_equal(picture_in(html), image)
    assert "a &lt;cube&gt;" in html
    assert "&lt;lost&gt;" in html
    assert "none &amp; nothing" in html
    assert html.endswith("<p>more</p></div>")


def test_a_table_may_do_without_a_picture():
    assert "<img" not in table("cube", [("lines", "0")])
    assert "<img" not in table("cube", [], np.zeros((0, 5), np.uint8))
