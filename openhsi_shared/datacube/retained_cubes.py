"""Full cubes that stay in their slots, unsent, until it is known whether they are wanted."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from openhsi_shared.buffers.cube_marks import end_of_lines_ns
from openhsi_shared.buffers.slot_memory import SlotState, Word
from openhsi_shared.datacube.engine import CubeEngine
from openhsi_shared.frames.losses import IdRange
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.handlers import handlers_deferred
from openhsi_shared.writer.handle import SaveHandle
from openhsi_shared.writer.messages import Label
from openhsi_shared.writer.save_request import SaveRequest

__all__ = ["RetainedCubes"]

logger = safe_logger(__name__)

LATENCY_S = 0.5
"""Delay until it is known that a cube is wanted: of the poll, and of its message."""
MAX_RECYCLED = 10_000
"""Recycled cubes that are remembered."""


class _Recycled(NamedTuple):
    """A cube whose slot was needed."""

    cube: int
    last_line_ns: int
    """By the monotonic clock."""
    ids: IdRange
    """Frames lost before and within it included."""
    n_lines: int


class RetainedCubes:
    """The cubes of one camera. Only the thread that takes lines may call its methods, between two lines.

    A cube that is closed by `retain` is saved by `save_since`, or recycled when its slot is needed: then its lines, and
    frames lost before and within it, count as not wanted.
    """

    def __init__(
        self, engine: CubeEngine, label: Callable[[Mapping[str, Any], SaveRequest], Label], keep_s: float
    ) -> None:
        """Cubes whose last line is not older than `keep_s` are to be retained."""
        self._engine, self._label, self._keep_s = engine, label, keep_s
        self._slots, self._filler = engine.slots, engine.filler
        self.n_lines_recycled = 0
        """Without those that were wanted after all."""
        self.n_too_early = 0
        """Cubes that were to be retained, and recycled because their slot was needed."""
        self._recycled: deque[_Recycled] = deque(maxlen=MAX_RECYCLED)
        """Those that may be wanted after all."""
        self._wanted_before = 0
        """Frames with lower ids that were lost were wanted."""

    def wait(self) -> None:
        """Retain cubes from now on. The last one is saved: what was lost since its last line was wanted."""
        self._filler.settle_losses()
        self._wanted_before = self._filler.ledger.expected
        self._filler.make_room = self._recycle

    def retain(self) -> None:
        """Close the cube being filled, if it has lines; it stays in its slot."""
        with handlers_deferred():
            self._engine.turn.between_lines("swap", self._filler.swap)

    def _first_ns(self, slot: int) -> int:
        """Time of the first line of a cube, by the monotonic clock."""
        anchor = self._slots.times(slot).anchor
        return int(self._slots.column_of_line(slot, 0, "time_ns")) - anchor.wall_ns + anchor.monotonic_ns

    def _end_ns(self, slot: int) -> int:
        """When the line after the last one of a cube is due."""
        last_ns, n_lines = end_of_lines_ns(self._slots, slot), self._slots.word(slot, Word.N_PUT)
        return last_ns + (last_ns - self._first_ns(slot)) // max(1, n_lines - 1)

    def rate(self, least_s: float) -> float | None:
        """Lines per second of the cubes in memory; None if they are of less than `least_s`, and a slot is free."""
        full = self._slots.slots_in(SlotState.FULL)
        n_lines = sum(self._slots.word(slot, Word.N_PUT) for slot in full)
        if n_lines < 2:
            return None
        seconds = max(1e-9, (end_of_lines_ns(self._slots, full[-1]) - self._first_ns(full[0])) / 1e9)
        if seconds < least_s and self._slots.slots_in(SlotState.FREE):
            return None
        return float((n_lines - 1) / seconds)

    def save_since(
        self, monotonic_ns: int, request: SaveRequest, attributes: Mapping[str, Any], at_most: int | None = None
    ) -> list[SaveHandle]:
        """Save the retained cubes with lines after this moment, and recycle older ones; further ones are not retained.

        Those that should have been retained, and were recycled, are lost: the next file declares them.
        """
        self._filler.make_room = None
        self._declare_recycled(monotonic_ns)
        label, found = self._label(attributes, request), list[SaveHandle]()
        for slot in self._slots.slots_in(SlotState.FULL):
            if self._end_ns(slot) < monotonic_ns:
                self._recycle(slot)
            elif len(found) != at_most:
                found.append(self._engine.save_retained(slot, label))
        return found

    def save_all(self, request: SaveRequest, attributes: Mapping[str, Any]) -> list[SaveHandle]:
        """Save all that is in memory, also the cube being filled. Raises as `CubeEngine.save_retained`."""
        self._filler.make_room = None
        self.retain()
        return self.save_since(0, request, attributes)

    def drop(self) -> None:
        """Recycle all cubes, and that being filled, also what was lost since: none is wanted any more."""
        self.retain()
        for slot in self._slots.slots_in(SlotState.FULL):
            self._recycle(slot)
        ledger = self._filler.ledger
        lost = ledger.settle()
        if lost is not None:
            self._filler.want_no_more(lost, len(lost))

    def _recycle(self, slot: int | None = None) -> bool:
        """Recycle a cube that is full: the oldest one, if that is free then. False if there is none."""
        slot = self._slots.recycle(self._wanted_before, slot)
        if slot is None:
            return False
        ids, _ = self._slots.lost_with(slot)
        n_lines = self._slots.extent(slot)[1]
        self._filler.want_no_more(ids, self._slots.word(slot, Word.N_LOST))
        for before in self._slots.discarded_before(slot).ranges:
            if before.first >= self._wanted_before:
                self._filler.want_no_more(before, len(before))
        self.n_lines_recycled += n_lines
        last_line_ns = end_of_lines_ns(self._slots, slot)
        age_s = (time.monotonic_ns() - last_line_ns) / 1e9
        self.n_too_early += age_s < self._keep_s
        if age_s < self._keep_s + LATENCY_S:
            self._recycled.append(_Recycled(self._slots.word(slot, Word.CUBE), last_line_ns, ids, n_lines))
        return True

    def _declare_recycled(self, since_ns: int) -> None:
        """Let the next file declare the cubes that were recycled, and had lines after `since_ns`."""
        wanted = [one for one in self._recycled if one.last_line_ns >= since_ns]
        self._recycled.clear()
        for one in wanted:
            self._slots.note_recycled(one.cube, one.ids)
            self._engine.writer.tally.discard(len(one.ids), one.ids)
        if n_lines := sum(one.n_lines for one in wanted):
            self.n_lines_recycled -= n_lines
            logger.warning(
                "%d lines before the event are lost: their slots were needed; use more slots, or a faster disk", n_lines
            )
