"""Calibration files: what stands in them is what one gets, and what is none is refused by name."""

import pickle

import netCDF4
import numpy as np
import pytest

from openhsi_shared.calibration import Calibration, read_calibration, wavelengths_of_columns
from openhsi_shared.errors import CalibrationError


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
    """netCDF4 hides a value that equals the fill value of its type, unless it is told not to."""
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


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle was opened",)


@pytest.mark.parametrize("name", ["calibration.pkl", "calibration.PICKLE"])
def test_a_pickle_is_refused_and_never_opened(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CalibrationError, match=r"is a pickle.*expected openhsi's NetCDF layout.*calibration\.nc"):
        read_calibration(tmp_path / name)


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
    with pytest.raises(CalibrationError, match=r"broken\.nc' is no (NetCDF file, or broken|calibration)"):
        read_calibration(path)


def test_half_a_file_is_named(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CalibrationError, match=r"calibration\.nc' is no NetCDF file, or broken"):
        read_calibration(path)


def test_a_netcdf_file_of_something_else_is_named_with_what_it_holds(tmp_path):
    path = write(tmp_path / "cube.nc", {"datacube": (("x", "y"), np.zeros((2, 2)))})
    with pytest.raises(
        CalibrationError, match=r"cube\.nc' is no calibration of openhsi: it holds \['datacube'\], expected"
    ):
        read_calibration(path)


@pytest.mark.parametrize("values", [[400.0, np.nan], [[400.0, 401.0]], ["blue", "red"]])
def test_wavelengths_that_are_none_are_refused(tmp_path, values):
    values = np.array(values)
    path = write(tmp_path / "odd.nc", {"wavelengths": (("a", "b")[: values.ndim], values)})
    with pytest.raises(CalibrationError, match=r"odd\.nc': wavelengths must be a row of finite numbers"):
        read_calibration(path)


def test_wavelengths_go_on_for_the_columns_that_the_smile_costs():
    calibration = {"wavelengths": WAVELENGTHS[1], "smile_shifts": SHIFTS[1]}
    assert wavelengths_of_columns(calibration, 6).tolist() == [400, 402, 405, 409, 413, 417]


def test_without_a_smile_there_is_a_wavelength_for_each_column():
    assert wavelengths_of_columns({"wavelengths": WAVELENGTHS[1]}, 4).tolist() == WAVELENGTHS[1].tolist()


@pytest.mark.parametrize(
    ("calibration", "n_columns"),
    [
        ({}, 6),
        ({"wavelengths": WAVELENGTHS[1], "smile_shifts": SHIFTS[1]}, 7),
        ({"wavelengths": WAVELENGTHS[1], "smile_shifts": SHIFTS[1]}, 4),
        ({"wavelengths": np.array([400.0])}, 1),
    ],
)
def test_a_calibration_for_other_frames_gives_no_wavelengths(calibration, n_columns):
    assert wavelengths_of_columns(calibration, n_columns) is None
