"""A system without descriptors or threads costs the control socket single clients, for as long as that lasts."""

import os
import resource
import socket
from contextlib import closing

import pytest

from openhsi_shared.control.control_socket import ControlSocket, Reply, open_socket, request
from openhsi_shared.control.messages import Stop, Stopping
from openhsi_shared.processes.supervision import GuardedThread
from tests.support.helpers import wait_for

pytestmark = pytest.mark.usefixtures("runtime")


def serve(_):
    return Reply(Stopping())


def test_without_descriptors_clients_wait_and_are_served_when_there_are_some(caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with closing(ControlSocket("test", serve)) as server, socket.socket(socket.AF_UNIX) as client:
        os.close(first_free := os.dup(0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, hard))
        try:
            client.connect(str(server.path))
            wait_for(lambda: "control socket: clients have to wait: [Errno 24]" in caplog.text)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert request(server.path, Stop()).answer == Stopping()


def test_without_threads_a_client_is_disconnected_and_the_next_one_is_served(monkeypatch, caplog):
    with closing(ControlSocket("test", serve)) as server:
        with monkeypatch.context() as patch:
            patch.setattr(GuardedThread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("no more threads")))
            with pytest.raises(OSError):  # noqa: PT011 - the connection is closed or reset
                request(server.path, Stop())
        wait_for(lambda: "control socket: a client was disconnected: no more threads" in caplog.text)
        assert request(server.path, Stop()).answer == Stopping()


def test_where_no_thread_can_be_started_there_is_no_socket_and_nothing_is_left(monkeypatch, caplog, runtime):
    with monkeypatch.context() as patch:
        patch.setattr(GuardedThread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("no more threads")))
        assert open_socket("test", serve) is None
    assert "control socket unavailable: live view disabled: [Errno 11] no more threads" in caplog.text
    assert [path for path in runtime.rglob("*") if path.is_socket()] == []
    with closing(ControlSocket("test", serve)) as server:
        assert request(server.path, Stop()).answer == Stopping()
