"""GPS receivers on a (pseudo) serial line, in real time: unplugged, at a wrong baud rate, without fix."""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

pytest.importorskip("pynmea2", reason="pynmea2 is missing: pip install 'openhsi_shared[gps]'")
pytest.importorskip("serial", reason="serial is missing: pip install 'openhsi_shared[gps]'")

from openhsi_shared.channels.addresses import channel_from_text
from openhsi_shared.channels.gps import GpsChannel
from openhsi_shared.channels.gps_fields import FIELDS
from openhsi_shared.channels.log import LogChannel
from openhsi_shared.errors import ArgumentError
from openhsi_shared.matching.states import State
from openhsi_shared.testing import ChannelContract
from tests.channels.heard import heard
from tests.channels.receivers import epoch, latitude_at, nmea, playing, receiver, speaking
from tests.support.helpers import wait_for

DATA = Path(__file__).parents[1] / "data"


class TestContract(ChannelContract):
    n_samples = 2

    @pytest.fixture
    def channel(self, tmp_path: Path) -> Iterator[GpsChannel]:
        with receiver(tmp_path) as one, speaking(one, rate=10):
            yield GpsChannel("gps", one.port)


def test_positions_arrive_with_the_receivers_time(tmp_path: Path) -> None:
    with receiver(tmp_path) as one, heard(GpsChannel("gps", one.port, 115200)) as found:
        assert found.states == [State.CONNECTING]
        with speaking(one, ahead_s=3.25, late_s=0.05, rate=10):
            samples = found.wait_for_samples(5)
    stamps = samples.time_ns / 1e9
    assert samples.values[:, 0] == pytest.approx([latitude_at(stamp) for stamp in stamps], abs=1e-7)
    assert np.isnan(samples.values[:, FIELDS.index(next(one for one in FIELDS if one.name == "roll"))]).all()
    ahead_s = (samples.time_ns - samples.arrival_ns) / 1e9
    assert (ahead_s < 3.2 + 1e-3).all()  # never less late than it is
    assert found.states == [State.CONNECTING, State.GOOD]
    assert found.description["altitude_above"] == "ellipsoid"


def test_a_recorded_receiver_of_2020_is_believed(tmp_path: Path) -> None:
    log = LogChannel("log", DATA / "ublox_m9n.nmea").read()
    with receiver(tmp_path) as one, heard(GpsChannel("gps", one.port, 115200)) as found:
        with speaking(one, what=lambda stamp: epoch(stamp, has_fix=False)):
            found.wait_for_state(State.NO_FIX)  # it is read
        with playing(one, DATA / "ublox_m9n.nmea", speed=5.0):
            wait_for(lambda: found.samples.time_ns[-1:].tolist() == [log.time_ns[-1]])
    samples = found.samples
    at = np.searchsorted(log.time_ns, samples.time_ns)
    last = np.diff(samples.time_ns, append=-1) != 0  # of equal stamps the last one counts
    assert (log.time_ns[at] == samples.time_ns).all()
    np.testing.assert_array_equal(samples.values[last], log.values[at][last])
    assert samples.time_ns[0] == log.time_ns[0]
    assert "days from this computer's" in found.description["notes"][0]


def test_a_receiver_that_is_unplugged_is_lost_and_found_again(tmp_path: Path) -> None:
    with receiver(tmp_path) as one, speaking(one, rate=10), heard(GpsChannel("gps", one.port)) as found:
        found.wait_for_samples(2)
        one.unplug()
        found.wait_for_state(State.LOST)
        one.plug_in()
        found.wait_for_samples(2)
        assert found.states == [State.CONNECTING, State.GOOD, State.LOST, State.GOOD]


def test_a_port_that_does_not_exist_is_connecting_and_says_why(tmp_path: Path) -> None:
    with heard(GpsChannel("gps", str(tmp_path / "ttyUSB9"))) as found:
        wait_for(lambda: "ttyUSB9" in str(found.description.get("why")))
        assert found.states == [State.CONNECTING]
        assert "No such file" in found.description["why"]


def test_a_port_that_another_program_reads_is_not_shared(tmp_path: Path) -> None:
    with receiver(tmp_path) as one, speaking(one, rate=10), heard(GpsChannel("gps", one.port)) as first:
        first.wait_for_samples(1)
        with heard(GpsChannel("other", one.port)) as second:
            wait_for(lambda: second.description.get("why"))
            assert "lock" in second.description["why"]
            assert len(second.samples) == 0


def test_a_wrong_baud_rate_is_noticed_and_named(tmp_path: Path) -> None:
    noise = random.Random(1)
    with (
        receiver(tmp_path) as one,
        speaking(one, rate=4, what=lambda _: noise.randbytes(200)),
        heard(GpsChannel("gps", one.port, 4800)) as found,
    ):
        found.wait_for_state(State.REFUSED)
        assert "check the baud rate (4800)" in found.description["why"]
        one.say(epoch(time.time()))
        found.wait_for_state(State.GOOD)


def test_without_fix_the_state_says_so_and_nothing_is_delivered(tmp_path: Path) -> None:
    sky = {"has_fix": False}
    with (
        receiver(tmp_path) as one,
        speaking(one, what=lambda stamp: epoch(stamp, **sky)),
        heard(GpsChannel("gps", one.port)) as found,
    ):
        found.wait_for_state(State.NO_FIX)
        assert len(found.samples) == 0
        sky["has_fix"] = True
        found.wait_for_state(State.GOOD)
        sky["has_fix"] = False
        found.wait_for_state(State.NO_FIX)
        n = len(found.samples)
        assert n >= 1
        sky["has_fix"] = True
        found.wait_for_state(State.GOOD)
        assert found.states == [State.CONNECTING, *[State.NO_FIX, State.GOOD] * 2]
        assert not np.isnan(found.samples.values[:, 0]).any()


def test_what_is_broken_is_counted_and_what_is_said_of_dates_stands_in_the_description(tmp_path: Path) -> None:
    broken = nmea("GPGGA,101912,8960.0000,N,00000.0000,E,1,,,137.0,M,13.0,M,,") + b"$GPRMC,1019"
    with (
        receiver(tmp_path) as one,
        speaking(one, what=lambda stamp: broken + epoch(stamp - 1024 * 7 * 86400)),
        heard(GpsChannel("gps", one.port)) as found,
    ):
        found.wait_for_samples(2)
        wait_for(lambda: "notes" in found.description)
        samples = found.samples
        assert (abs(samples.time_ns - samples.arrival_ns) < 60 * 10**9).all()
        assert samples.counts.refused >= 2
        assert "repaired" in found.description["notes"][0]


def test_a_closed_channel_delivers_nothing_leaves_no_thread_and_can_be_opened_again(tmp_path: Path) -> None:
    with receiver(tmp_path) as one, speaking(one, rate=10):
        channel = GpsChannel("gps", one.port)
        with heard(channel) as found:
            found.wait_for_samples(1)
        n = found.samples.counts.delivered
        assert not any("channel gps" in thread.name for thread in threading.enumerate())
        channel.close()
        with heard(cloudpickle.loads(cloudpickle.dumps(channel))) as again:
            again.wait_for_samples(2)
        assert found.samples.counts.delivered == n


def test_addresses_of_ports() -> None:
    channel = channel_from_text("gps:/dev/ttyUSB0@115200,latency_s=0.05", "gps")
    assert isinstance(channel, GpsChannel)
    assert (channel.port, channel.baudrate) == ("/dev/ttyUSB0", 115200)
    assert (channel.properties.latency_s, channel.properties.clock) == (0.05, "fit")
    assert channel.description == "gps:/dev/ttyUSB0@115200"
    assert channel_from_text("gps:/dev/ttyS0", "gps").baudrate == 9600
    for text in ("gps:", "gps:/dev/ttyS0@fast"):
        with pytest.raises(ArgumentError, match="ttyUSB0@115200"):
            channel_from_text(text, "gps")
    with pytest.raises(ArgumentError, match="whole number"):
        GpsChannel("gps", "/dev/ttyS0", 0)
