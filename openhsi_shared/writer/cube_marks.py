"""Attributes of a file about the marks on its lines, and the pause before them."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.cube_marks import end_of_lines_ns
from openhsi_shared.buffers.marks import MARKS, Mark, MarkRing
from openhsi_shared.buffers.slot_memory import Word
from openhsi_shared.buffers.slot_view import SlotView
from openhsi_shared.buffers.times import Clock
from openhsi_shared.line_times import iso_time

__all__ = ["marks_of"]


def marks_of(slots: SlotView, slot: int, times_ns: NDArray[np.int64]) -> dict[str, Any]:
    """Those of the cube in `slot`, whose lines have these times; only what there is."""
    clock = Clock(slots.times(slot).anchor)
    marks = [
        {
            "line": min(int(np.searchsorted(times_ns, clock.wall_ns(mark.position_ns))), len(times_ns) - 1),
            "time": iso_time(clock.wall_ns(mark.time_ns)),
            "text": mark.text,
        }
        for mark in _of_cube(slots, slot)
    ]
    found = {
        "marks": json.dumps(marks) if marks else "",
        "marks_pushed_out": slots.word(slot, Word.N_MARKS_PUSHED_OUT),
        "paused_before_s": slots.word(slot, Word.PAUSED_NS) / 1e9,
        "frames_paused": slots.word(slot, Word.N_FRAMES_PAUSED),
        "frames_not_wanted": slots.word(slot, Word.N_NOT_WANTED),
    }
    return {name: value for name, value in found.items() if value}


def _of_cube(slots: SlotView, slot: int) -> list[Mark]:
    if MARKS not in slots.layout.side_buffers:
        return []
    begin = slots.word(slot, Word.MARKS_FROM_NS)
    end = slots.word(slot, Word.MARKS_UNTIL_NS) or end_of_lines_ns(slots, slot)  # its process died while it was filled
    return MarkRing(slots.side(MARKS.name)).between(begin, end)
