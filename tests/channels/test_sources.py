"""Sources without hardware: each keeps the contract, and has faults of its own."""

import math
import threading
import time

import numpy as np
import pytest

from openhsi_shared.channels import CallbackChannel, PolledChannel, SimulatedChannel, State, SystemChannel
from openhsi_shared.channels.callback import as_time_ns
from openhsi_shared.channels.simulated import SIGNALS
from openhsi_shared.errors import ArgumentError, ChannelError, ClosedError
from openhsi_shared.testing import ChannelContract, Delivered
from tests.support.helpers import run_python, wait_for


class TestPolledChannel(ChannelContract):
    @pytest.fixture
    def channel(self):
        return PolledChannel("polled", lambda: (1.0, 2), 0.01, fields=["x", "y"])


class TestCallbackChannel(ChannelContract):
    @pytest.fixture
    def channel(self):
        return CallbackChannel("pushed", "mm")

    def stimulate(self, channel):
        for k in range(5):
            channel.push(float(k), time.time())


class TestSimulatedChannel(ChannelContract):
    @pytest.fixture
    def channel(self):
        return SimulatedChannel("simulated")


class TestSimulatedSpot(ChannelContract):
    @pytest.fixture
    def channel(self):
        return SimulatedChannel("spot", "spot")


class TestSystemChannel(ChannelContract):
    @pytest.fixture(params=["load", "memory", "disk_free"])
    def channel(self, request):
        return SystemChannel("computer", request.param, 0.01)


# ---- a function that is polled ----


def opened(channel):
    delivered = Delivered()
    channel.open(delivered)
    return delivered


@pytest.mark.parametrize("error", [OSError("no sensor"), SystemExit(1), KeyboardInterrupt()])
def test_a_function_that_raises_is_lost_until_it_returns(error):
    answers = iter([1.0, error, 2.0])

    def function():
        answer = next(answers, 3.0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    channel = PolledChannel("a", function, 0.01)
    delivered = opened(channel)
    delivered.wait_for_samples(3, 10)
    channel.close()
    assert [value for value, *_ in delivered.samples[:3]] == [1.0, 2.0, 3.0]
    assert delivered.states == [State.LOST]


def test_a_function_that_hangs_is_left_alone_and_its_answer_comes_too_late():
    may_return = threading.Event()
    channel = PolledChannel("a", lambda: may_return.wait(60) and 1.0, 0.01)
    delivered = opened(channel)
    channel.close()
    may_return.set()
    wait_for(lambda: not any("channel a" in thread.name for thread in threading.enumerate()))
    assert delivered.samples == []


@pytest.mark.parametrize("period_s", [0, -1, math.nan, math.inf, "1", True])
def test_a_period_that_is_none_is_refused(period_s):
    with pytest.raises(ArgumentError, match="period_s"):
        PolledChannel("a", lambda: 1.0, period_s)


def test_a_function_that_is_none_and_an_unknown_quantity_are_refused():
    with pytest.raises(ArgumentError, match="callable"):
        PolledChannel("a", 3.0)
    with pytest.raises(ArgumentError, match="did you mean load"):
        SystemChannel("a", "laod")


# ---- what is pushed ----


def test_times_are_floats_in_seconds_or_ints_in_ns():
    channel = CallbackChannel("a")
    delivered = opened(channel)
    for timestamp in (1.7e9 + 0.25, 1_700_000_000_000_000_001, np.float64(1.0), np.int64(10**18), None):
        channel.push(1.0, timestamp)
    times = [time_ns for _, time_ns, *_ in delivered.samples]
    assert times == [1_700_000_000_250_000_000, 1_700_000_000_000_000_001, 10**9, 10**18, None]
    channel.close()


COARSE = np.float32(1.7e9)  # its steps are 128 s


@pytest.mark.parametrize(
    "timestamp", [1_700_000_000, 0, -1, 10**15 - 1, 2**63, -1.0, 1e18, math.nan, "now", True, 1j, COARSE]
)
def test_a_time_that_is_a_mistake_is_refused(timestamp):
    with pytest.raises(ArgumentError, match="a time is"):
        as_time_ns(timestamp)
    with pytest.raises(ArgumentError, match="a time is"):
        CallbackChannel("a").push(1.0, timestamp)


def test_a_callback_of_pyepics_is_taken_as_it_is():
    channel = CallbackChannel("a")
    channel.on_change(pvname="HSI:x", value=0.0, timestamp=1.7e9)
    delivered = opened(channel)
    common = {"char_value": "1.5", "status": 0, "severity": 0, "cb_info": (1, None)}
    channel.on_change(pvname="HSI:x", value=1.5, timestamp=1.7e9, **common)
    channel.on_change("HSI:x", 2.5, timestamp=1.7e9, posixseconds=1700000000.0, nanoseconds=123456789, **common)
    channel.on_change(pvname="HSI:x", value=3.5, timestamp=5, **common)
    assert delivered.samples == [
        (1.5, 1_700_000_000_000_000_000, -1, 0),
        (2.5, 1_700_000_000_123_456_789, -1, 0),
    ]
    assert len(delivered.refused) == 1
    channel.close()


def test_only_the_process_that_opened_it_may_push():
    channel = CallbackChannel("a")
    opened(channel)
    channel._owner += 1  # as in a child that was forked
    with pytest.raises(ClosedError, match="belongs to the process"):
        channel.push(1.0)
    channel.close()


# ---- what is simulated ----


@pytest.mark.parametrize("signal", SIGNALS)
def test_every_value_is_the_function_of_its_stamp(signal):
    channel = SimulatedChannel("a", signal, rate=1000.0)
    delivered = opened(channel)
    delivered.wait_for_samples(50, 10)
    channel.close()
    for value, time_ns, *_ in delivered.samples:
        assert value == SIGNALS[signal](time_ns / 1e9)
    steps = np.diff([time_ns for _, time_ns, *_ in delivered.samples])
    assert (np.abs(steps - 1_000_000) <= 1).all()


def test_faults_come_by_script():
    script = {
        0.02: "nan",
        0.04: "text",
        0.06: "jump",
        0.08: "back",
        0.10: "silence",
        0.12: "lost",
        0.14: "good",
        0.16: "end",
    }
    channel = SimulatedChannel("a", "clock", 1000.0, script)
    delivered = opened(channel)
    wait_for(lambda: State.ENDED in delivered.states)
    channel.close()
    assert delivered.states == [State.LOST, State.ENDED]
    values, times = [value for value, *_ in delivered.samples], [time_ns for _, time_ns, *_ in delivered.samples]
    assert len(values) == 120
    assert all(map(math.isnan, values[20:40]))
    assert values[40:60] == ["text"] * 20
    hour = 3600 * 10**9
    assert times[60] - times[59] == pytest.approx(hour + 10**6, abs=2)
    assert times[80] - times[79] == pytest.approx(-2 * hour + 10**6, abs=2)
    assert times[100] - times[99] == pytest.approx(hour + 41 * 10**6, abs=2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sin",), "did you mean sine"),
        (("sine", 0), "rate"),
        (("sine", 1.0, {"soon": "nan"}), "number of seconds"),
        (("sine", 1.0, {-1: "nan"}), "number of seconds"),
        (("sine", 1.0, {1: "silent"}), "did you mean silence"),
    ],
)
def test_a_simulation_that_is_none_is_refused(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        SimulatedChannel("a", *arguments)


def test_death_by_script_spares_the_user_s_program():
    channel = SimulatedChannel("a", script={0.0: "death"})
    delivered = opened(channel)
    wait_for(lambda: State.LOST in delivered.states)
    channel.close()


def test_one_source_does_not_import_the_packages_of_others():
    program = """
import sys
from openhsi_shared.channels import Channel, PolledChannel, SimulatedChannel
names = ("epics", "p4p", "serial", "pynmea2", "psutil", "pydantic", "xarray")
print([name for name in names if name in sys.modules])
"""
    assert run_python("-c", program).stdout == "[]\n"


def test_a_quantity_that_the_computer_does_not_report_is_one_clear_error(monkeypatch):
    monkeypatch.setattr("psutil.sensors_temperatures", dict, raising=False)
    with pytest.raises(ChannelError, match="no temperatures"):
        SystemChannel("a", "cpu_temperature").open(Delivered())
