import logging

import pytest

from openhsi_shared import SharedSimulatedCamera
from openhsi_shared.capture.exposing import brightest_share
from openhsi_shared.errors import ArgumentError

SMALL = {"resolution": (64, 48), "pixel_format": "Mono12", "mode": "flat"}


@pytest.mark.parametrize(("light", "exposure_ms"), [(3.0, 0.05), (700.0, 10.0), (90_000.0, 10.0)])
def test_the_brightest_band_is_put_at_the_target_and_nothing_saturates(light, exposure_ms):
    with SharedSimulatedCamera(light=light, dark=(60, 1), noise=3, exposure_ms=exposure_ms, **SMALL) as camera:
        found = camera.auto_exposure(target=0.8)
        assert (found.limited_by, camera.settings["exposure_ms"]) == ("target", found.exposure_ms)
        assert found.brightest == pytest.approx(0.8, rel=0.05)
        assert 0 < found.n_frames <= 20
        frame = camera.get_img()
        assert brightest_share(frame, 4095) == pytest.approx(0.8, rel=0.05)
        assert frame.max() < 4095
        assert camera.status().lines_lost == 0


def test_a_moving_scene_is_judged_by_the_brightest_of_some_frames():
    with SharedSimulatedCamera(light=200, dark=20, noise=2, resolution=(64, 48), pixel_format="Mono12") as camera:
        found = camera.auto_exposure()
        assert found.brightest == pytest.approx(0.9, rel=0.05)


def test_the_line_rate_limits_the_exposure():
    with SharedSimulatedCamera(light=10, **SMALL) as camera:
        found = camera.auto_exposure(rate=200)
        assert (found.limited_by, found.exposure_ms) == ("rate", 5.0)
        assert found.brightest == pytest.approx(50 / 4095, rel=0.02)
    with SharedSimulatedCamera(light=10, average=4, **SMALL) as camera:
        assert camera.auto_exposure(rate=50).exposure_ms == 5.0  # a line is four exposures


def test_the_camera_limits_the_exposure_and_that_is_said(caplog):
    with (
        SharedSimulatedCamera(light=10, rate=500.0, **SMALL) as camera,
        caplog.at_level(logging.WARNING, "openhsi_shared"),
    ):
        found = camera.auto_exposure()
        assert (found.limited_by, found.exposure_ms) == ("camera", 2.0)
    assert "no exposure reaches 90 % of full scale: 2 ms" in caplog.text


def test_an_exposure_without_effect_ends_within_20_frames(caplog):
    with SharedSimulatedCamera(**SMALL) as camera:  # frames use the full range at any exposure
        assert camera.auto_exposure(target=0.3).n_frames <= 20
    assert "no exposure reaches 30 %" in caplog.text


@pytest.mark.parametrize(
    ("given", "said"),
    [({"target": 0}, "target must be a share"), ({"target": 1.0}, "target"), ({"rate": 0}, "rate must be lines/s")],
)
def test_a_target_or_rate_that_is_none_is_refused(given, said):
    with SharedSimulatedCamera(**SMALL) as camera, pytest.raises(ArgumentError, match=said):
        camera.auto_exposure(**given)


def test_lines_that_are_not_saved_are_not_made_a_cube_with_a_gap(tmp_path):
    with SharedSimulatedCamera(n_lines=4, **SMALL) as camera:
        camera.collect()
        with pytest.raises(ArgumentError, match=r"4 lines are collected and not saved"):
            camera.auto_exposure()
        assert camera.n_collected == 4
        camera.save(tmp_path)
