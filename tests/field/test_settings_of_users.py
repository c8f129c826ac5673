"""Settings with which people record, and openhsi's way from radiance to reflectance."""

import json

import numpy as np
import pytest
import xarray as xr

from openhsi_shared import (
    ProcessDatacube,
    SharedDataCube,
    SharedSimulatedCamera,
    open_cube,
    read_calibration,
    write_calibration,
)
from openhsi_shared.errors import LevelError, SettingsError
from openhsi_shared.recording.plan import RecordingPlan

SETTINGS = {
    "rows of the whole sensor, resolution of a window": {"resolution": [56, 12], "row_slice": [0, 121]},
    "resolution after the crop": {"resolution": [44, 12], "row_slice": [7, 45]},
    "all rows from one that does not exist": {"resolution": [44, 12], "row_slice": [44, -1]},
}


@pytest.mark.parametrize("case", SETTINGS)
@pytest.mark.parametrize("camera", [SharedDataCube, SharedSimulatedCamera])
def test_rows_beyond_the_resolution_are_a_warning_where_nothing_is_cropped(tmp_path, caplog, case, camera):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(SETTINGS[case]))
    rows, columns = SETTINGS[case]["resolution"]
    with camera(n_lines=2, processing_lvl=-1, json_path=path) as cube:
        assert cube.dc_shape == (rows, 2, columns)
        with pytest.raises(LevelError, match=r"row_slice .* is outside"):
            cube.crop(np.zeros((rows, columns), np.uint16))
    assert "level -1 crops nothing" in caplog.text
    with pytest.raises(SettingsError, match=r"settings\.json.*row_slice .* must be .* rows of the resolution"):
        camera(n_lines=2, processing_lvl=0, json_path=path)
    with pytest.raises(SettingsError, match="row_slice"):
        camera(n_lines=2, processing_lvl=-1, json_path=path, custom_tfms=[np.copy])


@pytest.mark.parametrize(
    "wrong", [{"longitude": 999}, {"longitude": -181.0}, {"latitude": 95}, {"latitude": np.float64(-90.5)}]
)
def test_a_place_that_is_not_on_the_earth_is_refused(wrong):
    with pytest.raises(SettingsError, match=rf"{next(iter(wrong))}: Input should be"):
        SharedDataCube(n_lines=2, resolution=(4, 8), **wrong)


def test_the_interchanged_place_of_openhsis_own_settings_files_is_left_out(tmp_path, caplog):
    """Three of its five files contain it; only a place that was typed for this camera is refused."""
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"resolution": [4, 8], "longitude": -17.7, "latitude": 146.1, "altitude": 0.12}))
    with SharedDataCube(n_lines=2, json_path=path) as cube:
        assert [cube.settings[key] for key in ("longitude", "latitude", "altitude")] == [None, None, 0.12]
    assert "latitude 146.1 and longitude -17.7 are left out" in caplog.text
    caplog.clear()
    with SharedDataCube(n_lines=2, json_path=path, longitude=146.1, latitude=-17.7) as cube:
        assert (cube.settings["longitude"], cube.settings["latitude"]) == (146.1, -17.7)
    assert not caplog.text
    with pytest.raises(SettingsError, match="latitude"):
        SharedDataCube(n_lines=2, json_path=path, longitude=146.1, latitude=146.1)


def test_rows_beyond_the_resolution_do_not_stop_a_recording_with_channels(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(SETTINGS["resolution after the crop"]))
    plan = RecordingPlan.of(SharedDataCube, tmp_path, n_lines=4, json_path=path)
    assert plan.seconds_of_samples() > 0


def test_numbers_of_numpy_stay_numbers_in_the_file(tmp_path):
    keywords = {"n_lines": np.int64(3), "resolution": (np.int64(4), np.uint16(8)), "exposure_ms": np.float32(2)}
    with SharedDataCube(**keywords) as cube:
        cube.settings["plot"], cube.settings["gains"] = np.int64(7), np.array([1.5, 2.5])
        cube.settings["deep"] = {"n": np.int32(5)}
        cube.put(np.zeros((4, 8), np.uint16))
        path = cube.save(tmp_path).result().path
    with open_cube(path) as found:
        settings = json.loads(found.attributes["settings"])
    assert settings["n_lines"] == 3
    assert settings["resolution"] == [4, 8]
    assert settings["exposure_ms"] == 2
    assert (settings["plot"], settings["gains"], settings["deep"]) == (7, [1.5, 2.5], {"n": 5})


# ---- radiance to reflectance -----------------------------------------------------------------

NM = np.linspace(430, 900, 300)
BANDS = NM.reshape(150, 2).mean(1).round(1)


@pytest.fixture
def calibration(tmp_path):
    curve = np.linspace(400, 950, 50)
    values = {"smile_shifts": np.zeros(20, int), "wavelengths": NM, "wavelengths_linear": NM}
    values |= {"rad_fit_x": curve, "rad_fit_y": np.full(50, 2.0)}
    return write_calibration(values, tmp_path / "cal.nc")


@pytest.mark.parametrize("units", ["nanometers", ""])
def test_openhsis_way_from_radiance_to_reflectance_has_right_numbers_and_labels(tmp_path, calibration, units):
    labels = {"units": units} if units else {}
    cube = xr.Dataset(
        {"datacube": (("x", "y", "wavelength"), np.full((20, 9, 150), 3, "f4"), {"units": "uW/cm^2/sr/nm"})},
        coords={"wavelength": ("wavelength", BANDS, labels)},
    )
    cube.to_netcdf(tmp_path / "radiance.nc")
    settings = {"resolution": (20, 300), "row_slice": (0, 20), "fwhm_nm": 4, "cal_path": calibration}
    with ProcessDatacube(tmp_path / "radiance.nc", processing_lvl=6, **settings) as process:
        with pytest.raises(LevelError, match=r"load_next_tfms\(\[cube.rad2ref_6SV\]\)"):
            process.collect(progress=False)
        process.load_next_tfms([process.rad2ref_6SV])
        process.collect(progress=False)
        made = process.save(tmp_path / "out").result().path
    with open_cube(made) as found:
        assert found.lines.dtype == np.float32
        assert np.allclose(found.lines[:], 1.5)
        assert found.dataset.datacube.attrs["long_name"] == "reflectance"
        assert (found.level, found.attributes["level_arithmetic"]) == (6, "openhsi_shared")
        assert np.allclose(found.wavelengths_nm, BANDS, atol=0.06)
    assert read_calibration(calibration).levels_served == (-1, 0, 1, 2, 3)


@pytest.mark.parametrize(
    ("bands", "units", "words"),
    [
        (BANDS[::-1], "uW/cm^2/sr/nm", "which are not those of the calibration, 150 from"),
        (BANDS + 5, "uW/cm^2/sr/nm", "which are not those of the calibration"),
        (BANDS[:80], "uW/cm^2/sr/nm", "holds 80 bands"),
        (BANDS, "mW/cm^2/sr/nm", "in 'mW/cm.*, expected uW/cm"),
        (BANDS, "W m-2 sr-1 um-1", "expected uW/cm"),
    ],
)
def test_radiance_of_other_bands_or_units_is_refused_where_reflectance_is_computed_band_by_band(
    tmp_path, calibration, bands, units, words
):
    """Bands reversed, cropped or shifted by another program, and units of another one: the result would be wrong."""
    pixels = np.full((20, 9, len(bands)), 3, "f4")
    cube = xr.Dataset(
        {"datacube": (("x", "y", "wavelength"), pixels, {"units": units})},
        coords={"wavelength": ("wavelength", bands, {"units": "nm"})},
    )
    cube.to_netcdf(tmp_path / "radiance.nc")
    settings = {"resolution": (20, 300), "row_slice": (0, 20), "fwhm_nm": 4, "cal_path": calibration}
    with (
        ProcessDatacube(tmp_path / "radiance.nc", processing_lvl=6, **settings) as process,
        pytest.raises(LevelError, match=words),
    ):
        process.load_next_tfms([process.rad2ref_6SV])
