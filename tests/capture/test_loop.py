"""The frame loop: frames are written into the slot directly if unprocessed, and every id is accounted for."""

import time

import numpy as np
import pytest

from openhsi_shared.capture.loop import FrameLoop
from openhsi_shared.drivers import FrameStamp, FrameStatus
from openhsi_shared.errors import CameraLost, FrameTimeout, SourceEnded
from openhsi_shared.frames.losses import IdRange
from openhsi_shared.levels import LevelPlan
from tests.support.filler_bench import Bench, ScriptedDriver

WHOLE = slice(0, 4)
CROPPED = slice(1, 3)


def loop_of(script, level=-1, rows=CROPPED, period=None, **bench):
    """(loop, bench, driver) of a camera that plays `script`."""
    driver = ScriptedDriver(script, period)
    plan = LevelPlan(level=level, frame_shape=driver.frame_shape, frame_dtype=driver.frame_dtype, rows=rows)
    bench = Bench(**bench, line_shape=plan.line_shape)
    return FrameLoop(driver, bench.filler, plan, lambda: 21.5), bench, driver


def stamps(*frame_ids):
    return [FrameStamp(frame_id, 1_000 * k, 7 * k) for k, frame_id in enumerate(frame_ids)]


def test_frame_that_stays_as_it_is_is_read_straight_into_the_slot():
    loop, bench, driver = loop_of(stamps(0, 1))
    assert loop.take()
    assert loop.take()
    for k, out in enumerate(driver.out):
        assert out.ctypes.data == bench.slots.lines(0)[k].ctypes.data
    assert bench.filler.lines()[:, 0, 0].tolist() == [0, 1]


def test_frame_that_is_cropped_is_read_beside_the_slot_and_copied():
    loop, bench, driver = loop_of(stamps(0, 1), level=0)
    loop.take()
    loop.take()
    assert not np.shares_memory(driver.out[0], bench.slots.lines(0))
    assert bench.filler.lines().shape == (2, 2, 3)
    assert bench.filler.lines()[:, 1, 2].tolist() == [0, 1]


def test_cropping_that_keeps_all_rows_costs_no_copy():
    loop, bench, driver = loop_of(stamps(0), level=0, rows=WHOLE)
    loop.take()
    assert np.shares_memory(driver.out[0], bench.slots.lines(0))


def test_what_the_camera_knows_of_a_line_lies_beside_it():
    loop, bench, _ = loop_of(stamps(8, 9))
    loop.take()
    loop.take()
    assert bench.filler.column("frame_id").tolist() == [8, 9]
    assert bench.filler.column("camera_time_ns").tolist() == [0, 7]
    assert bench.filler.column("temperature").tolist() == [21.5, 21.5]
    assert np.diff(bench.filler.column("time_ns")).tolist() == [1000]


def test_camera_without_clock_and_counter_gets_ours():
    loop, bench, _ = loop_of([FrameStamp(), FrameStamp()])
    loop.exposure_ms = 40_000.0
    before = time.time_ns()
    loop.take()
    loop.take()
    assert bench.filler.column("frame_id").tolist() == [0, 1]
    middle = bench.filler.column("time_ns")[0]
    assert abs(middle - before + 20_000_000_000) < 5_000_000_000, "half an exposure before it came"


def test_counter_that_wraps_goes_on():
    loop, bench, _ = loop_of(stamps(65534, 65535, 1, 3), period=65535)
    for _ in range(4):
        loop.take()
    assert bench.filler.column("frame_id").tolist() == [65534, 65535, 65536, 65538]
    assert bench.filler.ledger.lost_ids() == (IdRange(65537, 65537),)


def test_doubled_frame_is_no_line():
    loop, bench, _ = loop_of(stamps(0, 1, 1, 2))
    assert [loop.take() for _ in range(4)] == [True, True, False, True]
    assert bench.filler.lines()[:, 0, 0].tolist() == [0, 1, 2]
    assert bench.filler.ledger.n_lost == 0


def test_frame_that_did_not_arrive_whole_is_lost():
    loop, bench, _ = loop_of([FrameStamp(0, 0), FrameStamp(1, 1, None, FrameStatus.INCOMPLETE), FrameStamp(2, 2)])
    assert [loop.take() for _ in range(3)] == [True, False, True]
    assert bench.filler.lines()[:, 0, 0].tolist() == [0, 2]
    assert bench.filler.ledger.lost_ids() == (IdRange(1, 1),)


def test_rest_of_a_frame_that_comes_late_does_not_disturb_the_account():
    """As delivered by Aravis when packets are lost: a discarded frame is repeated after later ones."""
    broken = [FrameStamp(number, 1, None, FrameStatus.INCOMPLETE) for number in (65535, 65534, 65535)]
    script = [*stamps(65533), *broken[:1], *stamps(1, 2), *broken[1:], *stamps(3)]
    loop, bench, _ = loop_of(script, period=65535)
    assert [loop.take() for _ in script] == [True, False, True, True, False, False, True]
    assert bench.filler.column("frame_id").tolist() == [65533, 65536, 65537, 65538]
    assert bench.filler.ledger.lost_ids() == (IdRange(65534, 65535),)


@pytest.mark.parametrize("period", [None, 65535])
def test_broken_frame_whose_number_was_lost_too_is_told_by_the_gap(period):
    nameless = FrameStamp(None, 1, None, FrameStatus.INCOMPLETE)
    script = [*stamps(7), nameless, *stamps(9, 10), nameless, *stamps(11)]
    if period:  # a camera that is known to count may also begin with one
        script.insert(0, nameless)
    loop, bench, _ = loop_of(script, period=period)
    assert [loop.take() for _ in script].count(True) == 4
    assert bench.filler.column("frame_id").tolist() == [7, 9, 10, 11]
    assert bench.filler.ledger.lost_ids() == (IdRange(8, 8),)


def test_frames_are_taken_and_counted_while_there_is_no_slot():
    loop, bench, driver = loop_of(stamps(*range(8)), n_lines=1)
    loop.take()
    bench.save()
    loop.take()
    bench.save()
    assert [loop.take() for _ in range(3)] == [False] * 3
    assert not any(np.shares_memory(out, bench.slots.lines(0)) for out in driver.out[2:])
    bench.supervisor.answer()
    assert loop.take()
    assert bench.save() == ([5], [2, 3, 4], 3)


def test_lost_frames_of_a_camera_without_counter_are_counted_too():
    loop, bench, _ = loop_of([FrameStamp()] * 6, n_lines=1)
    for _ in range(2):
        loop.take()
        bench.save()
    loop.take()
    loop.take()
    bench.supervisor.answer()
    loop.take()
    assert bench.save() == ([4], [2, 3], 2)


@pytest.mark.parametrize("error", [CameraLost("unplugged"), FrameTimeout("nothing came")])
def test_failure_of_the_camera_is_raised_and_what_was_collected_is_kept(error):
    loop, bench, _ = loop_of([*stamps(0, 1), error])
    loop.take()
    loop.take()
    with pytest.raises(type(error), match=str(error)):
        loop.take()
    assert bench.filler.lines()[:, 0, 0].tolist() == [0, 1]
    with pytest.raises(SourceEnded):
        loop.take()


@pytest.mark.parametrize("level", [-1, 0])
@pytest.mark.parametrize(
    ("frame", "lost"),
    [
        (FrameTimeout("nothing came"), 0),
        (SourceEnded("behind the last one"), 0),
        (FrameStamp(4, 1, None, FrameStatus.INCOMPLETE), 1),
        (FrameStamp(3, 1), 0),
    ],
    ids=["timeout", "end", "incomplete", "doubled"],
)
def test_a_full_cube_keeps_its_oldest_line_until_there_is_one_to_take_its_place(level, frame, lost):
    loop, bench, _ = loop_of([*stamps(0, 1, 2, 3), frame, FrameStamp(5, 1)], level=level)
    for _ in range(4):
        loop.take()
    if isinstance(frame, FrameStamp):
        assert not loop.take()
    else:
        with pytest.raises(type(frame)):
            loop.take()
    assert bench.filler.lines()[:, 0, 0].tolist() == [0, 1, 2, 3]
    assert bench.filler.ledger.n_lost == lost
    assert loop.take()
    assert bench.filler.lines()[:, 0, 0].tolist() == [1, 2, 3, 5]
    assert bench.filler.n_overwritten == 1


def test_patience_grows_with_the_exposure():
    loop, _, driver = loop_of(stamps(0, 1))
    loop.take()
    loop.exposure_ms = 60_000.0
    loop.take()
    assert driver.timeouts_s[0] >= 1
    assert driver.timeouts_s[1] > 60, "a frame takes at least as long as its exposure"


def test_frame_that_was_looked_at_is_not_lost():
    loop, bench, _ = loop_of(stamps(0, 2))
    loop.take()
    bench.save()
    loop.skip(FrameStamp(1))
    loop.skip(FrameStamp(None))
    loop.take()
    assert bench.save() == ([2], [], 0)
