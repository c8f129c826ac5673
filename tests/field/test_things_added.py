"""What others add to a cube of this library: GPS by netCDF4, xarray, h5netcdf or nco; things that h5py can write only.

Reports: tracks appended with xarray's mode "a" and netCDF4's "a", notes with `ncatted`, variable-length arrays and
types of the user in instruments' files, names in Latin-1 of old programs, groups that are linked into themselves.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from openhsi_shared.files import CubeWriter, open_cube, verify
from tests.support.commands import run_here
from tests.support.cubes import make_cube

Y = 6
VALUES = np.linspace(0, 1, Y)


def _netcdf(path: Path) -> None:
    with netCDF4.Dataset(path, "a") as file:
        file.createVariable("lat", "f8", ("y",))[:] = VALUES


def _vlen(path: Path) -> None:
    with netCDF4.Dataset(path, "a") as file:
        variable = file.createVariable("lat", file.createVLType(np.int32, "lengths"), ("y",))
        for index in range(Y):
            variable[index] = np.arange(index + 1, dtype=np.int32)


def _types(path: Path) -> None:
    with netCDF4.Dataset(path, "a") as file:
        pair = file.createCompoundType(np.dtype([("a", "f4"), ("b", "i4")]), "pair")
        file.createVariable("lat", pair, ("y",))


def _texts(path: Path) -> None:
    with netCDF4.Dataset(path, "a") as file:
        file.createVariable("lat", str, ("y",))[:] = np.array(list("abcdef"), object)


def _undecodable_times(path: Path) -> None:
    with netCDF4.Dataset(path, "a") as file:
        variable = file.createVariable("lat", "f8", ("y",))
        variable.units = "fortnights since the launch"
        variable[:] = VALUES


def _scale_of_another_size(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["lat"] = np.arange(3.0)
        file["lat"].make_scale("lat")
        file["track"] = VALUES
        file["track"].dims[0].attach_scale(file["lat"])
        file["datacube"].dims[1].attach_scale(file["lat"])


def _second_scale(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["zz"] = VALUES
        file["zz"].make_scale("zz")
        file["datacube"].dims[1].attach_scale(file["zz"])


def _latin_1(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        h5py.h5d.create(file.id, b"l\xe4t", h5py.h5t.NATIVE_INT32, h5py.h5s.create_simple((3,)))
        h5py.h5a.create(file.id, b"n\xf6te", h5py.h5t.NATIVE_INT32, h5py.h5s.create(h5py.h5s.SCALAR))


def _name_of_an_axis(path):
    with netCDF4.Dataset(path, "a") as file:
        file.createDimension("t", 3)
        file.createVariable("t", "f8", ("y", "t"))[:] = 1


def _loop(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        group = file.create_group("gps")
        group["itself"], group["root"] = group, file["/"]
        file["nowhere"] = h5py.SoftLink("/not/there")


def _xarray(path: Path, engine: Any = None) -> None:
    xr.Dataset({"lat": ("y", VALUES)}).to_netcdf(path, mode="a", engine=engine)


def _h5netcdf(path: Path) -> None:
    with h5netcdf.File(path, "a") as file:
        file.create_variable("lat", ("y",), data=VALUES)


def _group(path: Path) -> None:
    xr.Dataset({"lat": ("sample", np.arange(9.0))}).to_netcdf(path, mode="a", group="gps")


def _nco(*arguments: str) -> Callable[[Path], None]:
    def add(path: Path) -> None:
        if shutil.which(arguments[0]) is None:
            pytest.skip("needs nco")
        subprocess.run([*arguments, str(path)], check=True, capture_output=True)

    return add


CASES: dict[str, tuple[Callable[[Path], None], set[str], set[str]]] = {
    # what adds, names that `verify` reports, names in `dataset`
    "netCDF4": (_netcdf, {"lat"}, {"lat"}),
    "xarray": (_xarray, {"lat"}, {"lat"}),
    "xarray with h5netcdf": (lambda path: _xarray(path, "h5netcdf"), {"lat"}, {"lat"}),
    "h5netcdf": (_h5netcdf, {"lat"}, {"lat"}),
    "a group of xarray": (_group, {"gps", "/gps/lat"}, set()),
    "arrays of variable length": (_vlen, {"lat"}, {"lat"}),
    "a type of the user": (_types, {"lat"}, {"lat"}),
    "texts": (_texts, {"lat"}, {"lat"}),
    "times that cannot be decoded": (_undecodable_times, {"lat"}, {"lat"}),
    "a scale of another size": (_scale_of_another_size, {"lat", "track"}, {"lat", "track"}),
    "a second scale of the lines": (_second_scale, {"zz"}, {"zz"}),
    "names in Latin-1": (_latin_1, {r"l\xe4t", r"n\xf6te"}, set()),
    "a variable with the name of an axis": (_name_of_an_axis, {"t"}, {"_nc4_non_coord_t"}),
    "a group in itself": (_loop, {"gps"}, set()),
    "ncatted": (_nco("ncatted", "-h", "-a", "note,time,c,c,from the log book"), {"time:note", "NCO"}, set()),
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_added_is_named_and_everything_else_is_read(tmp_path, case):
    add, reported, expected = CASES[case]
    with CubeWriter(Y, (5, 7), np.uint16) as writer:
        path = writer.write(make_cube(), [tmp_path]).path
    with open_cube(path) as cube:
        before = cube.dataset.load()
    add(path)
    report = verify(path)
    assert report.problems == ()
    assert set(report.added) - {"NCO", "history"} == reported - {"NCO"}
    with open_cube(path) as cube:
        dataset = cube.dataset.load()
        assert set(dataset.variables) - set(before.variables) == expected
        xr.testing.assert_identical(dataset[["datacube"]].drop_attrs(), before[["datacube"]].drop_attrs())
        assert list(cube.groups) == [name for name in reported if name == "gps"]
        cube._repr_html_()
    ended = run_here(tmp_path, "info", path)
    assert (ended.code, ended.err) == (0, "")


def test_an_endless_group_does_not_end_a_command(cube):
    _loop(cube)
    command = [sys.executable, "-m", "openhsi_shared", "info", cube]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def cube(tmp_path):
    with CubeWriter(Y, (5, 7), np.uint16) as writer:
        return writer.write(make_cube(), [tmp_path]).path


CHANGES = {  # of a copy of a cube of this library: its line_crc32 is carried along, and is not that of these lines
    "cropped": lambda cube: cube.isel(wavelength=slice(2, 5)),
    "halved": lambda cube: cube.assign(datacube=cube.datacube.astype("f4") / 2),
    "other units of time": lambda cube: cube.assign_coords(time=("y", np.arange(Y), {"units": "fortnights"})),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_that_another_program_changed_is_exported_without_checksums_of_other_lines(cube, tmp_path, change):
    with xr.open_dataset(cube) as ours:
        expected = CHANGES[change](ours.load())
    expected.to_netcdf(tmp_path / "changed.nc")
    ended = run_here(tmp_path, "export", "changed.nc", "--to", "zarr", "--out", "zarr")
    assert ended.code == 0, ended.err
    with xr.open_zarr(tmp_path / "zarr/changed.zarr") as found:
        assert "line_crc32" not in found
        assert np.array_equal(found.datacube.transpose(*expected.datacube.dims), expected.datacube)


def test_packing_that_was_added_later_is_exported_as_the_numbers_that_it_means(cube, tmp_path):
    with netCDF4.Dataset(cube, "a") as file:
        file["datacube"].scale_factor = np.float32(0.5)
    cube.rename(tmp_path / "packed.nc")
    assert run_here(tmp_path, "export", "packed.nc", "--to", "zarr", "--out", "zarr").code == 0
    with xr.open_dataset(tmp_path / "packed.nc") as theirs, xr.open_zarr(tmp_path / "zarr/packed.zarr") as found:
        assert np.array_equal(found.datacube.transpose(*theirs.datacube.dims), theirs.datacube)


@pytest.mark.parametrize("command", [["process", "--procs", "1"], ["export", "--to", "netcdf"]], ids=lambda one: one[0])
def test_a_column_with_fewer_values_than_lines_is_left_out(tmp_path, command):
    """Of a logger that wrote some of the values along an unlimited axis; IndexError before."""
    with netCDF4.Dataset(tmp_path / "short.nc", "w") as file:
        for name, size in {"y": None, "x": 4, "wavelength": 3}.items():
            file.createDimension(name, size)
        file.createVariable("datacube", "u2", ("x", "y", "wavelength"))[:] = np.ones((4, Y, 3), "u2")
        file.createVariable("lat", "f8", ("y",))[:2] = [1, 2]
    ended = run_here(tmp_path, command[0], "short.nc", *command[1:], "--out", "out")
    assert ended.code == 0, ended.err
    with open_cube(next((tmp_path / "out").rglob("*.nc"))) as found:
        assert len(found.lines) == Y
        assert not found.contents.has("lat")
