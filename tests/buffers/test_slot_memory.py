"""The layout of slots: what is refused, what is where, and that nothing shares a byte."""

import numpy as np
import pytest

from openhsi_shared.buffers.memory import PAGE
from openhsi_shared.buffers.slot_memory import SideBuffer, SlotLayout, SlotMemory
from openhsi_shared.columns import COLUMNS, Column
from openhsi_shared.errors import ArgumentError, MemoryShortage
from tests.support.slots import owner_of


@pytest.mark.parametrize("n", [0, -1, True, False, 1.5, 4.0, "4", None, float("nan")])
def test_impossible_number_of_lines_is_refused(n):
    with pytest.raises(ArgumentError, match="n_lines must be a whole number > 0, got"):
        SlotLayout(n_slots=2, n_lines=n, line_shape=(2, 3), dtype="uint8")


@pytest.mark.parametrize("n", [0, -1, True, 2.0, "2", None])
def test_impossible_number_of_buffers_is_refused_by_the_name_that_users_type(n):
    with pytest.raises(ArgumentError, match="n_buffers must be a whole number > 0, got"):
        SlotLayout(n_slots=n, n_lines=4, line_shape=(2, 3), dtype="uint8")


def test_one_buffer_is_too_few():
    with pytest.raises(ArgumentError, match=r"n_buffers must be 2 or more, .* got 1"):
        SlotLayout(n_slots=1, n_lines=4, line_shape=(2, 3), dtype="uint8")


@pytest.mark.parametrize(
    ("n_slots", "n_lines"), [(2, 10**15), (10**12, 16), (np.int64(2), 10**15), (2, np.int64(10**15))]
)
def test_slots_larger_than_memory_are_refused_with_the_figures(n_slots, n_lines):
    layout = SlotLayout(n_slots=n_slots, n_lines=n_lines, line_shape=(644, 800), dtype="uint16")
    with pytest.raises(
        MemoryShortage, match=rf"{n_slots} slots of {n_lines:,} lines of \(644, 800\) uint16 needs .* MB, but"
    ):
        SlotMemory.make(layout)


@pytest.mark.parametrize(
    ("line_shape", "stride"),
    [
        ((2, 3), 12),
        ((1, 65535), 65535),
        ((1, 65536), 65536),
        ((1, 65537), 69632),
        ((644, 800), 516096),
    ],
)
def test_large_lines_begin_at_pages_and_small_ones_lie_close(line_shape, stride):
    dtype = "uint16" if line_shape == (2, 3) else "uint8"
    slots = owner_of(n_lines=3, line_shape=line_shape, dtype=dtype)
    assert slots.layout.stride == stride
    lines = slots.lines(1)
    assert lines.shape == (3, *line_shape)
    assert lines.strides[0] == stride
    assert lines[0].flags.c_contiguous
    assert lines.ctypes.data % PAGE == 0
    assert slots.lines(0).ctypes.data % PAGE == 0


def test_no_two_lines_share_a_byte():
    slots = owner_of(n_slots=3, n_lines=3, line_shape=(1, 65537), dtype="uint8")
    for slot in range(3):
        for line in range(3):
            slots.lines(slot)[line] = 3 * slot + line + 1
    for slot in range(3):
        for line in range(3):
            assert (slots.lines(slot)[line] == 3 * slot + line + 1).all()


GAIN = Column("gain", "float32", "dB", "gain of the sensor")


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ((), "columns must begin with"),
        (COLUMNS[:3], "columns must begin with"),
        ((GAIN, *COLUMNS), "columns must begin with"),
        ((*COLUMNS, GAIN, GAIN), "columns and side buffers need names of their own, got 'gain', 2 times"),
    ],
)
def test_columns_that_no_slot_can_have_are_refused(columns, why):
    with pytest.raises(ArgumentError, match=why):
        SlotLayout(n_slots=2, n_lines=4, line_shape=(2, 3), dtype="uint8", columns=columns)


def test_side_buffer_needs_bytes_and_a_name_of_its_own():
    with pytest.raises(ArgumentError, match="side buffer 'marks' needs at least 1 byte, got 0"):
        owner_of(side_buffers=(SideBuffer("marks", 0, False),))
    with pytest.raises(ArgumentError, match="got 'time_ns', 2 times"):
        owner_of(side_buffers=(SideBuffer("time_ns", 8, False),))


def test_side_buffers_are_of_their_size_and_nobody_elses():
    slots = owner_of(n_slots=3, side_buffers=(SideBuffer("marks", 100, False), SideBuffer("notes", 7, True)))
    assert slots.side("marks").shape == (100,)
    for slot in range(3):
        slots.side("notes", slot)[...] = slot + 1
    slots.side("marks")[...] = 9
    assert [slots.side("notes", slot).tolist() for slot in range(3)] == [[k] * 7 for k in (1, 2, 3)]
    assert (slots.side("marks") == 9).all()
    assert not any(lines.any() for lines in map(slots.lines, range(3)))


def test_memory_that_is_asked_for_is_what_is_made():
    slots = owner_of(n_slots=3, columns=(*COLUMNS, GAIN), side_buffers=(SideBuffer("marks", 100, False),))
    sizes = slots.layout.array_bytes()
    made = {name: len(array) for name, array in slots.memory.arrays.items()}
    assert made == sizes | {"lines": sizes["lines"] + PAGE}
