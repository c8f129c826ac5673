"""Status of a camera or of a recording: a frozen snapshot."""

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from openhsi_shared.frames.losses import IdRange, ranges_in_words

__all__ = ["RecordingStatus", "Status", "disk_minutes_left"]

ONLY_IF_ANY = ("lines_overwritten", "readers", "writer_restarts")
"""Not worth a row of a table as long as there are none."""
UNITS = {
    "rate": "lines per second",
    "writer_mb_per_s": "writer, MB/s",
    "temperature": "temperature, celsius",
    "disk_minutes_left": "minutes of disk left",
}


@dataclass(frozen=True, kw_only=True)
class Status:
    """What was collected, lost and saved so far."""

    lines: int
    """Lines committed since the camera was made."""
    lines_lost: int
    """Frames that the camera skipped, or that came when no slot was free, and lines of discarded cubes."""
    lost_ids: tuple[IdRange, ...]
    """Which frame ids these are: (first, last), both included."""
    lines_overwritten: int
    """Lines put beyond `n_lines` without a save, each of which took the place of an older one."""
    rate: float
    """Lines per second, lately."""
    slots: Mapping[str, int]
    """How many slots are in each state; SAVING also counts those that are saved and still lent to a reader."""
    fill: float
    """How full the cube being filled is, 0 to 1."""
    cubes_saved: int
    """Those that have their file."""
    cubes_pending: int
    """Those of which the file, or the picture, is not there yet."""
    writer_mb_per_s: float
    """How fast the last cubes were written, in MB/s; NaN before the first."""
    writer_restarts: int
    temperature: float
    """Of the sensor, in degrees Celsius; NaN if it is not known."""
    errors: tuple[str, ...]
    """Of saves that failed and whose cubes are still in memory."""
    readers: tuple[str, ...] = ()
    """Leases of slots besides that of the writer at work: which reader, which slot and cube, for how long."""

    def __str__(self) -> str:
        lost = f"{self.lines_lost} lost" + (f" ({ranges_in_words(self.lost_ids[:5])})" if self.lost_ids else "")
        slots = ", ".join(f"{n} {state}" for state, n in self.slots.items() if n)
        parts = [
            f"{self.lines} lines at {self.rate:.0f} /s, {lost}",
            f"{self.lines_overwritten} overwritten" if self.lines_overwritten else "",
            f"{self.cubes_saved} cubes saved, {self.cubes_pending} pending",
            f"slots: {slots}",
            f"writer {self.writer_mb_per_s:.0f} MB/s" if self.cubes_saved else "",
            *self.readers,
            *self.errors,
        ]
        return "; ".join(part for part in parts if part)

    def _repr_html_(self) -> str:
        from openhsi_shared.show.tables import table

        return table(type(self).__name__, self.rows())

    def rows(self) -> list[tuple[str, str]]:
        """Return names and values for a table, without what there is not."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        found = [(name, _in_words(name, value)) for name, value in told.items() if value or name not in ONLY_IF_ANY]
        return [(UNITS.get(name, name.replace("_", " ")), words) for name, words in found if words]


@dataclass(frozen=True, kw_only=True)
class RecordingStatus(Status):
    """Status of a recording."""

    seconds: float
    """Since the first line was awaited."""
    cubes: int
    """Cubes begun and closed so far."""
    disk_minutes_left: float
    """Until the disk is full, at this rate; infinite while nothing arrives."""


def disk_minutes_left(directory: str, bytes_per_s: float) -> float:
    """Minutes until the disk of `directory` is full: 0 if it has vanished, infinite while nothing arrives."""
    try:
        free = shutil.disk_usage(directory).free
    except OSError:  # the save that fails reports it
        free = 0
    return free / bytes_per_s / 60 if bytes_per_s > 0 else math.inf


def _in_words(name: str, value: Any) -> str:
    match name, value:
        case "lost_ids", ids:
            return ranges_in_words(ids[:5]) + (" ..." if len(ids) > 5 else "")
        case "errors" | "readers", texts:
            return "; ".join(texts)
        case "slots", slots:
            return ", ".join(f"{n} {state}" for state, n in slots.items() if n)
        case "fill", share:
            return f"{100 * share:.0f} %"
        case _, float():
            return "" if value != value else f"{value:,.1f}"  # noqa: PLR0124 - NaN is not known
    return f"{value:,}"
