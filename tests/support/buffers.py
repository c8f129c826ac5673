"""Functions of tests of buffers, which their children run."""

from typing import Any

import numpy as np

from openhsi_shared.buffers.slot_memory import SlotMemory
from openhsi_shared.buffers.slot_view import SlotView


def put_all(buffer: Any, values: list[Any]) -> int:
    for value in values:
        buffer.put(value)
    return buffer.slots_left


def get_all(buffer: Any) -> list[Any]:
    lines = []
    while not buffer.is_empty():
        lines.append(np.asarray(buffer.get()).tolist())
    return lines


def put_then_wait(connection: Any, buffer: Any, value: Any) -> None:
    """Put one line, and wait to be killed."""
    buffer.put(value)
    connection.send("put")
    connection.recv()


def contents_of_memory(memory: SlotMemory) -> dict[str, Any]:
    """Contents of slots that a child gets as an argument."""
    return contents_of_slots(SlotView.of(memory))


def contents_of_slots(slots: SlotView) -> dict[str, Any]:
    """Contents of slots, as plain values."""
    lines = [slots.lines(slot) for slot in range(slots.layout.n_slots)]
    return {
        "states": [int(slots.state(slot)) for slot in range(slots.layout.n_slots)],
        "extents": [slots.extent(slot) for slot in range(slots.layout.n_slots)],
        "lines": [line.tolist() for line in lines],
        "addresses": [line.ctypes.data % 4096 for line in lines],
        "ids": [slots.column(slot, "frame_id").tolist() for slot in range(slots.layout.n_slots)],
        "labels": [slots.label(slot) for slot in range(slots.layout.n_slots)],
    }
