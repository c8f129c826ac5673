"""Wavelengths of cubes and calibrations of others: any unit, none, descending, contradictory. One row a case."""

import doctest
import logging
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from openhsi_shared import SharedDataCube, open_cube, read_calibration, wavelengths, write_calibration
from openhsi_shared.calibration import Calibration
from openhsi_shared.dataset import Cube
from openhsi_shared.errors import ArgumentError, CalibrationError
from openhsi_shared.files.preview import read_picture
from openhsi_shared.levels import LevelPlan

NM = np.linspace(400, 1000, 13)


def cube_file(path: Path, values, labels) -> Path:
    lines = np.arange(3 * 4 * 13, dtype=np.uint16).reshape(3, 4, 13)
    dataset = xr.Dataset({"datacube": (("x", "y", "wavelength"), lines)})
    if values is not None:
        dataset = dataset.assign_coords(wavelength=("wavelength", values, labels))
    dataset.to_netcdf(path)
    return path


KNOWN = {
    "nm": (NM, "nm"),
    "as openhsi writes them": (NM, "nanometers"),
    "with a capital letter, as ENVI": (NM, "Nanometers"),
    "um": (NM / 1e3, "um"),
    "micrometers": (NM / 1e3, "Micrometers"),
    "micro sign": (NM / 1e3, "\u00b5m"),
    "Greek mu": (NM / 1e3, "\u03bcm"),
    "microns": (NM / 1e3, "microns"),
    "angstrom": (NM * 10, "angstrom"),
    "sign of angstrom": (NM * 10, "\u212b"),
    "m": (NM / 1e9, "m"),
    "wavenumbers of an infrared spectrometer": (1e7 / NM, "cm-1"),
    "wavenumbers by another spelling": (1e7 / NM, "cm^-1"),
    "descending": (NM[::-1], "nm"),
    "whole numbers": (NM.astype(np.int32), "nm"),
    "single precision": (NM.astype(np.float32), "nm"),
}


@pytest.mark.parametrize("case", KNOWN)
def test_wavelengths_are_converted_by_their_units_and_stay_with_their_bands(tmp_path, case):
    values, units = KNOWN[case]
    with open_cube(cube_file(tmp_path / "cube.nc", values, {"units": units})) as cube:
        assert cube.wavelengths_nm is not None
        assert np.allclose(cube.wavelengths_nm, NM[::-1] if case == "descending" else NM, rtol=1e-6)


UNKNOWN = {
    "no values, only the axis": (None, {}),
    "no units, though they look like nm": (NM, {}),
    "no units, in um": (NM / 1e3, {}),
    "names of bands": ([f"B{n}" for n in range(13)], {}),
    "names of bands with units": ([f"B{n}" for n in range(13)], {"units": "nm"}),
    "an index, as ENVI has it": (np.arange(1, 14), {"units": "Index"}),
    "a unit of something else": (NM, {"units": "kg"}),
    "numbers of bands, which openhsi labels as nm": (np.arange(13), {"units": "nanometers"}),
    "numbers of some bands, cut out with xarray": (np.arange(40, 53), {"units": "nanometers"}),
    "NaN": (np.where(np.arange(13) == 5, np.nan, NM), {"units": "nm"}),
    "zeros": (np.zeros(13), {"units": "nm"}),
    "the fill value of netCDF": (np.full(13, netCDF4.default_fillvals["f8"]), {"units": "nm"}),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_unknown_wavelengths_are_none_and_the_picture_is_grey(tmp_path, case):
    path = cube_file(tmp_path / "cube.nc", *UNKNOWN[case])
    with open_cube(path) as cube:
        assert cube.wavelengths_nm is None
    assert read_picture(path).image.ndim == 2


def test_a_unit_that_is_not_known_is_named(tmp_path, caplog):
    with open_cube(cube_file(tmp_path / "cube.nc", NM, {"units": "furlong"})) as cube:
        assert cube.wavelengths_nm is None
    assert "units 'furlong'" in caplog.text
    assert "grey" in caplog.text


def test_the_name_of_openhsi_contains_the_unit(tmp_path):
    with open_cube(cube_file(tmp_path / "cube.nc", NM, {"long_name": "wavelength_nm"})) as cube:
        assert np.array_equal(cube.wavelengths_nm, NM)


def test_colours_of_a_descending_spectrum_are_those_of_the_ascending_one(tmp_path):
    lines = np.random.default_rng(0).integers(0, 4000, (3, 4, 13)).astype(np.uint16)
    axes = ("x", "y", "wavelength")
    forward = xr.Dataset({"datacube": (axes, lines)}, {"wavelength": ("wavelength", NM, {"units": "nm"})})
    forward.to_netcdf(tmp_path / "a.nc")
    forward.isel(wavelength=slice(None, None, -1)).to_netcdf(tmp_path / "b.nc")
    wide = ((600, 1000), (500, 600), (400, 500))
    pictures = [read_picture(tmp_path / f"{name}.nc", ranges=wide).image for name in "ab"]
    assert pictures[0].ndim == 3
    assert np.array_equal(*pictures)


def test_nan_among_wavelengths_that_are_given_is_refused():
    bad = np.where(np.arange(13) == 5, np.nan, NM)
    lines = np.zeros((2, 3, 13), np.uint16)
    with pytest.raises(ArgumentError, match="NaN"):
        Cube(memory=lines, n_lines=2, columns={"time_ns": np.zeros(2, np.int64)}, wavelengths_nm=bad, uuid="u")
    with pytest.raises(CalibrationError, match="wavelengths must be a 1-D array of finite numbers"):
        write_calibration({"wavelengths": bad}, "never_written.nc")


# ---- calibrations ----------------------------------------------------------------------------

COLUMNS = np.linspace(430, 900, 300)


def calibration_file(path: Path, tables, units="") -> Path:
    write_calibration({"smile_shifts": np.zeros(20, int), **tables}, path)
    if units:
        with h5py.File(path, "r+") as file:
            for name in tables:
                file[name].attrs["units"] = units
    return path


def both(values):
    return {"wavelengths": values, "wavelengths_linear": values}


def plan_of(calibration, level, **more):
    return LevelPlan(
        level=level,
        frame_shape=(20, 300),
        frame_dtype=np.dtype("u2"),
        rows=slice(0, 20),
        calibration=calibration,
        **more,
    )


@pytest.mark.parametrize(
    ("values", "units"), [(COLUMNS, "nm"), (COLUMNS / 1e3, "um"), (COLUMNS * 10, "Angstroms"), (1e7 / COLUMNS, "cm-1")]
)
def test_a_calibration_with_units_makes_the_bands_of_one_in_nm(tmp_path, values, units):
    found = read_calibration(calibration_file(tmp_path / "cal.nc", both(values), units))
    expected = Calibration({"smile_shifts": np.zeros(20, int), **both(COLUMNS)})
    for level in (1, 2, 3):
        assert np.allclose(plan_of(found, level).wavelengths_nm, plan_of(expected, level).wavelengths_nm, atol=0.01)


@pytest.mark.parametrize("level", [2, 3])
def test_bands_of_a_sensor_mounted_the_other_way_round_stay_with_their_labels(level):
    frame = np.random.default_rng(1).integers(0, 4000, (20, 300)).astype(np.uint16)
    forward = plan_of(Calibration({"smile_shifts": np.zeros(20, int), **both(COLUMNS)}), level)
    backward = plan_of(Calibration({"smile_shifts": np.zeros(20, int), **both(COLUMNS[::-1])}), level)
    lines = [np.empty(plan.line_shape, plan.line_dtype) for plan in (forward, backward)]
    forward.apply(frame, lines[0])
    backward.apply(np.ascontiguousarray(frame[:, ::-1]), lines[1])
    assert np.array_equal(backward.wavelengths_nm[::-1], forward.wavelengths_nm)
    assert np.array_equal(lines[1][:, ::-1], lines[0])


def test_radiance_of_a_sensor_mounted_the_other_way_round_is_the_same():
    from tests.support.level_oracle import CALIBRATION, make_calibration, make_frame, make_plan

    shifts = np.zeros(14, np.int16)
    nm = np.linspace(430, 513, 48)
    flat = make_calibration(smile_shifts=shifts, **both(nm))
    mirrored = make_calibration(
        smile_shifts=shifts, rad_ref=np.ascontiguousarray(CALIBRATION["rad_ref"][:, ::-1]), **both(nm[::-1])
    )
    for level in (7, 8):
        forward, backward = (make_plan(level, calibration=one) for one in (flat, mirrored))
        lines = [np.empty(plan.line_shape, plan.line_dtype) for plan in (forward, backward)]
        forward.apply(make_frame(), lines[0])
        backward.apply(np.ascontiguousarray(make_frame()[:, ::-1]), lines[1])
        assert np.allclose(lines[1][:, ::-1], lines[0], rtol=1e-4), level


CURVED = 418.4 + 475.8 * np.linspace(0, 1, 300) ** 0.95
FLAWS = {  # case: tables, units, levels that are refused, words
    "two tables that differ by 58 nm, as in a published calibration": (
        {"wavelengths": CURVED, "wavelengths_linear": np.linspace(419.8, 952.7, 300)},
        "",
        {2},
        "wavelengths_linear differs from wavelengths by up to 58.5 nm",
    ),
    "one in nm, one in um, without units": (
        {"wavelengths": COLUMNS, "wavelengths_linear": COLUMNS / 1e3},
        "",
        {2},
        "which are not nm",
    ),
    "both in um, without units": (both(COLUMNS / 1e3), "", {2, 3}, "which are not nm"),
    "a unit that is not known": (both(COLUMNS), "pixels", {2, 3}, "units 'pixels'"),
    "one ascends, one descends": (
        {"wavelengths": COLUMNS, "wavelengths_linear": COLUMNS[::-1]},
        "",
        {2},
        "wavelengths_linear differs",
    ),
    "up and down": (both(np.r_[COLUMNS[:150], COLUMNS[:150]]), "", {2, 3}, "neither ascends nor descends"),
}


@pytest.mark.parametrize("case", FLAWS)
def test_a_flaw_of_a_calibration_is_named_and_refused_at_the_levels_that_it_spoils(tmp_path, caplog, case):
    tables, units, refused, words = FLAWS[case]
    with caplog.at_level(logging.WARNING):
        found = read_calibration(calibration_file(tmp_path / "cal.nc", tables, units))
    assert words in caplog.text
    assert set(found.levels_served) == {-1, 0, 1, 2, 3} - refused
    for level in (1, 2, 3):
        if level in refused:
            with pytest.raises(CalibrationError, match=words):
                plan_of(found, level)
        elif 3 in refused:
            assert plan_of(found, level).wavelengths_nm is None
        else:
            assert plan_of(found, level).wavelengths_nm is not None


def test_openhsis_own_arithmetic_uses_contradictory_tables_as_openhsi_does():
    tables = FLAWS["two tables that differ by 58 nm, as in a published calibration"][0]
    calibration = Calibration({"smile_shifts": np.zeros(20, int), **tables})
    assert plan_of(calibration, 2, compat="openhsi").wavelengths_nm[-1] > 940


def test_a_calibration_in_um_without_units_labels_no_band_of_a_file(tmp_path):
    path = calibration_file(tmp_path / "cal.nc", both(COLUMNS / 1e3))
    with SharedDataCube(n_lines=2, processing_lvl=-1, cal_path=path, resolution=(20, 300)) as cube:
        assert cube.wavelengths_nm is None


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(wavelengths).failed == 0
