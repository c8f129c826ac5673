"""Pulses named by a receiver: a clock with offset and drift, whose messages are late and jittered, and exact pulses."""

import numpy as np
import pytest

from openhsi_shared.channels.source_clocks import SourceClocks
from openhsi_shared.matching import State
from tests.support.channels import BEGIN, MS, S, kind_of, properties

US = 1_000
AHEAD, DRIFT = 3_456 * S + 789 * MS, 3e-5
RATE = 5


def true_at(arrivals):
    """GPS time at times of this computer: 3456.789 s ahead, and 30 ppm faster."""
    passed = np.asarray(arrivals) - BEGIN
    return np.asarray(arrivals) + AHEAD + np.rint(passed * DRIFT).astype(np.int64)


def computer_at(true):
    """The inverse, to the nanosecond."""
    found = np.asarray(true) - AHEAD
    for _ in range(4):
        found = found - (true_at(found) - true)
    return found


SECONDS = np.arange(true_at(BEGIN) // S + 1, true_at(BEGIN) // S + 181) * S
FIXES = np.arange(SECONDS[0], SECONDS[-1] + S, S // RATE)
PULSES = computer_at(SECONDS)
LINES = computer_at(SECONDS[10]) + np.arange(0, 160 * S, 107 * MS)


def clocks_of(late_s=0.08, jitter_s=0.02, pulses=PULSES, fixes=FIXES, stamps=None, clock="given", **gps):
    """Clocks that have seen a GPS of these fixes, and pulses at these times of the computer."""
    channels = kind_of(
        properties("gps", clock=gps.pop("gps_clock", "fit"), **gps),
        properties("pps", source="pps:/dev/pps0", stamp="arrival", clock=clock),
    )
    lags = late_s * S + np.random.default_rng(2).exponential(jitter_s * S, len(fixes))
    ring = channels.memory.ring("gps")
    ring.note_state(BEGIN, State.GOOD)
    for stamp, arrival in zip(
        fixes if stamps is None else stamps, computer_at(fixes) + lags.astype(np.int64), strict=True
    ):
        ring.put(int(stamp), int(arrival), -1, 0, [0.0])
    ring = channels.memory.ring("pps")
    for pulse in pulses:
        ring.put(-(2**63), int(pulse), -1, 0, [1.0])
    channels.memory.ring("pps").describe({"uncertainty_s": 1e-5})
    clocks = SourceClocks(channels.properties)
    views = channels.memory.views()
    for name in ("pps", "gps"):
        clocks.feed(name, views[name].snapshot())
    return clocks, {name: view.snapshot() for name, view in views.items()}, channels.properties


def errors_s(offset):
    return np.abs(offset.offset_s - (true_at(LINES) - LINES) / S)


@pytest.mark.parametrize(("late_s", "jitter_s"), [(0.001, 0.002), (0.08, 0.02), (0.5, 0.05), (0.85, 0.01)])
def test_pulses_make_the_offset_exact_whatever_the_latency_of_messages(late_s, jitter_s):
    clocks, samples, known = clocks_of(late_s, jitter_s)
    found = clocks.offset_at(LINES, 0)
    without = clocks_of(late_s, jitter_s, pulses=[])[0].offset_at(LINES, 0)
    assert (found.method, found.pulses, without.method) == ("pulse", "pps", "arrival")
    assert errors_s(found).max() <= found.uncertainty_s < 2e-5
    assert errors_s(found).max() < 1e-7 < 1e-3 < errors_s(without).max()
    times = clocks.series(known["gps"], samples["gps"], 7 * S).times_ns
    assert np.abs(times - 7 * S - computer_at(FIXES)).max() < US
    assert clocks.attributes("pps", 0) == {
        "names_seconds_of": "gps",
        "pulse_uncertainty_s": pytest.approx(1e-5, rel=0.5),
    }
    assert found.column.labels["pulses"] == "pps"


@pytest.mark.parametrize("latency_s", [0.9, 1.25, 1.6])
def test_a_latency_that_is_given_names_the_second(latency_s):
    found = clocks_of(1.25, 0.01, latency_s=latency_s)[0].offset_at(LINES, 0)
    assert (found.method, errors_s(found).max() < 1e-7) == ("pulse", True)


@pytest.mark.parametrize("late_s", [0.93, 0.96])
def test_a_latency_that_may_be_one_of_the_second_before_names_nothing_and_is_said_once(late_s, caplog):
    clocks, _, _ = clocks_of(late_s, 0.002)
    assert [clocks.offset_at(LINES, 0).method for _ in range(3)] == ["arrival"] * 3
    (record,) = caplog.records
    assert f"'gps' come {late_s:.2f} s after a pulse and {1 - late_s:.2f} s before the next one" in record.message


def test_a_receiver_that_was_set_by_whole_seconds_names_the_pulses_before_and_after(caplog):
    is_before = np.arange(len(FIXES)) < 400  # it did not know of two leap seconds yet
    clocks, _, _ = clocks_of(stamps=FIXES + np.where(is_before, 2 * S, 0))
    at = LINES[np.abs(LINES - computer_at(FIXES[400])) > 2 * S]
    found = clocks.offset_at(at, 0)
    wrong = np.where(at < computer_at(FIXES[400]), 2.0, 0.0)
    assert found.method == "pulse"
    assert np.abs(found.offset_s - wrong - (true_at(at) - at) / S).max() < 1e-6


def test_pulses_without_a_fix_are_no_seconds():
    is_lost = (SECONDS[50] < FIXES) & (SECONDS[130] > FIXES)
    is_free = (SECONDS[61] < SECONDS) & (SECONDS[119] > SECONDS)
    found = clocks_of(pulses=PULSES + np.where(is_free, 333 * MS, 0), fixes=FIXES[~is_lost])[0].offset_at(LINES, 0)
    assert (found.method, errors_s(found).max() < 1e-7) == ("pulse", True)
    assert 4e-5 < found.uncertainty_s < 1e-4, "half a minute away from the next pulse that is one"


def test_too_few_pulses_and_an_offset_that_is_given_leave_the_fit_alone():
    assert clocks_of(pulses=computer_at(SECONDS[:4]))[0].offset_at(LINES, 0).method == "arrival"
    given = clocks_of(gps_clock="given", clock_offset_s=-1.5, clock="gps")[0].offset_at(LINES, 0)
    assert (given.method, set(given.offset_s)) == ("given", {1.5})


def test_pulses_belong_to_the_receiver_that_they_name():
    two = kind_of(
        *(properties(name, clock="fit") for name in ("gps", "other")),
        properties("pps", source="pps:4", stamp="arrival", clock="other"),
    )
    clocks = SourceClocks(two.properties)
    assert (clocks._pulses_of("gps"), clocks._pulses_of("other")) == (None, "pps")
    assert clocks.offset_at(LINES, 0).channel == "other"
