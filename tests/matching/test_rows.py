"""Rows of updates that belong together, against all pairs compared."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhsi_shared.errors import ArgumentError
from openhsi_shared.matching.rows import IdRows, Rows, SlotRows

MS = 10**6


def nearest(times, at):
    """The index of the nearest time; of two, the earlier; of equal ones, the first."""
    return min(range(len(times)), key=lambda i: (abs(times[i] - at), times[i], i), default=None)


def all_pairs(channels, threshold):
    """The rows of complete series: the reference is channel 0."""
    rows = []
    for i, time in enumerate(channels[0]):
        row = [(0, i)]
        for place, times in enumerate(channels[1:], 1):
            j = nearest(times, time)
            if j is None or abs(times[j] - time) > threshold or nearest(channels[0], times[j]) != i:
                break
            row.append((place, j))
        else:
            rows.append(row)
    return rows


def merged(channels, generator, late=0.0):
    """Updates in an order of arrival that keeps each channel's own order, none later than `late`."""
    updates = []
    for place, times in enumerate(channels):
        arrival = -1e30
        for i, time in enumerate(times):
            arrival = max(arrival, time + generator.uniform(0, late))
            updates.append((arrival, place, i))
    return sorted(updates)


def run(channels, order, threshold, settle_ns=10**9, maxlen=50):
    rows = Rows(len(channels), 0, threshold / 1e9, maxlen, settle_ns / 1e9)
    found = []
    for arrival, place, i in order:
        found += rows.add(place, channels[place][i], (place, i), int(arrival))
    found += rows.settle(int(order[-1][0]) + settle_ns if order else 0)
    return found, rows


series = st.lists(st.integers(0, 30), max_size=8).map(sorted)


@settings(max_examples=150, deadline=None)
@given(st.lists(series, min_size=1, max_size=3), st.integers(0, 8), st.randoms(use_true_random=False))
def test_rows_equal_all_pairs_in_any_order_of_arrival(channels, threshold, generator):
    channels = [[1000 * time for time in times] for times in channels]
    queues = [[(place, i) for i in range(len(times))] for place, times in enumerate(channels)]
    order = []
    while any(queues):
        order.append((0, *generator.choice([queue for queue in queues if queue]).pop(0)))
    found, _ = run(channels, order, 1000 * threshold)
    assert [row.values for row in found] == all_pairs(channels, 1000 * threshold)
    for row in found:
        assert row.time_ns == channels[0][row.values[0][1]]
        assert row.times_ns == [channels[place][i] for place, i in row.values]


def test_forty_shuffled_streams_give_the_same_rows():
    generator = random.Random(1)
    times = [int(k * 1e9 / 120) for k in range(600)]
    channels = [
        [time + generator.randint(-2 * MS, 2 * MS) for time in times if generator.random() > 0.05] for _ in range(4)
    ]
    expected = all_pairs(channels, 6 * MS)
    assert 400 < len(expected) < 600
    for _ in range(40):
        found, rows = run(channels, merged(channels, generator, late=300 * MS), 6 * MS)
        assert [row.values for row in found] == expected
        in_rows = len(expected)
        for place, times in enumerate(channels):
            left = len(rows._waiting) if place == 0 else len(rows._others[place].updates) - rows._others[place].is_used
            assert rows.n_unmatched[place] == len(times) - in_rows - left


def test_rows_come_as_soon_as_they_are_certain():
    rows = Rows(3, 0, 0.005, settle_s=0.5)
    assert rows.add(0, 100 * MS, "r", 0) == []
    assert rows.add(1, 100 * MS, "a", 1) == []
    [row] = rows.add(2, 100 * MS, "b", 2)  # equal stamps: nothing can be nearer
    assert row.values == ["r", "a", "b"]
    assert rows.add(0, 200 * MS, "r2", 3) == []
    assert rows.add(1, 204 * MS, "a2", 4) == []
    assert rows.add(2, 204 * MS, "b2", 5) == []  # a reference at 203 ms would be nearer
    [row] = rows.add(0, 300 * MS, "r3", 6)
    assert row.values == ["r2", "a2", "b2"]


def test_the_last_row_comes_when_it_has_settled():
    rows = Rows(2, 0, 0.005, settle_s=0.5)
    assert rows.add(0, 200 * MS, "r", 0) == []
    assert rows.add(1, 199 * MS, "a", 100 * MS) == []
    assert rows.settle(599 * MS) == []
    assert [row.values for row in rows.settle(600 * MS)] == [["r", "a"]]


def test_two_updates_of_one_channel_never_make_a_row():
    rows = Rows(2, 0, 0.9, settle_s=0)
    assert rows.add(1, 5 * MS, "a5", 0) == []
    assert rows.add(1, 6 * MS, "a6", 0) == []
    found = rows.add(0, 6 * MS, "r", 0)
    assert [row.values for row in found] == [["r", "a6"]]
    assert rows.n_unmatched == [0, 1]


def test_the_threshold_itself_still_matches_and_a_missing_update_is_counted():
    rows = Rows(2, 0, 0.005)
    found = []
    for k, (one, other) in enumerate([(10000, 10005), (11000, 11006), (12000, None), (13000, 13000)]):
        found += rows.add(0, one * MS, k, 0)
        found += rows.add(1, other * MS, k, 0) if other else []
    assert [row.values for row in found] == [[0, 0], [3, 3]]
    assert rows.n_unmatched == [2, 1]
    assert rows.differences_ns(1)[:2] == [5 * MS, 6 * MS]


def test_an_update_waits_for_as_many_newer_ones_as_fit():
    for n_newer, n_rows in [(9, 1), (10, 0)]:
        rows = Rows(2, 0, 0.001, maxlen=10)
        for k in range(n_newer + 1):
            assert rows.add(0, 10 * k * MS, k, 0) == []
        assert len(rows.add(1, 0, "late", 0)) == n_rows
        assert rows.n_unmatched[0] == 1 - n_rows
    rows = Rows(2, 0, 0.001, maxlen=10, settle_s=0.5)
    for k in range(1000):  # a reference that is silent does not fill the memory
        rows.add(1, k * 10 * MS, k, k * 10 * MS)
    assert len(rows._others[1].updates) <= 51


def test_a_clock_that_is_set_back_starts_matching_again():
    rows = Rows(2, 0, 0.005)
    found = []
    for time in [100_000, 101_000, 50_000, 50_010]:
        found += rows.add(0, time * MS, time, 0)
        found += rows.add(1, time * MS, time, 0)
    assert [row.values[0] for row in found] == [100_000, 101_000, 50_000, 50_010]
    assert rows.add(0, 50_009 * MS, "backward", 0) == []
    assert rows.n_backward == [2, 0]
    assert rows.n_unmatched == [1, 0]


def test_clearing_forgets_what_waits():
    rows = Rows(2, 0, 0.005)
    rows.add(0, 5, "old", 0)
    rows.clear()
    assert rows.add(1, 5, "a", 0) == []
    assert rows.n_unmatched == [0, 0]
    ids = IdRows(2, 0)
    ids.add(0, 5, 0, "old")
    ids.clear()
    assert ids.add(1, 5, 0, "a") == []


def test_at_the_end_what_is_complete_is_a_row_and_what_waits_is_unmatched():
    rows = Rows(2, 0, 0.005)
    for time in (1000, 2000):
        rows.add(0, time * MS, time, 0)
    rows.add(1, 999 * MS, "near", 0)
    assert [row.values for row in rows.finish()] == [[1000, "near"]]
    assert rows.n_unmatched == [1, 0]
    ids = IdRows(2, 0)
    ids.add(1, 5, 0, "waits")
    ids.finish()
    assert ids.n_unmatched == [0, 1]


def test_a_single_channel_is_its_own_row():
    assert [row.values for row in Rows(1, 0, 0.005).add(0, 5, "r", 0)] == [["r"]]


def test_ids_match_whatever_the_times():
    ids = IdRows(3, 1, maxlen=4)
    assert ids.add(0, 7, 100, "a7") == []
    assert ids.add(1, 8, 900, "r8") == []
    assert ids.add(0, 8, 101, "a8") == []
    [row] = ids.add(2, 8, 5, "b8")
    assert row == (900, ["a8", "r8", "b8"], [101, 900, 5])
    assert ids.n_unmatched == [1, 0, 0]  # a7: all channels have passed it
    ids.add(1, 9, 0, "r9")
    ids.add(1, 9, 1, "again")  # ids have begun again
    assert ids.n_unmatched == [1, 1, 0]
    for number in range(20, 26):
        ids.add(2, number, 0, number)
    assert ids.n_unmatched == [1, 2, 2]


def arrivals(*updates):
    slots = SlotRows(2, 0.005, maxlen=3)
    return [row for channel, time in updates if (row := slots.add(channel, time, (channel, time)))]


def test_slots_are_those_of_the_neighbour():
    assert arrivals((0, 10.000), (1, 10.004)) == [(10.0, [(0, 10.0), (1, 10.004)])]
    assert arrivals((0, 11.000), (1, 11.006)) == []
    assert arrivals((0, 5), (0, 5.002)) == [(5.0, [(0, 5.002), 0])]  # counts arrivals, not channels
    old = list(itertools.chain([(0, 1.0)], [(0, 2.0 + k) for k in range(3)], [(1, 1.0)]))
    assert arrivals(*old) == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Rows(2, 2, 0.1), "reference 2 is none of the 2 channels"),
        (lambda: Rows(2, 0, -0.1), "must be >= 0 s"),
        (lambda: IdRows(2, 0, 0), "matching_maxlen must be a whole number > 0, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()
