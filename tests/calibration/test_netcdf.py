"""Calibration files: values are read unchanged, and other files are refused by name."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import netCDF4
import numpy as np
import pytest

from openhsi_shared.calibration import Calibration, read_calibration, write_calibration
from openhsi_shared.drivers.simulated import CALIBRATION_PATH
from openhsi_shared.errors import CalibrationError
from tests.support.helpers import in_child


def write(path, variables, **attributes):
    """Write `variables`, name -> (dims, array), as openhsi lays them out."""
    with netCDF4.Dataset(path, "w") as file:
        file.setncatts(attributes)
        for name, (dims, given) in variables.items():
            values = np.asarray(given)
            for dim, size in zip(dims, values.shape, strict=True):
                if dim not in file.dimensions:
                    file.createDimension(dim, size)
            kind = str if values.dtype.kind == "U" else values.dtype
            file.createVariable(name, kind, dims)[...] = values.astype(object) if kind is str else values
    return path


SHIFTS = (("smile_shifts_dim",), np.array([2, 1, 0], np.int16))
WAVELENGTHS = (("wavelengths_dim",), np.array([400.0, 402.0, 405.0, 409.0]))
REFERENCES = np.arange(3 * 6 * 2 * 2, dtype=np.int32).reshape(3, 6, 2, 2)


@pytest.fixture
def path(tmp_path):
    return write(
        tmp_path / "calibration.nc",
        {
            "smile_shifts": SHIFTS,
            "wavelengths": WAVELENGTHS,
            "HgAr_pic": (("HgAr_pic_dim_x", "HgAr_pic_dim_y"), np.arange(18, dtype=np.uint16).reshape(3, 6)),
            "sfit_x": (("sfit_dim",), [400.0, 500.0]),
            "sfit_y": (("sfit_dim",), [2.0, 3.0]),
            "rad_ref": (("cross_track", "wavelength_index", "exposure", "luminance"), REFERENCES),
            "exposure": (("exposure",), np.array([10, 20], np.int32)),
            "luminance": (("luminance",), np.array([0, 10000], np.int32)),
        },
        camera_id="mine",
        spec_rad_ref_luminance=52020.0,
    )


def test_everything_in_the_file_is_read_as_it_is(path):
    calibration = read_calibration(path)
    assert set(calibration) == {
        *("camera_id", "spec_rad_ref_luminance", "smile_shifts", "wavelengths"),
        *("HgAr_pic", "sfit_x", "sfit_y", "rad_ref"),
    }
    assert len(calibration) == 8
    assert (calibration["camera_id"], calibration["spec_rad_ref_luminance"]) == ("mine", 52020.0)
    assert type(calibration["spec_rad_ref_luminance"]) is float
    assert calibration["smile_shifts"].dtype == np.int16
    np.testing.assert_array_equal(calibration["HgAr_pic"], np.arange(18).reshape(3, 6))
    np.testing.assert_array_equal(calibration["rad_ref"], REFERENCES)
    assert calibration.dims["rad_ref"] == ("cross_track", "wavelength_index", "exposure", "luminance")
    assert calibration.coordinates["exposure"].tolist() == [10, 20]
    assert calibration.coordinates["luminance"].tolist() == [0, 10000]
    np.testing.assert_array_equal(calibration.wavelengths_nm, WAVELENGTHS[1])
    assert "'rad_ref': (3, 6, 2, 2)" in repr(calibration)


def test_the_axis_that_older_files_have_in_front_is_dropped(tmp_path):
    dims = ("variable", "cross_track", "wavelength_index", "exposure", "luminance")
    path = write(
        tmp_path / "old.nc", {"rad_ref": (dims, REFERENCES[None]), "variable": (("variable",), np.array(["datacube"]))}
    )
    calibration = read_calibration(path)
    np.testing.assert_array_equal(calibration["rad_ref"], REFERENCES)
    assert calibration.dims["rad_ref"] == dims[1:]


def test_a_number_that_looks_like_nothing_is_still_a_number(tmp_path):
    """netCDF4 masks a value that equals the fill value of its type by default."""
    fill = netCDF4.default_fillvals["i4"]
    path = write(tmp_path / "fill.nc", {"rad_ref": (("a", "b", "c", "d"), np.full((1, 1, 1, 1), fill, np.int32))})
    assert read_calibration(path)["rad_ref"].tolist() == [[[[fill]]]]
    assert type(read_calibration(path)["rad_ref"]) is np.ndarray


@pytest.mark.parametrize("path", [None, ""])
def test_no_file_is_an_empty_calibration(path):
    calibration = read_calibration(path)
    assert len(calibration) == 0
    assert calibration.wavelengths_nm is None
    assert calibration.sha256 == ""


def test_a_calibration_cannot_be_changed(path):
    calibration = read_calibration(path)
    with pytest.raises(ValueError, match="read-only"):
        calibration["wavelengths"][0] = 1
    with pytest.raises(ValueError, match="read-only"):
        calibration.coordinates["exposure"][0] = 1
    with pytest.raises(TypeError, match="assignment"):
        calibration["wavelengths"] = 1
    with pytest.raises(TypeError, match="assignment"):
        calibration.dims["wavelengths"] = ()


def test_arrays_that_one_gives_stay_ones_own():
    mine = np.array([400.0, 401.0])
    Calibration({"wavelengths": mine})
    mine[0] = 399


def test_a_calibration_travels_to_another_process_whole(path):
    calibration = read_calibration(path)
    arrived = pickle.loads(pickle.dumps(calibration))
    assert set(arrived) == set(calibration)
    np.testing.assert_array_equal(arrived["rad_ref"], REFERENCES)
    assert arrived.dims == calibration.dims
    assert (arrived.path, arrived.sha256) == (path, calibration.sha256)
    assert len(arrived.sha256) == 64
    with pytest.raises(ValueError, match="read-only"):
        arrived["wavelengths"][0] = 1


def read_and_write_at_once(path, directory):
    """In a child, which would die of it."""
    barrier = threading.Barrier(4)

    def read_and_write(number):
        barrier.wait(60)
        return [
            read_calibration(write_calibration(read_calibration(path), directory / f"{number}.nc")).sha256
            for _ in range(10)
        ]

    with ThreadPoolExecutor(4) as pool:
        return [len(read) for read in pool.map(read_and_write, range(4))]


def test_several_threads_read_and_write_at_once(path, tmp_path):
    assert in_child(read_and_write_at_once, path, tmp_path) == [10] * 4


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CalibrationError, match=r"nowhere\.nc' cannot be read: .*expected a NetCDF file"):
        read_calibration(tmp_path / "nowhere.nc")
    with pytest.raises(CalibrationError, match="cannot be read"):
        read_calibration(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"wavelengths: 400", b"\x89HDF\r\n\x1a\n" + bytes(500), b"CDF\x01" + bytes(99)]
)
def test_a_file_that_is_no_netcdf_is_named(tmp_path, content):
    path = tmp_path / "broken.nc"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=r"broken\.nc' is not a (NetCDF file, or damaged|calibration)"):
        read_calibration(path)


def test_half_a_file_is_named(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CalibrationError, match=r"calibration\.nc' is not a NetCDF file, or damaged"):
        read_calibration(path)


def test_a_netcdf_file_of_something_else_is_named_with_what_it_holds(tmp_path):
    path = write(tmp_path / "cube.nc", {"datacube": (("x", "y"), np.zeros((2, 2)))})
    with pytest.raises(
        CalibrationError, match=r"cube\.nc' is not a calibration of openhsi: it contains \['datacube'\], expected"
    ):
        read_calibration(path)


@pytest.mark.parametrize("values", [[400.0, np.nan], [[400.0, 401.0]], ["blue", "red"]])
def test_wavelengths_that_are_none_are_refused(tmp_path, values):
    values = np.array(values)
    path = write(tmp_path / "odd.nc", {"wavelengths": (("a", "b")[: values.ndim], values)})
    with pytest.raises(CalibrationError, match=r"odd\.nc': wavelengths must be a 1-D array of finite numbers"):
        read_calibration(path)


# ---- writing ---------------------------------------------------------------------------------


def same(first, second):
    assert set(first) == set(second)
    for key, value in first.items():
        assert type(second[key]) is type(value), key
        if isinstance(value, np.ndarray):
            assert second[key].dtype == value.dtype, key
        np.testing.assert_array_equal(second[key], value)
    for key, value in first.coordinates.items():
        np.testing.assert_array_equal(second.coordinates[key], value)


def test_what_is_written_is_read_again_with_all_its_axes(path, tmp_path):
    calibration = read_calibration(path)
    again = read_calibration(write_calibration(calibration, tmp_path / "again.nc"))
    same(calibration, again)
    assert again.dims == calibration.dims


def test_the_packaged_calibration_survives_writing(tmp_path):
    calibration = read_calibration(CALIBRATION_PATH)
    again = read_calibration(write_calibration(calibration, tmp_path / "again.nc"))
    same(calibration, again)
    assert again.dims == calibration.dims


def test_values_without_axes_get_those_of_openhsis_layout(tmp_path):
    values = {
        "camera_id": "mine",
        "smile_shifts": np.array([2, 1, 0], np.int16),
        "HgAr_pic": np.zeros((3, 6), np.uint16),
        "sfit_x": [400.0, 500.0],
        "sfit_y": [2.0, 3.0],
        "rad_ref": REFERENCES,
    }
    written = write_calibration(values, tmp_path / "plain.nc")
    with netCDF4.Dataset(written) as file:
        axes = {key: variable.dimensions for key, variable in file.variables.items()}
        assert file.getncattr("camera_id") == "mine"
    assert axes == {
        "smile_shifts": ("smile_shifts_dim",),
        "HgAr_pic": ("HgAr_pic_dim_x", "HgAr_pic_dim_y"),
        "sfit_x": ("sfit_dim",),
        "sfit_y": ("sfit_dim",),
        "rad_ref": ("cross_track", "wavelength_index", "exposure", "luminance"),
    }


def test_a_calibration_may_be_written_onto_the_file_that_it_came_from(path):
    """In openhsi that destroys it."""
    calibration = read_calibration(path)
    write_calibration(calibration.with_values(camera_id="renamed"), path)
    again = read_calibration(path)
    assert again["camera_id"] == "renamed"
    np.testing.assert_array_equal(again["rad_ref"], REFERENCES)


def test_a_reader_of_the_old_file_is_not_affected(path):
    with netCDF4.Dataset(path) as reader:
        write_calibration({"wavelengths": np.array([1.0, 2.0])}, path)
        np.testing.assert_array_equal(reader["rad_ref"][...], REFERENCES)
    assert read_calibration(path)["wavelengths"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"wavelengths": [1.0, 2.0], "model": {"a": 1}}, r"model is \{'a': 1\}, which a file cannot store"),
        ({"wavelengths": [1.0, 2.0], "is_good": True}, "is_good is True, which a file cannot store"),
        ({"wavelengths": np.array([1j])}, "wavelengths is an array of complex128, which a file cannot store"),
        ({"sfit_x": [1.0, 2.0], "sfit_y": [1.0]}, "sfit_y has 1 values along sfit_dim, others have 2"),
        ({"wavelengths": np.array(3.0)}, "wavelengths is an array of float64"),
    ],
)
def test_what_the_layout_cannot_hold_is_refused_and_the_old_file_stays(path, values, message):
    before = path.read_bytes()
    with pytest.raises(CalibrationError, match=message):
        write_calibration(values, path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_name_with_another_suffix_is_refused(tmp_path):
    with pytest.raises(CalibrationError, match=r"mine\.pkl' must have a name that ends in \.nc"):
        write_calibration({"wavelengths": [1.0]}, tmp_path / "mine.pkl")


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CalibrationError, match=r"gone/mine\.nc' cannot be written: .*No such file"):
        write_calibration({"wavelengths": [1.0]}, tmp_path / "gone" / "mine.nc")


def test_a_file_that_cannot_take_its_name_leaves_nothing(tmp_path):
    (tmp_path / "mine.nc").mkdir()
    with pytest.raises(CalibrationError, match=r"mine\.nc' cannot be written: .*[Ii]s a directory"):
        write_calibration({"wavelengths": [1.0]}, tmp_path / "mine.nc")
    assert [file.name for file in tmp_path.iterdir()] == ["mine.nc"]
