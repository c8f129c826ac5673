"""Only the capturing thread is scheduled in real time, on request; the system may refuse, and ends runaways."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from openhsi_shared import SharedDataCube, SharedSimulatedCamera, record
from openhsi_shared.errors import ArgumentError, RealTimeRefused, UnknownKeyword
from openhsi_shared.processes import scheduling
from openhsi_shared.processes.scheduling import PRIORITY, CaptureScheduling
from openhsi_shared.processes.time_slices import slice_of_thread
from tests.support.flow import COUNTING
from tests.support.helpers import run_python, wait_for
from tests.support.process_faults import writers_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has SCHED_FIFO for single threads")

KEYWORDS = {**COUNTING, "n_lines": 8, "rate": 500, "realtime": True}
HAS_SLICES = slice_of_thread() is not None
FIFO = getattr(os, "SCHED_FIFO", 0) | getattr(os, "SCHED_RESET_ON_FORK", 0)


def is_allowed():
    try:
        CaptureScheduling(True)
    except RealTimeRefused:
        return False
    return True


allowed = pytest.mark.skipif(sys.platform != "linux" or not is_allowed(), reason="real-time scheduling is refused here")


def policies():
    """Scheduling of each thread of this process."""
    return {thread: os.sched_getscheduler(thread) for thread in threads_of(os.getpid())}


def threads_of(process_id):
    return [int(thread.name) for thread in Path(f"/proc/{process_id}/task").iterdir()]


def without_privileges(*arguments):
    """Run a program that may not use real-time scheduling, also as root."""

    def restrict():
        resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
        ctypes.CDLL(None).prctl(24, 23, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_SYS_NICE

    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, preexec_fn=restrict, check=False)


@allowed
def test_thread_that_collects_is_in_real_time_only_while_it_collects_and_alone():
    seen, words = [], []

    def look(n, _):
        if n == 4:
            seen.append(policies())
            words.append(cam.status().scheduling)

    before, of_others = (os.sched_getscheduler(0), signal.getsignal(signal.SIGXCPU)), policies()
    with SharedSimulatedCamera(**KEYWORDS) as cam:
        cam.collect(look, progress=False)
        (writer,) = writers_of()
        assert os.sched_getscheduler(writer.pid) == (os.SCHED_OTHER if HAS_SLICES else os.SCHED_BATCH)
        assert "real time while it collects, writer niceness" in cam.status().scheduling
    here = threading.get_native_id()
    assert seen[0].pop(here) == FIFO
    assert len(seen[0]) >= 1, "the listener of the writer is a thread, too"
    scheduled = {thread: policy for thread, policy in seen[0].items() if policy != of_others.get(thread)}
    assert set(scheduled.values()) == {os.SCHED_OTHER}, (
        "a vendor's package may have put threads of its own in real time"
    )
    assert words[0].startswith(f"capture real time (SCHED_FIFO {PRIORITY}), writer niceness")
    assert (os.sched_getscheduler(0), signal.getsignal(signal.SIGXCPU)) == before
    assert resource.getrlimit(resource.RLIMIT_RTTIME)[0] in (resource.RLIM_INFINITY, 5_000_000)


@allowed
def test_thread_of_a_recording_that_captures_is_in_real_time(tmp_path):
    with record(SharedSimulatedCamera, tmp_path, progress=False, **KEYWORDS) as run:
        wait_for(lambda: os.sched_getscheduler(run.process_id) == FIFO)
        assert {os.sched_getscheduler(one) for one in threads_of(run.process_id) if one != run.process_id} == {
            os.SCHED_OTHER
        }
        assert f"capture real time (SCHED_FIFO {PRIORITY})" in run.status().scheduling
        assert ("scheduling", run.status().scheduling) in run.status().rows()


def test_without_it_the_status_tells_the_niceness(tmp_path):
    niceness = 3 if os.geteuid() == 0 else max(3, os.nice(0))
    with record(SharedSimulatedCamera, tmp_path, progress=False, niceness=3, **KEYWORDS | {"realtime": False}) as run:
        policy = "" if HAS_SLICES else ", SCHED_BATCH"
        words = f"capture niceness {niceness}, writer niceness {min(19, niceness + 1)}{policy}"
        assert run.status().scheduling == words


def test_thread_that_is_in_real_time_already_is_left_as_it_is():
    program = """
import os
from openhsi_shared.processes.scheduling import CaptureScheduling
os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(20))
with CaptureScheduling(True).capturing():
    print(os.sched_getscheduler(0) == os.SCHED_RR, os.sched_getparam(0).sched_priority)
print(os.sched_getscheduler(0) == os.SCHED_RR)
"""
    if not is_allowed():
        pytest.skip("real-time scheduling is refused here")
    assert run_python("-c", program).stdout.split() == ["True", "20", "True"]


def test_other_threads_give_the_interpreters_lock_back_soon_while_lines_come():
    before, seen = sys.getswitchinterval(), []
    captures = [CaptureScheduling(False), CaptureScheduling(False)]
    with captures[0].capturing():
        with captures[1].capturing():
            seen.append(sys.getswitchinterval())
        seen.append(sys.getswitchinterval())
    assert seen == pytest.approx([0.0005, 0.0005])
    assert sys.getswitchinterval() == before


# ---- refused ----

REFUSED = """
from pathlib import Path
from openhsi_shared import SharedSimulatedCamera, record
from openhsi_shared.errors import RealTimeRefused
from tests.support.flow import COUNTING

class Camera(SharedSimulatedCamera):
    def _open_source(self, options):
        print("OPENED")
        return super()._open_source(options)

for make in (lambda: Camera(realtime=True, **COUNTING), lambda: record(Camera, OUT, realtime=True, **COUNTING)):
    try:
        make()
    except RealTimeRefused as error:
        print(error)
"""


def test_refusal_is_one_clear_error_before_the_camera_is_opened(tmp_path):
    done = without_privileges("-c", REFUSED.replace("OUT", repr(str(tmp_path))))
    errors = done.stdout.splitlines()
    assert len(errors) == 2, done.stderr
    for error in errors:
        assert error.startswith(
            "realtime=True: the system refuses SCHED_FIFO with priority 10 (Operation not permitted): allow it by a "
            "limit (`@video - rtprio 10` in /etc/security/limits.d), by LimitRTPRIO=10 in the unit of systemd, or "
        )
        assert "docs/platforms.md" in error
    assert not list(tmp_path.iterdir())


def test_refused_command_ends_with_the_error(tmp_path):
    done = without_privileges("-m", "openhsi_shared", "record", "--realtime", "--cubes", 1, "--out", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: realtime=True: the system refuses SCHED_FIFO with priority 10")
    assert not list(tmp_path.rglob("*.nc"))


@allowed
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_child_stays_ordinary_and_a_user_who_may_clear_no_flag_gets_the_thread_back():
    program = """
import os, resource
from openhsi_shared.processes.scheduling import CaptureScheduling
capture = CaptureScheduling(True)
with capture.capturing():
    child = os.posix_spawn("/bin/sleep", ["sleep", "9"], {})
    print(os.sched_getscheduler(child))
    os.kill(child, 9)
    os.waitpid(child, 0)
    os.setuid(65534)
print(os.sched_getscheduler(0) == os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, capture.in_words())
print(resource.getrlimit(resource.RLIMIT_RTTIME)[0])
"""
    done = run_python("-c", program)
    now = f"niceness {os.getpriority(os.PRIO_PROCESS, 0)}, real time while it collects"
    assert done.stdout.splitlines() == ["0", f"True {now}", "5000000"], done.stderr


def test_other_values_and_a_cube_without_a_camera_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match="realtime must be True or False, got 10"):
        SharedSimulatedCamera(**KEYWORDS | {"realtime": 10})
    with pytest.raises(ArgumentError, match="realtime must be True or False, got 'yes'"):
        record(SharedSimulatedCamera, tmp_path, **KEYWORDS | {"realtime": "yes"})
    with pytest.raises(UnknownKeyword, match=r"SharedDataCube\(\) has no keyword 'realtime'"):
        SharedDataCube(n_lines=8, resolution=(16, 32), realtime=True)


def test_cube_that_is_being_filled_is_kept_if_a_change_of_it_is_refused():
    with SharedSimulatedCamera(**KEYWORDS | {"realtime": False}) as cam:
        cam.collect(progress=False)
        with pytest.raises(ArgumentError, match="realtime must be True or False, got 10"):
            cam.reinitialise(realtime=10)
        assert cam.n_collected == cam.status().lines == 8


# ---- runaways ----


@allowed
def test_thread_that_does_not_wait_becomes_an_ordinary_one_and_stays_it(monkeypatch, caplog):
    monkeypatch.setattr(scheduling, "RUNAWAY_S", 0.1)
    capture = CaptureScheduling(True)
    limit = time.monotonic() + 30
    with capture.capturing():
        assert os.sched_getscheduler(0) == FIFO
        while os.sched_getscheduler(0) != os.SCHED_OTHER:
            assert time.monotonic() < limit
    assert "real-time scheduling was ended: the capturing thread ran for 0 s without a wait" in caplog.text
    with capture.capturing():
        assert os.sched_getscheduler(0) == os.SCHED_OTHER
    assert "real time ended: it ran for" in capture.in_words()
    assert signal.getsignal(signal.SIGXCPU) is signal.SIG_DFL


@allowed
def test_limits_hold_until_the_last_thread_has_left_real_time():
    """In a process of its own: users who are not root cannot raise the limit again."""
    program = """
import resource, signal, threading
from openhsi_shared.processes.scheduling import CaptureScheduling

def capture_until_told():
    with CaptureScheduling(True).capturing():
        entered.set()
        told.wait()

resource.setrlimit(resource.RLIMIT_RTTIME, (4_000_000, resource.getrlimit(resource.RLIMIT_RTTIME)[1]))
entered, told = threading.Event(), threading.Event()
other = threading.Thread(target=capture_until_told)
with CaptureScheduling(True).capturing():
    other.start()
    entered.wait()
    print(*resource.getrlimit(resource.RLIMIT_RTTIME))
print(*resource.getrlimit(resource.RLIMIT_RTTIME))
told.set()
other.join()
print(resource.getrlimit(resource.RLIMIT_RTTIME)[0])
"""
    lines = run_python("-c", program).stdout.splitlines()
    assert lines == ["2000000 5000000", "4000000 5000000", "4000000"]


@allowed
def test_process_whose_thread_does_not_return_from_a_call_is_killed():
    program = """
from openhsi_shared.processes import scheduling
scheduling.RUNAWAY_S, scheduling.KILL_S = 0.1, 0.2
with scheduling.CaptureScheduling(True).capturing():
    sum(range(10**13))
"""
    assert run_python("-c", program).returncode == -signal.SIGKILL
