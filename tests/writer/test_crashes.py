"""The writer is killed at every point of a save: each cube is still saved, exactly once."""

import multiprocessing
import os
import signal

import psutil
import pytest

from openhsi_shared import SharedDataCube, SharedSimulatedCamera
from openhsi_shared.errors import NoFreeSlot, SaveError, WriterFailed
from tests.support.flow import COUNTING, SHAPE, account, cubes_in, frame, read
from tests.support.helpers import wait_for
from tests.support.products import some


@pytest.fixture
def fault(monkeypatch, tmp_path):
    """Let the writers of this test fail."""

    def inject(words: str) -> None:
        marks = tmp_path / "marks"
        marks.mkdir()
        monkeypatch.setenv("OPENHSI_SHARED_FAULT", words)
        monkeypatch.setenv("OPENHSI_SHARED_FAULT_MARKS", str(marks))

    return inject


def _camera(**keywords):
    return SharedSimulatedCamera(**{**COUNTING, "n_lines": 8, **keywords})


def _are_ready(cam) -> bool:
    writers = cam._engine.writer._writers.all
    return bool(writers) and all(writer.is_ready for writer in writers)


def _writers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        try:
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:  # it has just died
            continue
    return found


def _writers_by_age() -> list[psutil.Process]:
    return sorted(_writers(), key=lambda process: process.create_time())


@pytest.mark.parametrize(
    ("point", "times"), some(("half", 3), ("published", 2), all_of=[("half", 3), ("written", 1), ("published", 2)])
)
def test_a_cube_whose_writer_is_killed_is_saved_once(fault, tmp_path, point, times, caplog):
    fault(f"{point}:kill:{times}")
    with _camera(n_buffers=4) as cam:
        handles = []
        for _ in range(4):
            cam.collect()
            handles.append(cam.save(tmp_path / "out"))
        results = [handle.result(60) for handle in handles]
        status = cam.status()
    assert account(tmp_path / "out") == (list(range(32)), [])
    assert len({saved.attributes["uuid"] for saved in cubes_in(tmp_path / "out")}) == 4
    assert {result.path for result in results} == {saved.path for saved in cubes_in(tmp_path / "out")}
    assert (status.writer_restarts, status.lines_lost, status.errors) == (times, 0, ())
    assert "the writer died (exit code -9); another one took over" in caplog.text


def test_a_writer_that_is_killed_while_idle_is_replaced(tmp_path):
    with _camera() as cam:
        cam.collect()
        cam.save(tmp_path).join()
        for n, number in enumerate((signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT), 1):
            (writer,) = _writers()
            writer.send_signal(number)
            wait_for(lambda n=n: cam.status().writer_restarts == n)
            cam.collect()
            cam.save(tmp_path).result(60)
    assert account(tmp_path) == (list(range(32)), [])


def test_a_writer_killed_at_any_time_loses_nothing(tmp_path):
    with _camera(n_lines=32, n_buffers=3) as cam:
        for n in range(12):
            cam.collect()
            handle = cam.save(tmp_path)
            if n % 3 == 1:
                wait_for(lambda: _are_ready(cam))
                for writer in _writers():
                    writer.kill()
        handle.result(60)
        assert cam.status().writer_restarts == 4
    assert account(tmp_path) == (list(range(12 * 32)), [])
    assert len(cubes_in(tmp_path)) == 12


def test_with_every_slot_held_waiting_raises_what_failed(tmp_path):
    (tmp_path / "blocked").touch()
    with _camera() as cam:
        for _ in range(2):
            cam.collect()
            handle = cam.save(tmp_path / "blocked" / "inside")
            handle.join()
        with pytest.raises(SaveError, match="cube 1 was not saved") as caught:
            cam.collect()
        assert caught.value.errno == 20
        handle.discard()
        cam.collect()
        assert cam.status().lines_lost == 8
        cam.save(tmp_path / "out").result(60)
        (held,) = cam._engine.writer.held()
        held.retry(tmp_path / "out").result(60)
    assert [saved.numbers for saved in cubes_in(tmp_path / "out")] == [list(range(8)), list(range(16, 24))]


def test_a_stop_policy_with_held_slots_ends(tmp_path):
    (tmp_path / "blocked").touch()
    with _camera(when_full="stop") as cam:
        handles = []
        for _ in range(2):
            cam.collect()
            handles.append(cam.save(tmp_path / "blocked" / "inside"))
            handles[-1].join()
        with pytest.raises(NoFreeSlot, match=r"no slot is free \(HELD, HELD\)"):
            cam.collect()
        for handle in handles:
            handle.retry(tmp_path / "out")
    assert account(tmp_path / "out") == (list(range(16)), [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="/bin/false is a program of Unix")
def test_a_writer_that_never_comes_up_is_one_clear_error(tmp_path):
    usual = multiprocessing.spawn.get_executable()
    cube = SharedDataCube(n_lines=4, resolution=SHAPE)
    multiprocessing.set_executable("/bin/false")
    try:
        with pytest.raises(WriterFailed, match="did not start: exit code 1"):
            cube.put(frame(0))
    finally:
        multiprocessing.set_executable(usual)
    with cube:
        cube.put(frame(1))
        assert read(cube.save(tmp_path).result(60).path).numbers == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="/bin/false is a program of Unix")
def test_when_no_writer_comes_up_again_the_cube_is_held_until_one_does(tmp_path):
    usual = multiprocessing.spawn.get_executable()
    with SharedDataCube(n_lines=4, resolution=SHAPE, n_buffers=4) as cube:
        cube.put(frame(0))
        cube.save(tmp_path).result(60)
        multiprocessing.set_executable("/bin/false")
        try:
            (writer,) = _writers()
            writer.kill()
            handles = []
            for n in (1, 2):
                cube.put(frame(n))
                handles.append(cube.save(tmp_path))
                with pytest.raises(SaveError, match="no writer starts"):
                    handles[-1].result(60)
        finally:
            multiprocessing.set_executable(usual)
        for handle in handles:
            handle.retry(tmp_path)
        cube.put(frame(3))
        cube.save(tmp_path)
    assert [saved.numbers for saved in cubes_in(tmp_path)] == [[0], [1], [2], [3]]


def test_a_second_writer_stands_by(tmp_path):
    with _camera(writers=2, n_buffers=4) as cam:
        cam.collect()
        cam.save(tmp_path).join()
        assert len(_writers()) == 2
        for n, which in enumerate((0, 0, 1), 1):
            _writers_by_age()[which].kill()
            cam.collect()
            cam.save(tmp_path).result(60)
            wait_for(lambda n=n: cam.status().writer_restarts == n)
            wait_for(lambda: len(_writers()) == 2 and _are_ready(cam))
        assert cam.status().cubes_saved == 4
    assert account(tmp_path) == (list(range(32)), [])


def test_killing_the_one_that_stands_by_does_not_disturb_a_picture_being_drawn(tmp_path):
    shape = (1000, 8)  # a large picture, which takes a while
    with SharedDataCube(n_lines=2000, resolution=shape, writers=2) as cube:
        for n_cubes in range(1, 20):  # until it is seen while it draws
            for n in range(2000):
                cube.put(frame(n, shape))
            _, stands_by = _writers_by_age()
            handle = cube.save(tmp_path)
            wait_for(lambda n=n_cubes: cube.status().cubes_saved == n)
            if handle.is_alive():
                break
        assert handle.is_alive()
        stands_by.kill()
        assert handle.result(60).preview_path.exists()
        wait_for(lambda: cube.status().writer_restarts == 1)
        cube.put(frame(7, shape))
        assert read(cube.save(tmp_path).result(60).path).numbers == [7]
