"""Cubes in shared memory: one owner at a time, a line exists once it is whole, time order whatever went round."""

import gc
import pickle
import random
import weakref

import numpy as np
import pytest

from openhsi_shared.buffers.memory import PAGE
from openhsi_shared.buffers.slots import (
    LABEL_BYTES,
    SlotArray,
    SlotLayout,
    SlotMemory,
    SlotRegister,
    SlotState,
    Word,
    check_label,
)
from openhsi_shared.columns import COLUMNS
from openhsi_shared.errors import ArgumentError, FrameError, MemoryShortage
from tests.support.helpers import child, in_child, look_at_register

NAMES = [column.name for column in COLUMNS]


def register_of(n_slots=2, n_lines=4, line_shape=(2, 3), dtype="uint16"):
    return SlotRegister(
        SlotMemory.make(SlotLayout(n_slots=n_slots, n_lines=n_lines, line_shape=line_shape, dtype=dtype))
    )


def put(register, slot, k):
    """Make line number `k`, with everything in it and beside it saying so."""
    register.line_to_fill(slot)[...] = k
    register.commit(slot, 1000 * k, k, 10 * k, k / 2, 0)


def lines_in_order(register, slot):
    """First pixel of each line there is, in time order."""
    first, n = register.extent(slot)
    n_lines = register.layout.n_lines
    return [int(register.lines(slot)[(first + k) % n_lines][0, 0]) for k in range(n)]


# ---- layout ----


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
    register = register_of(n_lines=3, line_shape=line_shape, dtype=dtype)
    assert register.layout.stride == stride
    lines = register.lines(1)
    assert lines.shape == (3, *line_shape)
    assert lines.strides[0] == stride
    assert lines[0].flags.c_contiguous
    assert lines.ctypes.data % PAGE == 0
    assert register.lines(0).ctypes.data % PAGE == 0


def test_no_two_lines_share_a_byte():
    register = register_of(n_slots=3, n_lines=3, line_shape=(1, 65537), dtype="uint8")
    for slot in range(3):
        for line in range(3):
            register.lines(slot)[line] = 3 * slot + line + 1
    for slot in range(3):
        for line in range(3):
            assert (register.lines(slot)[line] == 3 * slot + line + 1).all()


# ---- states ----


def test_new_register_is_empty_and_free():
    register = register_of(n_slots=3)
    assert register.slots_in(SlotState.FREE) == [0, 1, 2]
    for slot in range(3):
        assert register.state(slot) is SlotState.FREE
        assert register.extent(slot) == (0, 0)
        assert register.label(slot) == b""
        assert register.word(slot, Word.CUBE) == 0


def test_slot_that_is_taken_is_a_new_empty_cube():
    register = register_of()
    slot = register.take_free(7, b"where")
    assert register.state(slot) is SlotState.FILLING
    assert register.word(slot, Word.CUBE) == 1
    assert register.word(slot, Word.EXPECTED_ID) == 7
    assert register.label(slot) == b"where"
    for k in range(9):
        put(register, slot, k)
    register.commit(slot, 1, 9, 1, 1.0, n_lost=3)
    register.mark(slot, SlotState.FREE)
    other = register.take_free(8)
    again = register.take_free(9)
    assert {other, again} == {0, 1}
    for slot in (other, again):
        assert register.extent(slot) == (0, 0)
        assert register.n_overwritten(slot) == 0
        assert register.label(slot) == b""
        assert register.word(slot, Word.N_LOST) == 0
    assert [register.word(slot, Word.CUBE) for slot in (other, again)] == [2, 3]


def test_there_is_no_slot_to_take_while_all_have_owners():
    register = register_of()
    states = [SlotState.FULL, SlotState.SAVING, SlotState.HELD, SlotState.FILLING]
    for state in states:
        slot = register.take_free(0)
        other = register.take_free(0)
        register.mark(slot, state)
        assert register.take_free(0) is None
        register.mark(slot, SlotState.FREE)
        register.mark(other, SlotState.FREE)


def test_slots_are_taken_and_listed_oldest_first():
    register = register_of(n_slots=3)
    first, second, third = (register.take_free(0) for _ in range(3))
    register.mark(second, SlotState.FREE)
    assert register.take_free(0) == second  # now the youngest
    assert register.slots_in(SlotState.FILLING) == [first, third, second]
    for slot in (second, third, first):
        register.mark(slot, SlotState.FREE)
    assert register.take_free(0) == first
    register.mark(third, SlotState.HELD)
    assert register.slots_in(SlotState.FILLING, SlotState.HELD) == [third, first]


# ---- lines ----


def test_line_exists_when_it_is_committed_and_not_before():
    register = register_of()
    slot = register.take_free(0)
    register.line_to_fill(slot)[...] = 9
    assert register.extent(slot) == (0, 0)
    assert register.column(slot, "frame_id").tolist() == []
    register.commit(slot, 1, 2, 3, 4.5, 6)
    assert register.extent(slot) == (0, 1)
    assert [register.column(slot, name).tolist() for name in NAMES] == [
        [1],
        [2],
        [3],
        [4.5],
    ]
    assert register.word(slot, Word.N_LOST) == 6


def test_line_that_was_begun_and_not_committed_is_begun_again():
    register = register_of()
    slot = register.take_free(0)
    put(register, slot, 1)
    register.line_to_fill(slot)[...] = 99
    assert register.line_to_fill(slot).ctypes.data == register.lines(slot)[1].ctypes.data
    assert lines_in_order(register, slot) == [1]


@pytest.mark.parametrize("n_lines", [1, 2, 4, 7])
@pytest.mark.parametrize("n_put", [0, 1, 3, 4, 5, 8, 9, 20])
def test_lines_and_columns_are_in_time_order_however_often_they_went_round(n_lines, n_put):
    register = register_of(n_lines=n_lines)
    slot = register.take_free(0)
    for k in range(n_put):
        put(register, slot, k)
    expected = list(range(max(0, n_put - n_lines), n_put))
    assert lines_in_order(register, slot) == expected
    assert register.column(slot, "frame_id").tolist() == expected
    assert register.column(slot, "time_ns").tolist() == [1000 * k for k in expected]
    assert register.column(slot, "camera_time_ns").tolist() == [10 * k for k in expected]
    assert register.column(slot, "temperature").tolist() == [k / 2 for k in expected]


@pytest.mark.parametrize(("n_put", "whole"), [(3, [0, 1, 2]), (4, [1, 2, 3]), (5, [2, 3, 4]), (8, [5, 6, 7])])
def test_oldest_line_is_not_whole_while_the_next_is_copied_over_it(n_put, whole):
    register = register_of(n_lines=4)
    slot = register.take_free(0)
    for k in range(n_put):
        put(register, slot, k)
    register.line_to_fill(slot)[0, 0] = 99  # and here it stops: the camera has gone, or the process has died
    assert lines_in_order(register, slot) == whole
    assert register.column(slot, "frame_id").tolist() == whole
    assert register.n_overwritten(slot) == whole[0]


def test_cubes_do_not_see_one_another():
    register = register_of(n_slots=3, n_lines=3)
    choose, model = random.Random(1), {}
    for slot in (register.take_free(0) for _ in range(3)):
        model[slot] = []
    for k in range(200):
        slot = choose.choice(list(model))
        put(register, slot, k)
        model[slot].append(k)
        for other, ids in model.items():
            assert register.column(other, "frame_id").tolist() == ids[-3:]
            assert lines_in_order(register, other) == ids[-3:]


# ---- labels ----


def test_label_is_replaced_and_none_is_seen_while_it_is_written():
    register = register_of()
    slot = register.take_free(0, b"a long label of the cube before")
    register.write_label(slot, b"short")
    assert register.label(slot) == b"short"
    register._set(slot, Word.LABEL_LENGTH, 0)  # as a writer finds it whose parent died in the middle
    assert register.label(slot) == b""


def test_length_of_a_label_is_zero_until_its_bytes_are_there():
    register = register_of()
    slot = register.take_free(0, b"before")
    seen = []
    original = register._labels

    class Labels:
        """Notes the length that a reader finds while the bytes are replaced."""

        def __setitem__(self, key, value):
            seen.append(register.word(slot, Word.LABEL_LENGTH))
            original[key] = value
            seen.append(register.word(slot, Word.LABEL_LENGTH))

    register._labels = Labels()
    register.write_label(slot, b"after")
    register._labels = original
    assert seen == [0, 0]
    assert register.label(slot) == b"after"


def test_label_as_large_as_its_room_fits_and_a_larger_one_is_refused():
    register = register_of()
    slot = register.take_free(0, b"kept")
    with pytest.raises(ArgumentError, match=r"of 2,097,153 bytes: at most 2,097,152 fit into a slot"):
        register.write_label(slot, bytes(LABEL_BYTES + 1))
    assert register.label(slot) == b"kept"
    with pytest.raises(ArgumentError, match="at most"):
        check_label(bytes(LABEL_BYTES + 1))
    register.write_label(slot, b"x" * LABEL_BYTES)
    assert register.label(slot) == b"x" * LABEL_BYTES
    other = register.take_free(0)
    assert register.label(other) == b""


# ---- travelling ----


@pytest.mark.parametrize("line_shape", [(2, 3), (256, 257)])
def test_child_finds_the_same_cubes_at_the_same_boundaries(line_shape):
    register = register_of(n_slots=3, n_lines=2, line_shape=line_shape, dtype="uint8")
    first, second = register.take_free(0, b"one"), register.take_free(0, b"two")
    for k in (1, 2, 3):
        put(register, first, k)
    put(register, second, 4)
    register.mark(first, SlotState.SAVING)
    assert in_child(look_at_register, register) == look_at_register(register)
    seen = look_at_register(register)
    assert seen["addresses"][0] == 0
    assert seen["ids"] == [[2, 3], [4], []]
    assert seen["labels"] == [b"one", b"two", b""]


def test_register_travels_as_its_memory_alone_and_at_birth_alone():
    register = register_of()
    assert register.__reduce__() == (SlotRegister, (register.memory,))
    with pytest.raises((pickle.PicklingError, TypeError)):
        pickle.dumps(register)
    with child(look_at_register) as (_, connection), pytest.raises(RuntimeError, match="through inheritance"):
        connection.send(register)


def test_register_that_was_released_holds_no_memory():
    register = register_of()
    register.take_free(0)
    register.release()
    with pytest.raises(IndexError):
        register.lines(0)
    assert register.memory.lines is None


@pytest.mark.parametrize("n_lines", [4, 4000])
def test_view_keeps_its_memory_from_being_given_to_others(n_lines):
    register = register_of(
        n_lines=n_lines, line_shape=(50, 100)
    )  # the larger one lies in huge pages, where there are some
    owner, view = weakref.ref(register.memory.lines), register.lines(0)
    del register
    gc.collect()
    assert owner() is not None
    view[...] = 7
    del view
    gc.collect()
    assert owner() is None


# ---- the array that users see ----


def test_current_cube_looks_as_in_openhsi():
    register = register_of(n_lines=4, line_shape=(2, 3))
    slot = register.take_free(0)
    frames = []
    array = SlotArray(register, slot, frames.append)
    assert (array.size, array.axis, array.data.shape) == ((2, 4, 3), 1, (2, 4, 3))
    assert array.dtype == np.uint16
    assert array.is_empty()
    put(register, slot, 5)
    put(register, slot, 6)
    assert array.n_put == 2
    assert array.slots_left == 2
    assert array.write_pos == [slice_all(), 2, slice_all()]
    assert (array[:, 0] == 5).all()
    assert np.shares_memory(array.data, register.lines(slot))
    assert array.get().tolist() == [[5] * 3] * 2
    assert array.read_pos == [slice_all(), 1, slice_all()]
    array.put("a frame")
    assert frames == ["a frame"], "a line needs its time, too: put is the cube's own"


def slice_all():
    return slice(None)


def test_current_cube_refuses_what_its_put_refuses():
    register = register_of()

    def refuse(frame):
        raise FrameError("no")

    with pytest.raises(FrameError, match="no"):
        SlotArray(register, register.take_free(0), refuse).put(1)
