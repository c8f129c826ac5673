"""Tables that a notebook shows of cameras and cubes, and the pictures in them."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from openhsi_shared import SharedSimulatedCamera
from openhsi_shared.files import CubeWriter, open_cube
from openhsi_shared.show import table, thumbnail
from tests.support.cubes import make_cube

WAVELENGTHS_NM = np.linspace(400.0, 1000.0, 61)


def picture_in(html):
    """The picture that is written into HTML, as pixels."""
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


class CountsReads:
    """Lines that record which of them were read."""

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


# ---- of a camera ----


def test_a_camera_shows_itself_with_the_colours_of_its_scene(tmp_path):
    pixels = np.zeros((100, 50, 3), np.uint8)
    pixels[:50, :, 0] = pixels[50:, :, 2] = 255
    Image.fromarray(pixels).save(tmp_path / "scene.png")
    with SharedSimulatedCamera(n_lines=30, img_path=tmp_path / "scene.png") as cam:
        assert "<img" not in cam._repr_html_(), "nothing collected yet"
        cam.collect(progress=False)
        html = cam._repr_html_()
        cam.save(tmp_path).join()
    picture = picture_in(html).astype(int)
    height = picture.shape[0]
    assert (picture[height // 8 : height // 3, :, 0] > picture[height // 8 : height // 3, :, 2] + 100).all()
    assert (picture[-height // 3 : -height // 8, :, 2] > picture[-height // 3 : -height // 8, :, 0] + 100).all()
    assert "30 of 30 lines" in html
    closed = cam._repr_html_()
    assert "SharedSimulatedCamera, closed" in closed
    assert "<img" not in closed


# ---- of an opened cube ----


@pytest.fixture
def path(tmp_path):
    """A cube of 40 lines x 20 pixels, red before line 20, blue behind it."""
    cube = make_cube(40, 20, 61, wavelengths_nm=WAVELENGTHS_NM)
    cube.memory[:] = 0
    for lines, (low, high) in ((slice(0, 20), (640, 670)), (slice(20, 40), (450, 510))):
        cube.memory[lines, :, (low <= WAVELENGTHS_NM) & (high >= WAVELENGTHS_NM)] = 99
    with CubeWriter(40, (20, 61), np.uint16) as writer:
        return writer.write(cube, [tmp_path]).path


def test_a_cube_shows_its_size_its_times_and_itself(path):
    with open_cube(path) as cube:
        html = cube._repr_html_()
    picture = picture_in(html)
    assert picture.shape == (20, 40, 3)
    assert (picture[:, :20] == (255, 0, 0)).all()
    assert (picture[:, 20:] == (0, 0, 255)).all()
    for words in (
        path.name,
        "40 lines",
        "20 pixels",
        "61 bands",
        "400.0 to 1000.0 nm",
        "2023-11-14 22:13:20.123",
        "40 to 79",
    ):
        assert words in html
    assert "xarray.Dataset" in html


def test_a_closed_cube_says_so(path):
    with open_cube(path) as cube:
        pass
    assert "closed" in cube._repr_html_()


def test_a_damaged_cube_says_where_and_shows_the_rest(path):
    with open_cube(path) as cube:
        offset = cube.lines._chunks[3].offset
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"damage")
    with open_cube(path) as cube:
        html = cube._repr_html_()
    assert "damaged" in html
    assert "line 3 is damaged" in html
    assert "40 lines" in html
    assert "<img" not in html


def test_cubes_of_strangers_are_described_too(tmp_path):
    import xarray as xr

    values = np.zeros((3, 4, 5), np.float32)
    xr.Dataset({"datacube": (("x", "y", "wavelength"), values)}).to_netcdf(tmp_path / "theirs.nc")
    with open_cube(tmp_path / "theirs.nc") as cube:
        html = cube._repr_html_()
    assert "4 lines" in html
    assert "<img" in html
