"""Slots whose lines contain their own number."""

from openhsi_shared.buffers.slot_memory import SlotLayout, SlotMemory
from openhsi_shared.buffers.slot_owner import SlotOwner


def owner_of(n_slots=2, n_lines=4, line_shape=(2, 3), dtype="uint16", **more):
    """Create slots."""
    layout = SlotLayout(n_slots=n_slots, n_lines=n_lines, line_shape=line_shape, dtype=dtype, **more)
    return SlotOwner(SlotMemory.make(layout))


def put(slots, slot, k, more=()):
    """Commit line number `k`; its pixels and columns contain `k`."""
    slots.line_to_fill(slot)[...] = k
    slots.commit(slot, 1000 * k, k, 10 * k, k / 2, 0, more)


def lines_in_order(slots, slot):
    """First pixel of each line, in the order of time."""
    first, n = slots.extent(slot)
    n_lines = slots.layout.n_lines
    return [int(slots.lines(slot)[(first + k) % n_lines][0, 0]) for k in range(n)]
