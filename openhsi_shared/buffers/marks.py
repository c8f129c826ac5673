"""Marks: texts with a time, in a ring in shared memory beside the slots, where they outlive the process that made them.

Only the acquiring process puts marks; the writer reads those of a cube when it saves it.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.fence import Fence
from openhsi_shared.buffers.slot_memory import SideBuffer

__all__ = ["MARKS", "MAX_MARKS", "MAX_TEXT_BYTES", "Mark", "MarkRing", "fits"]

MAX_MARKS = 1000
"""The oldest mark is overwritten by the one after these."""
MAX_TEXT_BYTES = 200
"""Of a mark, in UTF-8."""

N_BEGUN, N_PUT = 0, 1
"""Words of the header: marks begun, and marks that are in place."""
HEADER_BYTES = 16
ENTRY = np.dtype([("position_ns", "i8"), ("time_ns", "i8"), ("n_bytes", "i8"), ("text", "u1", MAX_TEXT_BYTES)])

MARKS = SideBuffer("marks", HEADER_BYTES + MAX_MARKS * ENTRY.itemsize, is_per_slot=False)
"""The side buffer of the ring, one for all slots."""


class Mark(NamedTuple):
    """A text at a time."""

    position_ns: int
    """It belongs to the first line whose time, by the monotonic clock, is not before this."""
    time_ns: int
    """Of the call, by the monotonic clock."""
    text: str


class MarkRing:
    """The newest marks. Made where it is used, of the bytes of `MARKS`."""

    def __init__(self, memory: NDArray[np.uint8]) -> None:
        self._fence = Fence()
        self._words = memory[:HEADER_BYTES].view(np.int64)
        self._entries: NDArray[Any] = memory[HEADER_BYTES:].view(ENTRY)

    def put(self, position_ns: int, time_ns: int, text: str) -> int | None:
        """Add a mark; returns the position of the one that it overwrites. Longer texts are cut to `MAX_TEXT_BYTES`.

        One thread of one process at a time.
        """
        n_put = int(self._words[N_PUT])
        at = n_put % MAX_MARKS
        overwritten = int(self._entries["position_ns"][at]) if n_put >= MAX_MARKS else None
        encoded = _cut(text)
        self._words[N_BEGUN] = n_put + 1
        self._fence()
        self._entries["position_ns"][at], self._entries["time_ns"][at] = position_ns, time_ns
        self._entries["n_bytes"][at] = len(encoded)
        self._entries["text"][at, : len(encoded)] = np.frombuffer(encoded, np.uint8)
        self._fence()
        self._words[N_PUT] = n_put + 1  # last, so that no reader sees half of a mark
        return overwritten

    def between(self, after_ns: int, until_ns: int) -> list[Mark]:
        """The marks with positions from `after_ns` (excluded) to `until_ns` (included), in the order of their times."""
        n_put = int(self._words[N_PUT])
        self._fence()
        entries = self._entries.copy()
        self._fence()
        first = max(0, int(self._words[N_BEGUN]) - MAX_MARKS)  # those before it were overwritten meanwhile
        marks = [_mark(entries[number % MAX_MARKS]) for number in range(first, n_put)]
        return sorted((mark for mark in marks if after_ns < mark.position_ns <= until_ns), key=lambda mark: mark[:2])


def fits(text: str) -> bool:
    """Whether a mark keeps all of `text`."""
    return _cut(text).decode() == text


def _cut(text: str) -> bytes:
    return text.encode("utf-8", "replace")[:MAX_TEXT_BYTES].decode("utf-8", "ignore").encode()


def _mark(entry: Any) -> Mark:
    text = entry["text"][: entry["n_bytes"]].tobytes().decode("utf-8", "replace")
    return Mark(int(entry["position_ns"]), int(entry["time_ns"]), text)
