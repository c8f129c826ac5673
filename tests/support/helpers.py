"""What several tests share: waiting, children, programs of their own, and what these children run."""

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

import numpy as np

import openhsi_shared
from openhsi_shared.buffers.slot_memory import SlotMemory
from openhsi_shared.buffers.slot_view import SlotView
from openhsi_shared.processes import spawning
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.spawning import SPAWN, spawn

ROOT = Path(openhsi_shared.__file__).parents[1]
PATIENCE_S = 60.0


def wait_for(what: Callable[[], object], patience_s: float = 20.0) -> None:
    """Wait until `what()` is true; fail, rather than hang, when it never is."""
    end = time.monotonic() + patience_s
    while not what():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {patience_s} s")
        time.sleep(0.005)


def is_installed(package: str) -> bool:
    """Whether it could be imported; it is not."""
    try:
        return find_spec(package) is not None
    except ImportError:
        return False


def environment(**more: str) -> dict[str, str]:
    """Return ours, with the library and these helpers to be found."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path), **more}


def run_python(*arguments: str, stdin: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a Python program to its end; what it wrote is text."""
    return subprocess.run(
        [sys.executable, *arguments],
        input=stdin,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        **more,
    )


@contextmanager
def child(function: Callable[..., Any], *arguments: Any) -> Iterator[tuple[Any, Any]]:
    """Run `function(connection, *arguments)` in a spawned child; gives (process, our end)."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=function, args=(theirs, *arguments))
    spawn(process)
    theirs.close()
    try:
        yield process, ours
    finally:
        ours.close()
        process.join(PATIENCE_S)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def receive(connection: Any) -> Any:
    """Return the next message, or fail."""
    assert connection.poll(PATIENCE_S), "the child says nothing"
    return connection.recv()


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function(*arguments)` returns in a spawned child."""
    with child(_answer, function, arguments) as (process, connection):
        answer = receive(connection)
        process.join(PATIENCE_S)
        assert process.exitcode == 0
    return answer


# ---- what children run ----


def _answer(connection: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    connection.send(function(*arguments))


def put_all(buffer: Any, values: list[Any]) -> int:
    for value in values:
        buffer.put(value)
    return buffer.slots_left


def get_all(buffer: Any) -> list[Any]:
    lines = []
    while not buffer.is_empty():
        lines.append(np.asarray(buffer.get()).tolist())
    return lines


def put_then_wait(connection: Any, buffer: Any, value: Any) -> None:
    """Put one line and wait to be killed."""
    buffer.put(value)
    connection.send("put")
    connection.recv()


def look_at_memory(memory: SlotMemory) -> dict[str, Any]:
    """What a child finds in slots that it was born with."""
    return look_at_slots(SlotView.of(memory))


def look_at_slots(slots: SlotView) -> dict[str, Any]:
    """What there is in slots."""
    lines = [slots.lines(slot) for slot in range(slots.layout.n_slots)]
    return {
        "states": [int(slots.state(slot)) for slot in range(slots.layout.n_slots)],
        "extents": [slots.extent(slot) for slot in range(slots.layout.n_slots)],
        "lines": [line.tolist() for line in lines],
        "addresses": [line.ctypes.data % 4096 for line in lines],
        "ids": [slots.column(slot, "frame_id").tolist() for slot in range(slots.layout.n_slots)],
        "labels": [slots.label(slot) for slot in range(slots.layout.n_slots)],
    }


def serve_deaf(connection: Any) -> None:
    """Be a service: say so, and end when there is nobody left."""
    spawning.become_service()
    connection.send((os.getpid(), os.getsid(0)))
    try:
        connection.recv()
    except EOFError:
        return


def shielding() -> dict[str, Any]:
    """How a child is shielded, before and after it says that it is a service."""
    before = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    spawning.become_service(niceness=3)
    return {
        "born deaf": before,
        "still blocked": signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "ignores": [signal.getsignal(number) == signal.SIG_IGN for number in (signal.SIGINT, signal.SIGHUP)],
        "own session": os.getsid(0) == os.getpid(),
        "niceness": os.nice(0),
        "main": Path(getattr(sys.modules["__main__"], "__file__", "") or "").name,
    }


def watch_parent(connection: Any, parent_id: int, note: str) -> None:
    """Write into the file `note` what came, and at last that the parent is gone; exit with 0 if it hears no more."""
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
    sys.exit(parent.tell("nobody hears this"))


def receive_for(connection: Any, parent_id: int, patience_s: float) -> None:
    """Say what `receive` returns while nothing comes, and then what does come; exit with 0 at the end."""
    parent = Parent(connection, parent_id)
    connection.send(parent.receive(patience_s))
    connection.send(parent.has_message())
    wait_for(parent.has_message)
    connection.send(parent.receive(patience_s))
    sys.exit(0 if parent.receive(PATIENCE_S) is GONE else 3)


def try_to_spawn() -> str:
    """What is said to a worker that must have no children."""
    try:
        spawn(SPAWN.Process(target=put_all, name="a writer"))
    except Exception as error:  # noqa: BLE001 - not swallowed: the test reads it
        return f"{type(error).__name__}: {error}"
    return "started"


class SignalsWhenPickled:
    """Sends Ctrl-C to whoever starts the child that it is an argument of."""

    def __reduce__(self) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return SignalsWhenPickled, ()


class SignalsWhenUnpickled:
    """Sends Ctrl-C to the whole group while the child that it is an argument of comes up."""

    def __reduce__(self) -> Any:
        return _ctrl_c, ()


def _ctrl_c() -> None:
    os.killpg(0, signal.SIGINT)


def say_up(connection: Any, _argument: Any) -> None:
    spawning.become_service()
    connection.send("up")


def answer_of(payload: bytes) -> Any:
    """What a packed class holds, seen in a child."""
    return spawning.unpack(payload).answer
