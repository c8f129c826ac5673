"""Marks: what one notes while a cube is filled."""

import time

from openhsi_shared.buffers.marks import MAX_TEXT_BYTES, fits
from openhsi_shared.datacube.engine import CubeEngine
from openhsi_shared.errors import ArgumentError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.printable import printable

__all__ = ["Marking"]

logger = safe_logger(__name__)


WARN_INTERVAL_NS = 1_000_000_000
"""Between two warnings about texts that are cut."""


class Marking:
    """Puts marks on the lines of a cube."""

    _engine: CubeEngine
    _warn_from_ns = 0

    @property
    def run_id(self) -> str:
        """The attribute `run_id` of all its files, until `reinitialise`."""
        return self._engine.kind.run_id

    def mark(self, text: str) -> None:
        """Note a text at this moment: the attribute `marks` of the file of the line being taken has it. Does not block.

        If no line is being taken, it is the first one that follows. A text of more than 200 bytes is cut, with a
        warning; a file keeps the last 1,000. ArgumentError if `text` is none, ClosedError.
        """
        self.mark_at(text, time.monotonic_ns())

    def mark_at(self, text: str, monotonic_ns: int) -> int:
        """`mark` for an earlier moment, by `time.monotonic_ns()`, if the cube of that moment is not closed yet.

        Else it is on the first line of the next cube. Returns the moment in UTC, by the clock of the lines, in ns.
        ArgumentError, ClosedError.
        """
        if not isinstance(text, str):
            raise ArgumentError(f"mark needs a text, got {text!r}")
        self._engine.check_usable()
        monotonic_ns = min(monotonic_ns, time.monotonic_ns())  # a container may have another clock
        if not fits(text) and monotonic_ns > self._warn_from_ns:
            self._warn_from_ns = monotonic_ns + WARN_INTERVAL_NS
            kept = f"of a mark of {len(text)} characters is kept what fits into {MAX_TEXT_BYTES} bytes of UTF-8"
            logger.warning("%s: %s", kept, printable(text[:60]))
        self._engine.slots.mark(text, monotonic_ns, self._line_lead_ns)
        return self._engine.filler.clock.wall_ns(monotonic_ns)

    @property
    def _line_lead_ns(self) -> int:
        """How long a line lasts after its time."""
        return 0
