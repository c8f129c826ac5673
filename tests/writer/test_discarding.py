"""Cubes that are discarded: their frames are declared lost, once, in the status and in the next file."""

import pytest

from openhsi_shared import SharedSimulatedCamera
from openhsi_shared.files.recovering import recover
from tests.support.flow import CAMERA, COUNTING, account, cubes_in, processes_in, run
from tests.support.helpers import wait_for


@pytest.fixture
def blocked(tmp_path):
    """A directory that cannot be made, because its parent is a file."""
    (tmp_path / "blocked").touch()
    return tmp_path / "blocked" / "inside"


def _camera(**keywords):
    return SharedSimulatedCamera(**{**COUNTING, "n_lines": 8, "n_buffers": 4, **keywords})


def _cube(cam, directory):
    cam.collect()
    handle = cam.save(directory)
    handle.join(60)
    return handle


def test_the_next_file_names_the_frames_also_when_there_are_others_in_between(tmp_path, blocked):
    with _camera() as cam:
        handles = [_cube(cam, where) for where in (tmp_path / "out", blocked, tmp_path / "out")]
        handles[1].discard()
        status = cam.status()
        assert (status.lines_lost, status.lost_ids) == (8, ((8, 15),))
        handles += [_cube(cam, tmp_path / "out") for _ in range(2)]
        assert cam.status().lost_ids == ((8, 15),)
    assert account(tmp_path / "out") == ([*range(8), *range(16, 40)], list(range(8, 16)))
    assert [cube.lost_ids for cube in cubes_in(tmp_path / "out")] == [[], [], list(range(8, 16)), []]
    about = cubes_in(tmp_path / "out")[2].attributes
    assert (about["lines_lost_before"], about["lines_lost_within"]) == (8, 0)
    assert sum(handle.lines_lost for handle in handles) == 8


def test_frames_that_the_camera_skipped_before_and_within_the_cube_are_told_once(tmp_path, blocked):
    with _camera(script={8: "gap", 12: "gap", 20: "gap"}) as cam:
        handles = [_cube(cam, where) for where in (tmp_path / "out", blocked)]
        cam.take_line()
        handles[1].discard()
        status = cam.status()
        assert (status.lines_lost, status.lost_ids) == (10, ((8, 17),))
        for _ in range(7):
            cam.take_line()
        handles.append(cam.save(tmp_path / "out"))
        status = cam.status()
        assert (status.lines_lost, status.lost_ids) == (11, ((8, 17), (20, 20)))
    assert account(tmp_path / "out") == ([*range(8), 18, 19, *range(21, 27)], [*range(8, 18), 20])
    about = cubes_in(tmp_path / "out")[1].attributes
    assert (about["lines_lost_before"], about["lines_lost_within"]) == (10, 1)
    assert sum(handle.lines_lost for handle in handles) == 11


def test_what_a_discarded_cube_was_to_declare_the_next_one_does(tmp_path, blocked):
    with _camera(script={30: "gap"}) as cam:
        first = _cube(cam, blocked)
        _cube(cam, tmp_path / "out")
        first.discard()
        third = _cube(cam, blocked)  # it would have told of the first one
        cam.collect()
        third.discard()
        cam.save(tmp_path / "out")
        assert cam.status().lost_ids == ((0, 7), (16, 23), (30, 30))
    saved = [*range(8, 16), *range(24, 30), 31, 32]
    assert account(tmp_path / "out") == (saved, [*range(8), *range(16, 24), 30])


def test_lines_that_went_round_are_overwritten_and_not_lost(tmp_path, blocked):
    with _camera() as cam:
        _cube(cam, tmp_path / "out")
        cam.collect()
        failed = _cube(cam, blocked)
        failed.discard()
        _cube(cam, tmp_path / "out")
        status = cam.status()
    assert (status.lines_lost, status.lost_ids, status.lines_overwritten) == (8, ((16, 23),), 8)
    first, second = cubes_in(tmp_path / "out")
    assert (first.lost_ids, second.lost_ids) == ([], list(range(16, 24)))
    assert (second.attributes["lines_lost"], second.attributes["lines_overwritten"]) == (8, 0)


def test_a_cube_that_is_saved_elsewhere_after_all_declares_what_it_was_to_declare(tmp_path, blocked):
    with _camera() as cam:
        first, second = _cube(cam, blocked), _cube(cam, blocked)
        first.discard()
        _cube(cam, tmp_path / "out")
        second.retry(tmp_path / "out").result(60)
        assert cam.status().lost_ids == ((0, 7),)
    assert account(tmp_path / "out") == (list(range(8, 24)), list(range(8)))


def test_a_cube_whose_lines_lie_in_a_dump_is_not_lost(tmp_path, monkeypatch):
    (tmp_path / "marks").mkdir()
    monkeypatch.setenv("OPENHSI_SHARED_FAULT", "half:kill:5")
    monkeypatch.setenv("OPENHSI_SHARED_FAULT_MARKS", str(tmp_path / "marks"))
    with _camera() as cam:
        _cube(cam, tmp_path / "out").discard()
        _cube(cam, tmp_path / "out")
        assert (cam.status().lines_lost, cam.status().lost_ids) == (0, ())
    assert len(recover(tmp_path / "out").published) == 1
    assert account(tmp_path / "out") == (list(range(16)), [])


def test_a_program_that_dies_afterwards_leaves_files_that_tell_it(tmp_path):
    code = f"""{CAMERA}
import os, signal
open("blocked", "w").close()
cam = camera(n_buffers=3)
cam.collect()
failed = cam.save("blocked/inside")
failed.join()
cam.will_save_to("out")
cam.collect(lambda n, _: n == 2 and failed.discard() or n < 5 or os.kill(os.getpid(), signal.SIGKILL))
"""
    run(code, tmp_path)
    wait_for(lambda: not processes_in(tmp_path))
    assert account(tmp_path) == (list(range(8, 13)), list(range(8)))
