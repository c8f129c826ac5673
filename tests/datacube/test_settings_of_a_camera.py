"""The settings of an open camera match the camera: others cannot be set, or are not reported."""

import logging

import netCDF4
import numpy as np
import pytest

from openhsi_shared import ProcessRawDatacube, SharedDataCube, SharedSimulatedCamera
from openhsi_shared.calibration import write_calibration
from openhsi_shared.drivers import FrameStamp
from openhsi_shared.drivers.simulated import SimulatedDriver
from openhsi_shared.errors import CalibrationError, LevelError, SettingsError
from tests.support.flow import COUNTING, SHAPE, frame
from tests.support.level_oracle import SHAPE as SMALL
from tests.support.level_oracle import make_calibration, make_frame
from tests.support.products import each_value_once


class WithoutExposure(SimulatedDriver):
    """A camera that lets its exposure neither be set nor read."""

    exposure_is_known = False

    def set_exposure(self, exposure_ms):
        return float(exposure_ms)

    def read_into(self, out, timeout_s):
        stamp = super().read_into(out, timeout_s)
        return FrameStamp(stamp.frame_id, None, None, stamp.status)


class SharedWithoutExposure(SharedSimulatedCamera):
    def _driver_class(self):
        return WithoutExposure


CHANGES = {"win_resolution": (8, 16), "luminance": 5000, "fwhm_nm": 8.0, "row_slice": (1, 5), "binxy": (2, 2)}


@pytest.mark.parametrize(("kind", "key"), each_value_once(["camera", "cube"], [*CHANGES]))
def test_what_needs_the_camera_to_be_made_anew_cannot_be_set_and_stays_out_of_files(kind, key, tmp_path):
    with SharedSimulatedCamera(**COUNTING) if kind == "camera" else SharedDataCube(resolution=SHAPE) as cam:
        before = cam.settings[key]
        with pytest.raises(SettingsError, match=rf"{key} cannot be changed on .*: call reinitialise\({key}="):
            cam.settings[key] = CHANGES[key]
        assert cam.settings[key] == before
        cam.reinitialise(**{key: CHANGES[key]})
        assert cam.settings[key] == CHANGES[key]


def test_notes_of_the_users_go_into_the_file_and_a_mistyped_key_is_told(tmp_path, caplog):
    with SharedDataCube(resolution=SHAPE) as cube, caplog.at_level(logging.WARNING):
        cube.settings["longitude"] = 151.2
        cube.settings["pilot"] = "Ada"
        cube.settings["luminanc"] = 5000
        cube.put(frame(0))
        path = cube.save(tmp_path).result().path
    assert [record.getMessage() for record in caplog.records] == [
        "settings['luminanc'] is kept as a note, but not used (did you mean luminance?)"
    ]
    with netCDF4.Dataset(path) as file:
        assert all(word in file.settings for word in ('"longitude": 151.2', '"pilot": "Ada"', '"luminance": null'))


@pytest.fixture
def cal_path(tmp_path):
    dark_only = make_calibration()["rad_ref"].astype(np.float32)
    dark_only[:, :, 1] = np.nan  # nothing was measured at 20 ms
    return write_calibration(make_calibration(rad_ref=dark_only), tmp_path / "calibration.nc")


def test_an_exposure_for_which_there_is_no_radiance_is_refused_and_the_old_one_stays(cal_path):
    more = {"resolution": SMALL, "row_slice": (3, 17), "cal_path": cal_path, "processing_lvl": 4}
    with SharedSimulatedCamera(n_lines=2, mode="flat", exposure_ms=10, **more) as cam:
        for change in (lambda: cam.set_exposure(20), lambda: cam.settings.update(exposure_ms=20)):
            with pytest.raises(CalibrationError, match="no finite value at luminance 0 and exposure 20 ms"):
                change()
            assert (cam.settings["exposure_ms"], cam.driver._exposure_ns) == (10, 10_000_000)
        cam.collect(progress=False)
        assert np.isfinite(cam.lines).any()


def test_an_exposure_that_nobody_knows_is_not_told(tmp_path):
    with SharedWithoutExposure(**COUNTING, n_lines=2, exposure_ms=1e9) as cam:
        assert cam.settings["exposure_ms"] is None
        for change in (lambda: cam.set_exposure(5), lambda: cam.settings.update(exposure_ms=5)):
            with pytest.raises(SettingsError, match=r"exposure_ms cannot be set to 5.*no exposure that can be set"):
                change()
        assert cam.settings["exposure_ms"] is None
        begin = np.datetime64("now")
        cam.collect(progress=False)
        assert abs(cam.timestamps.data[0] - begin) < np.timedelta64(1, "h"), "no half of 1e9 ms is taken off"
        path = cam.save(tmp_path).result().path
    with netCDF4.Dataset(path) as file:
        assert "exposure_ms" not in file.ncattrs()
        assert '"exposure_ms": null' in file.settings
    with ProcessRawDatacube(path) as cube:
        assert cube.settings["exposure_ms"] is None
    with ProcessRawDatacube(path, exposure_ms=3) as cube:
        assert cube.settings["exposure_ms"] == 3


def test_radiance_is_not_made_with_an_exposure_that_nobody_knows(cal_path):
    more = {"resolution": SMALL, "row_slice": (3, 17), "cal_path": cal_path, "n_lines": 2}
    for level in (4, 5, 6, 7, 8):
        with pytest.raises(LevelError, match=f"processing_lvl={level} computes radiance.*SharedWithoutExposure does"):
            SharedWithoutExposure(processing_lvl=level, **more)
    with SharedWithoutExposure(processing_lvl=3, **more) as cam, pytest.raises(LevelError, match="dn2rad computes rad"):
        cam.dn2rad(make_frame())
