"""The one door of a recording: words and read-only descriptors, for visitors of the same user, good or bad."""

import gc
import json
import mmap
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared.buffers.memory import arena_of, shared_array
from openhsi_shared.errors import RecordingError
from openhsi_shared.processes import control_socket as door_module
from openhsi_shared.processes.control_socket import Answer, ControlSocket, find_sockets, request, runtime_directory
from tests.support.helpers import environment, run_python, wait_for


@pytest.fixture(autouse=True)
def runtime(monkeypatch):
    """Give a runtime directory of its own, with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="ohs") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder) / "openhsi_shared"


def greet(ask):
    return Answer({"asked": ask})


def test_visitor_gets_an_answer_to_what_it_asks():
    with closing(ControlSocket("test", greet)) as door:
        assert request(door.path, "status") == ({"asked": "status"}, [])
        assert request(door.path, "other") == ({"asked": "other"}, [])


def test_only_its_owner_may_knock(runtime):
    with closing(ControlSocket("test", greet)) as door:
        assert door.path == runtime / "test.sock"
        assert stat.S_IMODE(door.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(runtime.stat().st_mode) == 0o700


def test_mask_of_the_program_is_as_before():
    before = os.umask(0o022)
    try:
        with closing(ControlSocket("test", greet)):
            assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_answer_may_be_large():
    words = {"ids": list(range(100_000))}
    with closing(ControlSocket("test", lambda ask: Answer(words))) as door:
        assert request(door.path, "status")[0] == words


def test_what_json_does_not_know_is_told_as_text():
    with closing(ControlSocket("test", lambda ask: Answer({"where": Path("/data")}))) as door:
        assert request(door.path, "status")[0] == {"where": "/data"}


# ---- descriptors ----


def n_descriptors():
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


@pytest.fixture
def slots_door():
    """Open a door that hands out an array, read-only, as a recording does."""
    array = shared_array("B", 5 << 20, "lines")
    arena, start = arena_of(array)

    def answer(ask):
        return Answer({"start": start}, [os.open(f"/proc/self/fd/{arena.fd}", os.O_RDONLY)])

    with closing(ControlSocket("test", answer)) as door:
        yield door, np.frombuffer(array, np.uint8)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="opened through /proc")
def test_slots_can_be_looked_at_and_not_changed(slots_door):
    door, items = slots_door
    words, [descriptor] = request(door.path, "slots")
    try:
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as seen:
            items[7] = 42
            assert seen[words["start"] + 7] == 42
        with pytest.raises(PermissionError):
            mmap.mmap(descriptor, 0, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(descriptor, b"x")
    finally:
        os.close(descriptor)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="opened through /proc")
def test_visitors_cost_the_recording_no_descriptor(slots_door):
    door, _ = slots_door
    gc.collect()
    before = n_descriptors()
    for _ in range(30):
        for descriptor in request(door.path, "slots")[1]:
            os.close(descriptor)
    with socket.socket(socket.AF_UNIX) as rude:  # asks, and hangs up before it has the answer
        rude.connect(str(door.path))
        rude.sendall(b'{"ask": "slots"}\n')
    wait_for(lambda: n_descriptors() <= before)


# ---- visitors that behave badly ----


def visit(door):
    visitor = socket.socket(socket.AF_UNIX)
    visitor.connect(str(door.path))
    return visitor


def test_silent_visitors_keep_nobody_waiting_neither_the_others_nor_the_end():
    door = ControlSocket("test", greet)
    silent = [visit(door) for _ in range(5)]
    begun = time.monotonic()
    assert request(door.path, "status")[0] == {"asked": "status"}
    door.close()
    assert time.monotonic() - begun < door_module.PATIENCE_S
    for visitor in silent:
        visitor.close()


def test_visitor_that_never_stops_talking_is_shown_out():
    with closing(ControlSocket("test", greet)) as door, visit(door) as visitor:
        visitor.settimeout(20)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            visitor.sendall(b"x" * (1 << 24))
        assert request(door.path, "status")[0] == {"asked": "status"}


@pytest.mark.parametrize("said", [b"", b"\n", b"hello\n", b"[]\n", b"\xff\xfe\n", b"{}"])
def test_nonsense_gets_no_answer_and_does_no_harm(said):
    with closing(ControlSocket("test", lambda ask: Answer({"asked": ask}))) as door:
        with visit(door) as visitor:
            visitor.settimeout(20)
            visitor.sendall(said)
            visitor.shutdown(socket.SHUT_WR)
            assert visitor.recv(100) == b""
        assert request(door.path, "status")[0] == {"asked": "status"}


def test_answer_that_fails_hangs_up_and_the_next_visitor_is_served():
    def answer(ask):
        if ask == "trouble":
            raise RuntimeError("cannot tell")
        return Answer({"asked": ask})

    with closing(ControlSocket("test", answer)) as door:
        with pytest.raises(OSError, match=r"hung up|reset"):
            request(door.path, "trouble")
        assert request(door.path, "status")[0] == {"asked": "status"}


def test_half_an_answer_is_an_error_and_leaks_no_descriptor():
    path = runtime_directory() / "half.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        before = n_descriptors()

        def die_while_answering():
            visitor, _ = listener.accept()
            with visitor:
                visitor.recv(100)
                socket.send_fds(visitor, [b"{"], [listener.fileno()])

        thread = threading.Thread(target=die_while_answering)
        thread.start()
        with pytest.raises(OSError, match=r"hung up|reset"):
            request(path, "slots")
        thread.join()
        assert n_descriptors() == before


# ---- opening, closing, finding ----


def test_door_that_is_closed_twice_is_closed_once():
    door = ControlSocket("test", greet)
    door.close()
    door.close()
    assert not door.path.exists()
    with pytest.raises(FileNotFoundError):
        request(door.path, "status")


def test_doors_that_are_open_are_found(runtime):
    with closing(ControlSocket("one", greet)) as one, closing(ControlSocket("two", greet)) as two:
        assert find_sockets() == [one.path, two.path]
        assert request(one.path, "status")[0] == {"asked": "status"}
    assert find_sockets() == []
    assert list(runtime.iterdir()) == []


def test_door_of_a_dead_recording_is_swept_away_and_its_name_can_be_taken_again(runtime):
    program = """
import signal
from openhsi_shared.processes.control_socket import Answer, ControlSocket
ControlSocket("dead", Answer)
print("open", flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", program], env=environment(), stdout=subprocess.PIPE) as recording:
        recording.stdout.readline()
        assert find_sockets() == [runtime / "dead.sock"]
        recording.send_signal(signal.SIGKILL)
        recording.wait()
    assert (runtime / "dead.sock").exists()
    with closing(ControlSocket("dead", greet)) as door:
        assert find_sockets() == [door.path]
        assert request(door.path, "status")[0] == {"asked": "status"}
    (runtime / "dead.sock").touch()  # not even a socket
    assert find_sockets() == []
    assert not (runtime / "dead.sock").exists()


def test_door_has_its_name_only_when_somebody_listens_behind_it(runtime):
    """Else another process, looking for doors, would take it for that of a dead one and sweep it away."""
    program = """
import select, sys
from openhsi_shared.processes.control_socket import find_sockets
print("looking", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    find_sockets()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as looker:
        looker.stdout.readline()
        for n in range(200):
            with closing(ControlSocket(f"door{n}", greet)) as door:
                assert door.path.exists()
        looker.stdin.close()
        assert looker.wait(20) == 0


def test_second_terminal_finds_and_asks():
    program = """
import json
from openhsi_shared.processes.control_socket import find_sockets, request
print(json.dumps([request(door, "status")[0] for door in find_sockets()]))
"""
    with closing(ControlSocket("test", lambda ask: Answer({"lines": 7}))):
        done = run_python("-c", program)
    assert json.loads(done.stdout) == [{"lines": 7}], done.stderr


def test_name_too_long_for_a_socket_is_an_error_that_leaves_nothing(runtime):
    with pytest.raises(OSError, match="too long"):
        ControlSocket("x" * 120, greet)
    assert list(runtime.iterdir()) == []


def test_directory_of_the_user_is_taken_where_the_session_has_none(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = runtime_directory()
    assert folder == tmp_path / f"openhsi_shared-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.root
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root, to give a directory to somebody else")
def test_directory_of_somebody_else_is_refused(runtime):
    runtime.mkdir()
    os.chown(runtime, 12345, 12345)
    with pytest.raises(RecordingError, match="belongs to somebody else: set XDG_RUNTIME_DIR"):
        runtime_directory()


def test_a_failure_of_the_socket_is_logged_and_others_are_refused_at_once(monkeypatch, caplog):
    with closing(ControlSocket("test", greet)) as door:
        monkeypatch.setattr("openhsi_shared.processes.control_socket.ControlSocket._receive", property(lambda _: 1 / 0))
        with pytest.raises(OSError):  # noqa: PT011 - whichever comes first
            request(door.path, "status")
        wait_for(lambda: not door.path.exists())
        with pytest.raises(OSError, match="No such file"):
            request(door.path, "status")
        wait_for(lambda: "nobody can look from outside any more: ZeroDivisionError" in caplog.text)
