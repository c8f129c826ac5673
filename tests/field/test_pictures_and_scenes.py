"""Pictures of scenes with a glint or a stuck row; scenes of more than 8 bits for the simulated camera."""

import numpy as np
import pytest
from PIL import Image

from openhsi_shared import SharedSimulatedCamera, open_cube
from openhsi_shared.drivers.simulated.painters import read_picture
from openhsi_shared.rgb import picture

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


def test_a_scaled_scene_is_said_in_the_log_and_the_file(tmp_path, caplog):
    name, make = SCENES["16 bit"]
    make().save(tmp_path / name)
    with SharedSimulatedCamera(img_path=tmp_path / name, n_lines=3, resolution=(64, 20), row_slice=(0, 64)) as camera:
        camera.collect(progress=False)
        path = camera.save(tmp_path).result().path
    assert "values from 0 to 65535 (mode I;16) become 0 to 255" in caplog.text
    with open_cube(path) as cube:
        assert "0 to 65535" in cube.attributes["scene_scaling"]
