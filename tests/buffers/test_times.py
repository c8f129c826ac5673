"""When lines were taken: times that never step back."""

import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from openhsi_shared.buffers.times import Anchor, Clock, ClockStep, DateTimeBuffer, LineTimes, read_anchor
from openhsi_shared.errors import ArgumentError

HOUR_NS = 3_600_000_000_000


def test_times_that_were_never_written_read_as_the_first_nanoseconds_of_1970():
    buffer = DateTimeBuffer()
    assert buffer.n == 16
    assert buffer.data.dtype == np.dtype("datetime64[ns]")
    assert buffer.data.astype(np.int64).tolist() == list(range(16))
    assert (buffer.count, buffer.write_pos, len(buffer)) == (0, 0, 0)


def test_update_stores_now_in_utc_and_wraps_around():
    buffer = DateTimeBuffer(3)
    before = time.time_ns()
    for n in range(1, 6):
        buffer.update()
        assert (buffer.count, buffer.write_pos) == (min(n, 3), n % 3)
    stored = buffer.data.astype(np.int64)
    assert stored[[2, 0, 1]].tolist() == sorted(stored.tolist()), "the oldest lies where the next will be written"
    assert before - 1e9 < stored.min() <= stored.max() < time.time_ns() + 1e9


def test_number_gives_a_datetime_in_utc():
    buffer = DateTimeBuffer(4)
    buffer.update()
    buffer.update()
    assert isinstance(buffer[0], datetime)
    assert buffer[0].tzinfo is UTC
    assert abs(buffer[1] - datetime.now(UTC)) < timedelta(seconds=1)
    assert buffer[-1] == buffer[1]
    assert buffer[-2] == buffer[np.int64(0)] == buffer[0]


@pytest.mark.parametrize("key", [2, 3, -3, 100])
def test_time_that_was_not_stored_is_an_index_error(key):
    buffer = DateTimeBuffer(4)
    buffer.update()
    buffer.update()
    with pytest.raises(IndexError, match=f"time {key} of 2 does not exist"):
        buffer[key]


def test_slice_or_array_gives_an_array_of_datetimes():
    buffer = DateTimeBuffer(3)
    for _ in range(3):
        buffer.update()
    assert buffer[:2].shape == (2,)
    assert buffer[:].tolist() == [buffer[0], buffer[1], buffer[2]]
    assert buffer[np.array([2, 0])].tolist() == [buffer[2], buffer[0]]


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "3", None])
def test_room_for_no_times_is_refused(n):
    with pytest.raises(ArgumentError, match="n must be a whole number > 0, got"):
        DateTimeBuffer(n)


def test_both_clocks_are_read_within_a_millisecond():
    anchor = read_anchor(50)
    later = read_anchor(50)
    assert abs((later.wall_ns - anchor.wall_ns) - (later.monotonic_ns - anchor.monotonic_ns)) < 1_000_000


@pytest.mark.parametrize("step_ns", [-HOUR_NS, HOUR_NS])
def test_wall_clock_that_is_set_moves_no_time_and_is_seen(step_ns):
    clock = Clock()
    # a wall clock moved back by an hour since the anchor is an anchor an hour ahead of it
    clock.anchor = Anchor(clock.anchor.wall_ns - step_ns, clock.anchor.monotonic_ns)
    first = clock.wall_ns(time.monotonic_ns())
    second = clock.wall_ns(time.monotonic_ns())
    assert 0 <= second - first < 1_000_000_000
    assert abs(first + step_ns - time.time_ns()) < 1_000_000_000
    assert abs(clock.step_ns() - step_ns) < 1_000_000_000


def test_a_clock_that_is_not_set_shows_no_step():
    assert abs(Clock().step_ns()) < 1_000_000


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ((3600, 0), "the wall clock was set by +3600.000 s"),
        ((-0.5, 0), "the wall clock was set by -0.500 s"),
        ((900, 900), "the system was suspended for 900.000 s"),
        ((905, 900), "the system was suspended for 900.000 s and the wall clock was set by +5.000 s"),
        ((0, 900), "the system was suspended for 900.000 s and the wall clock was set by -900.000 s"),
    ],
)
def test_a_step_says_what_has_happened(seconds, expected):
    total_ns, suspended_ns = (int(1e9 * value) for value in seconds)
    before = Anchor(10**18, 10**12, 10**10)
    after = Anchor(before.wall_ns + 10**9 + total_ns, before.monotonic_ns + 10**9, before.suspended_ns + suspended_ns)
    step = after.since(before)
    assert step == (total_ns, suspended_ns)
    assert (step.is_step, str(step)) == (True, expected)


@pytest.mark.parametrize("ns", [0, 99_999_999, -99_999_999])
def test_a_small_difference_is_no_step(ns):
    assert not ClockStep(ns, 0).is_step
    clock = Clock()
    clock.anchor = before = clock.anchor._replace(wall_ns=clock.anchor.wall_ns - ns // 2)
    assert clock.follow() is None
    assert clock.anchor == before


def test_a_clock_follows_a_step_once():
    clock = Clock()
    clock.anchor = clock.anchor._replace(wall_ns=clock.anchor.wall_ns - HOUR_NS)
    step = clock.follow()
    assert abs(step.total_ns - HOUR_NS) < 1_000_000
    assert abs(clock.step_ns()) < 1_000_000
    assert clock.follow() is None


def test_times_of_a_buffer_follow_the_clock_when_it_wraps_around():
    buffer = DateTimeBuffer(3)
    anchor = buffer._clock.anchor
    for n in range(4):
        if n == 1:  # the clock is set by an hour
            buffer._clock.anchor = anchor._replace(wall_ns=anchor.wall_ns - HOUR_NS)
        buffer.update()
    steps = np.round(np.diff(buffer.data[[1, 2, 0]].astype(np.int64)) / HOUR_NS).tolist()
    assert steps == [0, 1]


def test_times_of_lines_are_those_there_are_and_no_more():
    stored = np.array([], np.int64)
    times = LineTimes(8, lambda: stored)
    assert len(times) == 0
    assert times.data.dtype == np.dtype("datetime64[ns]")
    with pytest.raises(IndexError, match="time 0 of 0 does not exist"):
        times[0]
    stored = np.array([1_000_000_000, 2_000_000_000], np.int64)
    assert times.count == 2
    assert times[-1] == datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)
    assert times[:].tolist() == [times[0], times[1]]
    assert repr(times) == "LineTimes(n=8, count=2)"
    assert repr(DateTimeBuffer(2)) == "DateTimeBuffer(n=2, count=0)"
