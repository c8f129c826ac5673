"""GPS receivers at a pseudo terminal: they speak NMEA in real time, with a clock of their own; and a real gpsd."""

import contextlib
import os
import pty
import re
import shutil
import socket
import subprocess
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.channels.servers import free_port
from tests.support.helpers import TIMEOUT_S, wait_for

GPSD = shutil.which("gpsd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
LATITUDE, LONGITUDE = 38.0, -122.0
SPEED = 1e-4
"""Degrees of latitude per second of the day."""


def nmea(body: str) -> bytes:
    """Return the sentence with its checksum."""
    checksum = 0
    for character in body:
        checksum ^= ord(character)
    return f"${body}*{checksum:02X}\r\n".encode()


def degrees(value: float, width: int, signs: str) -> str:
    """Return degrees as NMEA spells them, such as "3806.62964,N"."""
    minutes = round(abs(value) * 60, 6)
    return f"{int(minutes // 60):0{width}d}{minutes % 60:09.6f},{signs[value < 0]}"


def latitude_at(stamp_s: float) -> float:
    """Where the receiver of `epoch` is."""
    return LATITUDE + SPEED * (stamp_s % 86400)


def epoch(stamp_s: float, *, has_fix: bool = True, kinds: str = "RMC GGA ZDA VTG") -> bytes:
    """Sentences of one fix at this UTC time."""
    moment = datetime.fromtimestamp(stamp_s, UTC)
    clock = f"{moment:%H%M%S}.{moment.microsecond // 10000:02d}"
    place = f"{degrees(latitude_at(stamp_s), 2, 'NS')},{degrees(LONGITUDE, 3, 'EW')}"
    status, mode, quality = ("A", "A", 1) if has_fix else ("V", "N", 0)
    bodies = {
        "RMC": f"GPRMC,{clock},{status},{place if has_fix else ',,,'},10.0,90.0,{moment:%d%m%y},,,{mode}",
        "GGA": f"GPGGA,{clock},{place if has_fix else ',,,'},{quality},08,0.9,100.0,M,-29.5,M,,",
        "ZDA": f"GPZDA,{clock},{moment:%d,%m,%Y},00,00",
        "VTG": "GPVTG,90.0,T,,M,10.0,N,18.5,K,A",
    }
    return b"".join(nmea(bodies[kind]) for kind in kinds.split())


class Receiver:
    """A receiver at a pseudo terminal; `port` is the name of its serial port, a link that one can unplug."""

    def __init__(self, directory: Path) -> None:
        self.port = str(directory / "ttyGPS")
        self._master = self._slave = -1
        self.plug_in()

    def plug_in(self) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._master)
        tty.setraw(self._slave)
        name = os.ttyname(self._slave)
        os.chmod(name, 0o666)  # gpsd becomes another user  # noqa: PTH101
        Path(self.port).symlink_to(name)

    def unplug(self) -> None:
        Path(self.port).unlink(missing_ok=True)
        for descriptor in (self._master, self._slave):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._master = self._slave = -1

    def say(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # unplugged
            os.write(self._master, data)


@contextmanager
def receiver(directory: Path) -> Iterator[Receiver]:
    """A receiver that says only what the test lets it say."""
    found = Receiver(directory)
    try:
        yield found
    finally:
        found.unplug()


@contextmanager
def speaking(
    one: Receiver,
    *,
    ahead_s: float = 0.0,
    late_s: float = 0.0,
    rate: float = 5.0,
    what: Callable[[float], bytes] = epoch,
) -> Iterator[None]:
    """Let it speak in real time: its clock is `ahead_s` ahead of this computer's; it speaks `late_s` after its fix."""
    stopping = threading.Event()

    def speak() -> None:
        due = time.time()
        while not stopping.is_set():
            due = (int(due * rate) + 1) / rate
            if not stopping.wait(max(0.0, due + late_s - time.time())):
                one.say(what(round(due + ahead_s, 3)))

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(TIMEOUT_S)


@contextmanager
def playing(one: Receiver, log: Path, speed: float = 1.0) -> Iterator[None]:
    """Let it speak a log, at the pace of its times; pauses are at most 3 s."""
    stopping = threading.Event()

    def play() -> None:
        before = None
        for line in log.read_bytes().splitlines(keepends=True):
            match = re.match(rb"\$..(?:RMC|GGA),(\d\d)(\d\d)(\d\d(?:\.\d+)?),", line)
            if match:
                now = (float(match[1]) * 60 + float(match[2])) * 60 + float(match[3])
                if before is not None and stopping.wait(min(max(0.0, now - before), 3.0) / speed):
                    return
                before = now
            one.say(line.rstrip() + b"\r\n")

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(TIMEOUT_S)


class Gpsd:
    """A real gpsd on a serial port."""

    def __init__(self, device: str) -> None:
        self.port = free_port()
        self._device = device
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert GPSD is not None
        self._process = subprocess.Popen(
            [GPSD, "-N", "-n", "-S", str(self.port), self._device],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._answers, TIMEOUT_S)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(TIMEOUT_S)


@contextmanager
def gpsd(device: str) -> Iterator[Gpsd]:
    """A gpsd that is killed at the end."""
    found = Gpsd(device)
    found.start()
    try:
        yield found
    finally:
        found.kill()
