"""What other code of a program takes from the threads that hear the writer: descriptors, threads, exit statuses.

Public reports: a vendor's package that closes a descriptor twice, and another thread's file with it; programs of field
computers with SIGCHLD ignored, as their init started them; a logger that leaks a descriptor for each request until the
recorder beside it cannot save; two threads that begin at the same time.
"""

import os
import threading

import pytest

from openhsi_shared import SharedDataCube
from openhsi_shared.drivers.simulated.counting import frame_number
from openhsi_shared.files.dumping import read_dump
from tests.support.flow import CAMERA, SHAPE, account, cubes_in, frame, processes_in, run
from tests.support.helpers import wait_for
from tests.support.process_faults import camera, newest_writer, writers_of
from tests.support.products import each_value_once

WHOLE = """
cam = camera(n_buffers=4)
cam.collect()
cam.save("out").result(60)
"""
"""One cube of eight lines is saved."""

TAKEN = {
    "SIGCHLD ignored": "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "SIGCHLD ignored, inherited": """
import os, signal, sys
if signal.getsignal(signal.SIGCHLD) != signal.SIG_IGN:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
""",
    "a thread that waits for any child": """
import os, threading, time
def take():
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.001)
threading.Thread(target=take, daemon=True).start()
""",
}
KILLED = (
    WHOLE
    + """
import os
cam.collect()
os.kill(cam._engine.writer._writers.all[0].child.pid, 9)
cam.save("out").result(60)
cam.collect()
cam.save("out").result(60)
cam.close()
print("closed")
"""
)


@pytest.mark.parametrize("prelude", TAKEN.values(), ids=TAKEN)
def test_another_writer_takes_over_although_other_code_takes_the_exit_status(tmp_path, prelude):
    code, said, errors = run(f"{prelude}\n{CAMERA}\n{KILLED}", tmp_path)
    assert (code, said.split()) == (0, ["closed"]), errors
    wait_for(lambda: not processes_in(tmp_path))
    assert account(tmp_path / "out") == (list(range(24)), [])


def test_the_first_lines_of_several_threads_start_one_writer(tmp_path):
    with SharedDataCube(n_lines=8, resolution=SHAPE) as cube:
        begin, errors = threading.Barrier(4), []

        def put() -> None:
            begin.wait()
            try:
                cube._engine.start()
            except Exception as error:  # noqa: BLE001 - compared below
                errors.append(error)

        threads = [threading.Thread(target=put) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert (errors, len(writers_of())) == ([], 1)
        cube.put(frame(1))
        assert cube.save(tmp_path).result(60).n_lines == 1


DESCRIPTORS = (
    WHOLE
    + """
import os, resource, signal
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
def limit(n):
    resource.setrlimit(resource.RLIMIT_NOFILE, (n, hard))
def kill():
    os.kill(cam._engine.writer._writers.all[0].child.pid, signal.SIGKILL)
cam.collect()
"""
)


def test_a_writer_is_replaced_although_the_program_has_no_descriptors_left(tmp_path):
    script = """
leaked = []
limit(max(map(int, os.listdir("/proc/self/fd"))) + 4)
try:
    while True:
        leaked.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    print(error.errno)
kill()
cam.save("out").result(60)
cam.collect()
cam.save("out").result(60)
limit(soft)
cam.close()
"""
    code, said, errors = run(CAMERA + DESCRIPTORS + script, tmp_path)
    assert (code, said.split()) == (0, ["24"]), errors
    assert account(tmp_path / "out") == (list(range(24)), [])


def test_cubes_that_found_no_writer_are_saved_as_soon_as_one_can_be_started(tmp_path):
    script = """
limit(3)
kill()
handle = cam.save("out")
try:
    handle.result(60)
except OSError as error:
    print("is saved as soon as a writer starts" in str(error))
cam.collect()
try:
    cam.save("out").result(60)
except OSError as error:
    print("held")
limit(soft)
while handle.exitcode != 0:
    pass
print(handle.result(60).n_lines)
cam.close()
"""
    code, said, errors = run(CAMERA + DESCRIPTORS + script, tmp_path)
    assert (code, said.split()) == (0, ["True", "held", "8"]), errors
    wait_for(lambda: not processes_in(tmp_path))
    assert account(tmp_path / "out") == (list(range(24)), [])


def test_a_program_ends_although_no_writer_can_be_started_any_more(tmp_path):
    code, _, errors = run(CAMERA + DESCRIPTORS + 'limit(3)\nkill()\ncam.save("out").join(60)\nlimit(soft)\n', tmp_path)
    assert "is saved as soon as a writer starts" in errors or code == 0
    wait_for(lambda: not processes_in(tmp_path))
    assert account(tmp_path / "out") == (list(range(16)), [])


# ---- descriptors that other code closes ----


def _pipe(cam):
    return cam._engine.writer._writers.all[0].child._connection.fileno()


def _sentinel(cam):
    return cam._engine.writer._writers.all[0].child._process.sentinel


def _alive(cam):
    return cam._engine.writer._writers.all[0].alive.fileno()


def _wake(cam):
    return cam._engine.writer._listener._wake.fileno()


def _wake_up(cam):
    return cam._engine.writer._listener._wake_up.fileno()


CLOSED = [_pipe, _sentinel, _alive, _wake, _wake_up]


@pytest.mark.parametrize(("descriptor", "is_reused"), each_value_once(CLOSED, [False, True]))
def test_a_descriptor_that_is_closed_by_other_code_costs_no_line_and_no_file_of_others(tmp_path, descriptor, is_reused):
    """Not one line of the cube that is being filled either: a writer that cannot hear must not save a part of it."""
    cam = camera(n_buffers=4)
    cam.collect()
    cam.save(tmp_path).result(60)
    cam.will_save_to(tmp_path)
    for _ in range(3):
        cam.take_line()
    other = tmp_path / "of_others"
    other.write_bytes(b"x" * 1000)
    number = descriptor(cam)
    os.close(number)
    if is_reused:
        opened = os.open(other, os.O_RDWR)
        os.dup2(opened, number)
    wait_for(lambda: descriptor is not _pipe or cam.status().writer_restarts == 1)
    for _ in range(5):
        cam.take_line()
    cam.save(tmp_path).result(60)
    newest_writer().kill()
    cam.collect()
    cam.save(tmp_path).result(60)
    cam.close()
    if is_reused:
        assert os.lseek(number, 0, os.SEEK_CUR) == 0
        for descriptor_of_others in {number, opened}:
            os.close(descriptor_of_others)
    assert other.read_bytes() == b"x" * 1000
    assert [saved.numbers for saved in cubes_in(tmp_path)] == [list(range(8)), list(range(8, 16)), list(range(16, 24))]


MEMORY = (
    WHOLE
    + """
import os
from openhsi_shared.buffers.memory import arena_of
cam.will_save_to("out")
cam.collect()
number = arena_of(cam._engine.slots.memory.arrays["lines"])[0].fd
os.close(number)
with open("of_others", "wb") as file:
    file.truncate(1 << 24)
    if file.fileno() != number:
        os.dup2(file.fileno(), number)
    os.kill(cam._engine.writer._writers.all[0].child.pid, 9)
    cam.save("out").join(60)
"""
)


def test_a_file_of_others_is_never_taken_for_the_memory_of_the_slots(tmp_path):
    """Its bytes would be saved as lines. Without a writer the program itself writes the lines at the end."""
    code, _, errors = run(CAMERA + MEMORY, tmp_path)
    assert "other code of this program has closed a descriptor of the slots' memory" in errors
    assert code == 1
    (sidecar,) = (tmp_path / "out").rglob("*.raw.json")
    assert [frame_number(line) for line in read_dump(sidecar).cube.memory] == list(range(8, 16))
    assert not any((tmp_path / "of_others").read_bytes())
