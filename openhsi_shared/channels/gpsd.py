"""GPS receivers behind gpsd, which knows many protocols and shares a receiver among programs. No package is needed.

Notes:
- gpsd accepts a client and says nothing for about 4 s while it probes its receiver: the state is `connecting`.
- An epoch comes as several reports (TPV) with the same time, the first often without altitude. Each is delivered; of
  equal stamps the last one counts.
- Roll-overs and leap seconds are repaired by gpsd; what it says of both is kept (`leap_seconds`, `rollovers`).
- gpsd says when it received a report. Where it runs on this computer, that is the time of arrival: closer than that of
  its message, which has passed another program and a socket.
- If gpsd dies, it is connected again each second. When its receiver is gone, gpsd 3.22 says nothing: after 15 s of
  silence the state is `lost`, and a new connection asks what receivers there are. Plugged in again, a receiver must be
  given to gpsd again, as udev does for USB (else `gpsdctl add`).
"""

import ipaddress
import json
import math
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from openhsi_shared.channels.delivering import Deliver
from openhsi_shared.channels.gps_fields import FIELDS, describe_altitude, in_order
from openhsi_shared.channels.reconnecting import ReconnectingChannel
from openhsi_shared.errors import ArgumentError
from openhsi_shared.given_numbers import is_finite, is_whole
from openhsi_shared.line_times import ns_of_iso
from openhsi_shared.matching.states import State

__all__ = ["GpsdChannel"]

PORT = 2947
CONNECT_S = 5.0
LOOK_S = 0.1
SILENT_S = 15.0
"""gpsd says nothing when its receiver is gone; a new connection shows whether it has one."""
MAX_REPORT = 1 << 20
WATCH = b'?WATCH={"enable":true,"json":true,"pps":true,"timing":true};\n'
MAX_AGE_NS = 5_000_000_000
"""A report that gpsd received longer ago than this comes from another clock."""
MAX_OWN_AGE_NS = 2_500_000_000
"""What a report without position (SKY, ATT) said longer ago is not true of a fix any more."""
DATA = frozenset({"TPV", "SKY", "ATT", "PPS", "TOFF"})
FIX_OF_STATUS = {0: 0, 1: 1, 2: 2, 3: 4, 4: 5, 5: 6, 6: 6, 7: 6, 8: 8, 9: 3}
"""Quality of a fix as GGA counts it, of gpsd's `status`: 5 to 7 are dead reckoning and surveyed in, 9 is P(Y)."""


class GpsdChannel(ReconnectingChannel):
    """A receiver behind gpsd at `host`:`port`. Fields: see `gps_fields.FIELDS`.

    `device`: of several receivers the one with this path; needed where there are several, whose fixes would mix.
    """

    def __init__(
        self,
        name: str,
        host: str = "127.0.0.1",
        port: int = PORT,
        *,
        device: str | None = None,
        clock: str = "fit",
        **of_a_channel: Any,
    ) -> None:
        """`of_a_channel`: see `Channel`. ArgumentError for a port that is none."""
        if not is_whole(port) or not 0 < port < 65536:
            raise ArgumentError(f"channel {name!r}: port must be a number from 1 to 65535, got {port!r}")
        super().__init__(name, fields=FIELDS, clock=clock, **{"source": f"gpsd:{host}:{port}", **of_a_channel})
        self.host, self.port, self.device = host, int(port), device
        self._altitude_above: str | None = None

    @classmethod
    def from_address(cls, rest: str, name: str, **keywords: Any) -> "GpsdChannel":
        """Return the channel of "gpsd:", "gpsd:HOST" or "gpsd:HOST:PORT"; an IPv6 address stands in brackets.

        ArgumentError for other texts.
        """
        host, port = rest, ""
        if not rest.endswith("]"):
            before, _, after = rest.rpartition(":")
            if after.isdigit() or not after:
                host, port = before, after
            elif before and ":" not in before:
                raise ArgumentError(f"channel {name!r}: expected gpsd:HOST:PORT with a number as port, got gpsd:{rest}")
        host = host.removeprefix("[").removesuffix("]")
        return cls(name, host or "127.0.0.1", int(port) if port else PORT, **keywords)

    def close(self) -> None:
        """See `Channel.close`."""
        super().close()
        self._altitude_above = None

    def _connect(self) -> Any:
        try:
            link = socket.create_connection((self.host, self.port), CONNECT_S)
        except OSError as error:
            raise OSError(error.errno, f"no gpsd at {self.host}:{self.port}: {error.strerror or error}") from error
        link.settimeout(LOOK_S)
        return closing(link)

    def _listen(self, connection: socket.socket, deliver: Deliver, stopping: threading.Event) -> None:
        connection.sendall(WATCH)
        reports = _Reports(deliver, _is_this_computer(connection), self.device, self._altitude_above)
        for line in _lines(connection, stopping):
            now_ns = time.monotonic_ns()
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                deliver.refuse(f"{line!r:.60} from gpsd is no JSON")
                continue
            if isinstance(message, dict):
                try:
                    reports.take(message, now_ns)
                except Exception as error:  # noqa: BLE001 - whatever another program sends, the next report may be good
                    deliver.refuse(f"{line!r:.60} from gpsd: {type(error).__name__}: {error}")
                self._altitude_above = reports.altitude_above


def _lines(connection: socket.socket, stopping: threading.Event) -> Iterator[bytes]:
    """Yield what gpsd sends until `stopping` is set. ConnectionError when it has ended, is silent, or is no gpsd."""
    rest, last = b"", time.monotonic()
    while not stopping.is_set():
        try:
            data = connection.recv(65536)
        except TimeoutError:
            if time.monotonic() - last > SILENT_S:
                raise ConnectionError(
                    f"gpsd has said nothing for {SILENT_S:g} s: its receiver is gone, or it hangs"
                ) from None
            continue
        if not data:
            raise ConnectionError("gpsd has closed the connection")
        last = time.monotonic()
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
        if len(rest) > MAX_REPORT:
            raise ConnectionError("what answers there is no gpsd: it sends no lines")


def _is_this_computer(connection: socket.socket) -> bool:
    host = connection.getpeername()[0]
    return host == connection.getsockname()[0] or ipaddress.ip_address(host.partition("%")[0]).is_loopback


class _Reports:
    """What gpsd has said, until it makes a fix."""

    def __init__(
        self, deliver: Deliver, is_this_computer: bool, device: str | None, altitude_above: str | None
    ) -> None:
        self._deliver, self._is_here = deliver, is_this_computer
        self._device, self._is_given = device, device is not None
        self._values: dict[str, float] = {}
        self._own: dict[str, tuple[int, float]] = {}
        self.altitude_above = altitude_above  # also of earlier connections: never above another surface
        self._latest_ns = 0
        self._said: dict[str, Any] = {}

    def take(self, message: Mapping[str, Any], now_ns: int) -> None:
        """Take one message."""
        kind = message.get("class")
        if kind in DATA and self._is_of_another(str(message.get("device", ""))):
            return
        if kind == "TPV":
            self._take_fix(message, now_ns)
        elif kind == "SKY":
            self._keep(_satellites(message) | _numbers(message, {"hdop": "hdop", "uSat": "satellites"}), now_ns)
        elif kind == "ATT":
            self._keep(_numbers(message, {"heading": "heading", "roll": "roll", "pitch": "pitch"}), now_ns)
        elif kind in ("PPS", "TOFF"):
            self._take_offset(kind, message)
        elif kind == "DEVICE" and message.get("activated") == 0 and message.get("path") == self._device:
            self._forget_device(message.get("path"))
        elif kind == "DEVICES" and not message.get("devices"):
            self._deliver.state(State.LOST, "gpsd has no receiver")
        elif kind == "VERSION":
            self._say(gpsd=str(message.get("release")))
        elif kind == "ERROR":
            self._say(error=str(message.get("message"))[:200])

    def _is_of_another(self, device: str) -> bool:
        """Whether a report is of another receiver than the given one, or else the first that has spoken."""
        if not device:
            return False
        self._device = self._device or device
        if device == self._device:
            return False
        if not self._is_given:
            self._deliver.refuse(f"gpsd has several receivers, {self._device} and {device}: name one by device=")
        return True

    def _forget_device(self, path: Any) -> None:
        """The receiver is gone, and may come back as another device."""
        self._deliver.state(State.LOST, f"gpsd has no receiver at {path} any more")
        if not self._is_given:
            self._device = None

    def _take_fix(self, message: Mapping[str, Any], now_ns: int) -> None:
        mode = message.get("mode", 0)
        if mode < 2:
            if mode == 1:
                self._values = {}
                self._deliver.state(State.NO_FIX, "the receiver has no position")
            return
        time_ns = _time_ns(message.get("time"))
        if time_ns is None:
            self._deliver.refuse(f"a fix without a valid time: {message.get('time')!r}")
            return
        if time_ns < self._latest_ns:
            back_s = (self._latest_ns - time_ns) / 1e9
            self._latest_ns = time_ns
            self._deliver.state(State.JUMPED, f"the receiver's clock was set back by {back_s:.3f} s")
            self._deliver.refuse(f"a stamp steps back by {back_s:.3f} s")
            return
        if time_ns > self._latest_ns:
            self._values = {}
        self._latest_ns = time_ns
        self._values |= _numbers(
            message, {"lat": "latitude", "lon": "longitude", "speed": "speed", "track": "course", "mode": "mode"}
        )
        self._values["fix"] = float(FIX_OF_STATUS.get(message.get("status", 1), math.nan))
        self._take_altitude(message)
        self._say(**{name: message[theirs] for theirs, name in SAID.items() if theirs in message})
        self._deliver.state(State.GOOD)
        own = {name: value for name, (came_ns, value) in self._own.items() if now_ns - came_ns < MAX_OWN_AGE_NS}
        self._deliver.sample(in_order(self._values | own), time_ns, arrival_ns=self._arrival_ns(message, now_ns))

    def _keep(self, values: Mapping[str, float], now_ns: int) -> None:
        """Keep what comes in reports of its own, for the fixes of the next seconds."""
        self._own |= {name: (now_ns, value) for name, value in values.items()}

    def _take_altitude(self, message: Mapping[str, Any]) -> None:
        heights = _numbers(message, {"altHAE": "ellipsoid", "altMSL": "geoid"})
        if heights and self.altitude_above is None:
            self.altitude_above = "ellipsoid" if "ellipsoid" in heights else "geoid"
            describe_altitude(self._deliver, self.altitude_above)
        if self.altitude_above in heights:
            self._values["altitude"] = heights[self.altitude_above]

    def _arrival_ns(self, message: Mapping[str, Any], now_ns: int) -> int:
        received_ns = _received_ns(message.get("rtime")) if self._is_here else None
        age_ns = -1 if received_ns is None else time.time_ns() - (time.monotonic_ns() - now_ns) - received_ns
        is_usable = 0 <= age_ns < MAX_AGE_NS  # else this computer's clock was set in between
        self._say(arrival="gpsd" if is_usable else "message")
        return now_ns - age_ns if is_usable else now_ns

    def _take_offset(self, kind: str, message: Mapping[str, Any]) -> None:
        """Describe the offset of this computer's clock as gpsd sees it: at a pulse (PPS), or at messages (TOFF)."""
        try:
            real_ns = int(message["real_sec"]) * 10**9 + int(message["real_nsec"])
            clock_ns = int(message["clock_sec"]) * 10**9 + int(message["clock_nsec"])
        except (KeyError, TypeError, ValueError):
            return
        if self._is_here:  # else it is the offset of another computer's clock
            name = kind.lower()
            self._deliver.describe(**{f"{name}_offset_s": (real_ns - clock_ns) / 1e9, f"{name}_time_ns": clock_ns})

    def _say(self, **more: Any) -> None:
        new = {name: value for name, value in more.items() if self._said.get(name) != value}
        if new:
            self._said |= new
            self._deliver.describe(**new)


SAID = {"leapseconds": "leap_seconds", "rollovers": "rollovers", "device": "device"}


def _satellites(message: Mapping[str, Any]) -> dict[str, float]:
    """Count the satellites that are used, where gpsd does not."""
    seen = message.get("satellites")
    return {"satellites": float(sum(bool(one.get("used")) for one in seen))} if isinstance(seen, list) else {}


def _received_ns(value: Any) -> int | None:
    """Return ns since 1970 of `rtime`: seconds, or a time as text."""
    return round(value * 1e9) if is_finite(value) else _time_ns(value)


def _numbers(message: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, float]:
    found = {ours: message.get(theirs) for theirs, ours in names.items()}
    return {ours: float(value) for ours, value in found.items() if is_finite(value)}


def _time_ns(text: Any) -> int | None:
    """Return ns since 1970 of a time such as 2020-07-11T22:37:45.000Z; None if it is none."""
    is_leap = isinstance(text, str) and text[16:19] == ":60"  # a leap second: the first of the next minute
    time_ns = ns_of_iso(f"{text[:16]}:59{text[19:]}" if is_leap else text)
    return time_ns if time_ns is None else time_ns + is_leap * 10**9
