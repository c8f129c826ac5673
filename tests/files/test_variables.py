"""Groups and extra columns that were written are read back equal by every reader."""

import subprocess
import sys
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from openhsi_shared.columns import COLUMNS, Column
from openhsi_shared.files import CubeWriter, open_cube, verify
from openhsi_shared.groups import Group, Variable
from openhsi_shared.save_options import SaveOptions
from tests.support.channels import parts_of_a_cube
from tests.support.cubes import TIME_NS, make_cube, make_groups

PATHS = ["imu", "marks", "marks/of_user", "references", "references/white"]
TYPES = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8", ">i4", ">f8"]


def save(cube, directory, old_style=True, **options):
    with CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype, SaveOptions(**options)) as writer:
        return writer.write(cube, [directory], old_style=old_style, picture=False).path


def at(groups, path):
    group = Group(groups=groups)
    for name in path.split("/"):
        group = group.groups[name]
    return group


def texts_of(letters):
    return np.char.decode(np.ascontiguousarray(letters).view(f"S{letters.shape[-1]}")[..., 0], "utf-8")


def by_netcdf4(path, group):
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        read = {name: (variable.dimensions, variable[...]) for name, variable in file[group].variables.items()}
        return {name: (dims[: values.ndim], values) for name, (dims, values) in read.items()}  # texts are joined


def by_xarray(engine):
    def read(path, group):
        with xr.open_dataset(path, engine=engine, group=group, decode_times=False) as file:
            return {name: (variable.dims, variable.values) for name, variable in file.variables.items()}

    return read


def by_h5py(path, group):
    with h5py.File(path) as file:
        found = {}
        for name, variable in file[group].items():
            if not isinstance(variable, h5py.Dataset) or variable.dtype == ">f4":  # a dimension without variable
                continue
            dims = [dim[0].name.rpartition("/")[2] if len(dim) else name for dim in variable.dims]
            found[name] = (tuple(dims), variable[...])
        return found


def by_pyfive(path, group):
    pyfive = pytest.importorskip("pyfive")
    with pyfive.File(str(path)) as file:
        items = [(name, file[group][name]) for name in file[group]]
        variables = {name: item for name, item in items if isinstance(item, pyfive.Dataset) and item.dtype != ">f4"}
        return {name: (None, item[...]) for name, item in variables.items()}


def by_open_cube(path, group):
    with open_cube(path) as cube:
        found = at_open(cube.groups, group)
        return {name: (variable.dims, variable.data) for name, variable in found.variables.items()}


def at_open(groups, path):
    for name in path.split("/"):
        group = groups[name]
        groups = group.groups
    return group


READERS = {
    "netCDF4": by_netcdf4,
    "xarray-netcdf4": by_xarray("netcdf4"),
    "xarray-h5netcdf": by_xarray("h5netcdf"),
    "h5py": by_h5py,
    "pyfive": by_pyfive,
    "open_cube": by_open_cube,
}


def assert_read(found, expected, reader):
    assert sorted(found) == sorted(expected), reader
    for name, variable in expected.items():
        dims, values = found[name]
        values = np.asarray(values)
        if variable.data.dtype.kind == "U" and values.dtype.kind == "S":  # as it is stored
            values, dims = texts_of(values), dims and dims[:-1]
        assert dims in (None, variable.dims), (reader, name)
        if variable.data.dtype.kind != "U":
            assert values.dtype.newbyteorder("=") == variable.data.dtype.newbyteorder("="), (reader, name)
        assert np.array_equal(values, variable.data), (reader, name)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("old_style", [True, False])
def test_every_reader_finds_the_groups_that_were_written(tmp_path, old_style, compression):
    groups = make_groups()
    path = save(make_cube(groups=groups), tmp_path, old_style, compression=compression)
    for reader, read in READERS.items():
        for group in PATHS:
            assert_read(read(path, group), at(groups, group).variables, f"{reader}, {group}")
    assert verify(path).problems == ()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_every_reader_finds_channels_and_cf_is_obeyed(tmp_path):
    parts = parts_of_a_cube(TIME_NS + np.arange(6) * 50_000_000)
    path = save(make_cube(**parts, wavelengths_nm=np.linspace(400, 700, 7), level=4), tmp_path)
    for reader, read in READERS.items():
        for name in ("channels/gps", "channels/shutter"):
            assert_read(read(path, name), at(parts["groups"], name).variables, f"{reader}, {name}")
    with h5py.File(path) as file, xr.open_dataset(path) as dataset:
        scales = [file[name] for name in ("x", "y", "wavelength", "channels/gps/sample", "channels/shutter/sample")]
        assert len({int(scale.attrs["_Netcdf4Dimid"]) for scale in scales}) == len(scales)
        for name, values in parts["columns"].items():
            if name != "time_ns":
                assert np.array_equal(dataset[name], values, equal_nan=True), name
        assert dataset.gps_latitude.attrs["standard_name"] == "latitude"
        assert dataset.shutter.attrs["flag_meanings"] == "closed open"
    assert verify(path).problems == ()
    _check_cf(path)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_every_type_of_netcdf_comes_back_from_a_group(tmp_path):
    values = np.arange(7) * 11 % 100
    variables = {f"type {kind}": Variable(("n",), values.astype(kind)) for kind in TYPES}
    variables["text"] = Variable(("n",), np.array(["", "a", "\U0001f600", "end ", "\t", "\u00e4" * 50, "x"]))
    variables["empty"] = Variable(("none",), np.zeros(0, np.int16))
    variables["no text"] = Variable(("none",), np.zeros(0, "U3"))
    path = save(make_cube(groups={"all": Group(variables)}), tmp_path)
    for reader, read in READERS.items():
        assert_read(read(path, "all"), variables, reader)
    assert verify(path).problems == ()


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf"])
@pytest.mark.skipif(not hasattr(xr, "open_datatree"), reason="this xarray has no open_datatree")
def test_xarray_opens_all_groups_at_once(tmp_path, engine):
    groups = make_groups()
    path = save(make_cube(groups=groups), tmp_path)
    with xr.open_datatree(path, engine=engine) as tree, open_cube(path) as cube:
        assert sorted(tree.groups) == sorted(["/", *(f"/{group}" for group in PATHS)])
        for group in PATHS:
            ours = at_open(cube.groups, group).dataset
            for name in ours.variables:
                xr.testing.assert_equal(ours[name].variable.load(), tree[group].ds[name].variable.load())
        assert tree["imu"].ds.attrs["source"] == "IMU"


def test_dimension_ids_are_unique_and_inherited_dimensions_are_those_of_the_root(tmp_path):
    path = save(make_cube(groups=make_groups()), tmp_path)
    ids = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: ids.append(item.attrs.get("_Netcdf4Dimid")))
        assert file["imu/age"].dims[0][0] == file["y"]
        assert file["references/white/spectra"].dims[1][0] == file["wavelength"]
        assert file["marks/of_user/weight"].dims[0][0] == file["marks/mark"]
    found = sorted(int(one) for one in ids if one is not None)
    assert found == list(range(len(found)))
    with netCDF4.Dataset(path) as file:
        assert file["marks/of_user/weight"].get_dims()[0].group().path == "/marks"
        assert list(file["imu"].dimensions) == ["time", "axis"]


def test_attributes_of_groups_are_kept_as_those_of_the_file(tmp_path):
    path = save(make_cube(groups=make_groups()), tmp_path)
    with netCDF4.Dataset(path) as file:
        imu = file["imu"]
        assert (imu.source, imu.rate, imu.range.tolist(), imu.story) == ("IMU", 200.5, [-2, 2], "a" * 3000)
        assert imu.filter == "null"
        assert imu["samples"].units == "m s-2"
        assert imu["time"].units.startswith("nanoseconds since")


ATTRIBUTES = {
    "text": "\u00e4",
    "empty": "",
    "number": 5,
    "one in a row": np.array([7], np.int32),
    "small": np.float32(0.1),
    "row": np.arange(3, dtype=np.uint8),
    "nan": float("nan"),
    "none": None,
    "nested": {"a": [1, None]},
    "huge": 2**70,
}


def test_attributes_of_every_kind_and_fill_values_are_whole(tmp_path):
    variable = Variable(("n",), np.array([1, -999, 3], np.int16), {**ATTRIBUTES, "_FillValue": -999})
    path = save(make_cube(groups={"g": Group({"a": variable}, ATTRIBUTES)}), tmp_path)
    assert verify(path).problems == ()
    for engine in ("netcdf4", "h5netcdf"):
        with xr.open_dataset(path, engine=engine, group="g") as file:
            assert np.array_equal(file.a.values, [1, np.nan, 3], equal_nan=True)
    with open_cube(path) as cube:
        assert np.array_equal(cube.groups["g"].dataset.a.values, [1, np.nan, 3], equal_nan=True)
        again = cube.groups["g"].read()
    assert again.attributes["row"].dtype == np.uint8
    assert again.attributes["nested"] == '{"a": [1, null]}'
    assert again.variables["a"].attributes["_FillValue"].dtype == np.int16


def test_large_tables_lie_in_chunks_of_some_rows(tmp_path):
    table, one = np.random.default_rng(0).normal(size=(100_003, 12)), np.arange(700_001)
    groups = {"g": Group({"table": Variable(("n", "k"), table), "row": Variable(("m",), one)})}
    path = save(make_cube(groups=groups), tmp_path)
    with h5py.File(path) as file:
        assert file["g/table"].chunks == (11112, 12)
        assert file["g/table"].fletcher32
        assert path.stat().st_size < 1.05 * (table.nbytes + one.nbytes)
    with open_cube(path) as cube:
        assert np.array_equal(cube.groups["g"].variables["table"].data, table)
        assert np.array_equal(cube.groups["g"].variables["row"].data, one)


def test_unit_and_name_of_a_column_come_with_it(tmp_path):
    named, flags = {"standard_name": "altitude"}, {"flag_values": (0, 1), "flag_meanings": "good stale"}
    described = (
        *COLUMNS,
        Column("altitude", "float64", "m", "height above the ground", named),
        Column("altitude_state", "int8", "1", "state of altitude", flags),
    )
    columns = {"altitude": np.arange(6.0), "altitude_state": np.arange(6, dtype=np.int8) % 2, "other": np.arange(6)}
    path = save(make_cube(columns=columns, column_descriptions=described), tmp_path)
    with xr.open_dataset(path) as file:
        assert file.altitude.attrs["units"] == "m"
        assert file.altitude.attrs["long_name"] == "height above the ground"
        assert file.other.attrs["long_name"] == "other"
        assert file.altitude.attrs["standard_name"] == "altitude"
        assert file.altitude_state.attrs["flag_values"].dtype == np.int8
        assert file.altitude_state.attrs["flag_values"].tolist() == [0, 1]
        assert "units" not in file.other.attrs
        assert file.attrs["format_version"] == 1
    assert verify(path).covers[-4:] == ("altitude", "altitude_state", "other", "line_crc32")


def _check_cf(path):
    checker = Path(sys.executable).with_name("compliance-checker")
    if not checker.exists():
        pytest.skip("compliance-checker is not installed beside this Python")
    done = subprocess.run([str(checker), "--test=cf:1.11", str(path)], capture_output=True, text=True, check=False)
    assert "Errors" not in done.stdout, done.stdout
    assert "All tests passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("old_style", [True, False])
def test_the_compliance_checker_finds_no_fault_in_a_file_with_groups(tmp_path, old_style):
    groups, bands = make_groups(), np.linspace(400, 700, 7)
    _check_cf(save(make_cube(groups=groups, wavelengths_nm=bands, level=4), tmp_path, old_style))
