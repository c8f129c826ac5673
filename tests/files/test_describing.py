"""What a notebook shows of an opened cube."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from openhsi_shared.files import CubeWriter, open_cube
from tests.support.cubes import make_cube

WAVELENGTHS_NM = np.linspace(400.0, 1000.0, 61)


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
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
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
