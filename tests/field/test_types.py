"""Types of pixels of functions of users and of cubes of others: kept exactly, or refused by name. One row a case."""

import ctypes

import h5py
import numpy as np
import pytest
import xarray as xr

from openhsi_shared import (
    ProcessDatacube,
    SharedCircArrayBuffer,
    SharedDataCube,
    SharedOpenHSI,
    SharedReplayCamera,
    SharedSimulatedCamera,
    open_cube,
    verify,
)
from openhsi_shared.errors import ArgumentError, FrameError, LevelError
from openhsi_shared.files.preview import read_picture
from openhsi_shared.files.writing import CubeWriter
from tests.support.commands import run_here
from tests.support.foreign import openhsi_cube, put
from tests.support.products import some

SHAPE = (4, 8)


def largest(dtype):
    """The number that another type is most likely to change."""
    return np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 16777217.0


def with_function(function, **keywords):
    return SharedDataCube(n_lines=2, resolution=SHAPE, custom_tfms=[function], **keywords)


TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", ">i4", ">f8"]


@pytest.mark.parametrize("dtype", some("u1", "i2", "u8", "f4", ">f8", all_of=TYPES))
def test_a_type_that_files_have_is_kept_exactly_the_whole_way(tmp_path, dtype):
    expected = np.full(SHAPE, 3, dtype)
    expected[1, 2] = largest(dtype)
    with with_function(lambda frame: expected * (frame[0, 0] > 0) if frame[0, 0] else expected) as cube:
        for _ in range(2):
            cube.put(np.zeros(SHAPE, np.uint16))
        path = cube.save(tmp_path / "made").result().path
    assert verify(path).ok
    with open_cube(path) as found:
        assert found.lines.dtype == np.dtype(dtype).newbyteorder("=")
        assert np.array_equal(found.lines[1], expected)
        assert found.dataset.datacube.dtype == found.lines.dtype
    assert read_picture(path).image.any()
    for source in (lambda: SharedReplayCamera(path=path, rate=None, n_lines=2), lambda: ProcessDatacube(path)):
        with source() as again:
            again.collect(progress=False)
            copied = again.save(tmp_path / "again").result().path
        with open_cube(copied) as found:
            assert found.lines.dtype == np.dtype(dtype).newbyteorder("=")
            assert np.array_equal(found.lines[0], expected)


@pytest.mark.parametrize("dtype", ["float16", "longdouble", "complex64", "complex128"])
def test_a_type_that_files_do_not_have_is_refused_by_name_before_anything_is_collected(dtype):
    def convert(frame):
        return frame.astype(dtype)

    with pytest.raises(LevelError, match=rf"custom_tfms \['convert'\] makes pixels of {np.dtype(dtype)}, .* convert"):
        with_function(convert)


def test_booleans_become_0_and_1_and_the_file_says_so(tmp_path):
    with with_function(lambda frame: frame > 5) as cube:
        cube.put(np.arange(32, dtype=np.uint16).reshape(SHAPE))
        path = cube.save(tmp_path).result().path
    with open_cube(path) as found:
        assert found.lines.dtype == np.uint8
        assert np.array_equal(found.lines[0], np.arange(32).reshape(SHAPE) > 5)
        assert found.attributes["pixel_type"] == "bool: 0 is false, 1 is true"


def test_a_writer_of_a_type_that_files_do_not_have_is_refused():
    with pytest.raises(ArgumentError, match="float16"):
        CubeWriter(2, SHAPE, "float16")


def test_a_cube_of_half_precision_of_another_program_is_read_without_the_library_that_crashes(tmp_path):
    path = tmp_path / "half.nc"
    with h5py.File(path, "w") as file:
        lines = np.arange(24, dtype=np.float16).reshape(2, 3, 4)
        file["datacube"] = lines
        for axis, (name, size) in enumerate(zip(("x", "y", "wavelength"), lines.shape, strict=True)):
            file[name] = np.arange(size)
            file[name].make_scale(name)
            file["datacube"].dims[axis].attach_scale(file[name])
    with open_cube(path) as cube:
        assert np.array_equal(cube.lines[0], lines[:, 0])
        assert np.array_equal(cube.dataset.datacube.values, lines)
    with pytest.raises(LevelError, match="float16"):
        SharedReplayCamera(path=path, rate=None, n_lines=2)


def test_a_function_whose_lines_change_shape_is_named():
    def uneven(frame):
        return frame[:, : 4 + 2 * int(frame.any())]

    with with_function(uneven) as cube, pytest.raises(FrameError, match=r"uneven .* \(4, 6\) .* \(4, 4\)"):
        cube.put(np.ones(SHAPE, np.uint16))


def test_the_function_is_named_that_changes_the_shape_and_not_the_one_behind_it():
    def uneven(frame):
        return frame[:, : 4 + 2 * int(frame.any())]

    def double(frame):
        return frame * 2

    with (
        SharedDataCube(n_lines=2, resolution=SHAPE, custom_tfms=[uneven, double]) as cube,
        pytest.raises(FrameError, match=r"^uneven of custom_tfms"),
    ):
        cube.put(np.ones(SHAPE, np.uint16))


def test_a_function_whose_lines_change_type_is_refused_rather_than_rounded():
    def careless(frame):
        return frame / 2 if frame.any() else frame

    with with_function(careless) as cube, pytest.raises(FrameError, match=r"careless.*float64 .* uint16"):
        cube.put(np.ones(SHAPE, np.uint16))


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_pixels_that_custom_tfms_mask_are_missing_or_refused(tmp_path, dtype):
    def without_bright(frame):
        return np.ma.masked_greater(frame.astype(dtype), 3)

    def record():
        with SharedSimulatedCamera(
            n_lines=4, exposure_ms=1, resolution=(8, 16), mode="counting", custom_tfms=[without_bright]
        ) as camera:
            camera.collect()
            return camera.save(tmp_path, savefig=False).result().path

    if dtype is np.uint16:
        with pytest.raises(FrameError, match="masked pixels of uint16"):
            record()
        return
    with open_cube(record()) as cube:
        lines = cube.lines[:]
    assert np.isnan(lines).any()
    assert np.nanmax(lines) <= 3


class MaskingCamera(SharedOpenHSI):
    """A user's camera whose frames have a mask, as those of a package that marks dead pixels."""

    def start_cam(self):
        pass

    def stop_cam(self):
        pass

    def get_img(self):
        return np.ma.masked_equal(np.arange(32, dtype=np.uint16).reshape(SHAPE), 7)


def test_masked_pixels_do_not_become_numbers():
    masked = np.ma.masked_equal(np.arange(32, dtype=np.uint16).reshape(SHAPE), 7)
    words = "masked pixels of uint16, which has no NaN for them"
    with SharedDataCube(n_lines=2, resolution=SHAPE) as cube:
        for use in (cube.put, cube.pipeline):
            with pytest.raises(FrameError, match=words):
                use(masked)
        cube.put(np.ma.masked_array(masked.data))  # no pixel is masked
        assert cube.lines[0].tolist() == masked.data.tolist()
    with MaskingCamera(n_lines=2, resolution=SHAPE) as camera, pytest.raises(FrameError, match=words):
        camera.collect(progress=False)
    floats = SharedCircArrayBuffer(size=SHAPE, c_dtype=ctypes.c_float)
    floats.put(masked[0].astype(np.float32))
    assert np.isnan(floats.data).sum() == 1


def test_a_cube_of_booleans_that_xarray_wrote_is_exported_and_its_mean_stays_a_fraction(tmp_path):
    """xarray marks them by an attribute; kept, it would read every mean as True."""
    cube = openhsi_cube()
    path = put(cube.assign(datacube=cube.datacube % 2 == 1), tmp_path / "mask.nc")
    with xr.open_dataset(path) as theirs:
        expected = theirs.datacube.transpose("y", "x", "wavelength").values
    assert run_here(tmp_path, "export", "mask.nc", "--to", "zarr", "--out", "zarr").code == 0
    assert run_here(tmp_path, "process", "mask.nc", "--stage", "bin_lines:n=2", "--out", "mean.nc").code == 0
    with xr.open_zarr(tmp_path / "zarr/mask.zarr") as theirs:
        assert np.array_equal(theirs.datacube.transpose("y", "x", "wavelength"), expected)
    with xr.open_dataset(tmp_path / "mean.nc") as theirs:
        means = expected.reshape(-1, 2, *expected.shape[1:]).mean(1)
        assert np.array_equal(theirs.datacube.transpose("y", "x", "wavelength"), means)
