"""Which frames were lost, exactly: what was offered and what was saved never disagree."""

import doctest
import random

import pytest

from openhsi_shared.frames import losses
from openhsi_shared.frames.losses import MAX_RANGES, FrameLedger, IdRange, gaps_between, ranges_in_words


def ids_of(ranges):
    """Every id of some ranges; fails if they overlap or are out of order."""
    ids = [frame_id for r in ranges for frame_id in range(r.first, r.last + 1)]
    assert ids == sorted(set(ids))
    return set(ids)


def check(ledger, first, last, saved):
    offered = set(range(first, last + 1))
    lost = ids_of(ledger.lost_ids())
    assert saved.isdisjoint(lost)
    assert saved | lost == offered
    assert ledger.n_lost == len(lost)
    assert ledger.n_committed == len(saved)
    assert ledger.next_id == last + 1
    assert ledger.expected == (max(saved) + 1 if saved else first)


@pytest.mark.parametrize("seed", range(20))
def test_saved_and_lost_are_disjoint_and_together_all_that_was_offered(seed):
    choose = random.Random(seed)
    ledger, saved = FrameLedger(), set()
    first = last = choose.choice([0, 1, 70_000])
    for step in range(300):
        if step:
            jump = choose.choice([1, 1, 1, 1, 2, 5, 0, -1])  # gaps, repeats, steps back
            frame_id = last + jump
        else:
            frame_id = first
        fresh = not step or frame_id > last
        assert ledger.offer(frame_id) == fresh
        last = max(last, frame_id)
        if fresh and choose.random() < 0.7:  # else there was no room for it
            n_before = ledger.n_lost_before_last
            n_expected = ledger.lost_if_committed()
            ledger.commit()
            assert ledger.n_lost_before_last == n_before + n_expected
            saved.add(frame_id)
        check(ledger, first, last, saved)


def test_ledger_without_frames_has_lost_nothing():
    ledger = FrameLedger()
    assert (ledger.n_lost, ledger.n_committed, ledger.lost_ids(), ledger.next_id) == (0, 0, (), 0)


def test_camera_that_begins_at_a_large_id_has_lost_nothing_before_it():
    ledger = FrameLedger()
    assert ledger.offer(1000)
    ledger.commit()
    assert ledger.n_lost == 0
    assert ledger.expected == 1001


def test_doubled_frame_is_refused_even_if_the_first_one_was_lost():
    ledger = FrameLedger()
    for frame_id in (0, 1):
        assert ledger.offer(frame_id)
    assert not ledger.offer(1)
    assert not ledger.offer(0)
    assert ledger.lost_ids() == (IdRange(0, 1),)


def test_frame_that_was_only_looked_at_is_neither_saved_nor_lost():
    ledger = FrameLedger()
    ledger.skip(0)
    ledger.offer(1)
    ledger.commit()
    ledger.skip(2)
    ledger.skip(2)
    ledger.offer(3)
    ledger.commit()
    assert (ledger.n_committed, ledger.n_lost, ledger.lost_ids()) == (2, 0, ())


def test_one_that_was_looked_at_behind_lost_frames_is_not_skipped():
    ledger = FrameLedger()
    ledger.offer(0)
    ledger.commit()
    assert not ledger.skip(5)
    ledger.offer(5)
    assert ledger.lost_ids() == (IdRange(1, 5),)
    assert ledger.n_lost == 5


def test_frames_that_are_passed_over_are_neither_saved_nor_lost_and_those_lost_before_stay_lost():
    ledger = FrameLedger()
    assert ledger.pass_over(70_000) is None
    assert (ledger.expected, ledger.n_passed_over) == (70_001, 1)
    for frame_id in (70_001, 70_002):
        ledger.offer(frame_id)
        ledger.commit()
    ledger.offer(70_004)
    assert ledger.pass_over(70_009) == IdRange(70_003, 70_004)
    assert ledger.pass_over(70_009) is None, "a duplicate"
    assert (ledger.n_lost, ledger.n_committed, ledger.n_passed_over) == (2, 2, 6)
    assert (ledger.expected, ledger.next_id) == (70_010, 70_010)
    assert ledger.lost_ids() == (IdRange(70_003, 70_004),)


def test_more_gaps_than_are_kept_are_still_counted_exactly():
    ledger = FrameLedger()
    n = MAX_RANGES + 50
    for k in range(n):
        ledger.offer(3 * k)
        ledger.commit()
    assert len(ledger.ranges) == MAX_RANGES
    assert ledger.n_lost == 2 * (n - 1)


def test_length_of_a_range_counts_both_ends():
    assert len(IdRange(3, 3)) == 1
    assert len(IdRange(3, 7)) == 5


@pytest.mark.parametrize(
    ("expected", "ids", "gaps"),
    [
        (0, [], []),
        (0, [0, 1, 2], []),
        (5, [7], [IdRange(5, 6)]),
        (0, [1, 3], [IdRange(0, 0), IdRange(2, 2)]),
        (9, [4, 5], []),
    ],
)
def test_gaps_are_what_is_missing_before_and_between(expected, ids, gaps):
    assert gaps_between(expected, ids) == gaps


def test_ranges_in_words_are_short():
    assert ranges_in_words([]) == ""
    assert ranges_in_words((IdRange(1, 1), IdRange(3, 9))) == "1 3-9"


def test_examples_in_the_documentation_are_true():
    result = doctest.testmod(losses)
    assert result.attempted > 0
    assert result.failed == 0
