"""Children are spawned from any program, do not import its `__main__`, and start with Ctrl-C blocked."""

import os
import signal
import sys
import threading
from multiprocessing import resource_tracker

import pytest

from openhsi_shared.errors import OpenHSIError
from openhsi_shared.processes.spawning import SPAWN, pack, spawn, unpack
from tests.support.helpers import (
    child,
    in_child,
    niceness_in_background,
    niceness_of_session_in_background,
    receive,
    report_start,
    run_python,
    run_service,
    signal_state,
)

PROGRAM = """
import sys
print("the program runs")
main_before = dict(file=globals().get("__file__", "none"), spec=repr(__spec__))
from tests.support.helpers import in_child, signal_state
print(in_child(signal_state))
assert dict(file=globals().get("__file__", "none"), spec=repr(__spec__)) == main_before, "main was not restored"
"""


def check_program(done):
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("the program runs") == 1
    assert "'blocked at start': True" in done.stdout
    assert "'main': ''" in done.stdout


def test_script_without_a_guard_runs_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    check_program(run_python(str(script)))


def test_program_from_standard_input_runs_once():
    check_program(run_python("-", stdin=PROGRAM))


def test_program_on_the_command_line_runs_once():
    check_program(run_python("-c", PROGRAM))


def test_module_without_a_guard_runs_once(tmp_path):
    (tmp_path / "flight.py").write_text(PROGRAM)
    check_program(run_python("-m", "flight", cwd=tmp_path))


def test_program_whose_own_processes_fork_gets_ours_spawned():
    own = 'import multiprocessing\nmultiprocessing.set_start_method("fork")\n'
    check_program(run_python("-c", own + PROGRAM))
    assert SPAWN.get_start_method() == "spawn"


@pytest.mark.skipif(sys.platform == "win32", reason="there, a working directory cannot vanish")
def test_program_whose_working_directory_has_vanished_has_children_and_stays_where_it_is(tmp_path):
    (tmp_path / "disk").mkdir()
    gone = f"import os\nos.rmdir({str(tmp_path / 'disk')!r})\nhere = os.stat('.').st_ino\n"
    check_program(run_python("-c", gone + PROGRAM + "assert os.stat('.').st_ino == here", cwd=tmp_path / "disk"))


def test_child_can_be_started_from_a_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(in_child(signal_state)))
    thread.start()
    thread.join()
    assert found[0]["blocked at start"]


def test_worker_of_a_pool_is_told_that_it_must_have_no_children():
    program = """
from tests.support.helpers import try_to_spawn
from openhsi_shared.processes.spawning import SPAWN
with SPAWN.Pool(1) as pool:
    print(pool.apply(try_to_spawn))
"""
    done = run_python("-c", program)
    assert "WriterFailed: a writer cannot be started: this process is daemonic" in done.stdout, done.stderr
    assert "make the camera in the main process" in done.stdout


def test_main_and_signals_are_as_before_also_after_a_start_that_failed():
    main = sys.modules["__main__"]
    handler = signal.getsignal(signal.SIGINT)
    before = main.__dict__.get("__file__"), main.__spec__
    process = SPAWN.Process(target=report_start, args=(lambda: "cannot be pickled",))
    with pytest.raises(Exception, match=r"pickle|local object"):
        spawn(process)
    assert (main.__dict__.get("__file__"), main.__spec__) == before
    assert signal.getsignal(signal.SIGINT) is handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


# ---- Ctrl-C ----


def absolute(niceness):
    """The niceness that a child can set: without privileges none above that of this process."""
    return niceness if os.geteuid() == 0 else max(niceness, os.nice(0))


def test_service_lives_in_a_session_of_its_own_and_ignores_the_terminal():
    assert in_child(signal_state) == {
        "blocked at start": True,
        "still blocked": False,
        "ignores": [True, True],
        "own session": True,
        "niceness": absolute(3),
        "main": "",
    }


@pytest.mark.parametrize("camera", [-10, 0, 10, 19])
def test_service_in_the_background_has_a_lower_priority_than_the_camera(camera):
    if os.geteuid() != 0 and camera < os.nice(0):
        pytest.skip("only root may raise a priority")
    assert in_child(niceness_in_background, camera) == min(19, max(5, camera + 5))


@pytest.mark.skipif(not os.path.exists("/proc/self/autogroup"), reason="this kernel does not group sessions")  # noqa: PTH110
@pytest.mark.parametrize(("camera", "service"), [(0, 1), (4, 5), (-10, 1)])
def test_session_of_a_service_has_its_niceness_too(camera, service):
    if os.geteuid() != 0:
        pytest.skip("only root may raise a priority, and change two sessions at once")
    assert in_child(niceness_of_session_in_background, camera) == service


def test_service_outlives_ctrl_c_and_hang_up_and_ends_with_its_parent():
    with child(run_service) as (process, connection):
        pid, session = receive(connection)
        assert pid == session == process.pid
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGINT):
            os.kill(pid, number)
        assert process.is_alive()
        connection.close()
        process.join(60)
        assert process.exitcode == 0


def test_ctrl_c_to_the_group_does_not_hit_the_first_child_while_it_comes_up():
    # the first child brings up the resource tracker, which unblocks SIGINT behind our back
    program = """
import signal
from tests.support.helpers import TIMEOUT_S, SignalsWhenUnpickled, child, receive, report_start, wait_for
came = []
signal.signal(signal.SIGINT, lambda *_: came.append(1))
with child(report_start, SignalsWhenUnpickled()) as (process, connection):
    print(receive(connection))
    process.join(TIMEOUT_S)
    print("exit", process.exitcode)
wait_for(lambda: came)
print("parent", came)
"""
    done = run_python("-c", program, start_new_session=True)
    assert done.stdout.splitlines() == ["up", "exit 0", "parent [1]"], done.stderr


def test_ctrl_c_waits_until_the_child_has_all_that_it_is_given():
    program = """
import signal, threading
from tests.support.helpers import SignalsWhenPickled, receive, report_start
from openhsi_shared.processes.spawning import SPAWN, spawn
end = threading.Event()
threading.Thread(target=end.wait).start()  # some thread that takes the signal in our place, as numpy's do
ours, theirs = SPAWN.Pipe()
process = SPAWN.Process(target=report_start, args=(theirs, SignalsWhenPickled()))
came = []
signal.signal(signal.SIGINT, lambda *_: came.append(process.pid))
spawn(process)
print("handled when it was", "up" if came == [process.pid] else came)
print(receive(ours))
process.join()
end.set()
"""
    done = run_python("-c", program, start_new_session=True)
    assert done.stdout.splitlines() == ["handled when it was up", "up"], done.stderr


def test_ctrl_c_during_a_start_is_raised_and_leaves_no_child():
    program = """
import signal, threading, psutil
from tests.support.helpers import SignalsWhenPickled, report_start
from openhsi_shared.processes.spawning import SPAWN, spawn
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
end = threading.Event()
threading.Thread(target=end.wait).start()
ours, theirs = SPAWN.Pipe()
process = SPAWN.Process(target=report_start, args=(theirs, SignalsWhenPickled()))
try:
    spawn(process)
except KeyboardInterrupt:
    left = [p for p in psutil.Process().children() if "resource_tracker" not in " ".join(p.cmdline())]
    print("interrupted", process.exitcode, left)
end.set()
"""
    done = run_python("-c", program, start_new_session=True)
    assert done.stdout.splitlines() == ["interrupted -9 []"], done.stderr


def test_helper_of_multiprocessing_is_up_before_the_mask_is_set():
    in_child(signal_state)
    assert resource_tracker._resource_tracker._pid is not None


# ---- what travels ----


def test_class_and_closure_travel_by_value():
    factor = 3

    class Local:
        def times(self, x):
            return factor * x

    assert unpack(pack(Local))().times(7) == 21
    assert unpack(pack(lambda x: x + factor))(1) == 4


def test_class_of_the_program_itself_travels_to_a_child():
    program = """
class Mine:
    answer = 42
from tests.support.helpers import answer_of, in_child
from openhsi_shared.processes.spawning import pack
print(in_child(answer_of, pack(Mine)))
"""
    done = run_python("-c", program)
    assert done.stdout.splitlines() == ["42"], done.stderr


def test_what_cannot_travel_is_named():
    with pytest.raises(OpenHSIError, match=r"cannot be sent to another process: .*"):
        pack(threading.Lock())
