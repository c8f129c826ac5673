"""The control socket: answers and read-only descriptors for clients of the same user, however they behave."""

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
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared.buffers.memory import arena_of, shared_array
from openhsi_shared.control import control_socket, messages
from openhsi_shared.control.control_socket import (
    ControlSocket,
    Reply,
    find_sockets,
    request,
    runtime_directory,
    socket_path,
)
from openhsi_shared.control.messages import (
    ANSWERS,
    AskGlance,
    AskSlots,
    AskStatus,
    Refused,
    StatusNow,
    Stop,
    Stopping,
    decode,
    encode,
)
from openhsi_shared.errors import ClosedError, RecordingError
from openhsi_shared.frames.losses import IdRange
from tests.support.control import SLOTS, STATUS, glance
from tests.support.helpers import environment, run_python, wait_for


@pytest.fixture(autouse=True)
def runtime(monkeypatch):
    """Give a runtime directory of its own, with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="ohs") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder) / "openhsi_shared"


def serve(asked):
    """Answer as a camera does that can be watched, and not stopped."""
    match asked:
        case AskStatus():
            return Reply(StatusNow(STATUS))
        case AskGlance():
            return Reply(glance())
    raise RecordingError(f"{type(asked).__name__} is refused")


def answers(path):
    """Whether a well-behaved client is served."""
    return request(path, AskStatus()) == (StatusNow(STATUS), [])


def test_a_client_gets_the_answer_to_its_request():
    with closing(ControlSocket("test", serve)) as server:
        assert request(server.path, AskStatus()) == (StatusNow(STATUS), [])
        assert request(server.path, AskGlance()).answer == glance()


def test_what_is_refused_is_raised_and_the_next_request_is_answered():
    with closing(ControlSocket("test", serve)) as server:
        with pytest.raises(RecordingError, match=r"^Stop is refused$"):
            request(server.path, Stop())
        assert answers(server.path)


@pytest.mark.parametrize(
    ("error", "expected"),
    [(ClosedError("the camera is closed"), "^the camera is closed$"), (KeyError("lines"), "^KeyError: 'lines'$")],
)
def test_an_answer_that_fails_is_reported_and_the_next_request_is_answered(error, expected):
    def answer(asked):
        if isinstance(asked, Stop):
            raise error
        return serve(asked)

    with closing(ControlSocket("test", answer)) as server:
        with pytest.raises(RecordingError, match=expected):
            request(server.path, Stop())
        assert answers(server.path)


def test_an_answer_of_another_type_is_an_error():
    with closing(ControlSocket("test", lambda asked: Reply(Stopping()))) as server:
        with pytest.raises(RecordingError, match="answered AskStatus with Stopping"):
            request(server.path, AskStatus())
        request(server.path, Stop())


def test_only_its_owner_may_send_requests(runtime):
    with closing(ControlSocket("test", serve)) as server:
        assert server.path == runtime / "test.sock" == socket_path("test")
        assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(runtime.stat().st_mode) == 0o700


def test_mask_of_the_program_is_as_before():
    before = os.umask(0o022)
    try:
        with closing(ControlSocket("test", serve)):
            assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_answer_may_be_large():
    status = replace(STATUS, lost_ids=tuple(IdRange(k, k) for k in range(0, 80_000, 2)))
    with closing(ControlSocket("test", lambda asked: Reply(StatusNow(status)))) as server:
        assert request(server.path, AskStatus()).answer.status == status


# ---- versions ----


def exchange(path, line):
    """Send any line, and return the answer as it came."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        client.sendall(line)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(1 << 16), b""))


def test_a_server_answers_another_version_with_its_own_and_goes_on():
    with closing(ControlSocket("test", serve)) as server:
        answer = exchange(server.path, b'{"version": 99, "type": "AskStatus", "fields": {"of": "the future"}}\n')
        refused = decode(answer, ANSWERS)
        assert isinstance(refused, Refused)
        assert "version 99 of the control socket, this one version 6" in refused.why
        assert answers(server.path)


def test_a_client_of_another_version_raises_one_error_with_both_versions():
    program = """
from openhsi_shared.control import messages
messages.VERSION = 99
from openhsi_shared.control.control_socket import find_sockets, request
try:
    request(find_sockets()[0], messages.AskStatus())
except Exception as error:
    print(type(error).__name__, error)
"""
    with closing(ControlSocket("test", serve)) as server:
        done = run_python("-c", program)
        assert done.stdout.startswith(
            "RecordingError the other program uses version 6 of the control socket, this one version 99: "
        ), done.stderr
        assert answers(server.path)


def test_descriptors_of_another_version_are_closed(monkeypatch):
    with closing(ControlSocket("test", lambda asked: Reply(SLOTS, [os.open(os.devnull, os.O_RDONLY)]))) as server:
        before = n_descriptors()
        encode_here = control_socket.encode
        newer = json.dumps(json.loads(encode(SLOTS)) | {"version": 99}).encode() + b"\n"
        monkeypatch.setattr(control_socket, "encode", lambda m: newer if m is SLOTS else encode_here(m))
        with pytest.raises(RecordingError, match="version 99"):
            request(server.path, AskSlots())
        wait_for(lambda: n_descriptors() <= before)
    assert messages.VERSION == 6


def test_decoding_of_requests_is_prepared_before_the_first_one():
    messages._validator.cache_clear()
    with closing(ControlSocket("test", serve)):
        n_prepared = messages._validator.cache_info().misses
        for kind in messages.REQUESTS.values():
            given = {messages.SetParameter: ("scale", "2"), messages.Mark: ("here", 1)}.get(kind, ())
            messages.decode(encode(kind(*given)), messages.REQUESTS)
        assert messages._validator.cache_info().misses == n_prepared == len(messages.REQUESTS)


# ---- descriptors ----


def n_descriptors():
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


@pytest.fixture
def shared_slots():
    """Serve an array, read-only, as a recording does."""
    array = shared_array("B", 5 << 20, "lines")
    arena, start = arena_of(array)
    slots = replace(SLOTS, export=replace(SLOTS.export, starts={"lines": start}))

    def answer(asked):
        return Reply(slots, [os.open(f"/proc/self/fd/{arena.fd}", os.O_RDONLY)])

    with closing(ControlSocket("test", answer)) as server:
        yield server, np.frombuffer(array, np.uint8)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="opened through /proc")
def test_slots_can_be_read_and_not_changed(shared_slots):
    server, items = shared_slots
    slots, [descriptor] = request(server.path, AskSlots())
    try:
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as seen:
            items[7] = 42
            assert seen[slots.export.starts["lines"] + 7] == 42
        with pytest.raises(PermissionError):
            mmap.mmap(descriptor, 0, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(descriptor, b"x")
    finally:
        os.close(descriptor)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="opened through /proc")
def test_clients_cost_the_recording_no_descriptor(shared_slots):
    server, _ = shared_slots
    gc.collect()
    before = n_descriptors()
    for _ in range(30):
        for descriptor in request(server.path, AskSlots()).descriptors:
            os.close(descriptor)
    with socket.socket(socket.AF_UNIX) as rude:  # disconnects before it has the answer
        rude.connect(str(server.path))
        rude.sendall(encode(AskSlots()))
    wait_for(lambda: n_descriptors() <= before)


# ---- clients that behave badly ----


def connect(server):
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(server.path))
    return client


def test_silent_clients_delay_neither_the_others_nor_the_end(monkeypatch):
    monkeypatch.setattr(control_socket, "TIMEOUT_S", 1000.0)
    server = ControlSocket("test", serve)
    silent = [connect(server) for _ in range(5)]
    assert answers(server.path)
    server.close()
    for client in silent:
        client.close()


def test_a_client_that_never_stops_sending_is_disconnected():
    with closing(ControlSocket("test", serve)) as server, connect(server) as client:
        client.settimeout(20)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            client.sendall(b"x" * (1 << 24))
        assert answers(server.path)


@pytest.mark.parametrize("line", [b"\n", b"hello\n", b"[]\n", b"\xff\xfe\n", b"{}\n", b'{"version": 1}\n'])
def test_garbage_gets_an_error_and_does_no_harm(line):
    with closing(ControlSocket("test", serve)) as server:
        assert isinstance(decode(exchange(server.path, line), ANSWERS), Refused)
        assert answers(server.path)


@pytest.mark.parametrize("line", [b"", b"{}", b"half a line"])
def test_a_line_without_an_end_gets_no_answer_and_does_no_harm(line):
    with closing(ControlSocket("test", serve)) as server:
        assert exchange(server.path, line) == b""
        assert answers(server.path)


def test_half_an_answer_is_an_error_and_leaks_no_descriptor():
    path = runtime_directory() / "half.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        before = n_descriptors()

        def die_while_answering():
            client, _ = listener.accept()
            with client:
                client.recv(1000)
                socket.send_fds(client, [b"{"], [listener.fileno()])

        thread = threading.Thread(target=die_while_answering)
        thread.start()
        with pytest.raises(OSError, match=r"closed by|reset"):
            request(path, AskSlots())
        thread.join()
        wait_for(lambda: n_descriptors() <= before)  # of servers before, the last ones may have been open


# ---- opening, closing, finding ----


def test_close_is_idempotent():
    server = ControlSocket("test", serve)
    server.close()
    server.close()
    assert not server.path.exists()
    with pytest.raises(FileNotFoundError):
        request(server.path, AskStatus())


def test_sockets_that_are_open_are_found(runtime):
    with closing(ControlSocket("one", serve)) as one, closing(ControlSocket("two", serve)) as two:
        assert find_sockets() == [one.path, two.path]
        assert answers(one.path)
    assert find_sockets() == []
    assert list(runtime.iterdir()) == []


def test_the_socket_of_a_dead_recording_is_removed_and_its_name_can_be_taken_again(runtime):
    program = """
import signal
from openhsi_shared.control.control_socket import ControlSocket, Reply
ControlSocket("dead", Reply)
print("open", flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", program], env=environment(), stdout=subprocess.PIPE) as recording:
        recording.stdout.readline()
        assert find_sockets() == [runtime / "dead.sock"]
        recording.send_signal(signal.SIGKILL)
        recording.wait()
    assert (runtime / "dead.sock").exists()
    with closing(ControlSocket("dead", serve)) as server:
        assert find_sockets() == [server.path]
        assert answers(server.path)
    (runtime / "dead.sock").touch()  # not even a socket
    assert find_sockets() == []
    assert not (runtime / "dead.sock").exists()


def test_a_socket_has_its_name_only_when_a_process_listens(runtime):
    """Else another process that looks for sockets would remove it as that of a dead one."""
    program = """
import select, sys
from openhsi_shared.control.control_socket import find_sockets
print("looking", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    find_sockets()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as finder:
        finder.stdout.readline()
        for n in range(200):
            with closing(ControlSocket(f"socket{n}", serve)) as server:
                assert server.path.exists()
        finder.stdin.close()
        assert finder.wait(60) == 0


def test_second_terminal_finds_it_and_sends_requests():
    program = """
import json
from openhsi_shared.control.control_socket import find_sockets, request
from openhsi_shared.control.messages import AskStatus
print(json.dumps([request(path, AskStatus()).answer.status.lines for path in find_sockets()]))
"""
    with closing(ControlSocket("test", serve)):
        done = run_python("-c", program)
    assert json.loads(done.stdout) == [STATUS.lines], done.stderr


def test_name_too_long_for_a_socket_is_an_error_that_leaves_nothing(runtime):
    with pytest.raises(OSError, match="too long"):
        ControlSocket("x" * 120, serve)
    assert list(runtime.iterdir()) == []


def test_directory_of_the_user_is_taken_where_the_session_has_none(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = runtime_directory()
    assert folder == tmp_path / f"openhsi_shared-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.root
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root, to give a directory to another user")
def test_directory_of_another_user_is_refused(runtime):
    runtime.mkdir()
    os.chown(runtime, 12345, 12345)
    with pytest.raises(RecordingError, match="belongs to another user: set XDG_RUNTIME_DIR"):
        runtime_directory()


def test_a_failure_of_the_socket_is_logged_and_others_are_refused_at_once(monkeypatch, caplog):
    with closing(ControlSocket("test", serve)) as server:
        monkeypatch.setattr(ControlSocket, "_receive", property(lambda _: 1 / 0))
        with pytest.raises(OSError):  # noqa: PT011 - whichever comes first
            request(server.path, AskStatus())
        wait_for(lambda: not server.path.exists())
        with pytest.raises(OSError, match="No such file"):
            request(server.path, AskStatus())
        wait_for(lambda: "requests are no longer answered: ZeroDivisionError" in caplog.text)


def test_the_socket_of_a_program_that_was_killed_is_removed_by_the_next_one(runtime):
    from openhsi_shared.control.control_socket import ControlSocket, socket_path

    left = socket_path("recording-1")
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(left))
    opened = ControlSocket("recording-2", lambda _: None)
    try:
        wait_for(lambda: not left.exists())
        assert opened.path.exists()
    finally:
        opened.close()
