"""A program exits, or a camera is used, in every possible way: nothing is lost, nothing hangs."""

import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading

import pytest

from openhsi_shared import SharedDataCube, SharedSimulatedCamera
from openhsi_shared.errors import ArgumentError, ClosedError, NothingToSave, UnknownKeyword
from tests.support.flow import (
    CAMERA,
    SHAPE,
    account,
    cubes_in,
    environment,
    frame,
    parts_in,
    processes_in,
    program,
    run,
)
from tests.support.helpers import wait_for
from tests.support.oracle import prove
from tests.support.process_faults import camera
from tests.support.products import some

PENDING = f"""{CAMERA}
import os, signal, sys, threading
cam = camera(n_buffers=8)
for _ in range(6):
    cam.collect(progress=False)
    cam.save("out")
"""

# ---- L1: leaving ----

ENDS = {
    "a thread that nobody joins": ("threading.Thread(target=lambda: [cam.collect(), cam.save('out')]).start()", 0, 56),
    "a daemonic thread that collects": (
        "threading.Thread(target=lambda: [cam.collect() for _ in range(10**6)], daemon=True).start()",
        0,
        48,
    ),
    "sys.exit in a function": ("def f(): sys.exit('why')\nf()", 1, 48),
    "os._exit": ("os._exit(4)", 4, 48),
    "an exception in a thread": ("threading.Thread(target=lambda: 1 / 0).start()", 0, 48),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", -2, 48),
    "an exception in the block": ("with cam:\n    1 / 0", 1, 48),
    "an exception that holds the camera": ("error = RuntimeError(cam)\nraise error", 1, 48),
    "a cycle that holds the camera": ("cam.me = cam\ndel cam", 0, 48),
    "abort": ("os.abort()", -6, 48),
}


DIFFERENT = (
    "a thread that nobody joins",
    "a daemonic thread that collects",
    "KeyboardInterrupt",
    "an exception that holds the camera",
    "abort",
)


@pytest.mark.parametrize("end", some(*DIFFERENT, all_of=ENDS))
def test_saves_that_are_pending_are_finished_however_the_program_ends(tmp_path, end):
    """L1: and its exit code is what it would be without us."""
    code, exit_code, n_lines = ENDS[end]
    found, _, errors = run(f"{PENDING}\n{code}\n", tmp_path)
    assert found == exit_code, errors
    wait_for(lambda: not processes_in(tmp_path))
    assert prove(tmp_path / "out", n_lines).declared_lost == 0


def test_a_program_that_is_asked_to_end_while_it_waits_for_a_save_leaves_it_to_the_writer(tmp_path):
    """L1: SIGTERM in `join`, as a service manager sends it."""
    (tmp_path / "marks").mkdir()
    fault = {"OPENHSI_SHARED_FAULT": "created:stop:1", "OPENHSI_SHARED_FAULT_MARKS": str(tmp_path / "marks")}
    code = f"{PENDING}\nprint('waiting', flush=True)\ncam.close()"
    with program(code, tmp_path, **fault) as process:
        assert process.stdout is not None
        process.stdout.readline()
        wait_for(lambda: list((tmp_path / "marks").iterdir()))
        process.terminate()
        assert process.wait(60) == -15
        (mark,) = (tmp_path / "marks").iterdir()
        os.kill(int(mark.name.split("-")[1]), signal.SIGCONT)
        wait_for(lambda: not processes_in(tmp_path))
    assert prove(tmp_path / "out", 48).saved == 48


SERVICES = {
    "a recording": """
from openhsi_shared import record
with record(SharedSimulatedCamera, "out", mode="counting", resolution=(16, 32), row_slice=None, cal_path="", n_lines=8,
            n_buffers=20, rate=400, queue=9999, when_full="block", progress=False) as run:
    run.wait()
""",
    "a loop in a block": """
with camera(n_buffers=20) as cam:
    while True:
        cam.collect()
        cam.save("out")
""",
    "a loop without one": """
cam = camera(n_buffers=20)
while True:
    cam.collect()
    cam.save("out")
""",
}


@pytest.mark.parametrize("service", some("a recording", "a loop without one", all_of=SERVICES))
def test_a_service_that_is_stopped_as_the_documentation_says_has_saved_everything_when_it_ends(tmp_path, service):
    """L1: SIGINT to the main process alone; whatever is left when that has ended is killed, as systemd does it."""
    with program(f"{CAMERA}{SERVICES[service]}", tmp_path) as process:
        wait_for(lambda: len(list((tmp_path / "out").rglob("*.nc"))) > 3, 60)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        for left in processes_in(tmp_path):
            os.kill(left, signal.SIGKILL)
    saved, lost = account(tmp_path / "out")
    assert (len(saved) >= 24, lost) == (True, [])
    assert parts_in(tmp_path / "out") == []
    assert all(saved.path.with_suffix(".png").exists() for saved in cubes_in(tmp_path / "out"))


# ---- L2: where a program comes from ----

WHERE = {  # a script is what all other tests run
    "a module": ["-m", "program"],
    "an interactive session, optimised, isolated from its folder, every warning an error": [
        *("-i", "-OO", "-P", "-W", "error", "program.py"),
    ],
}


@pytest.mark.parametrize("where", WHERE)
def test_a_camera_works_wherever_the_program_comes_from(tmp_path, where):
    """L2: none of them has a guard round its main part."""
    (tmp_path / "program.py").write_text(f"{PENDING}\ncam.close()\nprint('done')\n")
    done = subprocess.run(
        [sys.executable, *WHERE[where]],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert prove(tmp_path / "out", 48).saved == 48


# ---- L3: calls in every order ----


def test_whatever_is_called_twice_is_done_once(tmp_path):
    """L3: starting, stopping, closing."""
    cam = camera()
    for words in (["start_cam"], ["stop_cam", "close"]):
        cam.collect()
        cam.save(tmp_path)
        for word in words:
            getattr(cam, word)()
            getattr(cam, word)()
    assert prove(tmp_path, 16).saved == 16


def test_a_camera_that_was_never_used_is_closed_without_a_word(tmp_path, caplog):
    """L3: no writer was needed, so none was there."""
    cam = camera()
    cam.close()
    with camera():
        pass
    assert caplog.text == ""


def test_saving_again_while_the_last_one_is_saved_needs_lines(faults, tmp_path):
    """L3: a second save of the same lines is refused, also while the first one is under way."""
    faults.inject("created:stop:1")
    with camera() as cam:
        cam.collect()
        handle = cam.save(tmp_path / "out")
        with pytest.raises(NothingToSave, match="nothing was collected since the last save"):
            cam.save(tmp_path / "out")
        faults.stopped_writer().resume()
        assert handle.result(60).n_lines == 8


def test_closing_while_another_thread_saves_loses_no_cube_that_was_promised(tmp_path):
    """L3: every handle is settled, the thread gets the error that the camera is closed."""
    handles, told = [], []

    def save_on(cube):
        try:
            for n in range(100_000):
                cube.put(frame(n))
                handles.append(cube.save(tmp_path))
        except ClosedError as error:
            told.append(error)

    cube = SharedDataCube(n_lines=4, resolution=SHAPE, n_buffers=4)
    cube._engine.start()
    thread = threading.Thread(target=save_on, args=(cube,), daemon=True)  # a failing test must not hang
    thread.start()
    wait_for(lambda: len(handles) > 5)
    cube.close()
    thread.join(60)
    assert not thread.is_alive()
    assert "closed" in str(told[0])
    assert all(handle.exitcode == 0 for handle in handles)
    assert [saved.numbers for saved in cubes_in(tmp_path)] == [[n] for n in range(len(handles))]


def test_a_camera_that_is_closed_says_so(tmp_path):
    """L3: for every method."""
    cam = camera()
    cam.collect()
    cam.close()
    arguments = {"save": [tmp_path], "put": [frame(0)]}
    for call in ("collect", "save", "take_line", "start_streaming", "get_img", "put"):
        with pytest.raises((ClosedError, ValueError), match="closed"):
            getattr(cam, call)(*arguments.get(call, []))


def test_a_camera_is_one_and_cannot_be_copied(tmp_path):
    """L3: neither pickled nor copied: two of them would fill the same memory."""
    with camera() as cam:
        cam.collect()
        for way in (pickle.dumps, copy.deepcopy, copy.copy):
            with pytest.raises(ArgumentError, match="a SharedSimulatedCamera cannot be pickled or copied, its"):
                way(cam)
        cam.save(tmp_path)
    assert prove(tmp_path, 8).saved == 8


def test_a_camera_that_is_dropped_is_warned_about_and_its_saves_are_finished(faults, tmp_path):
    """L3: garbage collected in the middle of a save."""
    faults.inject("half:kill:1")
    cam = camera()
    cam.me = cam  # a cycle, as users make them
    cam.collect()
    cam.save(tmp_path / "out")
    del cam
    with pytest.warns(ResourceWarning, match="a SharedSimulatedCamera was dropped and not closed"):
        gc.collect()
    assert prove(tmp_path / "out", 8).saved == 8


def test_an_exception_in_the_block_is_the_one_that_comes_out(tmp_path, runtime):
    """L3: with what was collected saved, and a second failure as a note."""
    (tmp_path / "blocked").touch()
    with pytest.raises(ZeroDivisionError) as caught, camera() as cam:  # noqa: PT012
        cam.collect()
        handle = cam.save(tmp_path / "blocked" / "inside")
        handle.join()
        1 / 0  # noqa: B018
    assert "cube 1 was not saved" in caught.value.__notes__[0]
    handle.retry(tmp_path / "out").result(60)
    cam.close()
    assert prove(tmp_path / "out", 8).saved == 8


# ---- L4, L5 ----


def test_two_programs_save_into_one_directory_and_no_name_is_taken_twice(tmp_path):
    """L4: at the same time, with the same prefix."""
    with program(PENDING, tmp_path) as one, program(PENDING, tmp_path) as other:
        assert (one.wait(60), other.wait(60)) == (0, 0)
    cubes = cubes_in(tmp_path / "out")
    runs = {cube.attributes["run_id"] for cube in cubes}
    assert (len(cubes), len(runs)) == (12, 2)
    for run_id in runs:
        assert [n for cube in cubes if cube.attributes["run_id"] == run_id for n in cube.numbers] == list(range(48))


@pytest.mark.parametrize("keyword", ["start_method", "context", "mp_context"])
def test_a_start_method_cannot_be_asked_for(keyword):
    """L5: it is spawn, always; a forked writer would inherit held locks and open files."""
    with pytest.raises(UnknownKeyword, match=f"has no keyword '{keyword}'"):
        SharedSimulatedCamera(4, **{keyword: "fork"})


@pytest.mark.parametrize("method", some("forkserver", all_of=("fork", "forkserver", "spawn")))
def test_writers_are_spawned_whatever_the_program_s_default_is(tmp_path, method):
    """L5: `set_start_method` of the program is its own affair."""
    begin = f"import multiprocessing\nmultiprocessing.set_start_method({method!r})\n"
    code, _, errors = run(f"{begin}{PENDING}\ncam.close()\nprint('done')", tmp_path)
    assert code == 0, errors
    assert account(tmp_path / "out")[0] == list(range(48))
