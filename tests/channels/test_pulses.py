"""Pulses of a device of the kernel, by a stand-in for its calls, and of a pin, by gpiozero's mock pins."""

import json
import os
import stat
import subprocess
import sys
import time

import numpy as np
import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory

from openhsi_shared import SharedSimulatedCamera, open_cube, record
from openhsi_shared.channels import PulseChannel, State, channel_from_text
from openhsi_shared.errors import ArgumentError, ChannelError
from tests.channels.heard import heard
from tests.channels.receivers import receiver, speaking
from tests.support.clock_shim import SETTING, SteppedClock
from tests.support.flow import SMALL
from tests.support.pps_stand_in import StandInPulses

S, MS = 10**9, 1_000_000

LISTEN = f"""
import json, os, sys, time
{SETTING}
from openhsi_shared.channels import PulseChannel
from openhsi_shared.errors import ChannelError
from tests.channels.heard import heard
device, n, pulses = sys.argv[1], int(sys.argv[2]), os.environ["PPS_PULSES"]
with heard(PulseChannel("pps", device)) as one:
    begin = time.monotonic_ns() + 200_000_000
    with open(pulses, "a") as file:
        for edge in range(begin, begin + n * 100_000_000, 100_000_000):
            file.write(f"{{edge}} assert\\n{{edge + 20_000_000}} clear\\n")
    samples = one.wait_for_samples(3)
    set_clock(-7.0)
    while one.view.counts.delivered + one.view.counts.refused < n:
        time.sleep(0.01)
    open(os.environ["PPS_GONE"], "w").close()
    one.wait_for_state(type(one.view.state()).LOST)
    os.unlink(os.environ["PPS_GONE"])
    with open(pulses, "a") as file:
        file.write(f"{{time.monotonic_ns() + 3_000_000_000}} assert\\n")
    samples = one.wait_for_samples(1)
    shift = one.memory.clock.wall_ns(0)
    print(json.dumps({{
        "late_us": [(int(at) - shift - begin) % 100_000_000 / 1e3 for at in samples.arrival_ns[:-1]],
        "values": samples.values[1:-1, 0].tolist(), "ids": samples.id.tolist(),
        "refused": one.view.counts.refused, "about": dict(one.description),
        "states": [state.name for state in one.states],
    }}))
"""


def run(program, *arguments, **environment):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_pulses_of_the_kernel_have_the_times_of_their_edges_also_when_the_clock_is_set(tmp_path):
    device, clock = StandInPulses(tmp_path), SteppedClock(tmp_path)
    both = {"LD_PRELOAD": f"{device.environment['LD_PRELOAD']} {clock.environment['LD_PRELOAD']}", "PPS_MODE": "3"}
    found = run(LISTEN, device.path, 12, **device.environment | clock.environment | both)
    late_us = np.array(found["late_us"])
    assert np.minimum(late_us, 1e5 - late_us).max() < 100, "stamps of the kernel, not times of arrival"
    assert np.abs(np.array(found["values"]) % 0.1 - 0.05).min() > 0.0499
    assert found["refused"] + len(found["ids"]) == 13, "one may be refused, as the clock was set"
    assert found["refused"] <= 1
    assert found["states"][-2:] == ["LOST", "GOOD"]
    assert found["about"]["uncertainty_s"] == 1e-5


OPEN = """
import json, os, sys
from openhsi_shared.channels import PulseChannel
from openhsi_shared.errors import ChannelError
from tests.channels.heard import Heard
if len(sys.argv) > 2:
    os.seteuid(int(sys.argv[2]))
channel = PulseChannel("pps", sys.argv[1])
try:
    channel.open(Heard(channel).deliver)
    print(json.dumps("opened"))
except ChannelError as error:
    print(json.dumps(str(error)))
channel.close()
"""


def test_a_device_that_gives_no_pulses_is_one_clear_error(tmp_path):
    device = StandInPulses(tmp_path)
    no_assert = run(OPEN, device.path, **device.environment, PPS_CAN="2")
    assert no_assert == f"{device.path} cannot see the rising edge of a pulse (assert events)"
    switched_off = run(OPEN, device.path, **device.environment, PPS_MODE="2")
    assert "does not see rising edges (assert events) unless root lets it: Operation not permitted" in switched_off
    for path, why in (("/dev/pps99", "pps99 cannot be opened: No such file"), ("/dev/null", "is no device of pulses")):
        with pytest.raises(ChannelError, match=why), heard(PulseChannel("pps", path)):
            pass
    if os.geteuid() == 0:
        device.path.chmod(stat.S_IRUSR)
        for one in (tmp_path, *tmp_path.parents[:3]):
            one.chmod(0o755)
        refused = run(OPEN, device.path, 65534, **device.environment)
        assert "cannot be opened: Permission denied (a rule for udev gives access" in refused


@pytest.mark.parametrize("source", ["", None, True, 1.5])
def test_what_is_no_device_and_no_pin_is_refused(source):
    with pytest.raises(ArgumentError, match=r"expected a device such as '/dev/pps0', or a pin"):
        PulseChannel("pps", source)


def test_pulses_have_no_stamps():
    for wrong in ({"clock": "fit"}, {"stamp": "source"}):
        with pytest.raises(ArgumentError, match="pulses have no stamps"):
            PulseChannel("pps", 4, **wrong)
    channel = channel_from_text("pps:/dev/pps0,clock=gps,latency_s=1e-6", "pps")
    assert (channel.properties.clock, channel.device, channel.description) == ("gps", "/dev/pps0", "pps:/dev/pps0")
    assert channel_from_text("pps:17", "pps").device == 17


@pytest.fixture
def pins():
    before, Device.pin_factory = Device.pin_factory, MockFactory()
    yield Device.pin_factory
    Device.pin_factory.reset()
    Device.pin_factory = before


def test_pulses_of_a_pin_have_the_times_of_their_edges(pins):
    with heard(PulseChannel("pps", 4)) as one:
        pin, edges = pins.pin(4), []
        for _ in range(5):
            edges.append(time.monotonic_ns())
            pin.drive_high()
            one.wait_for_samples(0)
            time.sleep(0.02)
            pin.drive_low()
        samples = one.view.snapshot()
        while len(samples) + one.view.counts.refused < 5:
            samples = one.wait_for_samples(1)
        arrivals = samples.arrival_ns - one.memory.clock.wall_ns(0)
        nearest = np.abs(arrivals[:, None] - np.array(edges)).min(axis=1)
        assert np.median(nearest) < 20 * MS
        assert one.description["uncertainty_s"] == 1e-4
        assert one.view.state() is State.GOOD
    with heard(PulseChannel("again", 4)):
        pass


def test_no_pins_are_one_clear_error(monkeypatch):
    monkeypatch.setattr(Device, "pin_factory", None)
    with pytest.raises(ChannelError, match=r"pin 4: .*this computer has none"), heard(PulseChannel("pps", 4)):
        pass


def test_a_recording_with_gps_and_pulses_knows_true_utc(tmp_path, monkeypatch):
    """It takes 6 s: five pulses must come before the file is written."""
    device = StandInPulses(tmp_path)
    for name, value in device.environment.items():
        monkeypatch.setenv(name, value)
    ahead_s, now, wall_ns = 2.25, time.monotonic_ns(), time.time_ns()
    second_ns = now + (S - (wall_ns + round(ahead_s * S)) % S)
    for number in range(60):
        device.send(second_ns + number * S)
    with receiver(tmp_path) as gps, speaking(gps, ahead_s=ahead_s, late_s=0.3):
        channels = {"gps": f"gps:{gps.port}", "pps": {"source": f"pps:{device.path}"}}
        keywords = {**SMALL, "n_lines": 600, "n_cubes": 1, "rate": 100.0, "channels": channels}
        with record(SharedSimulatedCamera, tmp_path, **keywords) as running:
            (path,) = running.wait().paths
    with open_cube(path) as cube:
        offset, labels = cube.column("clock_offset"), cube.dataset["clock_offset"].attrs
        assert (labels["method"], labels["channel"], labels["pulses"]) == ("pulse", "gps", "pps")
        assert np.abs(offset - ahead_s).max() < 1e-3, "0.3 s without pulses"
        assert cube.attributes["clock_source"] == "gps by pulse (pps)"
        assert cube.channels["pps"].attributes["names_seconds_of"] == "gps"
        assert cube.channels["pps"].attributes["pulse_uncertainty_s"] < 1e-3
