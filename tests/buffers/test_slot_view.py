"""What readers see of slots: the same as the owner, from any memory, and nothing that they could change."""

import gc
import pickle
import weakref

import numpy as np
import pytest

from openhsi_shared.buffers.slot_memory import SideBuffer, Word
from openhsi_shared.buffers.slot_view import SlotView
from openhsi_shared.columns import COLUMNS, Column
from tests.support.buffers import contents_of_memory, contents_of_slots
from tests.support.helpers import child, in_child
from tests.support.slots import owner_of, put


@pytest.mark.parametrize("line_shape", [(2, 3), (256, 257)])
def test_child_finds_the_same_cubes_at_the_same_boundaries(line_shape):
    slots = owner_of(n_slots=3, n_lines=2, line_shape=line_shape, dtype="uint8")
    first, second = slots.begin(0, b"one"), slots.begin(0, b"two")
    for k in (1, 2, 3):
        put(slots, first, k)
    put(slots, second, 4)
    slots.close(first)
    slots.save(first)
    assert in_child(contents_of_memory, slots.memory) == contents_of_slots(slots)
    seen = contents_of_slots(slots)
    assert seen["addresses"][0] == 0
    assert seen["ids"] == [[2, 3], [4], []]
    assert seen["labels"] == [b"one", b"two", b""]


def test_register_travels_as_its_memory_alone_and_at_birth_alone():
    slots = owner_of()
    with pytest.raises(TypeError, match="belongs to one process"):
        pickle.dumps(slots)
    with child(contents_of_memory) as (_, connection), pytest.raises(RuntimeError, match="through inheritance"):
        connection.send(slots.memory)


def test_register_that_was_released_holds_no_memory():
    slots = owner_of()
    slots.begin(0)
    slots.release()
    with pytest.raises(IndexError):
        slots.lines(0)
    assert not slots.memory.arrays


@pytest.mark.parametrize("n_lines", [4, 4000])
def test_view_keeps_its_memory_from_being_given_to_others(n_lines):
    slots = owner_of(n_lines=n_lines, line_shape=(50, 100))  # the larger one lies in huge pages, where there are some
    owner, view = weakref.ref(slots.memory.arrays["lines"]), slots.lines(0)
    del slots
    gc.collect()
    assert owner() is not None
    view[...] = 7
    del view
    gc.collect()
    assert owner() is None


def test_nothing_that_a_view_gives_can_be_changed():
    slots = owner_of(side_buffers=(SideBuffer("marks", 8, False),))
    put(slots, slots.begin(0, b"label"), 3)
    view = SlotView.of(slots.memory)
    for array in (view.lines(0), view.side("marks")):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1
    with pytest.raises(TypeError, match="read-only"):
        view._words[0] = 1
    view.column(0, "frame_id")[...] = 9  # a copy
    assert slots.column(0, "frame_id").tolist() == [3]


def test_a_view_decodes_whatever_memory_it_is_given():
    gain = Column("gain", "float64", "dB", "gain")
    slots = owner_of(line_shape=(256, 257), columns=(*COLUMNS, gain), side_buffers=(SideBuffer("marks", 8, True),))
    slot = slots.begin(4, b"label")
    for k in range(6):
        put(slots, slot, k, (k / 8,))
    slots.side("marks", 1)[...] = 7
    copied = {name: view.copy() for name, view in slots.memory.views(writeable=False).items()}
    view = SlotView(slots.layout, copied)
    assert contents_of_slots(view) | {"addresses": 0} == contents_of_slots(slots) | {"addresses": 0}
    assert view.column(slot, "gain").tolist() == [2 / 8, 3 / 8, 4 / 8, 5 / 8]
    assert view.side("marks", 1).tolist() == [7] * 8
    partial = {name: part for name, part in copied.items() if name not in ("labels", "discarded", "side marks")}
    tapped = SlotView(slots.layout, partial)
    assert np.array_equal(tapped.lines(slot), slots.lines(slot))
    assert tapped.word(slot, Word.N_PUT) == 6
