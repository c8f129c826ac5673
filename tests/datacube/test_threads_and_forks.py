"""Cameras in threads, in forked children, in children of `multiprocessing`; cameras dropped without close()."""

import gc
import multiprocessing
import os
import threading

import pytest

from openhsi_shared import SharedDataCube, SharedSimulatedCamera
from openhsi_shared.errors import ClosedError, WriterFailed
from tests.support.flow import CAMERA, COUNTING, SHAPE, account, cubes_in, frame, processes_in, read, run
from tests.support.helpers import wait_for
from tests.support.products import some


def _camera(**keywords):
    return SharedSimulatedCamera(**{**COUNTING, "n_lines": 64, **keywords})


def test_save_from_another_thread_leaves_no_gap_in_the_ids(tmp_path):
    with _camera(rate=3000, queue=99_999, n_buffers=4, n_lines=20_000) as cam:
        are_saved = threading.Event()

        def collect() -> None:
            cam.start_streaming()
            while not are_saved.is_set():
                cam.take_line()

        collecting = threading.Thread(target=collect)
        collecting.start()
        for _ in range(8):
            wait_for(lambda: cam.n_collected > 50)
            cam.save(tmp_path)
        are_saved.set()
        collecting.join()
        if cam.n_collected:
            cam.save(tmp_path)
        status = cam.status()
        assert status.lines_lost == status.lines_overwritten == 0
    assert status.lines > 8 * 50
    assert account(tmp_path) == (list(range(status.lines)), [])


def test_a_camera_can_live_in_a_thread(tmp_path):
    def fly() -> None:
        with _camera(n_lines=8) as cam:
            for _ in range(3):
                cam.collect()
                cam.save(tmp_path)

    flying = threading.Thread(target=fly)
    flying.start()
    flying.join(60)
    assert account(tmp_path) == (list(range(24)), [])


def test_two_cameras_save_into_one_directory(tmp_path):
    with _camera(n_lines=8) as one, _camera(n_lines=8) as other:
        for _ in range(3):
            for cam in (one, other):
                cam.collect()
                cam.save(tmp_path)
    runs = {}
    for saved in cubes_in(tmp_path):
        runs.setdefault(saved.attributes["run_id"], []).extend(saved.numbers)
    assert list(runs.values()) == [list(range(24))] * 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_forked_child_is_refused_and_harms_nothing(tmp_path):
    with SharedDataCube(n_lines=4, resolution=SHAPE) as cube:
        cube.put(frame(0))
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            answers = []
            for use in (lambda: cube.put(frame(1)), lambda: cube.save(tmp_path)):
                try:
                    use()
                except ClosedError as error:
                    answers.append(str(error))
            cube.close()
            os.write(writer, "\n".join(answers).encode())
            os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        with os.fdopen(reader) as answers:
            assert (
                answers.read().splitlines()
                == ["this camera or cube belongs to the process that made it, and not to a forked child"] * 2
            )
        cube.put(frame(1))
        assert read(cube.save(tmp_path).result(60).path).numbers == [0, 1]


CHILD = (
    CAMERA
    + """
import multiprocessing, sys
def fly(fails):
    cam = camera()
    cam.collect()
    cam.save("out")
    cam.collect(lambda n, _: 1 // (5 - n) if fails else None)
    cam.save("out")
if __name__ == "__main__":
    child = multiprocessing.get_context(METHOD).Process(target=fly, args=(FAILS,))
    child.start()
    child.join()
    sys.exit(child.exitcode)
"""
)


@pytest.mark.parametrize("method", some("fork", all_of=("fork", "spawn", "forkserver")))
def test_a_child_of_multiprocessing_that_returns_has_saved_everything(tmp_path, method):
    assert run(CHILD.replace("METHOD", repr(method)).replace("FAILS", "False"), tmp_path) == (0, "", "")
    assert account(tmp_path) == (list(range(16)), [])


@pytest.mark.parametrize("method", some("forkserver", all_of=("fork", "spawn", "forkserver")))
def test_a_child_of_multiprocessing_that_fails_has_saved_what_it_had(tmp_path, method):
    code, _, errors = run(CHILD.replace("METHOD", repr(method)).replace("FAILS", "True"), tmp_path)
    assert code == 1
    assert "ZeroDivisionError" in errors
    wait_for(lambda: not processes_in(tmp_path))
    assert account(tmp_path) == (list(range(13)), [])
    assert cubes_in(tmp_path)[-1].attributes["recovered"] == 1


def _make_a_camera(directory):
    try:
        with _camera(n_lines=8) as cam:
            cam.collect()
    except WriterFailed as error:
        return str(error)


def test_a_daemonic_worker_is_told_why_it_cannot(tmp_path):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        words = pool.apply(_make_a_camera, (tmp_path,))
    assert "this process is daemonic" in words
    assert "daemon=False" in words


def test_a_cube_that_is_dropped_without_being_closed_is_saved_and_warned_about(tmp_path):
    cube = SharedDataCube(n_lines=4, resolution=SHAPE)
    cube.put(frame(3))
    handle = cube.save(tmp_path)
    with pytest.warns(ResourceWarning, match="dropped and not closed"):  # noqa: PT031 - one of the two warns
        del cube
        gc.collect()
    assert read(handle.result(60).path).numbers == [3]
