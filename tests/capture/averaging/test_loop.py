"""The loop that averages: which frames a line has, and that every frame is accounted for, whatever is lost."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from openhsi_shared.buffers.slot_memory import Word
from openhsi_shared.capture.averaging.loop import AveragingLoop, check_average
from openhsi_shared.capture.averaging.sums import FrameSums
from openhsi_shared.drivers import FrameStamp, FrameStatus
from openhsi_shared.errors import ArgumentError, FrameTimeout, NoFreeSlot, SourceEnded
from openhsi_shared.frames.averaged import frames_of
from openhsi_shared.frames.losses import gaps_between
from openhsi_shared.levels import LevelPlan
from tests.support.filler_bench import Bench, ScriptedDriver

WHOLE = slice(0, 4)


def good(*frame_ids):
    return [FrameStamp(frame_id, 1_000 * frame_id, 7 * frame_id) for frame_id in frame_ids]


def incomplete(frame_id):
    return FrameStamp(frame_id, 1_000 * frame_id, None, FrameStatus.INCOMPLETE)


def numbers_in(ranges):
    return [frame_id for one in ranges for frame_id in range(one.first, one.last + 1)]


@dataclass
class Run:
    """A loop that averages, with the cubes that were saved."""

    average: int
    script: list
    period: int | None = None
    has_pixels_of_ids: bool = True
    bench_options: dict = field(default_factory=dict)

    def __post_init__(self):
        self.driver = ScriptedDriver(self.script, self.period)
        plan = LevelPlan(level=-1, frame_shape=(4, 3), frame_dtype=np.dtype("int32"), rows=WHOLE)
        self.bench = Bench(line_shape=(4, 3), is_averaged=True, **self.bench_options)
        self.filler, sums = self.bench.filler, FrameSums((4, 3), np.dtype("int32"))
        self.loop = AveragingLoop(self.driver, self.filler, plan, lambda: 21.5, self.average, sums)
        self.cubes = []
        """Of each: frames of its lines, lost frames that it declares."""

    def save(self):
        """Swap, and note what a file would say."""
        slots = self.bench.slots
        slot, _, _ = self.filler.swap()
        if slot is None:
            return
        columns = (slots.column(slot, name) for name in ("frame_id", "frames_used"))
        lines = [frames_of(np.array([one]), np.array([used])).tolist() for one, used in zip(*columns, strict=True)]
        for number, ids in enumerate(lines):
            if self.has_pixels_of_ids:
                assert slots.lines(slot)[number][0, 0] == (2 * sum(ids) + len(ids)) // (2 * len(ids))
            assert {one // self.average for one in ids} == {ids[0] // self.average}
        lost = numbers_in(gaps_between(slots.word(slot, Word.EXPECTED_ID), slots.frame_ids(slot).tolist()))
        declared = slots.discarded_before(slot)
        assert slots.word(slot, Word.N_LOST) == len(lost)
        self.cubes.append((lines, numbers_in(declared.ranges) + lost))
        self.bench.supervisor.save(slot)
        self.bench.supervisor.answer()

    def until_the_end(self):
        """Take all frames, save each cube that is full and the rest, and stop."""
        n_lines = self.bench.slots.layout.n_lines
        try:
            while True:
                for _ in self.loop.takes_of(n_lines):
                    self.loop.take()
                self.save()
        except SourceEnded:
            self.loop.end_line()
            self.save()
        self.loop.end_line(is_stopped=True)
        return self.cubes


def expected(average, delivered, n_lines):
    """Frames of the lines of each cube, of these that came whole."""
    groups = {}
    for frame_id in delivered:
        groups.setdefault(frame_id // average, []).append(frame_id)
    lines = list(groups.values())
    return [lines[first : first + n_lines] for first in range(0, len(lines), n_lines)]


PLACES = {
    "none": set(),
    "the first of a group": {4, 12},
    "the last of a group": {7, 11},
    "the last of a cube": {15, 31},
    "in the middle": {5, 6, 14},
    "all but one": {8, 9, 11},
    "a whole group": {8, 9, 10, 11},
    "groups across cubes": set(range(10, 22)),
    "a whole cube": set(range(16, 32)),
    "at the end": {37, 38},
}


@pytest.mark.parametrize("lost", PLACES.values(), ids=PLACES)
def test_a_line_is_the_mean_of_the_frames_of_its_group_that_came(lost):
    delivered = [frame_id for frame_id in range(39) if frame_id not in lost]
    run = Run(4, good(*delivered))
    cubes = run.until_the_end()
    assert [lines for lines, _ in cubes] == expected(4, delivered, 4)
    declared = [frame_id for _, ids in cubes for frame_id in ids]
    assert declared == sorted(lost - {37, 38}), "behind the last frame nothing is known"
    assert run.filler.ledger.n_lost == len(declared)
    assert run.filler.ledger.n_committed == sum(len(lines) for lines, _ in cubes)


@pytest.mark.parametrize("seed", range(6))
def test_each_frame_is_in_one_line_or_declared_lost_whatever_happens_to_it(seed):
    random = np.random.default_rng(seed)
    for _ in range(25):
        average, begin, n_lines = int(random.integers(2, 9)), int(random.integers(0, 3)), int(random.integers(1, 5))
        fate = random.choice(["good", "gap", "incomplete"], 120, p=(0.6, 0.3, 0.1))
        ids = range(begin, begin + 120)
        stamps = {one: good(one)[0] if how == "good" else incomplete(one) for one, how in zip(ids, fate, strict=True)}
        script = [stamp for stamp, how in zip(stamps.values(), fate, strict=True) if how != "gap"]
        run = Run(average, script, bench_options={"n_lines": n_lines})
        cubes = run.until_the_end()
        in_lines = [one for lines, _ in cubes for line in lines for one in line]
        declared = [one for _, lost in cubes for one in lost]
        assert in_lines == [one for one, how in zip(ids, fate, strict=True) if how == "good"]
        seen = [stamp.frame_id for stamp in script]
        lost = sorted(set(range(seen[0], seen[-1] + 1)) - set(in_lines))
        assert declared == [one for one in lost if one < in_lines[-1]]
        assert run.filler.ledger.n_lost == len(lost)
        assert all(len(lines) <= n_lines for lines, _ in cubes)


def test_time_of_a_line_is_the_mean_of_the_times_of_its_frames():
    run = Run(4, good(0, 1, 2, 3, 5, 7))
    run.loop.exposure_ms = 2.0
    for _ in range(6):
        run.loop.take()
    filler = run.filler
    assert np.diff(filler.column("time_ns")).tolist() == [6_000 - 1_500]
    assert filler.column("camera_time_ns").tolist() == [10, 42]
    assert filler.column("frames_used").tolist() == [0b1111, 0b1010]
    assert run.loop.half_line_ns == 1_000_000 + 1_000


def test_groups_lie_on_ids_that_are_unwrapped_and_on_our_count_where_there_are_none():
    wrapped = Run(4, [FrameStamp(k, k) for k in (65533, 65534, 65535, 1, 2, 4, 5)], 65535, has_pixels_of_ids=False)
    assert wrapped.until_the_end()[0][0] == [[65533, 65534, 65535], [65536, 65537, 65539], [65540]]
    nameless = FrameStamp(status=FrameStatus.INCOMPLETE)
    counted = Run(3, [FrameStamp(), FrameStamp(), nameless, FrameStamp(), FrameStamp()], has_pixels_of_ids=False)
    assert counted.until_the_end()[0][0] == [[0, 1], [3, 4]]
    assert counted.filler.ledger.n_lost == 0 + 1


def test_duplicates_and_restarts_of_the_counter_do_not_mix_frames():
    run = Run(4, good(0, 1, 1, 2), has_pixels_of_ids=False)
    for _ in range(4):
        run.loop.take()
    run.loop.end_line(is_stopped=True)  # nothing: no cube has lines
    run.loop.ids.restart()
    run.driver._script += good(0, 1, 2, 3, 4)
    assert run.until_the_end()[0][0] == [[3], [4, 5, 6, 7]]
    assert run.filler.ledger.n_lost == 0


def test_frames_stay_while_the_camera_is_late_and_without_a_slot_they_are_lost():
    late = Run(4, [*good(0, 1), FrameTimeout("late"), *good(2, 3)])
    assert [late.loop.take(), late.loop.take()] == [False, False]
    with pytest.raises(FrameTimeout):
        late.loop.take()
    assert late.until_the_end()[0][0] == [[0, 1, 2, 3]]
    full = Run(2, good(*range(12)), bench_options={"n_lines": 1})
    slots = full.bench.slots
    held = [full.filler.slot, None]
    for _ in range(2):
        for _ in full.loop.takes_of(1):
            full.loop.take()
        held.append(full.filler.swap()[0])
    assert [full.loop.take() for _ in range(4)] == [False] * 4, "no slot is free"
    assert full.filler.ledger.n_lost == 4
    for slot in held[2:]:
        slots.save(slot)
        slots.free(slot)
    assert full.until_the_end()[0] == ([[8, 9]], [4, 5, 6, 7])
    stopping = Run(2, good(*range(6)), bench_options={"n_lines": 1, "when_full": "stop"})
    for _ in range(2):
        for _ in stopping.loop.takes_of(1):
            stopping.loop.take()
        stopping.filler.swap()
    stopping.loop.take()
    with pytest.raises(NoFreeSlot):
        stopping.loop.take()
    with pytest.raises(NoFreeSlot):
        stopping.loop.take()
    assert stopping.driver._n_read == 6, "the line is tried again, before another frame is read"


def test_frame_read_ahead_between_cubes_is_not_lost_when_the_camera_stops_and_the_one_missing_before_it_is():
    run = Run(4, good(*range(15), 16), has_pixels_of_ids=False)
    for _ in run.loop.takes_of(4):
        run.loop.take()
    run.save()
    run.loop.end_line(is_stopped=True)
    assert (run.filler.ledger.n_lost, run.filler.ledger.n_passed_over) == (1, 1)
    run.loop.ids.restart()
    run.driver._script += good(0, 1, 2)
    assert run.until_the_end()[1] == ([[17, 18, 19]], [15])


def test_a_pause_takes_no_frames_of_the_line_before_it():
    run = Run(4, good(*range(6)))
    for _ in range(5):
        run.loop.take()
    run.loop.end_line()
    run.save()
    assert run.loop.pass_over() is not None
    run.driver._script += good(6, 7, 8)
    assert run.until_the_end() == [([[0, 1, 2, 3], [4]], []), ([[6, 7], [8]], [])]
    assert run.filler.ledger.n_passed_over == 1


def test_a_cube_that_is_full_is_not_overwritten_by_a_line_that_was_begun():
    run = Run(2, good(0, 1, 2, 3, 4, 5, 6, 8))
    for _ in run.loop.takes_of(4):
        run.loop.take()
    run.loop.end_line()
    assert run.filler.ledger.n_lost == 2, "7 by the camera, 8 because there was no room"
    run.save()
    assert run.cubes == [([[0, 1], [2, 3], [4, 5], [6]], [])]


def test_what_a_signal_handler_interrupts_is_neither_lost_nor_counted_twice(monkeypatch):
    class Interrupt(Exception):
        pass

    for where in ("before", "within", "after"):
        run = Run(2, good(*range(6)))
        filler, slots = run.filler, run.bench.slots
        commit, to_slot = filler.commit_mean, slots.commit

        def interrupted(*arguments, where=where, commit=commit, filler=filler):
            monkeypatch.undo()
            if where != "before":
                commit(*arguments)
            raise Interrupt

        def in_slot(*arguments, to_slot=to_slot):
            monkeypatch.undo()
            to_slot(*arguments)
            raise Interrupt

        run.loop.take()
        if where == "within":
            monkeypatch.setattr(slots, "commit", in_slot)
        else:
            monkeypatch.setattr(filler, "commit_mean", interrupted)
        with pytest.raises(Interrupt):
            run.loop.take()
        assert run.until_the_end() == [([[0, 1], [2, 3], [4, 5]], [])], where
        assert (filler.ledger.n_lost, filler.ledger.n_committed) == (0, 3)


def test_put_makes_a_line_of_one_frame():
    bench = Bench(is_averaged=True)
    bench.take(0)
    bench.take(3)
    assert bench.filler.column("frames_used").tolist() == [1, 1]
    assert bench.slots.frame_ids(0).tolist() == [0, 3]
    assert bench.filler.ledger.n_lost == 2


@pytest.mark.parametrize("average", [1, 65, 0, -4, True, 4.0, "4", [4]])
def test_other_numbers_of_frames_are_refused(average):
    with pytest.raises(ArgumentError, match=r"average must be a whole number of frames from 2 to 64"):
        check_average(average)
