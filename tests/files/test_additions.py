"""Additions of other programs to a cube are opened and reported, and are not damage."""

import h5netcdf
import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from openhsi_shared import open_cube, recover, verify
from openhsi_shared.files import CubeWriter
from openhsi_shared.files.preview import preview_of
from tests.files.texts_of_a_child import look_at_texts
from tests.support.cubes import make_cube, make_groups
from tests.support.helpers import in_child

LATITUDES = np.linspace(0, 1, 6)


def by_netcdf4(path):
    with netCDF4.Dataset(path, "a") as file:
        file.createVariable("lat", "f8", ("y",))[:] = LATITUDES
        file.operator = "me"
        file["temperature"].remark = "of the sensor"
        gps = file.createGroup("gps")
        gps.createDimension("fix", 3)
        gps.createVariable("lat", "f8", ("fix",))[:] = [1, 2, 3]
        gps.createVariable("name", str, ("fix",))[:] = np.array(["a", "bc", ""], object)
        gps.createGroup("deep").createVariable("speed", "f4", ("y",))[:] = LATITUDES


def by_xarray(engine):
    def add(path):
        lines = xr.Dataset({"lat": ("y", LATITUDES)}, attrs={"operator": "me"})
        lines.to_netcdf(path, mode="a", engine=engine)
        fixes = xr.Dataset({"lat": ("fix", [1.0, 2, 3]), "name": ("fix", ["a", "bc", ""])})
        fixes.to_netcdf(path, mode="a", engine=engine, group="gps")

    return add


def by_h5netcdf(path):
    with h5netcdf.File(path, "a") as file:
        file.create_variable("lat", ("y",), "f8")[:] = LATITUDES
        file.attrs["operator"] = "me"
        gps = file.create_group("gps")
        gps.dimensions = {"fix": 3}
        gps.create_variable("lat", ("fix",), "f8")[:] = [1, 2, 3]


def by_h5py(path):
    with h5py.File(path, "r+") as file:
        file["lat"] = LATITUDES
        file.attrs["operator"] = "me"
        file["gps/lat"] = [1.0, 2, 3]
        file["gps/itself"] = file["gps"]
        file["kind"] = np.dtype("u2")
        file["elsewhere"] = h5py.ExternalLink("no.h5", "datacube")
        file["gone"] = h5py.SoftLink("/nowhere")
        file["gps/names"] = ["a", "b"]


ADD = {
    "netCDF4": by_netcdf4,
    "xarray-netcdf4": by_xarray("netcdf4"),
    "xarray-h5netcdf": by_xarray("h5netcdf"),
    "h5netcdf": by_h5netcdf,
    "h5py": by_h5py,
}


@pytest.fixture(params=[False, True], ids=["format 1", "format 2"])
def path(request, tmp_path):
    cube = make_cube(groups=make_groups() if request.param else {})
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype) as writer:
        return writer.write(cube, [tmp_path], picture=False).path


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("name", ADD)
def test_what_others_add_opens_and_is_reported(path, name):
    covers = verify(path).covers
    ADD[name](path)
    report = verify(path)
    assert report.problems == ()
    assert {"lat", "gps", "/gps/lat", "operator"} <= set(report.added)
    assert report.covers == covers
    with open_cube(path) as cube:
        assert cube.is_ours
        assert cube.lines[:].shape == (6, 5, 7)
        assert np.array_equal(cube.column("lat"), LATITUDES)
        assert np.array_equal(cube.dataset["lat"], LATITUDES)
        assert cube.groups["gps"].variables["lat"].data.tolist() == [1, 2, 3]
        assert cube.groups["gps"].dataset.lat.values.tolist() == [1, 2, 3]
        assert cube.attributes["operator"] == "me"
        assert "lat" in cube._repr_html_()


def test_everything_that_was_added_is_named_once(path):
    by_netcdf4(path)
    assert verify(path).added == (
        "operator",
        "temperature:remark",
        "lat",
        "gps",
        "/gps/lat",
        "/gps/name",
        "/gps/deep",
        "/gps/deep/speed",
    )
    with open_cube(path) as cube:
        assert cube.groups["gps"].variables["name"].data.tolist() == ["a", "bc", ""]
        assert cube.groups["gps"].groups["deep"].variables["speed"].dims == ("y",)


def test_what_is_added_to_our_groups_is_reported(tmp_path):
    cube = make_cube(groups=make_groups())
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype) as writer:
        path = writer.write(cube, [tmp_path]).path
    with netCDF4.Dataset(path, "a") as file:
        file["imu"].createVariable("more", "f4", ("time",))[:] = 1
        file["imu"].remark = "?"
        file["imu/samples"].remark = "!"
    report = verify(path)
    assert report.problems == ()
    assert report.added == ("imu:remark", "/imu/samples:remark", "/imu/more")
    with open_cube(path) as saved:
        assert saved.groups["imu"].variables["more"].data.tolist() == [1] * 11
        assert saved.groups["imu"].attributes["remark"] == "?"


def test_a_changed_value_of_ours_is_damage_and_no_addition(tmp_path):
    cube = make_cube(groups=make_groups())
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype) as writer:
        path = writer.write(cube, [tmp_path]).path
    with netCDF4.Dataset(path, "a") as file:
        file["imu/samples"][0, 0] = 5
        file["imu"].source = "another one"
    problems = " ".join(verify(path).problems)
    assert "the variable samples of the group /imu is damaged" in problems
    assert "the attribute source of the group /imu is damaged" in problems


def test_a_file_that_xarray_wrote_again_in_place_is_whole(path):
    with xr.open_dataset(path) as opened:
        dataset = opened.load()
    dataset["lat"] = ("y", LATITUDES)
    dataset.to_netcdf(path, mode="a")
    assert verify(path).problems == ()
    assert "lat" in verify(path).added


def test_a_copy_by_another_program_names_the_program(path, tmp_path):
    with xr.open_dataset(path) as dataset:
        dataset.to_netcdf(tmp_path / "copy.nc")
    report = verify(tmp_path / "copy.nc")
    assert "rewritten, by another program (version=2,netcdf=" in report.problems[0]
    assert (report.covers, report.added) == ((), ())


def test_an_addition_that_cannot_be_read_is_left_out(path, caplog):
    with h5py.File(path, "r+") as file:
        values = file.create_dataset("bad", data=np.arange(100), chunks=(100,), fletcher32=True)
        place = values.id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with open_cube(path) as cube:
        assert "bad" not in cube.dataset
    assert "an added variable cannot be read and is left out" in caplog.text
    assert verify(path).problems == ()


def test_links_into_other_files_are_not_followed(path, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret/values"] = [1, 2]
    with h5py.File(path, "r+") as file:
        file["elsewhere"] = h5py.ExternalLink(tmp_path / "other.h5", "secret")
        file["there"] = h5py.ExternalLink(tmp_path / "other.h5", "secret/values")
        file["again"] = h5py.SoftLink("/time")
    report = verify(path)
    assert (report.problems, report.added) == ((), ())
    with open_cube(path) as cube:
        assert not {"elsewhere", "there", "again"} & {*cube.groups, *cube.dataset.variables}


def test_an_addition_that_copies_our_checksum_is_no_damage(path):
    with xr.open_dataset(path) as opened:
        copied = xr.Dataset({"twice": opened.temperature.load().drop_vars("time") * 2})
        copied.twice.attrs = dict(opened.temperature.attrs)
        assert "values_crc32" in copied.twice.attrs
    copied.to_netcdf(path, mode="a")
    report = verify(path)
    assert (report.problems, "twice" in report.added, "twice" in report.covers) == ((), True, False)
    with open_cube(path) as cube:
        assert "twice" in cube.dataset


@pytest.mark.skipif(h5py.version.hdf5_version_tuple < (2,), reason="older HDF5 hangs when it opens such a text")
def test_added_texts_in_a_damaged_heap_are_no_search_for_ever(path):
    """HDF5 stores variable-length texts there, without a checksum, and would loop in it endlessly."""
    by_netcdf4(path)
    with h5py.File(path, "r+") as file:
        file.attrs["remark"] = file["gps"].attrs["remark"] = "a text of any length"
    content = bytearray(path.read_bytes())
    place = -1
    while (place := content.find(b"GCOL", place + 1)) >= 0:
        content[place + 16 : place + 40] = bytes(24)
    path.write_bytes(content)
    for message in in_child(look_at_texts, path):
        assert "the heap at byte" in message


def test_a_recovered_file_has_no_additions(path):
    part = path.with_name(f".{path.name}.17.part")
    path.rename(part)
    assert recover(path.parent).published == (path,)
    assert verify(path).added == ()


def test_a_file_with_additions_is_recovered_and_has_its_picture(path):
    by_netcdf4(path)
    preview_of(path)
    part = path.with_name(f".{path.name}.17.part")
    path.rename(part)
    assert recover(path.parent).published == (path,)
    assert verify(path).problems == ()
