"""What the project ships is what its script makes: nobody edits it by hand, and a new checkout makes the same."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from PIL import Image

from openhsi_shared.calibration import read_calibration, wavelengths_of_columns
from openhsi_shared.drivers.simulated import CALIBRATION_PATH, SCENE_PATH, SETTINGS_PATH
from openhsi_shared.settings import CameraSettings, read_settings

ROOT = Path(__file__).parents[1]
PACKAGED = Path("openhsi_shared/drivers/simulated")
VENDORS = ("basler", "flir", "hikrobot", "lucid", "simulated", "ximea")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assets")
    command = [sys.executable, ROOT / "assets" / "make_assets.py", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("made") == 3 + len(VENDORS)
    return folder


def test_a_second_run_changes_nothing_but_what_differs(made, monkeypatch):
    """With the scene that was drawn: that it is the same each time is shown by the one that ships."""
    monkeypatch.syspath_prepend(ROOT / "assets")
    script = importlib.import_module("make_assets")
    scene = np.array(Image.open(made / PACKAGED / "scene.png"))
    files = {path.relative_to(made): path for path in made.rglob("*.*")}
    before = {path: path.stat().st_mtime_ns for path in files.values()}
    assert script.write_all(made, scene) == dict.fromkeys(files, False)
    assert {path: path.stat().st_mtime_ns for path in files.values()} == before
    changed = {Path("assets/cam_settings_ximea.json"), PACKAGED / CALIBRATION_PATH.name}
    contents = {path: (made / path).read_bytes() for path in changed}
    (made / "assets" / "cam_settings_ximea.json").write_text("{}")
    with netCDF4.Dataset(made / PACKAGED / CALIBRATION_PATH.name, "a") as file:
        file["smile_shifts"][0] += 1
    assert script.write_all(made, scene) == {path: path in changed for path in files}
    assert {path: (made / path).read_bytes() for path in changed} == contents


def test_a_scene_that_differs_is_written(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "assets")
    write_scene = importlib.import_module("make_assets").write_scene
    scene = np.arange(9 * 7 * 3, dtype=np.uint8).reshape(9, 7, 3)
    assert [write_scene(tmp_path / "scene.png", scene) for _ in range(2)] == [True, False]
    scene[3, 5] ^= 1
    assert write_scene(tmp_path / "scene.png", scene)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "scene.png")), scene)


def test_the_scene_that_ships_is_the_one_that_is_drawn(made):
    drawn = np.asarray(Image.open(made / PACKAGED / "scene.png")).astype(int)
    shipped = np.asarray(Image.open(SCENE_PATH)).astype(int)
    assert shipped.shape == (644, 1288, 3)
    # another processor rounds another way, which may move the edge of a cloud or a tree
    assert np.mean((drawn != shipped).any(axis=-1)) < 0.02


def test_the_scene_has_no_seam_where_it_begins_again():
    scene = np.asarray(Image.open(SCENE_PATH)).astype(float)
    seam = np.abs(scene[:, -1] - scene[:, 0]).mean()
    inside = np.abs(np.diff(scene, axis=1)).mean(axis=(0, 2))
    assert seam < np.percentile(inside, 99)


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_templates_that_ship_are_the_ones_that_are_made(made, vendor):
    name = f"cam_settings_{vendor}.json"
    assert (ROOT / "assets" / name).read_text() == (made / "assets" / name).read_text()


def test_the_packaged_settings_are_the_template_and_have_every_key_of_openhsi(made):
    assert SETTINGS_PATH.read_text() == (ROOT / "assets" / "cam_settings_simulated.json").read_text()
    keys = set(json.loads(SETTINGS_PATH.read_text()))
    assert keys == set(CameraSettings.model_fields) - {"nodes", "full_scale"}, "these two are ours"
    settings = read_settings(SETTINGS_PATH)
    assert (settings.resolution, settings.row_slice, settings.exposure_ms) == ((644, 800), (16, 620), 2.0)


def test_the_calibration_that_ships_is_the_one_that_is_made(made):
    shipped, new = read_calibration(CALIBRATION_PATH), read_calibration(made / PACKAGED / CALIBRATION_PATH.name)
    assert shipped.dims == new.dims
    assert set(shipped) == set(new)
    for key, value in shipped.items():
        if isinstance(value, np.ndarray):
            assert value.dtype == new[key].dtype
            np.testing.assert_allclose(value, new[key], rtol=1e-9, atol=value.dtype.kind in "iu", err_msg=key)
        else:
            assert value == new[key]


def test_the_calibration_holds_everything_and_fits_itself_and_the_settings():
    calibration, settings = read_calibration(CALIBRATION_PATH), read_settings(SETTINGS_PATH)
    rows = settings.rows_of(644)
    n_rows = rows.stop - rows.start
    assert calibration["smile_shifts"].dtype == np.int16
    assert calibration["smile_shifts"].shape == (n_rows,)
    assert (
        len(calibration["wavelengths"])
        == len(calibration["wavelengths_linear"])
        == 800 - calibration["smile_shifts"].max()
    )
    assert (np.diff(wavelengths_of_columns(calibration, 800)) > 0).all()
    assert calibration["HgAr_pic"].shape == calibration["flat_field_pic"].shape == (644, 800)
    references, exposures = calibration["rad_ref"], calibration.coordinates["exposure"]
    assert references.dtype == np.int32
    assert references.shape == (n_rows, 800, len(exposures), len(calibration.coordinates["luminance"]))
    for curve_nm in (calibration["sfit_x"], calibration["rad_fit_x"]):
        assert curve_nm[0] < calibration["wavelengths"][0]
        assert calibration["wavelengths"][-1] < curve_nm[-1]
    dark, bright = references[..., 0], references[..., -1]
    assert (dark == 99).all()
    light = (bright - dark) / exposures  # counts per millisecond, the same at every exposure
    np.testing.assert_allclose(light, np.broadcast_to(light[..., -1:], light.shape), atol=1)


def test_a_lambertian_white_in_the_sun_has_a_reflectance_of_about_one():
    """The chain of levels on the calibration's own numbers: frame, radiance, reflectance."""
    calibration = read_calibration(CALIBRATION_PATH)
    wavelengths = calibration["wavelengths"]
    shift = calibration["smile_shifts"][300]
    dark, bright = (calibration["rad_ref"][300, shift : shift + len(wavelengths), 1, lamp] for lamp in (0, -1))
    luminance = calibration.coordinates["luminance"][-1]
    lamp = np.interp(wavelengths, calibration["sfit_x"], calibration["sfit_y"])
    sun = np.interp(wavelengths, calibration["rad_fit_x"], calibration["rad_fit_y"])
    frame = dark + (bright - dark) * sun / lamp
    radiance = (frame - dark) * luminance / (bright - dark) * lamp / calibration["spec_rad_ref_luminance"]
    np.testing.assert_allclose(radiance / sun, 1.0)
    assert 3900 < frame.max() < 4095, "sunlight does not fill the sensor's range"


def test_the_calibrations_variables_are_compressed():
    with netCDF4.Dataset(CALIBRATION_PATH) as file:
        assert file["rad_ref"].filters()["zlib"]
    assert CALIBRATION_PATH.stat().st_size < 1_500_000
