"""The tap: whole lines of another's slots, read-only, or none at all."""

import dataclasses
import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared import SharedDataCube, SharedSimulatedCamera, record
from openhsi_shared.buffers.slot_memory import SlotState
from openhsi_shared.buffers.tap import LineName, Tap, export_slots
from openhsi_shared.control.control_socket import find_sockets, request
from openhsi_shared.control.messages import AskSlots
from openhsi_shared.drivers.simulated import check_frame
from openhsi_shared.errors import ClosedError, RecordingError
from tests.support.flow import COUNTING
from tests.support.helpers import wait_for

pytestmark = pytest.mark.usefixtures("runtime")

N_LINES = 6


@pytest.fixture
def cube() -> Iterator[SharedDataCube]:
    """Give a cube of 6 lines of (3, 4); line k is all k."""
    with SharedDataCube(n_lines=N_LINES, resolution=(3, 4), n_buffers=3) as cube:
        yield cube


def tap_of(cube):
    return Tap(*export_slots(cube._engine.slots.memory))


def put(cube, *values):
    for value in values:
        cube.put(np.full((3, 4), value, np.uint16))


def n_open():
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def first_pixel(line):
    return int(line[0, 0])


def test_lines_are_seen_as_they_come(cube):
    with tap_of(cube) as tap:
        assert tap.newest() is None
        assert tap.since(None, 10) == []
        put(cube, 10, 11)
        assert tap.newest() == LineName(1, 1)
        assert tap.since(None, 10) == [LineName(1, 0), LineName(1, 1)]
        assert [tap.read(name, first_pixel) for name in tap.since(None, 10)] == [10, 11]
        put(cube, 12)
        assert tap.since(LineName(1, 1), 10) == [LineName(1, 2)]
        assert tap.since(LineName(1, 2), 10) == []
        assert tap.column(LineName(1, 2), "frame_id") == 2


def test_each_line_has_the_anchor_of_its_cube(cube, tmp_path):
    clock = cube._engine.filler.clock
    with tap_of(cube) as tap:
        put(cube, *range(6))
        clock.anchor = clock.anchor._replace(wall_ns=clock.anchor.wall_ns - 10**12)  # as if the clock were set
        cube.save(tmp_path).result(60)
        put(cube, 6)
        first, second = tap.anchor(LineName(1, 5)), tap.anchor(LineName(2, 0))
        assert abs(second.wall_ns - first.wall_ns) < 60e9
        assert second == clock.anchor
        for name in (LineName(1, 5), LineName(2, 0)):
            at_ns = tap.column(name, "time_ns") - tap.anchor(name).wall_ns + tap.anchor(name).monotonic_ns
            assert 0 <= time.monotonic_ns() - at_ns < 60e9
        assert tap.anchor(LineName(9, 0)) is None


def test_lines_of_a_large_cube_lie_pages_apart():
    with SharedDataCube(n_lines=3, resolution=(70, 500)) as cube, tap_of(cube) as tap:
        for value in (5, 6):
            cube.put(np.full((70, 500), value, np.uint16))
        assert tap.layout.stride > tap.layout.line_bytes
        assert [tap.read(LineName(1, k), lambda line: np.unique(line).tolist()) for k in (0, 1)] == [[5], [6]]


def test_it_goes_on_into_the_next_cube(cube, tmp_path):
    with tap_of(cube) as tap:
        put(cube, *range(6))
        cube.save(tmp_path).result(60)
        put(cube, 6, 7)
        names = tap.since(LineName(1, 3), 10)
        assert names == [LineName(1, 4), LineName(1, 5), LineName(2, 0), LineName(2, 1)]
        assert [tap.read(name, first_pixel) for name in names] == [4, 5, 6, 7]
        assert tap.since(None, 10) == [LineName(2, 0), LineName(2, 1)]


def test_what_is_too_much_is_thinned_out_evenly_and_the_newest_is_kept(cube, tmp_path):
    with tap_of(cube) as tap:
        put(cube, *range(6))
        cube.save(tmp_path).result(60)
        put(cube, 6, 7, 8, 9)
        names = tap.since(LineName(1, -1), 4)
        assert [tap.read(name, first_pixel) for name in names] == [0, 3, 6, 9]
        assert [tap.read(name, first_pixel) for name in tap.since(LineName(1, -1), 3)] == [1, 5, 9]


def test_slots_tell_who_has_them(cube, tmp_path):
    with tap_of(cube) as tap:
        put(cube, 1, 2)
        assert [(view.state, view.n_put) for view in tap.slots()] == [(SlotState.FILLING, 2)] + [
            (SlotState.FREE, 0)
        ] * 2


def test_a_line_that_was_overwritten_is_not_there(cube):
    with tap_of(cube) as tap:
        put(cube, *range(8))
        assert tap.read(LineName(1, 1), first_pixel) is None
        assert tap.column(LineName(1, 1), "time_ns") is None
        assert tap.read(LineName(1, 2), first_pixel) == 2
        assert tap.read(LineName(1, 8), first_pixel) is None  # not yet there
        assert tap.since(LineName(1, 0), 10)[0] == LineName(1, 2)


def test_a_line_that_is_begun_anew_while_it_is_read_is_not_believed(cube):
    put(cube, *range(6))

    def look(line):
        put(cube, 60)
        return first_pixel(line)

    with tap_of(cube) as tap:
        assert tap.read(LineName(1, 0), look) is None
        slots, slot = cube._engine.slots, cube._engine.filler.slot
        slots.line_to_fill(slot)  # begun, and not committed
        assert tap.read(LineName(1, 1), first_pixel) is None
        assert tap.read(LineName(1, 2), first_pixel) == 2


def test_a_slot_that_got_another_cube_while_it_is_read_is_not_believed(cube, tmp_path):
    put(cube, 0, 1)

    def look(line):
        for value in range(2, 5):
            cube.save(tmp_path).result(60)
            put(cube, value)
        return first_pixel(line)

    with tap_of(cube) as tap:
        assert tap.read(LineName(1, 0), look) is None
        assert tap.newest() == LineName(4, 0)


def test_nothing_can_be_changed_through_it(cube):
    put(cube, 3)
    with tap_of(cube) as tap:
        assert tap.read(LineName(1, 0), lambda line: line.flags.writeable) is False
        with pytest.raises(ValueError, match="read-only"):
            tap.read(LineName(1, 0), lambda line: line.fill(9))
        assert tap.read(LineName(1, 0), first_pixel) == 3


def test_it_outlives_the_cube_and_can_be_closed_twice():
    cube = SharedDataCube(n_lines=N_LINES, resolution=(3, 4))
    put(cube, 7)
    tap = tap_of(cube)
    cube.close()
    assert tap.read(LineName(1, 0), first_pixel) in (7, None)
    tap.close()
    tap.close()
    assert tap.is_closed
    assert tap.slots() == []
    assert tap.newest() is None
    with pytest.raises(ClosedError, match="this tap is closed: make a new one"):
        tap.read(LineName(1, 0), first_pixel)


def test_no_descriptor_is_left_open(cube):
    before = n_open()
    tap_of(cube).close()
    assert n_open() == before
    exported, descriptors = export_slots(cube._engine.slots.memory)
    os.close(descriptors.pop())
    with pytest.raises(RecordingError, match="the slots cannot be read: 5 of 6 descriptors have come"):
        Tap(exported, descriptors)
    exported, descriptors = export_slots(cube._engine.slots.memory)
    os.close(descriptors[0])
    descriptors[0] = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(OSError, match=r"Invalid argument|No such device"):
        Tap(exported, descriptors)
    assert n_open() == before


def test_memory_without_descriptors_is_refused_and_none_is_left_open(cube):
    before = n_open()
    memory = cube._engine.slots.memory
    memory = dataclasses.replace(memory, arrays={**memory.arrays, "column extra": np.zeros(9, np.uint8)})
    with pytest.raises(RecordingError, match="the memory of the slots cannot be shared"):
        export_slots(memory)
    assert n_open() == before


def test_every_line_of_a_recording_in_another_process_is_whole(tmp_path):
    keywords = {**COUNTING, "rate": 400, "n_lines": 16, "when_full": "block", "queue": 9999, "progress": False}
    with record(SharedSimulatedCamera, tmp_path / "out", **keywords) as run:
        (path,) = find_sockets()
        slots, descriptors = request(path, AskSlots())
        with Tap(slots.export, descriptors) as tap:
            seen, newest = 0, None

            def look():
                nonlocal seen, newest
                for name in tap.since(newest, 50):
                    frame = tap.read(name, np.copy)
                    assert frame is None or check_frame(frame)
                    seen += frame is not None
                    newest = name
                return seen > 300

            wait_for(look)
        run.stop()
        assert run.wait().lines_lost == 0
