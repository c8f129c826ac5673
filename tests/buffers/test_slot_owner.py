"""The owner of slots: one use at a time, leases, a line exists once it is whole, time order however it wrapped."""

import itertools
import random

import pytest

from openhsi_shared.buffers.slot_memory import LABEL_BYTES, SlotState, Word, check_label
from openhsi_shared.buffers.slot_moves import MOVES
from openhsi_shared.columns import COLUMNS, Column
from openhsi_shared.errors import ArgumentError, IllegalMove
from tests.support.slots import lines_in_order, owner_of, put

NAMES = [column.name for column in COLUMNS]
FREE, FILLING, FULL, SAVING, HELD, LENT = SlotState


def slot_in(slots, state):
    """Take a free slot to a state by legal moves."""
    slot = slots.begin(0)
    put(slots, slot, 0)
    if state is FILLING:
        return slot
    slots.close(slot)
    if state is FULL:
        return slot
    slots.save(slot)
    if state is HELD:
        slots.hold(slot)
    elif state is LENT:
        slots.lend(slot, "reader 1")
        slots.free(slot)
    return slot


# ---- states ----


def test_new_slots_are_empty_and_free():
    slots = owner_of(n_slots=3)
    assert slots.slots_in(FREE) == [0, 1, 2]
    for slot in range(3):
        assert slots.state(slot) is FREE
        assert slots.extent(slot) == (0, 0)
        assert slots.label(slot) == b""
        assert slots.word(slot, Word.CUBE) == 0


def test_slot_that_is_begun_is_a_new_empty_cube():
    slots = owner_of()
    slot = slots.begin(7, b"where")
    assert slots.state(slot) is FILLING
    assert slots.word(slot, Word.CUBE) == 1
    assert slots.word(slot, Word.EXPECTED_ID) == 7
    assert slots.label(slot) == b"where"
    for k in range(9):
        put(slots, slot, k)
    slots.commit(slot, 1, 9, 1, 1.0, n_lost=3)
    slots.free(slot)
    other = slots.begin(8)
    again = slots.begin(9)
    assert {other, again} == {0, 1}
    for slot in (other, again):
        assert slots.extent(slot) == (0, 0)
        assert slots.n_overwritten(slot) == 0
        assert slots.label(slot) == b""
        assert slots.word(slot, Word.N_LOST) == 0
    assert [slots.word(slot, Word.CUBE) for slot in (other, again)] == [2, 3]


@pytest.mark.parametrize("state", [FILLING, FULL, SAVING, HELD, LENT])
def test_a_slot_in_use_is_not_begun(state):
    slots = owner_of()
    slot = slot_in(slots, state)
    assert slots.state(slot) is state
    assert slots.begin(0) == 1 - slot
    assert slots.begin(0) is None


def test_slots_are_begun_and_listed_oldest_first():
    slots = owner_of(n_slots=3)
    first, second, third = (slots.begin(0) for _ in range(3))
    slots.free(second)
    assert slots.begin(0) == second  # now the youngest
    assert slots.slots_in(FILLING) == [first, third, second]
    for slot in (second, third, first):
        slots.free(slot)
    assert slots.begin(0) == first
    again = slots.begin(0)
    slots.close(again)
    assert slots.slots_in(FILLING, FULL) == [first, again]


CALLS = {
    "close": lambda slots, slot: slots.close(slot),
    "save": lambda slots, slot: slots.save(slot),
    "hold": lambda slots, slot: slots.hold(slot),
    "free": lambda slots, slot: slots.free(slot),
}


@pytest.mark.parametrize(("state", "move"), list(itertools.product(SlotState, CALLS)))
def test_what_is_no_move_of_the_table_is_refused_by_name_and_changes_nothing(state, move):
    slots = owner_of()
    slot = 0 if state is FREE else slot_in(slots, state)
    if state in MOVES[move]:
        CALLS[move](slots, slot)
        assert slots.state(slot) in (MOVES[move][state], FREE)
        return
    before = bytes(slots.memory.arrays["words"])
    with pytest.raises(IllegalMove, match=rf"slot {slot} \(cube [01]\) is {state.name}: '{move}' needs [A-Z]+"):
        CALLS[move](slots, slot)
    assert bytes(slots.memory.arrays["words"]) == before


def test_no_line_is_begun_in_a_slot_that_is_not_filled():
    slots = owner_of()
    for state in (FULL, SAVING, HELD, LENT):
        slot = slot_in(slots, state)
        with pytest.raises(IllegalMove, match=f"is {state.name}: no line can be begun in it"):
            slots.line_to_fill(slot)
        slots = owner_of()
    with pytest.raises(IllegalMove, match=r"slot 1 \(cube 0\) is FREE"):
        slots.line_to_fill(1)


def test_no_line_is_committed_in_a_slot_that_is_closed():
    slots = owner_of()
    slot = slot_in(slots, FULL)
    with pytest.raises(IllegalMove, match="is FULL: no line can be committed in it"):
        slots.commit(slot, 1, 1, 1, 1.0, 0)
    assert lines_in_order(slots, slot) == [0]


# ---- leases ----


def test_slot_is_free_when_the_last_of_its_leases_is_back():
    slots = owner_of()
    slot = slots.begin(0)
    early = slots.lend(slot, "analysis 1")
    put(slots, slot, 5)
    slots.close(slot)
    slots.save(slot)
    writer, late = slots.lend(slot, "writer 2"), slots.lend(slot, "analysis 3")
    slots.give_back(writer)
    assert slots.state(slot) is SAVING, "a lease is no answer"
    slots.free(slot)
    assert slots.state(slot) is LENT
    slots.give_back(late)
    assert slots.state(slot) is LENT
    assert lines_in_order(slots, slot) == [5]
    slots.give_back(early)
    assert slots.state(slot) is FREE
    assert slots.leases() == []


def test_lease_that_is_given_back_twice_is_an_error():
    slots = owner_of()
    slot = slots.begin(0)
    lease = slots.lend(slot, "analysis 1")
    slots.give_back(lease)
    with pytest.raises(IllegalMove, match=r"slot 0 .* is FILLING: the lease of cube 1 to analysis 1 ended before"):
        slots.give_back(lease)
    slots.free(slot)
    other = slots.lend(slots.begin(0), "analysis 1")
    with pytest.raises(IllegalMove, match="lease of cube 1 to analysis 1 ended before"):
        slots.give_back(lease)
    assert slots.leases() == [other]


@pytest.mark.parametrize("state", [FREE, LENT])
def test_slot_without_a_cube_to_read_is_not_lent(state):
    slots = owner_of()
    slot = 0 if state is FREE else slot_in(slots, LENT)
    with pytest.raises(IllegalMove, match=f"is {state.name}: it cannot be lent to analysis 9"):
        slots.lend(slot, "analysis 9")


def test_leases_of_a_reader_that_died_end_and_no_others():
    slots = owner_of(n_slots=3)
    first, second = slot_in(slots, SAVING), slot_in(slots, SAVING)
    for slot in (first, second):
        slots.lend(slot, "analysis 1")
    other = slots.lend(second, "analysis 2")
    slots.free(first)
    slots.free(second)
    slots.give_back_all("analysis 1")
    assert [slots.state(slot) for slot in (first, second)] == [FREE, LENT]
    assert slots.leases() == slots.leases(second) == [other]
    slots.give_back_all("analysis 1")
    assert str(other) == f"analysis 2 holds slot {second} (cube 2) for 0 s"


def test_who_waits_for_a_slot_hears_of_the_last_lease():
    slots = owner_of()
    slot = slot_in(slots, LENT)
    heard = []
    slots.changed.notify_all = lambda: heard.append(slots.state(slot))
    slots.give_back_all("reader 1")
    assert heard == [FREE]


# ---- recording before an event ----


def test_full_cubes_are_retained_and_recycled_oldest_first_until_the_event():
    slots, k = owner_of(n_slots=4, n_lines=2), 0
    for _ in range(10):
        slot = slots.begin(k)
        if slot is None:
            slot = slots.recycle() is not None and slots.begin(k)
        for _ in range(2):
            put(slots, slot, k)
            k += 1
        slots.close(slot)
    retained = slots.slots_in(FULL)
    assert [lines_in_order(slots, slot) for slot in retained] == [[12, 13], [14, 15], [16, 17], [18, 19]]
    for slot in retained:
        slots.save(slot)
        slots.free(slot)
    assert slots.recycle() is None


def test_cube_that_is_read_is_not_recycled():
    slots = owner_of(n_slots=2)
    older, newer = slot_in(slots, FULL), slot_in(slots, FULL)
    lease = slots.lend(older, "analysis 1")
    assert slots.recycle() == newer
    assert slots.recycle() is None
    slots.give_back(lease)
    assert slots.recycle() == older


def test_what_a_recycled_cube_had_to_declare_the_next_one_declares():
    slots = owner_of(n_slots=3)
    held = slot_in(slots, HELD)
    slots.note_discarded(held)
    slots.free(held)
    retained = slot_in(slots, FULL)
    assert slots.discarded_before(retained).n_lost == 1
    assert slots.recycle() == retained
    assert slots.discarded_before(slot_in(slots, FULL)).n_lost == 1
    assert slots.discarded_before(slot_in(slots, FULL)).n_lost == 0


def test_what_a_recycled_cube_had_to_declare_the_cube_after_it_declares_that_waits_already():
    slots = owner_of(n_slots=4)
    held = slot_in(slots, HELD)
    slots.note_discarded(held)
    slots.free(held)
    _, second, third = (slot_in(slots, FULL) for _ in range(3))
    slots.recycle()
    assert [slots.discarded_before(slot).n_lost for slot in (second, third, slot_in(slots, FULL))] == [1, 0, 0]


# ---- lines ----


def test_line_exists_when_it_is_committed_and_not_before():
    slots = owner_of()
    slot = slots.begin(0)
    slots.line_to_fill(slot)[...] = 9
    assert slots.extent(slot) == (0, 0)
    assert slots.column(slot, "frame_id").tolist() == []
    slots.commit(slot, 1, 2, 3, 4.5, 6)
    assert slots.extent(slot) == (0, 1)
    assert [slots.column(slot, name).tolist() for name in NAMES] == [[1], [2], [3], [4.5]]
    assert slots.word(slot, Word.N_LOST) == 6


def test_line_that_was_begun_and_not_committed_is_begun_again():
    slots = owner_of()
    slot = slots.begin(0)
    put(slots, slot, 1)
    slots.line_to_fill(slot)[...] = 99
    assert slots.line_to_fill(slot).ctypes.data == slots.lines(slot)[1].ctypes.data
    assert lines_in_order(slots, slot) == [1]


@pytest.mark.parametrize("n_lines", [1, 2, 4, 7])
@pytest.mark.parametrize("n_put", [0, 1, 3, 4, 5, 8, 9, 20])
def test_lines_and_columns_are_in_time_order_however_often_they_went_round(n_lines, n_put):
    slots = owner_of(n_lines=n_lines)
    slot = slots.begin(0)
    for k in range(n_put):
        put(slots, slot, k)
    expected = list(range(max(0, n_put - n_lines), n_put))
    assert lines_in_order(slots, slot) == expected
    assert slots.column(slot, "frame_id").tolist() == expected
    assert slots.column(slot, "time_ns").tolist() == [1000 * k for k in expected]
    assert slots.column(slot, "camera_time_ns").tolist() == [10 * k for k in expected]
    assert slots.column(slot, "temperature").tolist() == [k / 2 for k in expected]


@pytest.mark.parametrize(("n_put", "whole"), [(3, [0, 1, 2]), (4, [1, 2, 3]), (5, [2, 3, 4]), (8, [5, 6, 7])])
def test_oldest_line_is_not_whole_while_the_next_is_copied_over_it(n_put, whole):
    slots = owner_of(n_lines=4)
    slot = slots.begin(0)
    for k in range(n_put):
        put(slots, slot, k)
    slots.line_to_fill(slot)[0, 0] = 99  # and here it stops: the camera has gone, or the process has died
    assert lines_in_order(slots, slot) == whole
    assert slots.column(slot, "frame_id").tolist() == whole
    assert slots.n_overwritten(slot) == whole[0]


def test_cubes_do_not_see_one_another():
    slots = owner_of(n_slots=3, n_lines=3)
    choose, model = random.Random(1), {}
    for slot in (slots.begin(0) for _ in range(3)):
        model[slot] = []
    for k in range(200):
        slot = choose.choice(list(model))
        put(slots, slot, k)
        model[slot].append(k)
        for other, ids in model.items():
            assert slots.column(other, "frame_id").tolist() == ids[-3:]
            assert lines_in_order(slots, other) == ids[-3:]


def test_columns_of_one_s_own_go_round_with_the_others():
    gain, shutter = Column("gain", "float32", "dB", "gain"), Column("shutter", "uint8", "1", "shutter is open")
    slots = owner_of(n_lines=3, columns=(*COLUMNS, gain, shutter))
    slot = slots.begin(0)
    for k in range(5):
        put(slots, slot, k, (k / 4, k % 2))
    assert slots.column(slot, "gain").tolist() == [0.5, 0.75, 1.0]
    assert slots.column(slot, "shutter").tolist() == [0, 1, 0]
    assert slots.column(slot, "gain").dtype == "float32"
    for more in [(), (1.0,), (1.0, 1, 1)]:
        with pytest.raises(ArgumentError, match=f"{len(more)} values for 2 columns besides the first four"):
            slots.commit(slot, 1, 9, 1, 1.0, 0, more)
    assert slots.column(slot, "frame_id").tolist() == [2, 3, 4]


# ---- labels ----


def test_label_is_replaced_and_none_is_seen_while_it_is_written():
    slots = owner_of()
    slot = slots.begin(0, b"a long label of the cube before")
    slots.write_label(slot, b"short")
    assert slots.label(slot) == b"short"
    slots._set(slot, Word.LABEL_LENGTH, 0)  # as a writer finds it whose parent died in the middle
    assert slots.label(slot) == b""


def test_length_of_a_label_is_zero_until_its_bytes_are_there():
    slots = owner_of()
    slot = slots.begin(0, b"before")
    seen = []
    original = slots._labels

    class Labels:
        """Notes the length that a reader finds while the bytes are replaced."""

        def __setitem__(self, key, value):
            seen.append(slots.word(slot, Word.LABEL_LENGTH))
            original[key] = value
            seen.append(slots.word(slot, Word.LABEL_LENGTH))

    slots._labels = Labels()
    slots.write_label(slot, b"after")
    slots._labels = original
    assert seen == [0, 0]
    assert slots.label(slot) == b"after"


def test_label_as_large_as_its_room_fits_and_a_larger_one_is_refused():
    slots = owner_of()
    slot = slots.begin(0, b"kept")
    with pytest.raises(ArgumentError, match=r"of 2,097,153 bytes: at most 2,097,152 fit into a slot"):
        slots.write_label(slot, bytes(LABEL_BYTES + 1))
    assert slots.label(slot) == b"kept"
    with pytest.raises(ArgumentError, match="at most"):
        check_label(bytes(LABEL_BYTES + 1))
    slots.write_label(slot, b"x" * LABEL_BYTES)
    assert slots.label(slot) == b"x" * LABEL_BYTES
    other = slots.begin(0)
    assert slots.label(other) == b""


def test_owner_does_not_travel():
    with pytest.raises(TypeError, match="a SlotOwner belongs to one process: give its memory to a child"):
        owner_of().__reduce__()


# ---- standing readers ----


def test_a_standing_reader_is_lent_each_slot_that_is_begun_until_it_has_died():
    slots = owner_of()
    slots.lend_each("analysis mean")
    for slot in (slots.begin(0), slots.begin(0)):
        slots.free(slot)
    assert (slots.begin(0), slots.held_up_by()) == (None, ["analysis mean"])
    assert slots.end_lease("analysis mean", 0, 1)
    with pytest.raises(IllegalMove, match="analysis mean has no lease of cube 1"):
        slots.end_lease("analysis mean", 0, 1)
    assert slots.begin(0) == 0
    slots.give_back_all("analysis mean")
    assert (slots.leases(), slots.slots_in(FREE), slots.held_up_by()) == ([], [1], [])
    assert not slots.end_lease("analysis mean", 0, 3)  # its last message arrives after its death


def test_the_oldest_lease_of_a_reader_that_yields_is_taken_back_only_when_no_slot_is_free():
    slots = owner_of(n_slots=3)
    slots.lend_each("analysis mean", yields=True)
    slots.lend_each("capture")
    for slot in (slots.begin(0), slots.begin(0)):
        slots.free(slot)
    assert (slots.begin(0), slots.begin(0)) == (2, None)
    slots.end_lease("capture", 1, 2)
    assert [lease.cube for lease in slots.leases() if lease.reader == "analysis mean"] == [1, 2, 3]
    assert slots.begin(0) == 1
    assert not slots.end_lease("analysis mean", 1, 2)
    assert slots.end_lease("analysis mean", 0, 1)
