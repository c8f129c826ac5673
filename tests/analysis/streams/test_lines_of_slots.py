"""Lines of a running recording are events, with the numbers and columns of a replay of its cubes."""

import itertools
import json

import numpy as np
import pytest

from openhsi_shared import SharedSimulatedCamera
from openhsi_shared.analysis.streams.cubes import CubeSource
from openhsi_shared.analysis.streams.lines_of_slots import SlotSource
from openhsi_shared.analysis.streams.slot_ranges import SlotRanges
from openhsi_shared.analysis.streams.source import Overwritten
from openhsi_shared.buffers.slot_memory import Word
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.buffers.slot_view import SlotView
from openhsi_shared.datacube.control_server import socket_of
from openhsi_shared.errors import ArgumentError, RecordingError
from openhsi_shared.frames.losses import IdRange
from tests.support.control import ABOUT
from tests.support.flow import COUNTING
from tests.support.helpers import in_child
from tests.support.slots import owner_of, put


def source_of(slots, mode="lossless", **more):
    return SlotSource(slots.memory, ABOUT, mode=mode, **more)


def fill(slots, *ids):
    """Begin a cube, and put these lines into it."""
    slot = slots.begin(ids[0] if ids else 0)
    for k in ids:
        put(slots, slot, k)
    return slot


def saved(slots, slot):
    slots.close(slot)
    slots.save(slot)
    slots.free(slot)


def taken(ranges, at_most=16):
    """All ranges that there are now."""
    found = []
    while (part := ranges.next(at_most)) is not None:
        found.append(part)
    return found


def read(source, parts):
    """Event number and first pixel of each line; None where it was overwritten."""
    reader = source.reader()
    found = [
        (event.event_number, None if isinstance(event, Overwritten) else int(event.line.data[0, 0]))
        for part in parts
        for event in reader.events(part)
        if isinstance(event, Overwritten) or event.line is not None
    ]
    reader.close()
    return found


def plain(event):
    line, about = event.line, event.about
    columns = line and (line.cube, line.y, line.frame_id, line.time, line.temperature, line.lost_before)
    frames = [bytes(frame) for frame in event.streams["lines"].frames]
    wavelengths = None if about.wavelengths_nm is None else about.wavelengths_nm.tolist()
    return event.event_number, columns, frames, wavelengths, about.level, about.settings, about.full_scale


def test_lines_follow_each_other_through_the_slots_and_each_slot_is_released_once():
    slots = owner_of(n_slots=3)
    source = source_of(slots)
    ranges = source.ranges()
    assert ranges.next(16) is None
    first = fill(slots, 1, 2)
    header, *parts = taken(ranges)
    assert header.is_for_all
    assert header.where == "/data/<flight>/1970_01_01/sea_1970_01_01-00_00_00_000001.nc"
    ranges.release(parts[0])
    assert ranges.released == []  # more lines may come
    put(slots, first, 3)
    parts += taken(ranges)
    saved(slots, first)
    second = fill(slots, 6)
    parts += taken(ranges)
    assert read(source, parts) == [(1, 1), (2, 2), (3, 3), (4, 6)]
    assert ranges.released == []
    ranges.release(parts[1])
    assert ranges.released == [(first, 1)]
    saved(slots, second)
    empty = fill(slots)
    slots.free(empty)
    last = fill(slots, 7)
    slots.close(last)
    ranges.end()
    *parts, end = taken(ranges)
    assert [part.numbers.tolist() for part in (*parts, end)] == [[5], [6]]
    assert ranges.is_ended
    assert (ranges.skipped.n, ranges.skipped.ids) == (0, ())
    ranges.close()


def test_a_cube_is_followed_only_when_all_its_words_are_set():
    slots = owner_of()
    ranges = source_of(slots, "tap").ranges()
    slots._set(0, Word.CUBE, 1)  # as `begin` does before the slot is no longer free
    assert taken(ranges) == []
    slots._set(0, Word.CUBE, 0)
    fill(slots, 1, 2)
    assert [part.numbers.tolist() for part in taken(ranges)] == [[0], [1, 2]]
    ranges.close()


class _Writes(SlotOwner):
    """Notes all control words after each one that is written."""

    def __init__(self, memory):
        self.noted = []
        super().__init__(memory)

    def _set(self, slot, word, value):
        super()._set(slot, word, value)
        self.noted.append(bytes(self._words))

    def commit(self, *values):
        super().commit(*values)
        self.noted.append(bytes(self._words))


class _Interleaved(SlotView):
    """Reads words as they are at one time, and after some reads as they are later."""

    def between(self, early, late, n_early):
        self.words, self.n_early = (memoryview(early).cast("q"), memoryview(late).cast("q")), n_early
        return self

    def word(self, slot, word):
        self.n_early -= 1
        self._words = self.words[self.n_early < 0]
        return super().word(slot, word)


def test_no_line_is_passed_over_wherever_the_owner_writes_between_two_reads():
    slots = _Writes(owner_of().memory)
    for ids in ((1, 2, 3), (4, 5)):
        slots.close(fill(slots, *ids))
    last = bytes(slots._words)
    for number, early in enumerate(slots.noted):
        for late, n_early in itertools.product({*slots.noted[number + 1 : number + 6], last}, range(12)):
            view = _Interleaved.of(slots.memory).between(early, late, n_early)
            ranges = SlotRanges(view, view.release, ABOUT, "lossless", None)
            ranges.look()
            view.between(last, last, 0)
            ranges.end()
            numbers = [number for part in taken(ranges) for number in part.numbers.tolist()]
            assert numbers == list(range(7))
            ranges.close()


def test_a_recording_without_lines_is_a_header_without_a_name_and_an_end():
    source = source_of(owner_of())
    ranges = source.ranges()
    ranges.end()
    header, end = taken(ranges)
    reader = source.reader()
    frames = [json.loads(event.streams["lines"].frames[0]) for part in (header, end) for event in reader.events(part)]
    assert [(frame["htype"], frame.get("filename")) for frame in frames] == [("header", ""), ("series_end", None)]
    reader.close()


@pytest.mark.parametrize("mode", ["best_effort", "tap"])
def test_lines_whose_slot_is_used_again_are_skipped_and_their_ids_are_exact(mode):
    slots = owner_of(n_slots=2)
    source = source_of(slots, mode)
    ranges = source.ranges()
    saved(slots, fill(slots, 1, 2, 4))
    header, part = ranges.next(1), ranges.next(1)
    ranges.look()
    saved(slots, fill(slots, 5, 6))
    ranges.look()
    saved(slots, fill(slots, 7))  # in the slot of the first cube
    assert header.is_for_all
    given = read(source, [part])
    assert given == [(1, None)]
    ranges.note_overwritten([1])
    assert read(source, taken(ranges)) == [(4, 5), (5, 6), (6, 7)]
    assert (ranges.skipped.n, ranges.skipped.ids) == (3, (IdRange(1, 2), IdRange(4, 4)))
    assert ranges.released[:1] == []
    ranges.release(part)
    assert ranges.released == [(0, 1)]
    ranges.close()


def test_cubes_that_were_never_seen_are_counted_from_the_ids_around_them():
    slots = owner_of(n_slots=2)
    ranges = source_of(slots, "tap").ranges()
    saved(slots, fill(slots, 1, 2))
    taken(ranges)
    for first in (3, 7, 11):
        saved(slots, fill(slots, *range(first, first + 4)))
    parts = taken(ranges)
    assert [int(part.numbers[0]) for part in parts] == [7, 11]
    assert (ranges.skipped.n, ranges.skipped.ids) == (4, (IdRange(3, 6),))
    ranges.close()


def test_a_tap_that_is_behind_goes_on_at_the_newest_lines():
    slots = owner_of(n_slots=2, n_lines=400, dtype="uint32")
    source = source_of(slots, "tap")
    ranges = source.ranges()
    fill(slots, *(k * 1_000_000 for k in range(300)))  # 1 ms each
    _, part = ranges.next(16), ranges.next(16)
    assert part.numbers.tolist() == list(range(285, 301))
    assert ranges.skipped.n == 284
    ranges.close()


def test_lines_that_wrap_around_are_overwritten_and_counted():
    slots = owner_of(n_slots=2, n_lines=4)
    source = source_of(slots, "tap")
    ranges = source.ranges()
    slot = fill(slots, 1, 2)
    assert len(taken(ranges)) == 2
    for k in range(3, 11):
        put(slots, slot, k)
    (part,) = taken(ranges)
    assert read(source, [part]) == [(7, 7), (8, 8), (9, 9), (10, 10)]
    assert (ranges.skipped.n, ranges.skipped.ids) == (4, (IdRange(3, 6),))
    ranges.close()


def events_in_child(source, parts):
    reader = source.reader()
    found = [plain(event) for part in parts for event in reader.events(part)]
    reader.close()
    return found


MEANS = {"average": 3, "script": {1: "gap", 8: "gap", 11: "gap", 15: "gap", **dict.fromkeys(range(22, 28), "gap")}}


@pytest.mark.parametrize("more", [{}, MEANS], ids=["frames", "means"])
def test_live_events_equal_those_of_the_saved_cubes_in_a_tap_and_in_a_child(tmp_path, runtime, more):
    with SharedSimulatedCamera(n_lines=4, n_buffers=4, **COUNTING, **more) as camera:
        server = camera.control_server()
        camera.collect()
        handles = [camera.save(tmp_path, prefix="sea_", savefig=False)]
        lossless = SlotSource(camera._engine.slots.memory, server.about(), mode="lossless")
        ranges = lossless.ranges()
        attached = SlotSource(socket_of(camera._engine, server))
        tap = attached.ranges()
        for _ in range(2):
            camera.collect()
            handles.append(camera.save(tmp_path, prefix="sea_", savefig=False))
        ranges.end()
        parts = taken(ranges, 3)
        live = in_child(events_in_child, lossless, parts)
        tap.end()
        seen = events_in_child(attached, taken(tap))
        ranges.close()
        tap.close()
        for handle in handles:
            handle.result()
    source = CubeSource([tmp_path])
    replayed = source.ranges()
    again = events_in_child(source, taken(replayed))
    assert live == again
    assert sum(event[1][5] for event in live if event[1] is not None) == (10 if more else 0), "lost before lines"
    assert [event[1] for event in seen] == [None, *(event[1] for event in again[5:])]
    assert np.array_equal([event[0] for event in seen[1:]], [event[0] for event in again[5:]])
    with pytest.raises(RecordingError, match="has it ended"):
        attached.ranges()


def test_only_a_tap_is_attached_and_modes_are_known(tmp_path):
    slots = owner_of()
    for wrong in ((slots.memory, "loss"), (tmp_path / "a.sock", "lossless")):
        with pytest.raises(ArgumentError, match="must be one of"):
            SlotSource(wrong[0], ABOUT, mode=wrong[1])
