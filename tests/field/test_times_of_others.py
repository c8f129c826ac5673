"""Times that others count from long ago, on axes that they packed, or that they moved in a file of ours."""

import netCDF4
import numpy as np
import pytest
import xarray as xr

from openhsi_shared import SharedSimulatedCamera, open_cube, verify
from openhsi_shared.errors import ArgumentError
from openhsi_shared.line_times import decode_times
from tests.support.foreign import openhsi_cube, put

LONG_AGO = {
    "matplotlib of old": (19844.5 + 719163 + np.arange(5) / 1e5, "days since 0001-01-01", "proleptic_gregorian"),
    "the same in the mixed calendar": (19844.5 + 719163 + np.arange(5) / 1e5, "days since 0001-01-01", "standard"),
    "whole seconds since the year 1": (63839000000 + np.arange(5), "seconds since 0001-01-01", "standard"),
    "1500": (1.6e10 + np.arange(5), "seconds since 1500-01-01", "gregorian"),
    "Windows": (13359002584 + np.arange(5), "seconds since 1601-01-01", "standard"),
}


@pytest.mark.parametrize("kind", LONG_AGO)
def test_times_counted_from_before_1678_are_those_that_xarray_reads(kind):
    values, units, calendar = LONG_AGO[kind]
    variable = xr.Variable("y", values, {"units": units, "calendar": calendar})
    expected = xr.conventions.decode_cf_variable("t", variable).values.astype("datetime64[ns]").astype(np.int64)
    assert np.abs(decode_times(values, units, calendar) - expected).max() < 1000  # xarray rounds them to microseconds


@pytest.mark.parametrize(
    ("value", "units", "problem"),
    [
        (1e300, "seconds since 2024-01-01", "outside of the years"),
        (9.97e36, "seconds since 2024-01-01", "outside of the years"),  # netCDF's fill value
        (0, "seconds since 0001-01-01 00:00 +02:00", "do not contain a time"),
        (0, "seconds since 99999999999999999999-01-01", "do not contain a time"),
        (0, "seconds since 2024-01-01 9999999999999:00:00", "do not contain a time"),
    ],
)
def test_times_beyond_all_clocks_are_one_error_and_a_cube_has_none_of_them(tmp_path, value, units, problem):
    with pytest.raises(ArgumentError, match=problem):
        decode_times(np.array([value, 1.0]), units)
    path = put(openhsi_cube(n_lines=2).drop_vars("time"), tmp_path / "cube.nc")
    with netCDF4.Dataset(path, "a") as file:
        times = file.createVariable("time", "f8", ("y",))
        times[:] = [value, 1.0]
        times.units = units
    with open_cube(path) as cube:
        assert cube.times_ns is None
        assert len(cube.lines) == 2


@pytest.mark.parametrize("unit", ["m", "M", "n", "u"])
def test_a_letter_that_may_be_minutes_or_months_is_no_unit_of_time(unit):
    with pytest.raises(ArgumentError, match="units of time"):
        decode_times(np.arange(3), f"{unit} since 2024-05-01")


def test_lines_numbered_by_a_packed_axis_do_not_get_the_times_of_others(tmp_path):
    cropped = openhsi_cube(n_lines=30).isel(y=slice(10, 30), time=slice(0, 20))
    how = {"y": {"dtype": "int32", "add_offset": 10, "_FillValue": None}}
    path = put(cropped, tmp_path / "packed_y.nc", encoding=how)
    with open_cube(path) as cube:
        assert cube.contents.values("y").tolist() == list(range(20))
        assert cube.times_ns is None


@pytest.mark.parametrize(("name", "value"), [("add_offset", 3600 * 10**9), ("scale_factor", 2), ("missing_value", 5)])
def test_verify_finds_times_that_were_moved_by_an_attribute(tmp_path, name, value):
    with SharedSimulatedCamera(n_lines=4, exposure_ms=1, resolution=(8, 16)) as camera:
        camera.collect()
        path = camera.save(tmp_path, savefig=False).result().path
    with netCDF4.Dataset(path, "a") as file:
        file["time"].setncattr(name, np.int64(value))
    found = verify(path)
    assert not found.ok
    assert "time got" in found.problems[0]
