"""openhsi's own function for saving saves any shared array."""

import ctypes
import multiprocessing
from datetime import UTC, datetime

import numpy as np
import pytest
import xarray as xr

from openhsi_shared.errors import ArgumentError, SaveError
from openhsi_shared.files import open_cube, save_shared_datacube, verify

SHAPE = (5, 6, 7)
TIMES = np.datetime64("2026-11-20T10:00:00.123456789", "ns") + np.arange(6) * np.timedelta64(4, "ms")


def shared(lock, c_type=ctypes.c_uint16):
    array = multiprocessing.get_context("spawn").Array(c_type, int(np.prod(SHAPE)), lock=lock)
    pixels = np.frombuffer(array.get_obj() if lock else array, c_type).reshape(SHAPE)
    pixels[:] = np.arange(pixels.size).reshape(SHAPE)
    return array, pixels


def coords():
    return {
        "wavelength": (["wavelength"], np.linspace(400, 700, 7), {"units": "nanometers", "long_name": "wavelength_nm"}),
        "x": np.arange(5),
        "y": (["y"], np.arange(6), {"units": "pixels"}),
        "time": (["time"], TIMES),
        "temperature": (["temperature"], np.full(6, 20, np.float32), {"units": "degrees Celsius"}),
    }


@pytest.mark.parametrize("lock", [True, False])
@pytest.mark.parametrize("old_style", [True, False])
def test_a_shared_array_is_saved_as_openhsi_saves_it(tmp_path, lock, old_style):
    array, pixels = shared(lock)
    name = str(tmp_path / "a.b")
    path = save_shared_datacube(
        name, array, ctypes.c_uint16, SHAPE, coords(), {"title": "t"}, 4, old_style, savefig=True
    )
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.b.nc", "a.b.png"]
    assert verify(path).ok
    with xr.open_dataset(f"{name}.nc") as dataset:
        dims = ("x", "y", "wavelength") if old_style else ("wavelength", "x", "y")
        assert dataset.datacube.dims == dims
        assert np.array_equal(dataset.datacube.transpose("x", "y", "wavelength"), pixels)
        assert np.array_equal(dataset.time.values, TIMES)
        assert dataset.temperature.dims == ("temperature",)
        assert dataset.attrs["title"] == "t"
        assert dataset.datacube.attrs["units"] == "uW cm-2 sr-1 nm-1"
    with open_cube(path) as saved:
        assert np.array_equal(saved.lines, pixels.transpose(1, 0, 2))
        assert saved.times_ns.tolist() == TIMES.astype(np.int64).tolist()


@pytest.mark.parametrize("c_type", [ctypes.c_uint8, ctypes.c_int32, ctypes.c_float])
def test_every_type_that_openhsi_shares_is_saved(tmp_path, c_type):
    array, pixels = shared(True, c_type)
    path = save_shared_datacube(str(tmp_path / "a"), array, c_type, SHAPE, {}, {}, -1)
    with open_cube(path) as saved:
        assert np.array_equal(saved.lines, pixels.transpose(1, 0, 2))
        assert saved.wavelengths_nm is None


def test_coordinates_may_be_data_arrays_and_datetimes(tmp_path):
    array, _ = shared(False)
    moments = [datetime(2026, 11, 20, 10, 0, second, tzinfo=UTC).replace(tzinfo=None) for second in range(6)]
    given = {"wavelength": xr.DataArray(np.arange(7.0), dims="wavelength"), "time": ("y", np.array(moments))}
    path = save_shared_datacube(str(tmp_path / "a"), array, "c_uint16", SHAPE, given, {}, -1)
    with open_cube(path) as saved:
        assert np.diff(saved.times_ns).tolist() == [10**9] * 5
        assert saved.dataset.time.dims == ("y",)


def test_a_taken_name_is_kept(tmp_path):
    array, _ = shared(False)
    (tmp_path / "a.nc").write_text("somebody's")
    path = save_shared_datacube(str(tmp_path / "a"), array, ctypes.c_uint16, SHAPE, coords(), {}, -1)
    assert path.name == "a-1.nc"
    assert (tmp_path / "a.nc").read_text() == "somebody's"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": np.arange(4)}, "coordinate 'x'"),
        ({"x": (["x", "y"], np.arange(5))}, "'x' has 1 axes"),
        ({"x": np.array(list("abcde"))}, "'x' of type"),
        ({"a/b": ("y", np.arange(6))}, "coordinate 'a/b' is not a name for netCDF"),
    ],
)
def test_coordinates_that_do_not_fit_are_refused(tmp_path, changes, words):
    array, _ = shared(False)
    with pytest.raises(ArgumentError, match=words):
        save_shared_datacube(str(tmp_path / "a"), array, ctypes.c_uint16, SHAPE, coords() | changes, {}, -1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("array", "c_dtype", "shape", "words"),
    [
        (None, ctypes.c_uint16, (6, 6, 7), r"420 bytes, but a cube of shape \(6, 6, 7\) and uint16 has 504"),
        (None, ctypes.c_uint16, (5, 6, 2), "420 bytes, but a cube"),
        (None, ctypes.c_uint16, (5, 42), "420 bytes, but a cube"),
        (None, ctypes.c_uint8, (5, 6, 14), "holds uint16, but c_dtype is uint8"),
        ([1, 2], ctypes.c_uint16, (1, 1, 2), "expected a multiprocessing.Array"),
        (None, "c_unit16", SHAPE, "expected a multiprocessing.Array"),
    ],
)
def test_an_array_that_is_not_exactly_the_cube_is_refused(tmp_path, array, c_dtype, shape, words):
    with pytest.raises(ArgumentError, match=words):
        save_shared_datacube(str(tmp_path / "a"), array or shared(False)[0], c_dtype, shape, {}, {}, -1)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_refused(tmp_path):
    array, _ = shared(False)
    with pytest.raises(SaveError, match="gone"):
        save_shared_datacube(str(tmp_path / "gone" / "a"), array, ctypes.c_uint16, SHAPE, {}, {}, -1)
