"""Lines are stored in slots or counted as lost, for every value of `when_full`."""

import logging
import random
import threading

import numpy as np
import pytest

from openhsi_shared.buffers.slot_memory import LABEL_BYTES, SlotState
from openhsi_shared.errors import ArgumentError, NoFreeSlot, OpenHSIError, SaveError
from openhsi_shared.frames.losses import IdRange
from tests.support.filler_bench import Bench
from tests.support.helpers import wait_for

HOUR_NS = 3_600_000_000_000


@pytest.mark.parametrize("policy", ["drop", "block", "stop"])
def test_lines_and_their_columns_are_there_in_order(policy):
    bench = Bench(policy)
    for frame_id in (5, 6, 7):
        assert bench.take(frame_id)
    filler = bench.filler
    assert filler.n_lines() == 3
    assert filler.column("frame_id").tolist() == [5, 6, 7]
    assert filler.column("camera_time_ns").tolist() == [-1, -1, -1], "-1 = unknown"
    assert filler.column("temperature").tolist() == [20.0] * 3
    assert filler.lines()[:, 0, 0].tolist() == [5, 6, 7]
    assert filler.ledger.n_lost == 0


def test_nothing_is_there_before_the_first_line():
    filler = Bench().filler
    assert filler.n_lines() == 0
    assert filler.lines().shape == (0, 2, 3)
    assert filler.column("time_ns").tolist() == []
    assert filler.swap() == (None, 0, 0)
    assert filler.nothing_lost_since_swap()
    assert filler.peek_free() == 0


# ---- no slot is free ----


def test_drop_goes_on_and_counts_each_frame_with_its_id():
    bench = Bench("drop", n_slots=2, n_lines=2)
    for frame_id in (0, 1):
        bench.take(frame_id)
    assert bench.save() == ([0, 1], [], 0)
    for frame_id in (2, 3):
        bench.take(frame_id)
    assert bench.save() == ([2, 3], [], 0)
    assert bench.filler.slot is None
    for frame_id in (4, 5, 6):
        assert not bench.take(frame_id)
    assert bench.filler.ledger.lost_ids() == (IdRange(4, 6),)
    bench.supervisor.answer()
    assert bench.take(7)
    assert bench.save() == ([7], [4, 5, 6], 3)
    assert bench.filler.ledger.n_lost == 3


def test_frames_lost_before_a_pause_are_declared_once_and_none_of_the_pause_are():
    bench = Bench("drop", n_slots=2, n_lines=2)
    for frame_id in range(4):
        bench.take(frame_id)
        if frame_id % 2:
            bench.save()
    assert not bench.take(4), "no slot is free"
    for frame_id in (5, 6, 9):
        bench.filler.pass_over(frame_id)
    bench.supervisor.answer()
    for frame_id in (10, 12):
        assert bench.take(frame_id)
    ids, lost, n_lost = bench.save()
    assert (ids, lost, n_lost) == ([10, 12], [11], 1)
    assert bench.filler.ledger.lost_ids() == (IdRange(4, 4), IdRange(11, 11))
    slots = bench.filler.slots
    closed = slots.slots_in(SlotState.SAVING)[-1]
    assert slots.discarded_before(closed).ranges == (IdRange(4, 4),)


def test_stop_ends_and_says_what_every_slot_is_at():
    bench = Bench("stop", n_lines=2)
    for frame_id in range(4):
        bench.take(frame_id)
        if frame_id % 2:
            bench.save()
    with pytest.raises(
        NoFreeSlot, match=r"no slot is free \(SAVING, SAVING\); when_full='stop' ends here: use more slots"
    ):
        bench.take(4)
    bench.supervisor.answer()
    assert bench.take(5), "and may go on when there is room again"


def test_block_waits_for_a_slot_and_loses_nothing():
    bench = Bench("block", n_lines=2)
    for frame_id in range(4):
        bench.take(frame_id)
        if frame_id % 2:
            bench.save()
    taken = []
    thread = threading.Thread(target=lambda: taken.append(bench.take(4)))
    thread.start()
    assert not taken
    assert bench.filler.ledger.next_id == 4
    bench.supervisor.answer()
    wait_for(lambda: taken)
    thread.join()
    assert taken == [True]
    assert bench.save() == ([4], [], 0)


def test_block_raises_what_failed_instead_of_waiting_for_ever():
    bench = Bench("block", n_lines=1)
    for frame_id in (0, 1):
        bench.take(frame_id)
        bench.save()
    bench.supervisor.fail()
    taken = []

    def take():
        try:
            bench.take(2)
        except SaveError as error:
            taken.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    assert not taken, "one is still being saved: that may free a slot"
    bench.supervisor.fail()
    thread.join(60)
    assert taken[0].errno == 28


def test_swap_needs_no_free_slot_only_the_next_line_does():
    bench = Bench("stop", n_lines=2)
    bench.take(0)
    bench.save()
    bench.take(1)
    assert bench.save() == ([1], [], 0)
    with pytest.raises(NoFreeSlot):
        bench.filler.next_line()


# ---- the account ----


@pytest.mark.parametrize("seed", range(12))
def test_files_and_losses_together_are_all_that_the_camera_counted(seed):
    choose = random.Random(seed)
    bench = Bench("drop", n_slots=choose.choice([2, 3]), n_lines=choose.choice([3, 5]))
    ledger, saved, told = bench.filler.ledger, [], 0
    begin = last = choose.choice([0, 1, 500])
    bench.take(begin)
    for _ in range(600):
        what = choose.random()
        if what < 0.75:
            frame_id = last + choose.choice([1, 1, 1, 1, 1, 1, 2, 4, 0, -2])
            committed = bench.take(frame_id)
            assert not (committed and frame_id <= last), "a doubled frame became a line"
            last = max(last, frame_id)
        elif what < 0.9:
            ids, _, n_lost = bench.save()
            saved += ids
            told += n_lost
        elif bench.supervisor.pending:
            bench.supervisor.answer()
        assert len(bench.slots.slots_in(SlotState.FILLING)) <= 1
    for _ in range(2):  # the second one tells what was lost since the last line
        ids, _, n_lost = bench.save()
        saved += ids
        told += n_lost
    lost = {k for r in ledger.lost_ids() for k in range(r.first, r.last + 1)}
    assert saved == sorted(set(saved))
    assert lost.isdisjoint(saved)
    assert len(saved) + len(lost) + bench.filler.n_overwritten == last - begin + 1
    assert ledger.n_committed == len(saved) + bench.filler.n_overwritten
    assert ledger.n_lost == len(lost) == told, "each loss is told once"


@pytest.mark.parametrize("seed", range(6))
def test_files_alone_name_every_frame_where_nothing_went_round(seed):
    choose = random.Random(seed)
    bench = Bench("drop", n_slots=choose.choice([2, 3]), n_lines=4)
    known, last = [], 9
    for _ in range(500):
        last += choose.choice([1, 1, 1, 1, 3])
        bench.take(last)
        if bench.filler.n_lines() == 4 or choose.random() < 0.1:
            ids, missing, _ = bench.save()
            known += ids + missing
        if bench.supervisor.pending and choose.random() < 0.2:
            bench.supervisor.answer()
    assert bench.filler.ledger.n_lost > 0
    assert sorted(known) == list(range(min(known), max(known) + 1))
    assert len(known) == len(set(known))


def test_file_says_nothing_of_frames_before_the_camera_s_first():
    bench = Bench()
    bench.take(70_000)
    assert bench.save() == ([70_000], [], 0)


def test_doubled_frame_is_not_committed_and_changes_nothing():
    bench = Bench()
    bench.take(3)
    before = bench.filler.n_lines(), bench.filler.ledger.n_committed
    assert not bench.take(3)
    assert not bench.take(2)
    assert (bench.filler.n_lines(), bench.filler.ledger.n_committed) == before
    assert bench.take(4)
    assert bench.save() == ([3, 4], [], 0)


def test_commit_without_a_line_to_fill_is_refused():
    bench = Bench()
    with pytest.raises(OpenHSIError, match="commit without next_line"):
        bench.filler.commit(0, 0, None, 0.0)


def test_lines_beyond_the_cube_are_overwritten_counted_apart_and_saved_in_time_order():
    bench = Bench(n_lines=4)
    for frame_id in range(11):
        assert bench.take(frame_id)
    assert bench.filler.n_overwritten == 7
    assert bench.filler.ledger.n_lost == 0
    assert bench.filler.lines()[:, 0, 0].tolist() == [7, 8, 9, 10]
    assert bench.filler.column("frame_id").tolist() == [7, 8, 9, 10]
    assert bench.save()[0] == [7, 8, 9, 10]


def test_oldest_line_that_a_frame_sent_twice_came_to_lie_over_is_counted():
    bench = Bench(n_lines=4)
    for frame_id in range(4):
        bench.take(frame_id)
    assert not bench.take(3)  # its bytes are where line 0 was
    assert bench.save()[0] == [1, 2, 3]
    assert bench.filler.n_overwritten == 1
    assert bench.filler.ledger.n_lost == 0


def test_swap_of_a_cube_without_lines_keeps_the_slot_and_tells_each_loss_once():
    bench = Bench(n_lines=2)
    bench.take(0)
    bench.save()
    assert bench.save() == ([], [], 0)
    bench.take(1)
    bench.save()
    bench.take(2)
    bench.take(3)
    assert not bench.filler.nothing_lost_since_swap()
    assert bench.save() == ([], [], 2)
    assert bench.filler.nothing_lost_since_swap()
    assert bench.save() == ([], [], 0)
    bench.supervisor.answer()
    bench.take(4)
    assert bench.save() == ([4], [2, 3], 0), "the next file says so, whatever was told before"


def test_frame_that_was_looked_at_between_cubes_is_no_loss():
    bench = Bench()
    bench.take(0)
    bench.save()
    bench.filler.skip(1)
    bench.filler.skip(2)
    bench.take(3)
    assert bench.save() == ([3], [], 0)
    assert bench.filler.ledger.n_lost == 0


def test_frame_that_was_looked_at_within_a_cube_is_missing_in_the_file():
    bench = Bench()
    bench.take(0)
    bench.filler.skip(1)
    bench.take(2)
    assert bench.save() == ([0, 2], [1], 1)


def test_times_never_step_back_and_lie_in_utc():
    bench = Bench()
    for frame_id, monotonic_ns in enumerate([2_000, 1_000, 3_000]):
        bench.take(frame_id, monotonic_ns)
    anchor = bench.filler.clock.anchor
    offset = anchor.wall_ns - anchor.monotonic_ns
    assert bench.filler.column("time_ns").tolist() == [2_000 + offset, 2_000 + offset, 3_000 + offset]


def set_clock(bench, ns):
    """As if the wall clock had been set: its last anchor is so much older."""
    clock = bench.filler.clock
    clock.anchor = clock.anchor._replace(wall_ns=clock.anchor.wall_ns - ns)


def test_times_before_1970_are_times():
    bench = Bench()
    set_clock(bench, 60 * 365 * 24 * HOUR_NS)
    bench.filler.times_are_recorded = True
    bench.take(0, 1_000)
    bench.filler.times_are_recorded = False
    bench.take(1, 3_000)
    bench.take(2, 2_000)
    times_ns = bench.filler.column("time_ns")
    assert times_ns[0] < 0
    assert (times_ns - times_ns[0]).tolist() == [0, 2_000, 2_000]


def test_a_cube_keeps_its_anchor_and_the_next_one_has_a_new_one():
    bench = Bench(n_slots=3)
    bench.take(0, 1_000)
    first = bench.filler.slot
    set_clock(bench, HOUR_NS)
    bench.take(1, 2_000)
    bench.save()
    bench.take(2, 3_000)
    bench.take(3, 4_000)
    before, after = bench.slots.times(first), bench.slots.times(bench.filler.slot)
    assert abs(after.step.total_ns - HOUR_NS) < 10**9
    assert after.anchor == bench.filler.clock.anchor != before.anchor
    assert after.earlier_until_ns == bench.slots.column(first, "time_ns")[-1]
    assert np.diff(bench.filler.column("time_ns")).tolist() == [1_000]


def test_a_clock_that_is_set_back_lets_the_next_cube_begin_earlier():
    bench = Bench()
    bench.take(0, HOUR_NS)
    bench.save()
    set_clock(bench, -HOUR_NS)
    bench.take(1, 2_000)
    times = bench.slots.times(bench.filler.slot)
    assert times.step.total_ns < -HOUR_NS + 10**9
    assert times.earlier_until_ns - bench.filler.column("time_ns")[0] > HOUR_NS - 10**9


@pytest.mark.parametrize("step_ns", [HOUR_NS, -HOUR_NS])
def test_the_times_of_a_cube_that_wraps_around_follow_the_clock_together(step_ns):
    """The clock is set within four lines; the fifth one, which overwrites the first, follows it with all others."""
    bench = Bench()
    bench.take(0, 1_000)
    set_clock(bench, step_ns)
    bench.slots.set_times(bench.filler.slot, bench.filler.clock.times, move_ns=-step_ns)
    bench.filler._last_ns -= step_ns
    for frame_id in range(1, 4):
        bench.take(frame_id, 1_000 * (frame_id + 1))
    before_ns = bench.filler.column("time_ns")
    for frame_id in range(4, 6):
        bench.take(frame_id, 1_000 * (frame_id + 1))
    after_ns = bench.filler.column("time_ns")
    assert np.diff(before_ns).tolist() == np.diff(after_ns).tolist() == [1_000, 1_000, 1_000]
    assert abs(after_ns[0] - before_ns[2] - step_ns) < 10**9
    anchor = bench.slots.times(bench.filler.slot).anchor
    assert (after_ns - anchor.wall_ns + anchor.monotonic_ns).tolist() == [3_000, 4_000, 5_000, 6_000]
    assert bench.filler.n_overwritten == 2


def test_recorded_times_follow_no_clock(caplog):
    bench = Bench()
    bench.filler.times_are_recorded = True
    anchor = bench.filler.clock.anchor
    offset = anchor.wall_ns - anchor.monotonic_ns
    bench.take(0, 5_000)
    set_clock(bench, HOUR_NS)
    bench.save()
    bench.take(1, 2_000)
    assert bench.filler.column("time_ns").tolist() == [2_000 + offset - HOUR_NS]
    assert warnings_of(caplog) == []
    assert bench.slots.times(bench.filler.slot).earlier_until_ns < -(2**62)


# ---- labels ----


def test_label_goes_with_every_new_cube():
    bench = Bench()
    bench.filler.label = b"there"
    bench.take(0)
    assert bench.slots.label(bench.filler.slot) == b"there"
    bench.save()
    bench.take(1)
    assert bench.slots.label(bench.filler.slot) == b"there"


def test_label_that_is_too_large_is_refused_before_a_swap_could_be_left_half_done():
    bench = Bench()
    bench.take(0)
    with pytest.raises(ArgumentError, match="at most"):
        bench.filler.label = bytes(LABEL_BYTES + 1)
    assert bench.filler.label == b""
    assert bench.take(1)
    assert bench.save() == ([0, 1], [], 0)


# ---- what is told ----


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_half_full_and_nearly_full_are_warned_about_while_no_other_slot_is_free(caplog):
    bench = Bench(n_lines=10)
    bench.take(0)
    bench.save()
    n_before = []
    for frame_id in range(1, 13):
        bench.take(frame_id)
        n_before.append(len(warnings_of(caplog)))
    assert n_before == [0] * 4 + [1] * 3 + [2] * 5
    assert [text[:47] for text in warnings_of(caplog)] == [
        "the cube being filled is 50 % full and no other",
        "the cube being filled is 80 % full and no other",
    ]


def test_normal_running_is_silent(caplog):
    bench = Bench(n_slots=3, n_lines=10)
    for frame_id in range(40):
        bench.take(frame_id)
        if frame_id % 10 == 9:
            bench.save()
            bench.supervisor.answer()
    assert warnings_of(caplog) == []


def test_who_can_wait_is_not_warned(caplog):
    bench = Bench("block", n_lines=10)
    bench.take(0)
    bench.save()
    for frame_id in range(1, 11):
        bench.take(frame_id)
    assert warnings_of(caplog) == []


def test_loss_is_warned_about_at_once_and_then_at_most_once_a_second(caplog):
    bench = Bench(n_lines=1)
    for frame_id in (0, 1):
        bench.take(frame_id)
        bench.save()
    for frame_id in range(2, 500):
        bench.take(frame_id)
    assert warnings_of(caplog)[0] == "1 lines lost so far: no slot is free (SAVING, SAVING)"
    assert len(warnings_of(caplog)) <= 3


def test_first_gap_of_the_camera_s_own_is_warned_about_at_once_and_the_rest_at_the_end(caplog):
    bench = Bench(n_lines=100)
    for frame_id in (3, 4, 6, 7, 10, 12):
        bench.take(frame_id)
    assert warnings_of(caplog) == ["1 lines lost so far: the camera skipped frames before frame 6"]
    for _ in range(2):
        bench.filler.log_rest()
    assert warnings_of(caplog)[1:] == ["4 lines were lost in all: frames 5 8-9 11"]


def test_frame_that_has_no_slot_is_not_blamed_on_the_camera_when_there_is_one_again(caplog):
    bench = Bench(n_lines=1)
    for frame_id in (0, 1):
        bench.take(frame_id)
        bench.save()
    bench.take(2)
    bench.supervisor.answer()
    bench.take(3)
    assert warnings_of(caplog) == ["1 lines lost so far: no slot is free (SAVING, SAVING)"]
    bench.save()
    bench.supervisor.answer()
    bench.take(5)
    assert warnings_of(caplog)[1:] == ["2 lines lost so far: the camera skipped frames before frame 5"]


def test_frame_that_was_consumed_within_a_cube_is_no_gap_of_the_camera(caplog):
    bench = Bench()
    bench.take(0)
    bench.filler.skip(1)
    bench.take(2)
    (text,) = warnings_of(caplog)
    assert text.startswith("1 lines lost so far: frame 1 was consumed without being saved, within a cube")


def test_rate_is_that_of_the_lines():
    bench = Bench(n_lines=4)
    assert bench.filler.rate() == 0.0  # before the first
    for frame_id in range(100):
        bench.take(frame_id)
    assert bench.filler.rate() > 0  # at once
    then, _ = bench.filler._rate_from
    bench.filler._rate_from = (then - 1_000_000_000, 0)  # a second ago
    assert 80 < bench.filler.rate() <= 100


# ---- frames that are not wanted ----


def test_frames_that_are_passed_over_are_not_lost_nor_those_between_them():
    bench = Bench(n_slots=3)
    for frame_id in (0, 1):
        bench.take(frame_id)
    assert bench.save() == ([0, 1], [], 0)
    for frame_id in (2, 3, 9):
        bench.filler.pass_over(frame_id)
    assert bench.take(10)
    bench.take(12)
    assert bench.filler.ledger.lost_ids() == (IdRange(11, 11),)
    assert bench.save() == ([10, 12], [11], 1)


def test_what_was_lost_before_a_frame_is_passed_over_stays_lost():
    bench = Bench("drop", n_slots=3)
    bench.filler.pass_over(5)
    assert bench.filler.ledger.n_lost == 0, "before the first line nothing was wanted"
    bench.take(6)
    bench.save()
    bench.filler.lose(7)
    for frame_id in (9, 11):
        bench.filler.pass_over(frame_id)
    assert bench.filler.ledger.lost_ids() == (IdRange(7, 7),), "the camera skipped 8 when nothing was wanted any more"
    assert bench.take(12)
    slot = bench.filler.slot
    assert bench.slots.discarded_before(slot).ranges == (IdRange(7, 7),), "the file of the next cube declares them"
    assert bench.save() == ([12], [], 0)
    assert bench.slots.discarded_before(slot).n_lost == 1
    assert bench.filler.ledger.n_lost == 1
    assert bench.filler.ledger.n_committed == 2
