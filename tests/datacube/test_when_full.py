"""Every slot is full: wait, drop or stop; lost lines are counted exactly, in the status, the handles and the files."""

import logging
import threading

import psutil
import pytest

from openhsi_shared import SharedDataCube, SharedSimulatedCamera
from openhsi_shared.errors import NoFreeSlot, NothingToSave
from tests.support.flow import COUNTING, SHAPE, account, cubes_in, frame
from tests.support.helpers import wait_for


@pytest.fixture
def stopped_writer(monkeypatch, tmp_path):
    """The first writer stops with its first file just begun; the function resumes it."""
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv("OPENHSI_SHARED_FAULT", "created:stop:1")
    monkeypatch.setenv("OPENHSI_SHARED_FAULT_MARKS", str(marks))

    def go_on() -> None:
        wait_for(lambda: list(marks.iterdir()))
        (mark,) = marks.iterdir()
        process = psutil.Process(int(mark.name.split("-")[1]))
        wait_for(lambda: process.status() == psutil.STATUS_STOPPED)
        process.resume()

    in_any_case = threading.Timer(60, go_on)  # else a test that fails would wait for ever while its camera is closed
    in_any_case.start()
    yield go_on
    in_any_case.cancel()
    in_any_case.join()


def _camera(**keywords):
    return SharedSimulatedCamera(**{**COUNTING, "n_lines": 8, **keywords})


def test_with_drop_the_loss_is_exact_everywhere(stopped_writer, tmp_path, caplog):
    with _camera(when_full="drop") as cam:
        handles = []
        for _ in range(5):  # two cubes have a slot, three have none
            cam.collect()
            handles.append(cam.save(tmp_path))
        status = cam.status()
        assert (status.lines, status.lines_lost) == (16, 24)
        assert status.lost_ids == ((16, 39),)
        assert [handle.lines_lost for handle in handles] == [0, 0, 8, 8, 8]
        assert [handle.is_alive() for handle in handles] == [True, True, False, False, False]
        assert handles[2].result(0).path is None
        assert (handles[2].result(0).n_lines, handles[2].exitcode) == (0, 0)
        stopped_writer()
        handles[1].join(60)
        cam.collect()
        handles.append(cam.save(tmp_path))
        assert handles[-1].result(60).n_lines == 8
    assert sum(handle.lines_lost for handle in handles) == cam.status().lines_lost == 24
    assert account(tmp_path) == ([*range(16), *range(40, 48)], list(range(16, 40)))
    last = cubes_in(tmp_path)[-1].attributes
    assert (last["lines_lost_before"], last["lines_lost_within"], last["lost_frame_ids"]) == (24, 0, "16-39")
    assert "no slot is free" in caplog.text
    assert "lines will be lost if the disk does not catch up" in caplog.text


def test_with_drop_lines_lost_in_the_middle_of_a_cube_stand_in_its_file(stopped_writer, tmp_path):
    with _camera(when_full="drop", script={19: "gap"}) as cam:
        for _ in range(2):
            cam.collect()
            first = cam.save(tmp_path)
        for _ in range(3):
            assert not cam.take_line()
        stopped_writer()
        first.join(60)
        cam.collect()
        assert cam.save(tmp_path).result(60).lines_lost == 4
    assert account(tmp_path) == ([*range(16), *range(20, 28)], [16, 17, 18, 19])


def test_with_block_nothing_is_lost(stopped_writer, tmp_path):
    with _camera(when_full="block") as cam:
        for _ in range(2):
            cam.collect()
            cam.save(tmp_path)
        waker = threading.Thread(target=stopped_writer)  # the third cube waits for a slot meanwhile
        waker.start()
        cam.collect()
        waker.join()
        cam.save(tmp_path)
        assert cam.status().lines_lost == 0
    assert account(tmp_path) == (list(range(24)), [])


def test_with_block_what_the_queue_of_the_camera_drops_shows_as_a_gap(stopped_writer, tmp_path):
    with _camera(when_full="block", rate=1000, queue=4) as cam:
        for _ in range(2):
            cam.collect()
            cam.save(tmp_path)
        wait_for(lambda: list((tmp_path / "marks").iterdir()))
        stopped_writer()
        for _ in range(3):
            cam.collect()
            cam.save(tmp_path)
        lost = cam.status().lines_lost
    _, lost_ids = account(tmp_path)
    assert len(lost_ids) == lost


def test_with_stop_it_ends_in_good_order(stopped_writer, tmp_path):
    with _camera(when_full="stop") as cam:
        for _ in range(2):
            cam.collect()
            last = cam.save(tmp_path)
        with pytest.raises(NoFreeSlot, match=r"no slot is free \(SAVING, SAVING\).*use more slots"):
            cam.collect()
        with pytest.raises(NothingToSave):
            cam.save(tmp_path)
        stopped_writer()
        last.join(60)
        cam.collect()
        cam.save(tmp_path)
        assert cam.status().lines_lost == 0
    assert account(tmp_path) == (list(range(24)), [])


def test_a_save_without_a_writer_in_sight_returns_at_once(stopped_writer, tmp_path):
    with SharedDataCube(n_lines=4, resolution=SHAPE, n_buffers=5) as cube:
        for n in range(5):
            cube.put(frame(n))
            handle = cube.save(tmp_path)
            assert handle.is_alive()
            assert handle.exitcode is None
        with pytest.raises(TimeoutError, match="cube 5 is not saved after"):
            handle.result(0.01)
        assert cube.status().slots["SAVING"] == 5
        assert cube.status().cubes_pending == 5
        assert cube.n_collected == 0
        assert cube.timestamps.data.shape == (1,), "of the last cube"
        stopped_writer()
    assert [saved.numbers for saved in cubes_in(tmp_path)] == [[0], [1], [2], [3], [4]]


def test_more_slots_carry_a_slow_writer(stopped_writer, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    with _camera(when_full="drop", n_buffers=6) as cam:
        for _ in range(5):
            cam.collect()
            cam.save(tmp_path)
        stopped_writer()
    assert account(tmp_path) == (list(range(40)), [])


def test_the_warnings_before_a_loss_come_when_no_other_slot_is_free(stopped_writer, tmp_path, caplog):
    with _camera(when_full="drop", n_lines=10) as cam:
        cam.collect()
        cam.save(tmp_path)
        for _ in range(4):
            cam.take_line()
        assert "lines will be lost" not in caplog.text
        cam.take_line()
        assert "is 50 % full and no other slot is free: lines will be lost" in caplog.text
        for _ in range(3):
            cam.take_line()
        assert "is 80 % full" in caplog.text
        cam.save(tmp_path)
        stopped_writer()
