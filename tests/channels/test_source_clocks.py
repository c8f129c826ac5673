"""Times of samples by the clock of the lines, whatever the clock of their source."""

from dataclasses import replace

import numpy as np
import pytest

from openhsi_shared.buffers.times import read_anchor
from openhsi_shared.channels.matched_columns import LineTimes, matched_columns
from openhsi_shared.channels.raw_series import part_of
from openhsi_shared.channels.source_clocks import SourceClocks
from openhsi_shared.line_times import UNKNOWN_TIME_NS
from openhsi_shared.matching import State
from tests.support.channels import BEGIN, MS, S, deliver, every, kind_of, properties, seconds_of

TIMES = every(200, BEGIN, BEGIN + 60 * S)
AHEAD = 3250 * MS


def clocks_of(*channels, **delivered):
    """Clocks that have seen `TIMES`, and the samples; `delivered`: keywords of `deliver` of each channel."""
    channels_and_memory = kind_of(*channels)
    clocks = SourceClocks(channels_and_memory.properties)
    samples = {}
    for name in channels_and_memory.properties:
        deliver(channels_and_memory.memory, name, TIMES, **delivered.get(name, {}))
        samples[name] = channels_and_memory.memory.view(name).snapshot()
        clocks.feed(name, samples[name])
    return clocks, samples, channels_and_memory.properties


def times_of(channel, to_lines_ns=0, **how):
    clocks, samples, known = clocks_of(channel, **{channel.name: how})
    return clocks.series(known[channel.name], samples[channel.name], to_lines_ns).times_ns


def test_given_stamps_are_those_of_the_lines_whatever_their_anchor():
    assert (times_of(properties("a"), 77) == TIMES).all()
    assert (times_of(properties("a", clock_offset_s=-0.5), 77) == TIMES - 500 * MS).all()


def test_times_of_arrival_follow_the_anchor_and_lose_the_latency():
    channel = properties("a", stamp="arrival", latency_s=0.08)
    assert (times_of(channel, 5 * S, lag_ns=80 * MS) == TIMES + 5 * S).all()


@pytest.mark.parametrize("latency_s", [0.0, 0.08])
def test_the_fit_takes_out_a_wrong_clock_but_for_the_least_latency(latency_s):
    lags = 80 * MS + np.random.default_rng(1).exponential(10 * MS, len(TIMES)).astype(np.int64)
    times = times_of(properties("a", clock="fit", latency_s=latency_s), 5 * S, ahead_ns=AHEAD, lag_ns=lags)
    assert np.abs(times - 5 * S - TIMES - (0.08 - latency_s) * S).max() < 3 * MS


def test_a_channel_by_the_clock_of_a_gps_is_shifted_as_the_gps_is():
    of_true_utc = {"ahead_ns": AHEAD, "lag_ns": 20 * MS}
    clocks, samples, known = clocks_of(
        properties("gps", clock="fit", latency_s=0.02), properties("imu", clock="gps"), gps=of_true_utc, imu=of_true_utc
    )
    assert np.abs(clocks.series(known["imu"], samples["imu"], 0).times_ns - TIMES).max() < MS
    offset = clocks.offset_at(TIMES, 0)
    assert (offset.channel, offset.method) == ("gps", "arrival")
    assert np.abs(offset.offset_s - 3.25).max() < 1e-3
    assert offset.column.labels["uncertainty"] == offset.uncertainty_s < 0.02
    moved = clocks.offset_at(TIMES + 2 * S, 2 * S)
    assert np.abs(moved.offset_s - 1.25).max() < 1e-3, "this computer's clock was set forward by 2 s"


def test_an_offset_that_the_user_gives_is_that_of_all_channels_by_this_clock():
    of_true_utc = {"ahead_ns": AHEAD}
    gps = properties("gps", clock="given", clock_offset_s=-3.25)
    clocks, samples, known = clocks_of(gps, properties("imu", clock="gps"), gps=of_true_utc, imu=of_true_utc)
    assert (clocks.series(known["imu"], samples["imu"], 0).times_ns == TIMES).all()
    offset = clocks.offset_at(TIMES, 0)
    assert (offset.method, offset.uncertainty_s, set(offset.offset_s)) == ("given", 0.0, {3.25})


@pytest.mark.parametrize("clock", ["given", "fit"])
def test_values_of_a_clock_that_has_stopped_belong_to_no_line(clock, caplog):
    channel = properties("a", clock=clock)
    kind = kind_of(channel)
    ring = kind.memory.ring("a")
    for time_ns in TIMES.tolist():
        is_stopped = BEGIN + 20 * S < time_ns < BEGIN + 30 * S
        stamp = BEGIN + 20 * S if is_stopped else time_ns
        ring.put(stamp, time_ns, -1, 0, [seconds_of(time_ns)])
    samples = kind.memory.view("a").snapshot()
    clocks = SourceClocks(kind.properties)
    clocks.feed("a", samples)
    lines = LineTimes.of(every(10, BEGIN + 15 * S, BEGIN + 40 * S), None)
    for found in (clocks.series(channel, samples, 0), clocks.series(channel, part_of(samples, 0, 120), 0)):
        columns = matched_columns(found, lines).columns
        is_known = np.isfinite(columns["a"])
        assert np.abs(columns["a"] - seconds_of(lines.middle_ns))[is_known].max() < 1e-3
        inside = (lines.middle_ns > BEGIN + 20 * S) & (lines.middle_ns < BEGIN + 30 * S)
        assert set(columns["a_state"][inside]) == {State.JUMPED}
    assert caplog.text.count("its clock has stopped") == 1
    ring.put(TIMES[-1] + S, TIMES[-1] + S, -1, 0, [5.0])
    ring.put(TIMES[-1] + S, TIMES[-1] + 40 * S, -1, 0, [5.0])
    newest = kind.memory.view("a").snapshot()
    assert len(clocks.series(channel, part_of(newest, 200), 0).jumps_ns) == 0, "repeated, as when it connects again"


def test_of_several_gps_none_is_true_utc_unless_one_is_named():
    two = [properties(name, clock="fit") for name in ("gps", "other")]
    assert clocks_of(*two)[0].offset_at(TIMES, 0) is None
    assert clocks_of(*two, properties("a", clock="other"))[0].offset_at(TIMES, 0).channel == "other"
    assert clocks_of(properties("a"))[0].offset_at(TIMES, 0) is None


def test_stamps_of_this_computer_follow_its_clock_when_it_is_set():
    channel = kind_of(properties("a", stamp="host"))
    deliver(channel.memory, "a", TIMES[:150])
    deliver(channel.memory, "a", TIMES[150:], ahead_ns=-2 * S)  # its clock was set back
    clocks, samples = SourceClocks(channel.properties), channel.memory.view("a").snapshot()
    clocks.feed("a", samples)
    found = clocks.series(channel.properties["a"], samples, -2 * S)  # of a cube after it
    assert np.abs(found.times_ns - (TIMES - 2 * S)).max() < 6 * MS
    assert found.jumps_ns.tolist() == [[int(TIMES[149]) + 5 * MS - 2 * S, int(TIMES[150]) + 5 * MS - 2 * S]]


def test_samples_without_a_stamp_have_the_time_of_their_arrival():
    channel = kind_of(properties("a", latency_s=0.005))
    deliver(channel.memory, "a", TIMES)
    samples = channel.memory.view("a").snapshot()
    samples = replace(samples, time_ns=np.where(np.arange(len(TIMES)) % 2, samples.time_ns, UNKNOWN_TIME_NS))
    clocks = SourceClocks(channel.properties)
    clocks.feed("a", samples)
    assert (clocks.series(channel.properties["a"], samples, 0).times_ns == TIMES).all()


def test_without_a_sample_of_the_clock_no_time_is_known_and_later_all_are():
    both = kind_of(properties("gps", clock="fit"), properties("imu", clock="gps"))
    clocks = SourceClocks(both.properties)
    deliver(both.memory, "imu", TIMES, ahead_ns=AHEAD)
    samples = both.memory.view("imu").snapshot()
    clocks.feed("imu", samples)
    assert set(clocks.series(both.properties["imu"], samples, 0).times_ns) == {UNKNOWN_TIME_NS}
    assert np.isnan(clocks.offset_at(TIMES, 0).offset_s).all()
    deliver(both.memory, "gps", TIMES[100:], ahead_ns=AHEAD)
    clocks.feed("gps", both.memory.view("gps").snapshot())
    assert np.abs(clocks.series(both.properties["imu"], samples, 0).times_ns - TIMES).max() < 6 * MS


def test_a_clock_that_is_not_what_it_is_said_to_be_is_warned_of_once_with_the_number_to_give(caplog):
    channel = kind_of(properties("a", clock_offset_s=1.0))
    clocks = SourceClocks(channel.properties)
    for part in (TIMES[:100], TIMES[100:]):
        deliver(channel.memory, "a", part, ahead_ns=AHEAD)
        clocks.feed("a", channel.memory.view("a").snapshot())
    (record,) = caplog.records
    assert "clock_offset_s=-3.2" in record.getMessage()


def test_feeding_in_parts_gives_the_same_as_at_once_and_a_ring_that_went_round_the_rest():
    lags = np.random.default_rng(5).exponential(10 * MS, len(TIMES)).astype(np.int64)
    channel = kind_of(properties("a", clock="fit"), capacity=100)
    parts, whole = SourceClocks(channel.properties), SourceClocks(channel.properties)
    wide = kind_of(properties("a", clock="fit"))
    for begin in range(0, len(TIMES), 60):
        part = slice(begin, begin + 60)
        deliver(channel.memory, "a", TIMES[part], ahead_ns=AHEAD, lag_ns=lags[part])
        deliver(wide.memory, "a", TIMES[part], ahead_ns=AHEAD, lag_ns=lags[part])
        parts.feed("a", channel.memory.view("a").snapshot())
    whole.feed("a", wide.memory.view("a").snapshot())
    assert parts.attributes("a", 0) == whole.attributes("a", 0)
    assert parts.attributes("a", 0)["clock_fit_seconds"] == pytest.approx(59.8, abs=0.2)


def test_a_pulse_per_second_takes_out_the_latency_while_it_is_fresh():
    now = read_anchor()
    gps = kind_of(properties("gps", clock="fit", source="gpsd:127.0.0.1:2947"))
    object.__setattr__(gps.memory, "anchor", now)
    times = now.wall_ns + np.arange(-60, 0) * S
    deliver(gps.memory, "gps", times, ahead_ns=AHEAD, lag_ns=80 * MS)
    samples = gps.memory.view("gps").snapshot()
    for age_s, method, expected in ((1, "pulse", 3.25), (60, "gpsd", 3.17)):
        described = {"pps_offset_s": 3.25, "pps_time_ns": now.wall_ns - age_s * S}
        clocks = SourceClocks(gps.properties)
        clocks.feed("gps", replace(samples, description=described))
        offset = clocks.offset_at(times, 0)
        assert (offset.method, offset.offset_s[-1]) == (method, pytest.approx(expected, abs=1e-3))
        found = clocks.series(gps.properties["gps"], samples, 0).times_ns
        assert np.abs(found - times - (3.25 - expected) * S).max() < MS


@pytest.mark.parametrize(
    ("source", "is_invalid"), [("ca:T:temp", True), ("pva:T:temp", True), ("gps:/dev/ttyUSB0", False)]
)
def test_the_severity_invalid_of_epics_is_no_value_and_another_quality_is_one(source, is_invalid):
    kind = kind_of(properties("a", source=source))
    deliver(kind.memory, "a", TIMES[:3], quality=3)
    deliver(kind.memory, "a", TIMES[3:5], quality=2)
    series = SourceClocks(kind.properties).series(kind.properties["a"], kind.memory.view("a").snapshot(), 0)
    assert series.is_invalid.tolist() == [is_invalid] * 3 + [False] * 2
