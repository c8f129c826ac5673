"""The camera loop: as documented, and with every failure of a camera."""

import logging

import numpy as np
import pytest

from openhsi_shared import SharedSimulatedCamera
from openhsi_shared.errors import (
    ArgumentError,
    CameraLost,
    ClosedError,
    FrameError,
    FrameTimeout,
    MemoryShortage,
    NothingToSave,
    SaveError,
    SettingsError,
    SourceEnded,
    UnknownKeyword,
)
from tests.support.flow import COUNTING, SHAPE, account, cubes_in, frame, read
from tests.support.helpers import wait_for


def _camera(**keywords):
    return SharedSimulatedCamera(**{**COUNTING, "n_lines": 8, **keywords})


def test_the_documented_loop_of_ten_cubes_loses_nothing(tmp_path):
    with _camera(n_lines=16, exposure_ms=1, processing_lvl=-1) as cam:
        for _ in range(10):
            cam.collect()
            assert cam.timestamps.data[0] < cam.timestamps.data[-1]
            saving = cam.save(tmp_path)
        status = cam.status()
    assert saving.result().path.exists()
    assert (status.lines, status.lines_lost, status.lost_ids) == (160, 0, ())
    assert [len(cube.lines) for cube in cubes_in(tmp_path)] == [16] * 10
    assert account(tmp_path) == (list(range(160)), [])
    assert len({cube.attributes["uuid"] for cube in cubes_in(tmp_path)}) == 10
    assert len({cube.attributes["run_id"] for cube in cubes_in(tmp_path)}) == 1
    assert [cube.attributes["cube_number"] for cube in cubes_in(tmp_path)] == list(range(1, 11))


def test_the_loop_as_it_was_written_for_openhsi_still_works(tmp_path):
    cam = _camera()
    cam.start_cam()
    for _ in range(3):
        cam.collect()
        saving = cam.save(tmp_path)
        saving.join()
    cam.stop_cam()
    assert saving.exitcode == 0
    assert not saving.is_alive()
    cam.close()
    assert account(tmp_path) == (list(range(24)), [])


def test_a_paced_camera_loses_nothing_while_cubes_are_saved(tmp_path):
    with _camera(rate=2000, queue=9999, n_lines=64) as cam:  # its queue has room for all, however busy the machine is
        for _ in range(10):
            cam.collect()
            cam.save(tmp_path)
    assert account(tmp_path) == (list(range(640)), [])


def test_every_line_has_its_own_time_in_the_middle_of_its_exposure(tmp_path):
    with _camera(rate=1000, queue=9999, n_lines=16) as cam:
        cam.collect()
        saved = read(cam.save(tmp_path).result(60).path)
    assert np.diff(saved.times_ns).tolist() == [1_000_000] * 15


def test_frames_that_the_camera_skipped_are_lost_with_their_ids(tmp_path):
    with _camera(script={0: "gap", 3: "gap", 4: "gap", 9: "gap", 12: "incomplete"}) as cam:
        for _ in range(2):
            cam.collect()
            cam.save(tmp_path)
        status = cam.status()
    first, second = cubes_in(tmp_path)
    # the camera began with frame 1: nobody can know that there was a frame 0
    assert first.numbers == [1, 2, 5, 6, 7, 8, 10, 11]
    assert (first.attributes["lines_lost"], first.lost_ids) == (3, [3, 4, 9])
    assert second.numbers == [13, 14, 15, 16, 17, 18, 19]
    assert (second.attributes["lines_lost_before"], second.lost_ids) == (1, [12])
    assert status.lines_lost == 4
    assert status.lost_ids == ((3, 4), (9, 9), (12, 12))


@pytest.mark.parametrize(
    ("fault", "error"), [("timeout", FrameTimeout), ("wrong_shape", FrameError), ("unplug", CameraLost)]
)
def test_a_camera_that_fails_in_the_middle_keeps_the_lines_before(tmp_path, fault, error):
    with _camera(script={5: fault}) as cam:
        with pytest.raises(error):
            cam.collect()
        assert cam.n_collected == 5
        assert read(cam.save(tmp_path).result(60).path).numbers == [0, 1, 2, 3, 4]


def test_a_source_that_ends_makes_a_shorter_cube(tmp_path):
    with _camera(n_frames=11) as cam:
        cam.collect()
        cam.save(tmp_path)
        cam.collect()
        assert read(cam.save(tmp_path).result(60).path).numbers == [8, 9, 10]
        with pytest.raises(SourceEnded):
            cam.collect()
        with pytest.raises(NothingToSave):
            cam.save(tmp_path)


def test_what_was_collected_is_saved_when_the_block_ends_with_an_exception(tmp_path, caplog):
    with pytest.raises(CameraLost), _camera(script={11: "unplug"}) as cam:  # noqa: PT012 - in the middle of the loop
        while True:
            cam.collect()
            cam.save(tmp_path)
    saved = cubes_in(tmp_path)
    assert saved[-1].numbers == [8, 9, 10]
    assert saved[-1].attributes["ended_by"].startswith("CameraLost: the simulated camera was unplugged")
    assert "3 unsaved lines after CameraLost" in caplog.text


def test_what_was_collected_before_the_first_save_is_kept_as_well(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(ZeroDivisionError), _camera() as cam:
        cam.collect(lambda n, _: 1 // (5 - n))
    (saved,) = cubes_in(tmp_path)
    assert saved.numbers == [0, 1, 2, 3, 4]


def test_the_callback_is_called_after_each_line():
    calls = []
    with _camera() as cam:
        cam.collect(lambda n, of: calls.append((n, of, cam.n_collected)))
        cam.collect()
        assert cam.n_collected == 8
        assert cam.status().lines_overwritten == 8
    assert calls == [(n, 8, n) for n in range(1, 9)]


def test_a_camera_that_is_made_anew_while_it_collects_ends_that():
    with _camera() as cam:
        with pytest.raises(ClosedError, match=r"collect ended after 3 of 8 lines: reinitialise\(\) was called"):
            cam.collect(lambda n, of: cam.reinitialise() if n == 3 else None)
        cam.collect()
        assert cam.n_collected == 8


def test_frames_that_are_only_looked_at_between_cubes_are_not_lost(tmp_path):
    with _camera() as cam:
        mean = cam.avgNimgs(4)
        assert (mean.dtype, mean.shape) == (np.float32, SHAPE)
        for _ in range(3):
            cam.collect()
            cam.save(tmp_path)
            cam.get_img()
            cam.avgNimgs(3)
        assert cam.status().lines_lost == 0
        cam.collect()
        cam.save(tmp_path)
    cubes = cubes_in(tmp_path)
    assert [cube.ids for cube in cubes] == [list(range(4 + 12 * n, 12 + 12 * n)) for n in range(4)]
    assert [cube.attributes["lines_lost"] for cube in cubes] == [0] * 4
    assert [cube.attributes["lost_frame_ids"] for cube in cubes] == [""] * 4


def test_the_mean_of_frames_is_their_mean():
    with _camera() as cam:
        np.testing.assert_allclose(cam.avgNimgs(3), np.mean([frame(0), frame(1), frame(2)], axis=0), rtol=1e-6)
        for wrong in (0, -1, "a", 1.5, None, True):
            with pytest.raises(ArgumentError, match=f"avgNimgs: n must be a whole number of frames > 0, got {wrong!r}"):
                cam.avgNimgs(wrong)
        with pytest.raises(NothingToSave):
            cam.save("nowhere")


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_camera_that_is_stopped_and_started_goes_on_counting(tmp_path, by_hand, caplog):
    with _camera() as cam:
        for _ in range(4):
            if by_hand:
                cam.start_cam()
            cam.collect()
            cam.save(tmp_path)
            cam.stop_cam()
        status = cam.status()
    assert (status.lines, status.lines_lost) == (32, 0)
    cubes = cubes_in(tmp_path)
    assert [cube.numbers for cube in cubes] == [list(range(8))] * 4
    assert [i for cube in cubes for i in cube.ids] == list(range(32))
    assert "counter" not in caplog.text


def test_one_frame_and_a_restart_is_no_doubled_frame(tmp_path):
    with _camera(n_lines=1) as cam:
        for _ in range(3):
            cam.start_cam()
            cam.collect()
            cam.stop_cam()
            cam.save(tmp_path)
    assert [cube.ids for cube in cubes_in(tmp_path)] == [[0], [1], [2]]


def test_temperatures_belong_to_lines_and_swap_with_the_cube(tmp_path):
    with _camera() as cam:
        assert np.isnan(cam.cam_temperatures.data).tolist() == [True]
        cam.collect()
        assert cam.cam_temperatures.data.tolist() == [20.0] * 8
        assert cam.status().temperature == 20.0
        saved = read(cam.save(tmp_path).result(60).path)
        assert saved.temperatures == [20.0] * 8
        cam.take_line()
        assert cam.cam_temperatures.data.tolist() == [20.0]


def test_the_exposure_can_be_set_and_read_back(tmp_path):
    with _camera(rate=500, queue=9999, exposure_ms=1) as cam:
        assert cam.settings["exposure_ms"] == 1
        cam.set_exposure(1.5)
        assert cam.settings["exposure_ms"] == 1.5
        cam.settings["exposure_ms"] = 7  # longer than the period: the camera cuts it
        assert cam.settings["exposure_ms"] == 2
        cam.collect()
        cam.set_exposure(0.5)
        cam.collect()
        assert cam.status().lines_lost == 0
        assert read(cam.save(tmp_path).result(60).path).attributes["exposure_ms"] == 0.5
        for bad in (0, -1, float("nan"), float("inf"), "x", None, True, [5]):
            with pytest.raises(ArgumentError, match="exposure_ms must be a number of ms > 0, got"):
                cam.set_exposure(bad)
            with pytest.raises(SettingsError, match="exposure_ms"):
                cam.settings["exposure_ms"] = bad
        assert cam.settings["exposure_ms"] == 0.5


def test_settings_are_a_mapping_whose_values_are_checked():
    with _camera() as cam:
        assert {"exposure_ms", "resolution", "row_slice"} <= set(cam.settings)
        assert cam.settings.get("nothing", 7) == 7
        with pytest.raises(KeyError):
            cam.settings["nothing"]
        with pytest.raises(SettingsError, match="fwhm_nm"):
            cam.settings["fwhm_nm"] = "wide"
        assert cam.settings["fwhm_nm"] == 4.0
        cam.settings["longitude"] = 151.2
        assert cam.settings["longitude"] == 151.2


def test_a_keyword_goes_before_the_settings_file(tmp_path):
    (tmp_path / "settings.json").write_text('{"resolution": [16, 32], "exposure_ms": 3, "colour": "red"}')
    with SharedSimulatedCamera(n_lines=2, json_path=tmp_path / "settings.json", exposure_ms=5, mode="counting") as cam:
        assert (cam.settings["exposure_ms"], cam.settings["colour"]) == (5, "red")


def test_reinitialise_makes_slots_and_settings_anew(tmp_path):
    with _camera() as cam:
        cam.collect()
        first = cam.save(tmp_path)
        cam.reinitialise(n_lines=4, n_buffers=3)
        assert first.result(0).n_lines == 8
        assert (cam.dc_shape, sum(cam.status().slots.values())) == ((16, 4, 32), 3)
        cam.collect()
        assert read(cam.save(tmp_path).result(60).path).numbers == [0, 1, 2, 3]
        with pytest.raises(UnknownKeyword, match="did you mean n_lines"):
            cam.reinitialise(n_line=5)
        with pytest.raises(ArgumentError, match="n_lines must be"):
            cam.reinitialise(n_lines=0)
        assert cam.n_lines == 4
        cam.collect()
        assert len(read(cam.save(tmp_path).result(60).path).numbers) == 4


def test_settings_that_were_changed_stay_so_when_slots_are_made_anew(tmp_path):
    (tmp_path / "other.json").write_text('{"resolution": [16, 32], "exposure_ms": 9}')
    with _camera(exposure_ms=2, longitude=1) as cam:
        cam.set_exposure(5)
        cam.settings["longitude"] = 12.5
        cam.settings["pilot"] = "Ada"
        cam.settings["altitude"] = 3
        del cam.settings["altitude"]
        cam.settings["dark"] = np.zeros(3)
        cam.settings["gone"] = 1
        cam.reinitialise(n_lines=3)
        del cam.settings["gone"]
        with pytest.raises(MemoryShortage):
            cam.reinitialise(n_lines=10**9)
        for change in ({"n_lines": 4}, {"processing_lvl": 0}, {"longitude": 13.5}):
            cam.reinitialise(**change)
        assert [cam.settings[key] for key in ("exposure_ms", "longitude", "pilot")] == [5, 13.5, "Ada"]
        assert cam.settings["altitude"] is None
        assert "gone" not in cam.settings
        with pytest.raises(SettingsError):
            cam.reinitialise(exposure_ms=-1)
        cam.set_processing_lvl(-1)
        assert cam.driver.set_exposure(cam.settings["exposure_ms"]) == cam.settings["exposure_ms"] == 5
        cam.reinitialise(exposure_ms=3)
        assert cam.settings["exposure_ms"] == 3
        cam.reinitialise(json_path=tmp_path / "other.json", exposure_ms=4)
        assert (cam.settings["exposure_ms"], cam.settings["longitude"]) == (4, 13.5)  # keywords go before any file
        assert "pilot" not in cam.settings


def test_the_simulated_camera_takes_any_resolution():
    with SharedSimulatedCamera(n_lines=2, resolution=(200, 400)) as cam:
        cam.collect()
        assert cam.dc.data.shape == (200, 2, 400)


def test_a_refused_reinitialise_costs_no_line(tmp_path):
    with _camera() as cam:
        cam.collect()
        with pytest.raises(ArgumentError, match="n_buffers"):
            cam.reinitialise(n_buffers=0)
        with pytest.raises(UnknownKeyword):
            cam.reinitialise(n_bufers=3)
        with pytest.raises(ArgumentError, match="custom_tfms must be a list"):
            cam.reinitialise(custom_tfms=np.sqrt)
        with pytest.raises(SettingsError):
            cam.reinitialise(json_path=tmp_path / "missing.json")
        assert read(cam.save(tmp_path).result(60).path).numbers == list(range(8))


def test_reinitialise_after_a_save_that_failed_raises_it_and_changes_nothing(tmp_path):
    (tmp_path / "file").touch()
    with _camera() as cam:
        cam.collect()
        handle = cam.save(tmp_path / "file")
        cam.collect()
        with pytest.raises(SaveError, match="cube 1 was not saved; it is kept in memory"):
            cam.reinitialise(n_lines=4)
        assert cam.n_lines == 8
        handle.retry(tmp_path).result(60)
        cam.save(tmp_path).result(60)
        with pytest.raises(ArgumentError, match="is saved: retry is for a cube that failed"):
            handle.retry(tmp_path)
        cam.reinitialise(n_lines=4)
        cam.collect()
        assert read(cam.save(tmp_path).result(60).path).numbers == [0, 1, 2, 3]
    assert len(cubes_in(tmp_path)) == 3


def test_retry_needs_a_directory(tmp_path):
    (tmp_path / "file").touch()
    with _camera() as cam:
        cam.collect()
        handle = cam.save(tmp_path / "file")
        handle.join()
        for directory in ("", None, 5):
            with pytest.raises(ArgumentError, match="retry needs a directory, got"):
                handle.retry(directory)
        assert handle.retry(tmp_path).result(60).n_lines == 8


def test_the_status_is_a_frozen_snapshot():
    with _camera() as cam:
        before = cam.status()
        cam.collect()
        after = cam.status()
        assert (before.lines, after.lines, after.fill) == (0, 8, 1.0)
        with pytest.raises(AttributeError):
            after.lines = 7
        assert "8 lines" in str(after)
        assert "0 lost" in str(after)


def test_the_status_tells_how_saving_goes(tmp_path):
    with _camera() as cam:
        for _ in range(3):
            cam.collect()
            saving = cam.save(tmp_path)
        saving.result(60)
        wait_for(lambda: cam.status().cubes_pending == 0)
        status = cam.status()
    assert (status.cubes_saved, status.writer_restarts, status.errors) == (3, 0, ())
    assert status.writer_mb_per_s > 0
    assert status.slots["FREE"] + status.slots["FILLING"] == sum(status.slots.values()) == 2


def test_a_closed_camera_says_so(tmp_path):
    cam = _camera()
    cam.collect()
    cam.save(tmp_path)
    cam.close()
    cam.close()
    for use in (cam.collect, cam.get_img, cam.start_cam, cam.get_temp, lambda: cam.save(tmp_path), cam.take_line):
        with pytest.raises((ClosedError, ArgumentError), match="closed"):
            use()
    cam.stop_cam()


def test_warnings_come_before_lines_are_lost_and_never_in_normal_running(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    with _camera(n_lines=64, when_full="drop", n_buffers=3) as cam:
        for _ in range(4):
            cam.collect()
            cam.save(tmp_path).join()
    assert not caplog.records
