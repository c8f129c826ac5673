"""Helpers of several tests: waiting, child processes, programs, and functions that children run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openhsi_shared
from openhsi_shared.processes import spawning, time_slices
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.spawning import SPAWN, spawn

ROOT = Path(openhsi_shared.__file__).parents[1]
TIMEOUT_S = 60.0


def wait_for(what: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """Wait until `what()` is true; fail, rather than hang, when it never is.

    It is asked less often the longer it takes, at least 50 times a second: asking costs processor time here, and often
    in the process that answers.
    """
    begin = time.monotonic()
    while not what():
        waited_s = time.monotonic() - begin
        if waited_s > timeout_s:
            raise AssertionError(f"{what} was not true within {timeout_s} s")
        time.sleep(min(max(0.005, waited_s / 10), 0.02))


def is_installed(package: str) -> bool:
    """Whether a package is installed; does not import it."""
    try:
        return find_spec(package) is not None
    except ImportError:
        return False


def environment(**more: str) -> dict[str, str]:
    """Return the current environment, with the library and these helpers on PYTHONPATH."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path), **more}


def run_python(*arguments: str, stdin: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a Python program to its end; its output is text."""
    return subprocess.run(
        [sys.executable, *arguments],
        input=stdin,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        **more,
    )


@contextmanager
def child(function: Callable[..., Any], *arguments: Any) -> Iterator[tuple[Any, Any]]:
    """Run `function(connection, *arguments)` in a spawned child; yields (process, parent's end of the pipe)."""
    parent_end, child_end = SPAWN.Pipe()
    process = SPAWN.Process(target=function, args=(child_end, *arguments))
    spawn(process)
    child_end.close()
    try:
        yield process, parent_end
    finally:
        parent_end.close()
        process.join(TIMEOUT_S)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def receive(connection: Any) -> Any:
    """Return the next message, or fail."""
    assert connection.poll(TIMEOUT_S), "no message from the child"
    return connection.recv()


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of `function(*arguments)` in a spawned child."""
    with child(_answer, function, arguments) as (process, connection):
        answer = receive(connection)
        process.join(TIMEOUT_S)
        assert process.exitcode == 0
    return answer


# ---- what children run ----


def _answer(connection: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    connection.send(function(*arguments))


def run_service(connection: Any) -> None:
    """Become a service, report it, and exit when the parent has closed the pipe."""
    spawning.become_service()
    connection.send((os.getpid(), os.getsid(0)))
    try:
        connection.recv()
    except EOFError:
        return


def signal_state() -> dict[str, Any]:
    """Signal handling of a child, before and after it becomes a service."""
    before = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    spawning.become_service(niceness=3)
    return {
        "blocked at start": before,
        "still blocked": signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "ignores": [signal.getsignal(number) == signal.SIG_IGN for number in (signal.SIGINT, signal.SIGHUP)],
        "own session": os.getsid(0) == os.getpid(),
        "niceness": os.nice(0),
        "main": Path(getattr(sys.modules["__main__"], "__file__", "") or "").name,
    }


def niceness_in_background(camera: int) -> int:
    """Niceness of a background service that a process with the niceness `camera` has started."""
    os.setpriority(os.PRIO_PROCESS, 0, camera)
    spawning.become_service(niceness=5, in_background=True)
    return os.nice(0)


def niceness_of_session_in_background(camera: int) -> int:
    """Niceness of the session of a background service that a service with the niceness `camera` has started."""
    spawning.become_service(niceness=camera)
    return int(in_child(_niceness_of_own_session))


def _niceness_of_own_session() -> int:
    spawning.become_service(niceness=1, in_background=True)
    return int(Path("/proc/self/autogroup").read_text().split()[-1])


def policy_and_slice(slice_us: int | None) -> tuple[int, int | None]:
    """Scheduling, and time slice in us, of a background service with that slice."""
    spawning.become_service(niceness=1, in_background=True, slice_us=slice_us)
    return os.sched_getscheduler(0), time_slices.slice_of_thread()


def policy_and_slice_without_slices(slice_us: int | None) -> tuple[int, int | None]:
    """The same where the system has no slices."""
    time_slices._NUMBERS = {}
    return policy_and_slice(slice_us)


def watch_parent(connection: Any, parent_id: int, note: str) -> None:
    """Write received messages into the file `note`, then "gone"; exit with 0 if sending to the parent fails."""
    spawning.become_service()
    parent = Parent(connection, parent_id)
    with Path(note).open("a", buffering=1) as file:
        file.write(f"up {os.getpid()}\n")
        parent.tell("up")
        while (message := parent.receive()) is not GONE:
            if message is not None:
                file.write(f"{message}\n")
        file.write("gone\n")
        connection.close()
    sys.exit(parent.tell("not received"))


def receive_for(connection: Any, parent_id: int, timeout_s: float) -> None:
    """Send what `receive` returns without a message, then with one; exit with 0 when the parent is gone."""
    parent = Parent(connection, parent_id)
    connection.send(parent.receive(timeout_s))
    connection.send(parent.has_message())
    wait_for(parent.has_message)
    connection.send(parent.receive(timeout_s))
    sys.exit(0 if parent.receive(TIMEOUT_S) is GONE else 3)


def try_to_spawn() -> str:
    """Error that a daemonic worker gets when it spawns a child."""
    try:
        spawn(SPAWN.Process(target=signal_state, name="a writer"))
    except Exception as error:  # noqa: BLE001 - not swallowed: the test reads it
        return f"{type(error).__name__}: {error}"
    return "started"


class SignalsWhenPickled:
    """Sends Ctrl-C to the process that spawns a child with this argument."""

    def __reduce__(self) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return SignalsWhenPickled, ()


class SignalsWhenUnpickled:
    """Sends Ctrl-C to the process group while a child with this argument starts."""

    def __reduce__(self) -> Any:
        return _ctrl_c, ()


def _ctrl_c() -> None:
    os.killpg(0, signal.SIGINT)


def report_start(connection: Any, _argument: Any) -> None:
    spawning.become_service()
    connection.send("up")


def answer_of(payload: bytes) -> Any:
    """The attribute `answer` of a packed class, unpacked in a child."""
    return spawning.unpack(payload).answer
