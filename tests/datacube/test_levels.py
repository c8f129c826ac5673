"""Cubes of every level: computed into the slot, saved, and read again."""

import dataclasses

import numpy as np
import pytest

from openhsi_shared import SharedDataCube, SharedSimulatedCamera, open_cube
from openhsi_shared.calibration import write_calibration
from openhsi_shared.errors import LevelError
from tests.support.level_oracle import (
    FWHM_NM,
    N_COLUMNS,
    ROWS,
    SHAPE,
    Formulas,
    make_calibration,
    make_frame,
    make_plan,
)
from tests.support.products import some


@pytest.fixture
def keywords(tmp_path):
    cal_path = write_calibration(make_calibration(), tmp_path / "calibration.nc")
    return {
        "n_lines": 3,
        "cal_path": cal_path,
        "resolution": SHAPE,
        "row_slice": (ROWS.start, ROWS.stop),
        "fwhm_nm": FWHM_NM,
        "exposure_ms": 10,
    }


def close_to(expected):
    return {"rtol": 2e-6, "atol": 2e-6 * abs(expected).max()}


@pytest.mark.parametrize("level", some(1, 4, 8, all_of=(1, 3, 4, 5, 8)))
def test_a_cube_of_any_level_is_saved_and_read_again(keywords, tmp_path, level):
    frames = [make_frame(seed=seed) for seed in range(3)]
    with SharedDataCube(processing_lvl=level, **keywords) as cube:
        for frame in frames:
            cube.put(frame)
        assert cube.dc_shape == cube.dc.data.shape
        path = cube.save(tmp_path, savefig=False).result().path
    with open_cube(path, check=True) as saved:
        for y, frame in enumerate(frames):
            expected = Formulas().level(level, frame)
            np.testing.assert_allclose(saved.lines[y], expected, **close_to(expected))
        np.testing.assert_allclose(saved.dataset["wavelength"], make_plan(level).wavelengths_nm)
        assert saved.dataset.attrs["level_arithmetic"] == "openhsi_shared"


def test_compat_goes_all_the_way_into_the_file(keywords, tmp_path):
    with SharedDataCube(processing_lvl=7, compat="openhsi", **keywords) as cube:
        cube.put(make_frame())
        path = cube.save(tmp_path, savefig=False).result().path
    with open_cube(path) as saved:
        expected = Formulas(buffer=np.uint16).level(7, make_frame()).astype(np.float32)
        np.testing.assert_array_equal(saved.lines[0], expected)
        assert saved.dataset.attrs["level_arithmetic"] == "openhsi"


def test_another_level_between_two_cubes(keywords):
    frame = make_frame()
    with SharedDataCube(processing_lvl=0, **keywords) as cube:
        cube.set_processing_lvl(5)
        expected = Formulas().level(5, frame)
        np.testing.assert_allclose(cube.pipeline(frame), expected, **close_to(expected))
        with pytest.raises(LevelError, match="processing_lvl must be one of"):
            cube.set_processing_lvl(99)
        assert (cube.processing_lvl, cube.dc_shape) == (5, (14, 3, 22))


def test_the_methods_of_a_cube_may_be_its_custom_tfms(keywords):
    frame = make_frame()
    with SharedDataCube(processing_lvl=-1, **keywords) as cube:
        cube.set_processing_lvl(4, custom_tfms=[cube.crop, cube.fast_smile, cube.fast_bin, cube.dn2rad])
        expected = Formulas().level(4, frame)
        np.testing.assert_allclose(cube.pipeline(frame), expected, **close_to(expected))
        cube.set_processing_lvl(1, custom_tfms=[cube.crop, cube.fast_smile])
        assert cube.dc_shape == (14, 3, N_COLUMNS)


def test_another_exposure_counts_from_the_next_frame_on(keywords):
    frame = make_frame()
    with SharedDataCube(processing_lvl=4, **keywords) as cube:
        cube.settings["exposure_ms"] = 15
        expected = Formulas(15.0).level(4, frame)
        np.testing.assert_allclose(cube.pipeline(frame), expected, **close_to(expected))


def test_a_camera_that_changes_its_exposure_changes_its_radiance():
    """The simulated light fills the range at any exposure: half the exposure is twice the radiance."""
    with SharedSimulatedCamera(n_lines=2, processing_lvl=4, mode="flat", exposure_ms=2) as camera:
        camera.collect(progress=False)
        before = camera.lines.mean()
        camera.reinitialise(exposure_ms=1)
        camera.collect(progress=False)
        camera.set_exposure(2)
        camera.take_line()  # goes round: one line of each exposure
        shorter, again = camera.lines.mean(axis=(1, 2))
        assert again == pytest.approx(before, rel=1e-3)  # but for the noise
        assert shorter > 1.8 * again


def test_a_level_without_its_calibration_is_refused_when_the_camera_is_made(keywords):
    with pytest.raises(LevelError, match=r"needs smile_shifts.*but no calibration was given"):
        SharedDataCube(processing_lvl=4, **keywords | {"cal_path": None})
    with pytest.raises(LevelError, match="compat must be None or 'openhsi'"):
        SharedDataCube(processing_lvl=0, compat="other", **keywords)


def test_the_plan_is_only_changed_as_a_whole(keywords):
    with SharedDataCube(processing_lvl=4, **keywords) as cube, pytest.raises(dataclasses.FrozenInstanceError):
        cube._plan.level = 5
