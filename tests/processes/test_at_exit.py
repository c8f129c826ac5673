"""A program exits, in any way: saved cubes are on the disk, and a failure sets the exit status."""

import os
import signal

import pytest

from openhsi_shared import SharedSimulatedCamera
from tests.support.flow import CAMERA, COUNTING, ENDLESS, account, cubes_in, parts_in, processes_in, program, run
from tests.support.helpers import wait_for
from tests.support.products import each_value_once, some

PENDING = (
    CAMERA
    + """
import os, signal, sys, threading
cam = camera(n_buffers=8)
for _ in range(6):
    cam.collect(progress=False)
    cam.save("out")
"""
)


@pytest.mark.parametrize(
    ("end", "exit_code"),
    [
        ("", 0),
        ("1 / 0", 1),
        ("del cam", 0),
    ],
)  # and in `tests/faults/test_life_cycle.py`: threads, signals, abort
def test_saves_that_are_pending_when_the_program_ends_are_finished(tmp_path, end, exit_code):
    code, output, _ = run(f"import atexit\natexit.register(print, 'others')\n{PENDING}\n{end}\n", tmp_path)
    assert (code, output) == (exit_code, "others\n")  # what others registered runs as well
    assert account(tmp_path / "out") == (list(range(48)), [])
    assert len(list(tmp_path.rglob("*.png"))) == 6
    assert not processes_in(tmp_path)


def test_ctrl_c_while_the_last_saves_are_waited_for_ends_the_program_and_loses_nothing(tmp_path):
    interrupt = """
wait = cam._engine.writer.wait_until_settled
def interrupted(timeout_s=None):
    os.kill(os.getpid(), signal.SIGINT)
    return wait(timeout_s)
cam._engine.writer.wait_until_settled = interrupted
"""
    code, output, _ = run(f"import atexit\natexit.register(print, 'others')\n{PENDING}{interrupt}", tmp_path)
    assert (code, output) == (-signal.SIGINT, "others\n")
    wait_for(lambda: not processes_in(tmp_path))
    assert account(tmp_path / "out") == (list(range(48)), [])
    assert len(list(tmp_path.rglob("*.png"))) == 6


TOLD = (
    CAMERA
    + """
import gc, os, sys, threading
from openhsi_shared.drivers.simulated import SimulatedDriver
class Told(SimulatedDriver):
    def close(self):
        print("given back", flush=True)
        super().close()
class ToldCamera(SharedSimulatedCamera):
    def _driver_class(self):
        return Told
cam = ToldCamera(mode="counting", resolution=(16, 32), row_slice=None, cal_path="", n_lines=8)
"""
)


GIVEN_BACK = [
    ("", 0),
    ("sys.exit(3)", 3),
    ("del cam; gc.collect(); print('still here', flush=True); os._exit(4)", 4),
    ("(lambda held: None)(cam); threading.Thread(target=lambda: cam.n_lines).start()", 0),
    ("cam.reinitialise(n_lines=5); cam.close(); os._exit(5)", 5),
]


@pytest.mark.parametrize(("end", "has_begun"), each_value_once(GIVEN_BACK, [True, False]))
def test_a_camera_is_given_back_in_whatever_way_the_program_ends(tmp_path, end, has_begun):
    end, exit_code = end
    collect = "cam.collect(progress=False)" if has_begun else ""
    code, output, _ = run(f"{TOLD}\n{collect}\n{end}\n", tmp_path)
    assert code == exit_code
    told = ["given back"] * (2 if "reinitialise" in end else 1)
    assert output.split("\n")[:-1] == ([*told, "still here"] if "still" in end else told)


@pytest.mark.parametrize(("made", "begun"), [("inside", False), ("before", True)])
def test_a_handler_of_atexit_may_still_record(tmp_path, made, begun):
    program = f"""{CAMERA}
import atexit
cam = camera() if {made == "before"} else None
def last():
    late = cam or camera()
    late.collect(progress=False)
    late.save("out")
if {begun}:
    cam.collect(progress=False)
    cam.save("out")
atexit.register(last)
"""
    assert run(program, tmp_path)[:2] == (0, "")
    assert len(cubes_in(tmp_path / "out")) == 1 + begun


def test_sys_exit_of_a_signal_handler_at_the_very_end_is_obeyed_when_everything_is_saved(tmp_path):
    terminated = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
wait = cam._engine.writer.wait_until_settled
def terminated(timeout_s=None):
    os.kill(os.getpid(), signal.SIGTERM)
    return wait(timeout_s)
cam._engine.writer.wait_until_settled = terminated
"""
    assert run(f"{PENDING}{terminated}", tmp_path)[:2] == (7, "")
    wait_for(lambda: not processes_in(tmp_path))
    assert account(tmp_path / "out") == (list(range(48)), [])


@pytest.mark.parametrize("how", some("cam.close()", all_of=("del cam; gc.collect()", "cam.close()")))
def test_a_forked_child_leaves_the_camera_of_its_parent_alone(tmp_path, how):
    forked = f"""
if os.fork() == 0:
    {how}
    os._exit(0)
os.wait()
cam.collect(progress=False)
print("still there", flush=True)
"""
    code, output, _ = run(f"{TOLD}{forked}", tmp_path)
    assert (code, output) == (0, "still there\ngiven back\n")


def test_a_camera_is_given_back_before_its_package_ends(tmp_path):
    (tmp_path / "vendor.py").write_text("import atexit\natexit.register(print, 'the package ends')\n")
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
{TOLD}
class OfVendor(ToldCamera):
    def _driver_class(self):
        import vendor
        return Told
other = OfVendor(mode="counting", resolution=(16, 32), row_slice=None, cal_path="", n_lines=8)
"""
    assert run(program, tmp_path)[1].split("\n")[:-1] == ["given back", "given back", "the package ends"]


def test_whatever_goes_wrong_at_the_end_is_told(tmp_path):
    code, _, errors = run(f"{PENDING}cam._engine.finish = lambda: 1 / 0\n", tmp_path)
    assert code == 1
    assert "ZeroDivisionError" in errors
    wait_for(lambda: not processes_in(tmp_path))
    assert account(tmp_path / "out") == (list(range(48)), [])


def test_a_line_that_a_thread_adds_at_the_end_makes_no_cube(tmp_path):
    late = """
finish = cam._engine.finish
def finish_late():
    finish()
    cam._line_lock = threading.Lock
    cam.take_line()
cam.start_streaming()
cam._owner = None  # else the driver is closed before
cam._engine.finish = finish_late
"""
    assert run(f"{PENDING}{late}", tmp_path)[0] == 0
    assert account(tmp_path / "out") == (list(range(48)), [])
    assert not (tmp_path / "temporary").exists() or not cubes_in(tmp_path / "temporary")


def test_a_camera_of_the_users_is_stopped_at_the_end(tmp_path):
    program = """
from openhsi_shared import SharedOpenHSI
import numpy as np
class Mine(SharedOpenHSI):
    def start_cam(self):
        print("started")
    def stop_cam(self):
        print("stopped")
    def get_img(self):
        return np.zeros((3, 4), np.uint16)
cam = Mine(n_lines=2, resolution=(3, 4))
cam.collect(progress=False)
"""
    assert run(program, tmp_path)[:2] == (0, "started\nstopped\n")


FAILED = (
    CAMERA
    + """
import atexit
atexit.register(print, "others")
open("blocked", "w").close()
cam = camera()
cam.collect()
cam.save("out").join()
cam.collect()
saving = cam.save("blocked/inside")
"""
)


def test_a_failed_save_that_nobody_asked_for_ends_in_exit_status_1_and_its_traceback(tmp_path):
    code, output, errors = run(FAILED, tmp_path)
    assert (code, output) == (1, "others\n")
    assert "unhandled save failure at exit: a cube was not saved" in errors
    assert "Traceback" in errors
    assert "SaveError: [Errno 20] Not a directory" in errors
    assert "retry(directory) saves it elsewhere" in errors
    # and the cube is rescued into a temporary directory
    wait_for(lambda: not processes_in(tmp_path))
    (rescued,) = cubes_in(tmp_path / "temporary")
    assert rescued.numbers == list(range(8, 16))
    assert rescued.attributes["recovered"] == 1


def test_a_failed_save_that_was_asked_for_is_the_program_s_own_affair(tmp_path):
    code, output, _ = run(f"{FAILED}\ntry:\n    saving.result()\nexcept OSError as e:\n    print(e.errno)", tmp_path)
    assert (code, output) == (0, "20\nothers\n")
    assert account(tmp_path) == (list(range(16)), [])


def test_a_fallback_directory_takes_the_cube(tmp_path):
    program = FAILED.replace("camera()\n", "camera(fallback_dirs=['spare'])\n") + "\nprint(saving.result().path)"
    code, output, _ = run(program, tmp_path)
    assert code == 0
    assert "spare" in output
    assert account(tmp_path) == (list(range(16)), [])
    assert cubes_in(tmp_path / "spare")[0].attributes["recovered"] == 0


def test_leaving_the_block_raises_a_failure_that_nobody_asked_for(tmp_path):
    (tmp_path / "blocked").touch()
    with (  # noqa: PT012 - it is the end of the block that raises
        pytest.raises(OSError, match="cube 1 was not saved; it is kept in memory") as caught,
        SharedSimulatedCamera(**COUNTING, n_lines=8) as cam,
    ):
        cam.collect()
        saving = cam.save(tmp_path / "blocked" / "inside")
    assert caught.value.errno == 20
    saving.retry(tmp_path / "elsewhere").result(60)
    cam.close()
    assert account(tmp_path) == (list(range(8)), [])


INTERRUPTED = (
    CAMERA
    + """
import os, signal
def interrupt(n, n_lines):
    if n == 5:
        os.kill(os.getpid(), signal.SIGINT)
"""
)


def test_ctrl_c_while_collecting_keeps_the_lines(tmp_path):
    code, output, _ = run(
        f"""{INTERRUPTED}
with camera() as cam:
    try:
        cam.collect(interrupt)
    except KeyboardInterrupt:
        print(cam.n_collected)
    cam.collect()
    cam.save("out")
""",
        tmp_path,
    )
    assert (code, output) == (0, "5\n")
    (saved,) = cubes_in(tmp_path / "out")
    assert saved.numbers == list(range(5, 13))
    assert (saved.attributes["lines_overwritten"], saved.attributes["lines_lost"]) == (5, 0)


@pytest.mark.parametrize("saves_first", some(True, all_of=(True, False)))
def test_ctrl_c_that_ends_the_block_saves_the_unfinished_cube(tmp_path, saves_first):
    save = 'cam.save("out")' if saves_first else "pass"
    code, _, errors = run(
        f"{INTERRUPTED}\nwith camera() as cam:\n    cam.collect()\n    {save}\n    cam.collect(interrupt)",
        tmp_path,
    )
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in errors
    if saves_first:
        assert account(tmp_path / "out") == (list(range(13)), [])
    else:
        assert cubes_in(tmp_path / "temporary")[0].numbers == list(range(5, 13))


def test_ctrl_c_to_the_whole_group_does_not_touch_the_writer(tmp_path):
    code = f"{CAMERA}{ENDLESS}"
    with program(code, tmp_path) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGINT
    saved, lost = account(tmp_path)
    assert lost == []
    assert len(saved) >= 3 * 64
    assert not parts_in(tmp_path / "out")


RANDOM = (
    CAMERA
    + """
import os, random, signal, threading, time
may_begin = threading.Event()
def interrupt():
    may_begin.wait()
    for _ in range(30):
        time.sleep(random.uniform(0, 0.02))
        os.kill(os.getpid(), signal.SIGINT)
with camera(n_buffers=4) as cam:
    cam.collect()  # now all is imported that is needed
    cam.save("out")
    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    while True:
        try:
            may_begin.set()
            while interrupting.is_alive():
                cam.collect()
                cam.save("out")
            break
        except KeyboardInterrupt:
            pass
    cam.collect()
    cam.save("out")
print(cam.status().lines - cam.status().lines_overwritten)
"""
)


def test_ctrl_c_at_any_moment_loses_no_cube(tmp_path):
    code, output, errors = run(RANDOM, tmp_path)
    assert code == 0, errors
    numbers = [number for saved in cubes_in(tmp_path / "out") for number in saved.numbers]
    assert numbers == sorted(set(numbers))
    assert len(numbers) >= int(output)


@pytest.mark.parametrize("number", some(signal.SIGHUP, all_of=(signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)))
def test_a_signal_that_ends_the_program_leaves_the_pending_saves_to_the_writer(tmp_path, number):
    code, _, _ = run(f"{PENDING}\nos.kill(os.getpid(), {int(number)})", tmp_path)
    assert code == -number
    wait_for(lambda: not processes_in(tmp_path))
    assert account(tmp_path) == (list(range(48)), [])


def test_a_program_whose_output_is_closed_saves_all_the_same(tmp_path):
    with program(f"import sys; sys.stdout.close(); sys.stderr.close()\n{PENDING}", tmp_path) as process:
        assert process.wait(60) in (0, 1, 120)
    assert account(tmp_path) == (list(range(48)), [])


def test_a_fork_of_the_program_that_ends_first_takes_nothing_away(tmp_path):
    code, output, errors = run(
        f"{PENDING}\nif os.fork() == 0:\n    sys.exit(0)\nos.wait()\ncam.collect()\ncam.save('out')", tmp_path
    )
    assert (code, output) == (0, ""), errors
    assert account(tmp_path) == (list(range(56)), [])
