"""A real gpsd on a pseudo terminal with a receiver whose clock is 3.25 s ahead; and gpsds that answer nonsense."""

import contextlib
import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared.channels import gpsd as module
from openhsi_shared.channels.addresses import channel_from_text
from openhsi_shared.channels.gps_fields import FIELDS
from openhsi_shared.channels.gpsd import GpsdChannel
from openhsi_shared.errors import ArgumentError
from openhsi_shared.matching.states import State
from openhsi_shared.testing import ChannelContract
from tests.channels.heard import heard
from tests.channels.receivers import GPSD, epoch, gpsd, latitude_at, receiver, speaking
from tests.support.helpers import TIMEOUT_S, wait_for

NAMES = [field.name for field in FIELDS]
needs_gpsd = pytest.mark.skipif(GPSD is None, reason="gpsd is missing: apt-get install gpsd")


@needs_gpsd
def test_a_real_gpsd_is_followed_through_silence_death_and_loss_of_the_fix(tmp_path: Path) -> None:
    kinds = {"has_fix": True}
    with (
        receiver(tmp_path) as one,
        speaking(one, ahead_s=3.25, late_s=0.08, rate=5, what=lambda stamp: epoch(stamp, **kinds)),
        gpsd(one.port) as daemon,
        heard(GpsdChannel("gps", port=daemon.port)) as found,
    ):
        assert found.states == [State.CONNECTING]  # gpsd accepts, and probes its receiver for some seconds
        samples = found.wait_for_samples(10)
        _check(samples)
        assert found.description["arrival"] == "gpsd"
        assert found.description["altitude_above"] == "ellipsoid"
        assert found.description["toff_offset_s"] == pytest.approx(3.17, abs=0.08)
        kinds["has_fix"] = False
        found.wait_for_state(State.NO_FIX)
        kinds["has_fix"] = True
        found.wait_for_state(State.GOOD)
        daemon.send(signal.SIGSTOP)
        daemon.send(signal.SIGCONT)
        daemon.kill()
        found.wait_for_state(State.LOST)
        daemon.start()
        _check(found.wait_for_samples(5))
        assert found.states == [State.CONNECTING, State.GOOD, State.NO_FIX, State.GOOD, State.LOST, State.GOOD]


def _check(samples) -> None:
    stamps = samples.time_ns / 1e9
    assert samples.values[:, 0] == pytest.approx([latitude_at(stamp) for stamp in stamps], abs=1e-7)
    ahead_s = (samples.time_ns - samples.arrival_ns) / 1e9
    assert (ahead_s < 3.17 + 1e-3).all()
    assert (np.diff(samples.time_ns) >= 0).all()


class Answers:
    """A server that sends these messages to each client, then waits."""

    def __init__(self, *messages: object) -> None:
        self._lines = [one if isinstance(one, bytes) else json.dumps(one).encode() + b"\r\n" for one in messages]
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def _serve(self) -> None:
        while True:
            try:
                client = self._server.accept()[0]
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._answer, args=(client,), daemon=True))
            self._threads[-1].start()

    def _answer(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.sendall(b"".join(self._lines))
            while client.recv(4096):
                pass

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(TIMEOUT_S)


@contextlib.contextmanager
def answers(*messages: object) -> Iterator[int]:
    server = Answers(*messages)
    try:
        yield server.port
    finally:
        server.close()


def tpv(time: str, **more: object) -> dict[str, object]:
    fix = {"class": "TPV", "device": "/dev/a", "mode": 3, "time": time, "lat": 38.0, "lon": -122.0, "altHAE": 50.0}
    return fix | more


class TestContract(ChannelContract):
    @pytest.fixture
    def channel(self) -> Iterator[GpsdChannel]:
        with answers(*(tpv(f"2026-05-01T12:00:{second:02d}Z") for second in range(5))) as port:
            yield GpsdChannel("gps", port=port)


def test_satellites_and_attitude_come_in_reports_of_their_own() -> None:
    messages = [
        {"class": "SKY", "device": "/dev/a", "hdop": 0.8, "satellites": [{"used": True}, {"used": False}]},
        {"class": "ATT", "device": "/dev/a", "heading": 91.0, "roll": 1.5, "pitch": -2.0},
        tpv("2026-05-01T12:00:00.250Z", speed=5.0, track=90.0, status=3, leapseconds=18),
    ]
    with answers(*messages) as port, heard(GpsdChannel("gps", port=port)) as found:
        found.wait_for_state(State.GOOD)
        wait_for(lambda: len(found.samples))
        values = dict(zip(NAMES, found.samples.values[0], strict=True))
        position = {"latitude": 38.0, "longitude": -122.0, "altitude": 50.0, "speed": 5.0, "course": 90.0}
        attitude = {"heading": 91.0, "roll": 1.5, "pitch": -2.0}
        assert values == position | attitude | {"fix": 4.0, "satellites": 1.0, "hdop": 0.8, "mode": 3.0}
        assert found.samples.time_ns[0] == 1_777_636_800_250_000_000
        assert found.description["leap_seconds"] == 18


def test_a_pulse_tells_the_offset_of_this_computers_clock() -> None:
    pulse = {"class": "PPS", "device": "/dev/a", "real_sec": 1777636801, "real_nsec": 0}
    clock = {"clock_sec": 1777636797, "clock_nsec": 750_000_000}
    with answers(pulse | clock, pulse) as port, heard(GpsdChannel("gps", port=port)) as found:
        wait_for(lambda: "pps_offset_s" in found.description)
        assert found.description["pps_offset_s"] == 3.25
        assert found.description["pps_time_ns"] == 1_777_636_797_750_000_000


def test_leap_seconds_steps_back_broken_times_and_lines_of_no_json() -> None:
    messages = [
        tpv("2016-12-31T23:59:60.000Z"),
        tpv("2016-12-31T23:59:59.000Z"),
        tpv("yesterday"),
        b"no json\r\n",
        tpv("2017-01-01T00:00:01Z", altHAE=None, altMSL=80.0),
    ]
    with answers(*messages) as port, heard(GpsdChannel("gps", port=port)) as found:
        wait_for(lambda: len(found.samples) == 2)
        midnight = 1_483_228_800 * 10**9
        assert found.samples.time_ns.tolist() == [midnight, midnight + 10**9]
        assert found.samples.counts.refused == 3
        assert State.JUMPED in found.states
        assert np.isnan(found.samples.values[1, 2])  # never above another surface than before


def test_reports_of_another_form_are_refused_and_the_next_ones_are_read() -> None:
    """Other versions, and other programs at this port, send other types."""
    messages = [
        tpv("2026-05-01T12:00:00Z", mode="3D"),
        tpv("2026-05-01T12:00:00Z", status=[1]),
        tpv("2026-05-01T12:00:00Z", lat=10**400),
        {"class": "SKY", "device": "/dev/a", "satellites": [7, None]},
        tpv("9999-05-01T12:00:00Z"),
        b"[" * 50_000 + b"\r\n",
        tpv("2026-05-01T12:00:01Z"),
        tpv("2026-05-01T12:00:02Z", speed=True),
    ]
    with answers(*messages) as port, heard(GpsdChannel("gps", port=port)) as found:
        wait_for(lambda: 1_777_636_802 * 10**9 in found.samples.time_ns)
        values = dict(zip(NAMES, found.samples.values[-1], strict=True))
        assert values["latitude"] == 38.0
        assert np.isnan(values["speed"])
        assert found.samples.counts.refused >= 5
        assert 1_777_636_801 * 10**9 in found.samples.time_ns  # the year 9999 is no time from which it steps back
        assert State.ENDED not in found.states


def test_fixes_of_two_receivers_are_not_mixed() -> None:
    messages = [
        {"class": "TPV", "mode": 0},
        tpv("2026-05-01T12:00:00Z", device="/dev/a"),
        tpv("2026-05-01T12:00:00Z", device="/dev/b", lat=10.0),
    ]
    with answers(*messages) as port:
        with heard(GpsdChannel("gps", port=port)) as found:
            wait_for(lambda: found.samples.counts.refused == 1)
            assert found.samples.values[:, 0].tolist() == [38.0]
        with heard(GpsdChannel("gps", port=port, device="/dev/b")) as found:
            wait_for(lambda: len(found.samples))
            assert found.samples.values[:, 0].tolist() == [10.0]


def test_a_receiver_that_gpsd_has_lost_is_lost() -> None:
    gone = {"class": "DEVICE", "path": "/dev/a", "activated": 0}
    messages = [tpv("2026-05-01T12:00:00Z"), gone]
    back = tpv("2026-05-01T12:00:05Z", device="/dev/b")
    with answers(*messages, back) as port, heard(GpsdChannel("gps", port=port)) as found:
        wait_for(lambda: len(found.samples) == 2)
        assert found.states == [State.CONNECTING, State.GOOD, State.LOST, State.GOOD]
    with answers(*messages) as port, heard(GpsdChannel("gps", port=port)) as found:
        found.wait_for_state(State.LOST)
        assert "'gpsd has no receiver at /dev/a" in repr(found.description["why"])
    with answers({"class": "DEVICES", "devices": []}) as port, heard(GpsdChannel("gps", port=port)) as found:
        found.wait_for_state(State.LOST)


def test_a_gpsd_that_says_nothing_any_more_is_lost_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENT_S", 0.3)
    with answers(tpv("2026-05-01T12:00:00Z")) as port, heard(GpsdChannel("gps", port=port)) as found:
        found.wait_for_state(State.LOST)
        assert "said nothing" in found.description["why"]
        found.wait_for_samples(1)
        assert found.states[:4] == [State.CONNECTING, State.GOOD, State.LOST, State.GOOD]


def test_no_gpsd_there_or_something_else_is_connecting_and_says_why() -> None:
    with answers(b"x" * (2 << 20)) as port, heard(GpsdChannel("gps", port=port)) as found:
        wait_for(lambda: "is no gpsd" in str(found.description.get("why")))
    with heard(GpsdChannel("gps", port=port)) as found:
        wait_for(lambda: "no gpsd at 127.0.0.1" in str(found.description.get("why")))
        assert found.states == [State.CONNECTING]


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("gpsd:", "127.0.0.1", 2947),
        ("gpsd:boat", "boat", 2947),
        ("gpsd:boat:3000", "boat", 3000),
        ("gpsd:[::1]:3000", "::1", 3000),
        ("gpsd:[::1]", "::1", 2947),
    ],
)
def test_addresses_of_gpsd(text: str, host: str, port: int) -> None:
    channel = channel_from_text(text, "gps")
    assert isinstance(channel, GpsdChannel)
    assert (channel.host, channel.port, channel.properties.clock) == (host, port, "fit")


def test_a_port_out_of_range_is_refused() -> None:
    with pytest.raises(ArgumentError, match="1 to 65535"):
        GpsdChannel("gps", port=70000)
