"""Attributes and columns of other programs that files of this library do not have, in results of jobs and exports."""

import json
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from openhsi_shared import open_cube, verify
from openhsi_shared.files.exporting.exporting import export_cube
from openhsi_shared.jobs import JobRunner, PipelineJob
from tests.support.foreign import openhsi_cube, put

ENDINGS = {"netcdf": ".nc", "zarr": ".zarr", "envi": ".raw"}
EXPECTED = {
    "names": '["a", "b"]',
    "flag": "true",
    "matrix": "[[1.0, 0.0], [0.0, 1.0]]",
    "latin": "25 ?C",
    "half": 1.5,
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A cube of openhsi with attributes of h5py and xarray on all objects."""
    cube = openhsi_cube().assign(altitude=("y", np.arange(12.0)))
    for one in (cube, cube.datacube, cube.altitude, cube.wavelength):
        one.attrs["names"] = ["a", "b"]
    path = put(cube, tmp_path / "in.nc")
    with h5py.File(path, "a") as file:
        for target in (file, file["datacube"], file["altitude"]):
            target.attrs["flag"] = True
            target.attrs["matrix"] = np.eye(2)
            target.attrs["half"] = np.float16(1.5)
            target.attrs.create("latin", b"25 \xb0C", dtype=h5py.string_dtype("utf-8"))
    return path


def found_in(attributes: Any) -> dict[str, Any]:
    return {name: attributes[name] for name in EXPECTED}


@pytest.mark.parametrize("output", ENDINGS)
def test_they_become_texts_in_results_of_jobs(source: Path, tmp_path: Path, output: Any) -> None:
    stages = ["crop:rows=0-2"]
    made = PipelineJob(source, tmp_path / f"out{ENDINGS[output]}", stages=stages, output=output, workers="threads")
    path = JobRunner(made).run().path  # type: ignore[union-attr] # of one cube
    if output == "netcdf":
        assert verify(path).ok
        with open_cube(path) as cube, xr.open_dataset(path) as dataset, netCDF4.Dataset(path) as file:
            assert found_in(cube.contents.attributes("datacube")) == EXPECTED
            assert found_in(dataset.altitude.attrs) == EXPECTED
            assert found_in(vars(file["datacube"])) == EXPECTED
    elif output == "zarr":
        with xr.open_zarr(path) as dataset:
            assert found_in(dataset.datacube.attrs) == EXPECTED


@pytest.mark.parametrize("to", ENDINGS)
def test_they_become_texts_in_exports(source: Path, tmp_path: Path, to: Any) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    path = export_cube(source, folder, to, bands_first=to == "netcdf")
    if to == "netcdf":
        with netCDF4.Dataset(path) as file:
            assert json.loads(file["datacube"].names) == ["a", "b"]
            assert json.loads(file.names) == ["a", "b"]
            assert json.loads(file["wavelength"].names) == ["a", "b"]


@pytest.mark.parametrize(
    ("units", "dtype", "expected"),
    [
        ("degC", "i2", [20.5, 22.0]),
        ("\u00b0C", "f4", [20.5, 22.0]),
        ("degrees_Celsius", "f8", [20.5, 22.0]),
        ("K", "f8", [-252.65, -251.15]),
        ("Kelvin", "i4", [-252.65, -251.15]),
        ("degF", "f8", None),
    ],
)
def test_temperatures_of_other_units_and_whole_numbers_are_celsius(
    tmp_path: Path, units: str, dtype: str, expected: list[float] | None
) -> None:
    cube = openhsi_cube(n_lines=3).drop_vars("temperature")
    temperatures = np.array([20, 21, 22], dtype)
    path = put(cube.assign(temperature=("y", temperatures, {"units": units})), tmp_path / "in.nc")
    made = PipelineJob(path, tmp_path / "out.nc", stages=["bin_lines:n=2"], workers="threads")
    with open_cube(JobRunner(made).run().path) as result:  # type: ignore[union-attr] # of one cube
        if expected is None:
            assert result.temperatures is None or np.isnan(result.temperatures).all()
        else:
            assert result.temperatures is not None
            np.testing.assert_allclose(result.temperatures, expected, rtol=1e-6)


def test_a_camera_clock_beyond_the_largest_number_is_unknown(tmp_path: Path) -> None:
    clock = np.array([5, 7, 2**63 + 1, 2**63 + 3], np.uint64)
    path = put(openhsi_cube(n_lines=4).assign(camera_time_ns=("y", clock)), tmp_path / "in.nc")
    made = PipelineJob(path, tmp_path / "out.nc", stages=["bin_lines:n=2"], workers="threads")
    with open_cube(JobRunner(made).run().path) as result:  # type: ignore[union-attr] # of one cube
        assert result.camera_times_ns is not None
        assert result.camera_times_ns.tolist() == [6, -1]
