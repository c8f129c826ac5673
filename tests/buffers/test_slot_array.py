"""The array that users of openhsi see of the cube being filled."""

import numpy as np
import pytest

from openhsi_shared.buffers.slot_array import SlotArray
from openhsi_shared.errors import FrameError
from tests.support.slots import owner_of, put


def test_current_cube_looks_as_in_openhsi():
    slots = owner_of(n_lines=4, line_shape=(2, 3))
    slot = slots.begin(0)
    frames = []
    array = SlotArray(slots, slot, frames.append)
    assert (array.size, array.axis, array.data.shape) == ((2, 4, 3), 1, (2, 4, 3))
    assert array.dtype == np.uint16
    assert array.is_empty()
    put(slots, slot, 5)
    put(slots, slot, 6)
    assert array.n_put == 2
    assert array.slots_left == 2
    assert array.write_pos == [slice_all(), 2, slice_all()]
    assert (array[:, 0] == 5).all()
    assert np.shares_memory(array.data, slots.lines(slot))
    assert array.get().tolist() == [[5] * 3] * 2
    assert array.read_pos == [slice_all(), 1, slice_all()]
    array.put("a frame")
    assert frames == ["a frame"], "a line needs its time, too: put is the cube's own"


def slice_all():
    return slice(None)


def test_current_cube_refuses_what_its_put_refuses():
    slots = owner_of()

    def refuse(frame):
        raise FrameError("no")

    with pytest.raises(FrameError, match="no"):
        SlotArray(slots, slots.begin(0), refuse).put(1)
