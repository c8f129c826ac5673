"""Pictures of scenes with a glint or a stuck row; scenes of more than 8 bits for the simulated camera."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from openhsi_shared import SharedSimulatedCamera, open_cube
from openhsi_shared.drivers.simulated.scenes import read_picture
from openhsi_shared.errors import FileError
from openhsi_shared.rgb import mean_of_bands, picture

RNG = np.random.default_rng(3)
RAMP = np.add.outer(np.linspace(0.05, 0.4, 60), np.linspace(0, 0.1, 12))[..., None].astype(np.float32)


def with_glint(means):
    means[30:33, 3:5] = 40
    return means


def with_value(row, value):
    def change(means):
        means[:, row] = value
        return means

    return change


def with_line(means):
    means[7] = 65535
    return means


CASES = {
    "nothing special": lambda means: means,
    "sun on six pixels": with_glint,
    "a row of the sensor that is stuck at the top": with_value(4, 65535),
    "a row that is stuck below": with_value(0, -1e6),
    "a dead row without numbers": with_value(4, np.nan),
    "a row of infinity": with_value(4, np.inf),
    "the fill value of netCDF": with_value(11, 9.97e36),
    "a flash in one line": with_line,
}


@pytest.mark.parametrize("case", CASES)
def test_the_scene_can_be_seen_in_the_default_picture(case):
    image = picture(CASES[case](RAMP.copy()), robust=None)
    ordinary = np.delete(np.delete(image, [0, 4, 11], axis=0), [7, *range(30, 33)], axis=1)
    assert 60 < np.median(ordinary) < 200
    assert np.ptp(ordinary.astype(int)) > 120


BANDS = [slice(0, 3), slice(3, 6), slice(6, 9)]
CUBE = (RAMP * np.linspace(1, 2, 9) * 1000).astype(np.float64)


@pytest.mark.parametrize("bands", [BANDS, [slice(0, 9)], [slice(0, 1), slice(4, 5), slice(8, 9)]])
@pytest.mark.parametrize("value", [1e300, -1e300, 3e38, 9.97e36, 65535, -9999, np.inf, np.nan])
def test_a_stuck_band_leaves_the_scene_visible(value, bands):
    cube = CUBE.copy()
    cube[..., 4] = value
    image = picture(mean_of_bands(cube, bands), robust=None)
    scene = image if image.ndim == 2 else image[..., [0, 2]]
    assert 60 < np.median(scene) < 200
    assert np.ptp(scene.astype(int)) > 120


def test_numbers_up_to_the_largest_are_bright_and_not_missing():
    cube = CUBE.copy()
    cube[30:33, 3:5] = 1e300
    image = picture(mean_of_bands(cube, BANDS), robust=None)
    assert (image[3:5, 30:33] == 255).all()
    assert 60 < np.median(image) < 200
    assert (picture(mean_of_bands(np.full((20, 10, 9), 1.7e308), BANDS), robust=None) == 255).all()


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (4095, 255), (np.nan, 0)])
def test_a_cube_of_one_value_is_a_picture(value, expected):
    assert (picture(np.full((20, 10, 3), value, np.float32), robust=None) == expected).all()


def test_a_picture_without_outliers_goes_from_minimum_to_maximum():
    assert np.array_equal(picture(RAMP, robust=None), picture(RAMP, robust=False))


# ---- scenes ----------------------------------------------------------------------------------

LEFT_TO_RIGHT = np.tile(np.linspace(0, 1, 200), (64, 1))
SCENES = {
    "16 bit": ("ramp.png", lambda: Image.fromarray((LEFT_TO_RIGHT * 65535).astype("u2"))),
    "12 bit in 16": ("ramp.tif", lambda: Image.fromarray((LEFT_TO_RIGHT * 4095).astype("u2"))),
    "big-endian": (
        "ramp.tif",
        lambda: Image.frombytes("I;16B", (200, 64), (LEFT_TO_RIGHT * 9e3).astype(">u2").tobytes()),
    ),
    "32 bit": ("ramp.tif", lambda: Image.fromarray((LEFT_TO_RIGHT * 1e6).astype("i4"))),
    "floats from 0 to 1": ("ramp.tif", lambda: Image.fromarray(LEFT_TO_RIGHT.astype("f4"))),
    "8 bit": ("ramp.png", lambda: Image.fromarray((LEFT_TO_RIGHT * 255).astype("u1"))),
    "palette": ("ramp.png", lambda: Image.fromarray((LEFT_TO_RIGHT * 255).astype("u1")).convert("RGB").quantize(64)),
}


@pytest.mark.parametrize("case", SCENES)
def test_a_ramp_stays_a_ramp_whatever_its_type(tmp_path, case):
    name, make = SCENES[case]
    make().save(tmp_path / name)
    scene, scaling = read_picture(tmp_path / name, 64)
    means = scene.mean(axis=(0, 2))
    assert means[[0, 50, 100, 150, 199]] == pytest.approx([0, 64, 128, 191, 255], abs=6)
    assert bool(scaling) == (case not in ("8 bit", "palette"))


def test_pixels_that_gdal_marks_as_missing_do_not_make_the_others_white(tmp_path):
    marked = TiffImagePlugin.ImageFileDirectory_v2()
    marked[42113] = "-9999"
    values = np.where(LEFT_TO_RIGHT < 0.1, -9999, LEFT_TO_RIGHT + 5).astype("f4")
    Image.fromarray(values).save(tmp_path / "scene.tif", tiffinfo=marked)
    scene, scaling = read_picture(tmp_path / "scene.tif", 64)
    assert scene[0, [0, 100, 199], 0].tolist() == pytest.approx([0, 114, 255], abs=6)
    assert scaling.startswith("values from 5.1")


COLOURS = np.stack([LEFT_TO_RIGHT, LEFT_TO_RIGHT / 2, 1 - LEFT_TO_RIGHT], axis=-1) * 4000
"""Blue, green, red, as OpenCV stores them: of 12 bits, so Pillow's 8 bits of 16 would show 16 steps."""


@pytest.mark.parametrize("n_channels", [3, 4])
@pytest.mark.parametrize(("name", "compression"), [("a.png", None), ("a.tif", 1), ("a.tif", 5), ("a.tif", 8)])
def test_colours_of_16_bits_keep_all_of_them(tmp_path, name, compression, n_channels):
    cv2 = pytest.importorskip("cv2")
    image = np.dstack([COLOURS, np.full((64, 200), 65535)])[..., :n_channels].astype("u2")
    cv2.imwrite(str(tmp_path / name), image, [] if compression is None else [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    scene, scaling = read_picture(tmp_path / name, 64)
    assert "values from 0 to 4000" in scaling
    assert scene[5].tolist() == np.rint(COLOURS[5, :, ::-1].astype("u2") / 4000 * 255).tolist()


@pytest.mark.parametrize("name", ["a.ppm", "a.png"])
def test_colours_of_which_only_8_of_16_bits_can_be_read_are_refused(tmp_path, name):
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(tmp_path / name), COLOURS.astype("u2"))
    if name == "a.png":  # grey with transparency, which OpenCV does not write
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in COLOURS[..., :2])
        header, end = struct.pack(">IIBBBBB", 200, 64, 16, 4, 0, 0, 0), (b"IEND", b"")
        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), end]
        (tmp_path / name).write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + b"".join(struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
        )
    with pytest.raises(FileError, match="Pillow would read only 8 of its 16 bits"):
        read_picture(tmp_path / name, 64)


def test_a_scaled_scene_is_said_in_the_log_and_the_file(tmp_path, caplog):
    name, make = SCENES["16 bit"]
    make().save(tmp_path / name)
    with SharedSimulatedCamera(img_path=tmp_path / name, n_lines=3, resolution=(64, 20), row_slice=(0, 64)) as camera:
        camera.collect(progress=False)
        path = camera.save(tmp_path).result().path
    assert "values from 0 to 65535 (mode I;16) become 0 to 255" in caplog.text
    with open_cube(path) as cube:
        assert "0 to 65535" in cube.attributes["scene_scaling"]
