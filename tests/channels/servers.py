"""Servers of channels on loopback, each a process of its own that can be killed, frozen and restarted.

Importing this module sets the environment of EPICS for this process and its children: its own ports, loopback only.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.helpers import TIMEOUT_S, environment

HERE = Path(__file__).parent


def free_port() -> int:
    """Return a port that is free for TCP and UDP now."""
    while True:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            stream.bind(("127.0.0.1", 0))
            with suppress(OSError):
                datagrams.bind(stream.getsockname())
                return int(stream.getsockname()[1])


N_SERVERS = 2
"""Servers of one kind that may run at a time: libca reads their addresses once in a process."""
IOCS, IOCS_PVA, P4P, P4P_TCP = ([free_port() for _ in range(N_SERVERS)] for _ in range(4))
CAPROTO, REPEATER = free_port(), free_port()
os.environ.update(
    EPICS_CA_AUTO_ADDR_LIST="NO",
    EPICS_CA_ADDR_LIST=" ".join(f"127.0.0.1:{port}" for port in (*IOCS, CAPROTO)),
    EPICS_CA_REPEATER_PORT=str(REPEATER),
    EPICS_CA_MAX_ARRAY_BYTES="16777216",
    EPICS_CAS_INTF_ADDR_LIST="127.0.0.1",
    EPICS_CAS_BEACON_ADDR_LIST="127.0.0.1",
    EPICS_CAS_AUTO_BEACON_ADDR_LIST="NO",
    EPICS_PVA_AUTO_ADDR_LIST="NO",
    EPICS_PVA_ADDR_LIST=" ".join(f"127.0.0.1:{port}" for port in (*P4P, *IOCS_PVA)),
    EPICS_PVAS_INTF_ADDR_LIST="127.0.0.1",
    EPICS_PVAS_BEACON_ADDR_LIST="127.0.0.1",
    EPICS_PVAS_AUTO_BEACON_ADDR_LIST="NO",
)


class Server:
    """A server program; `start` waits until it is up."""

    def __init__(self, program: str, *arguments: object, **environment_of_it: str) -> None:
        self._command = [sys.executable, str(HERE / program), *map(str, arguments)]
        self._environment = environment(**environment_of_it)
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> "Server":
        assert self._process is None
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        assert any(line == "up\n" for line in self._process.stdout), f"{self._command} has not started"
        return self

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(TIMEOUT_S)
            assert process.stdout is not None
            process.stdout.close()


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start a server, and kill it at the end."""
    try:
        yield server.start()
    finally:
        server.kill()


def softioc(prefix: str = "T", rate: float = 20.0, number: int = 0) -> Server:
    """An IOC of EPICS base with a, b, c, lamp, text, invalid, never, three, img; `number` < N_SERVERS."""
    port, pva = str(IOCS[number]), str(IOCS_PVA[number])
    return Server(
        "softioc_server.py",
        prefix,
        rate,
        EPICS_CA_SERVER_PORT=port,
        EPICS_CAS_SERVER_PORT=port,
        EPICS_PVA_BROADCAST_PORT=pva,
        EPICS_PVAS_BROADCAST_PORT=pva,
    )


def caproto_ioc(prefix: str = "C", rate: float = 10.0) -> Server:
    """A caproto IOC with stage.x and shutter."""
    port = str(CAPROTO)
    return Server("caproto_server.py", prefix, rate, EPICS_CA_SERVER_PORT=port, EPICS_CAS_SERVER_PORT=port)


def p4p_server(prefix: str = "P", rate: float = 20.0, image_rate: float = 20.0, number: int = 0) -> Server:
    """A PVAccess server with a, c, lamp, text, three, img; `number` < N_SERVERS."""
    return Server(
        "p4p_server.py",
        prefix,
        rate,
        image_rate,
        EPICS_PVAS_BROADCAST_PORT=str(P4P[number]),
        EPICS_PVAS_SERVER_PORT=str(P4P_TCP[number]),
    )


def shots_server(
    transport: str = "pva",
    prefix: str = "S",
    rate: float = 120.0,
    n_shots: int = 360,
    shape: tuple[int, int] = (64, 80),
) -> Server:
    """A server ("pva" or "ca") with a, b, c, img of one stamp a shot, which begin when `go` is put."""
    if transport == "pva":
        ports = {"EPICS_PVAS_BROADCAST_PORT": P4P[0], "EPICS_PVAS_SERVER_PORT": P4P_TCP[0]}
    else:
        ports = {"EPICS_CA_SERVER_PORT": IOCS[0], "EPICS_CAS_SERVER_PORT": IOCS[0]}
        ports |= {"EPICS_PVA_BROADCAST_PORT": IOCS_PVA[0], "EPICS_PVAS_BROADCAST_PORT": IOCS_PVA[0]}
    of_environment = {name: str(port) for name, port in ports.items()}
    return Server("shots_server.py", transport, prefix, rate, n_shots, *shape, **of_environment)
