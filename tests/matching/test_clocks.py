"""Clocks of sources: offset, drift, uncertainty, jumps."""

import doctest

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError
from openhsi_shared.matching import ClockFit, clocks

S = 10**9
START = 1_795_000_000 * S
OFFSET = 3_250_000_000


def true_times(n, rate=5.0, start=START):
    return start + (np.arange(n) * S / rate).astype(np.int64)


def offset_of(times, drift=50e-6, offset=OFFSET):
    return np.rint(offset + drift * (times - START)).astype(np.int64)


def jittered(times, seed, scale_ns=20e6):
    return times + np.random.default_rng(seed).exponential(scale_ns, len(times)).astype(np.int64)


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(clocks).failed == 0


@pytest.mark.parametrize("seed", range(20))
def test_ten_minutes_of_jitter_leave_less_than_a_millisecond_anywhere(seed):
    times = true_times(3000)
    fit = ClockFit.fit(times + offset_of(times), jittered(times, seed))
    error = np.abs(fit.offset_ns(times) - offset_of(times))
    assert error.max() < 1e6
    assert fit.drift == pytest.approx(50e-6, abs=3e-6)
    assert fit.uncertainty_ns < 1e6
    assert not fit.jumps


def test_a_drift_that_wanders_is_followed_for_hours_in_little_memory():
    times = true_times(3 * 3600 * 5)
    drift = 50e-6 + 5e-6 * np.sin(np.arange(len(times)) / 8000)
    offset = OFFSET + np.rint(np.cumsum(drift) * S / 5).astype(np.int64)
    arrivals = jittered(times, 1)
    fit = ClockFit.fit(times + offset, arrivals)
    assert np.abs(fit.offset_ns(times) - offset).max() < 1e6
    assert np.abs(fit.line_times_ns(times + offset, arrivals) - times).max() < 1e6
    assert len(fit._segments[0]._stamps) < 3000


def test_exact_stamps_are_exact_one_by_one_or_at_once():
    times = true_times(100)
    one_by_one = ClockFit()
    for time in times.tolist():
        one_by_one.add(time + OFFSET, time)
    at_once = ClockFit.fit(times + OFFSET, times)
    for fit in (one_by_one, at_once):
        assert (fit.offset_ns(times) == OFFSET).all()
        assert int(fit.offset_ns(int(times[3]))) == OFFSET
        assert fit.uncertainty_ns == 0
        assert fit.drift == 0


def test_offsets_of_decades_keep_their_nanoseconds():
    times = true_times(50)
    fit = ClockFit.fit(times - 1024 * 7 * 86400 * S + 17, times)
    assert (fit.offset_ns(times) == -1024 * 7 * 86400 * S + 17).all()


def test_few_samples_are_uncertain_and_do_not_invent_a_drift():
    times = true_times(4)
    fit = ClockFit.fit(times + OFFSET, times + np.array([0, 90_000_000, 10_000_000, 60_000_000]))
    assert fit.uncertainty_ns == np.inf
    assert not fit.is_known
    assert fit.drift == 0
    assert (fit.offset_ns(times) == OFFSET).all()
    times = true_times(20)
    fit = ClockFit.fit(times + OFFSET, jittered(times, 3))
    assert abs(fit.drift) < 1e-4


def test_before_and_after_the_samples_the_uncertainty_grows():
    times = true_times(3000)
    fit = ClockFit.fit(times + offset_of(times), jittered(times, 5))
    an_hour = 3600 * S
    early, late = int(times[0]) - an_hour, int(times[-1]) + an_hour
    before, inside, after = fit.uncertainty_at_ns([early, int(times[1500]), late])
    assert before > 3 * inside
    assert after > 3 * inside
    expected = offset_of(np.array([early, late]))
    assert (np.abs(fit.offset_ns([early, late]) - expected) <= [before, after]).all()


@pytest.mark.parametrize("by_s", [18, 0.5, -1, -18, 20 * 365 * 86400])
def test_a_clock_that_is_set_begins_a_new_fit(by_s):
    times = true_times(300)
    offset = np.where(np.arange(300) < 150, OFFSET, OFFSET + int(by_s * S))
    fit = ClockFit.fit(times + offset, jittered(times, 7))
    [jump] = fit.jumps
    assert jump.by_ns == pytest.approx(by_s * S, abs=1e8)
    assert times[149] <= jump.from_ns < jump.until_ns <= times[150] + 2e8
    found = fit.offset_ns(times)
    assert np.abs(found[:150] - offset[:150]).max() < 1e7
    assert np.abs(found[152:] - offset[152:]).max() < 1e7
    between = (jump.from_ns + jump.until_ns) // 2
    assert fit.is_jumped([int(times[0]), between, int(times[-1])]).tolist() == [False, True, False]
    assert fit.jumped_at == jump.until_ns


def test_a_clock_that_is_set_back_by_less_than_its_period_is_noticed_after_ten_seconds():
    times = true_times(300, rate=1)
    offset = np.where(np.arange(300) < 150, 0, -300_000_000)
    fit = ClockFit.fit((times + offset)[:160], jittered(times, 2)[:160])
    assert not fit.jumps
    fit.add((times + offset)[160:], jittered(times, 2)[160:])
    [jump] = fit.jumps
    assert times[149] <= jump.from_ns < jump.until_ns <= times[151]
    assert np.abs(fit.offset_ns(times[151:]) + 300_000_000).max() < 2e7


def test_samples_that_are_late_are_no_jump():
    times = true_times(1000)
    arrivals = jittered(times, 4)
    arrivals[300:375] = np.maximum(arrivals[300:375], arrivals[375])  # a link that was silent for 15 s
    arrivals[0] += 3600 * S
    late_first = np.append(times[0] - 5 * 3600 * S, times)  # the first value of a variable that seldom changes
    fit = ClockFit.fit(late_first + OFFSET, np.append(times[0] - S, np.maximum(arrivals, 0)))
    assert not fit.jumps
    assert np.abs(fit.offset_ns(times) - OFFSET).max() < 5e6


def test_a_wall_clock_of_this_computer_has_an_offset_only_after_it_was_set():
    times = true_times(200)
    offset = np.where(np.arange(200) < 100, 0, -2 * S)
    fit = ClockFit.fit(times + offset, jittered(times, 6) + 5_000_000, is_host=True)
    found = fit.offset_ns(times)
    assert (found[:100] == 0).all()
    assert np.abs(found[102:] + 2 * S).max() < 1e7
    assert fit.drift == 0


def test_an_offset_that_was_given_wrongly_is_contradicted_with_the_right_one():
    times = true_times(200)
    fit = ClockFit.fit(times + OFFSET, jittered(times, 8))
    assert fit.contradiction_s() == pytest.approx(-3.25, abs=0.01)
    assert fit.contradiction_s(-3.25) is None
    assert ClockFit.fit(times + 10_000_000, jittered(times, 8)).contradiction_s() is None
    assert ClockFit.fit(times[:3] + OFFSET, times[:3]).contradiction_s() is None
    assert ClockFit().contradiction_s() is None


def test_a_stamp_out_of_order_is_a_sample_as_any_other():
    times = true_times(100)
    order = np.arange(100)
    order[[40, 41]] = [41, 40]
    fit = ClockFit.fit(times[order] + OFFSET, np.maximum.accumulate(times[order]) + 1000)
    assert np.abs(fit.offset_ns(times) - OFFSET + 1000).max() <= 1
    assert not fit.jumps


def test_what_is_no_clock_is_refused():
    with pytest.raises(ArgumentError, match="no sample of the source has arrived"):
        ClockFit().offset_ns(5)
    with pytest.raises(ArgumentError, match="whole ns"):
        ClockFit().add([0.5], [1])
    with pytest.raises(ArgumentError, match="as many of each"):
        ClockFit().add([1, 2], [1])


def test_leap_seconds_are_those_of_the_table_unless_a_receiver_knows_better():
    day = np.datetime64("2016-12-31T23:59:59", "ns").astype(np.int64)
    assert clocks.leap_seconds(int(day)) == 17
    assert clocks.leap_seconds(int(day) + S) == 18
    assert clocks.leap_seconds(0) == 0
    assert clocks.leap_seconds(int(day), leap_seconds=19) == 19
