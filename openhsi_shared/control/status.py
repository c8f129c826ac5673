"""Status of a camera or of a recording: a frozen snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import chain
from typing import Any

from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.frames.losses import IdRange, ranges_in_words

__all__ = ["ChannelStatus", "RecordingStatus", "Status"]

ONLY_IF_ANY = ("lines_overwritten", "readers", "writer_restarts", "is_waiting", "event", "lines_not_wanted")
"""Omitted from tables while zero or empty."""
UNITS = {
    "rate": "lines per second",
    "writer_mb_per_s": "writer, MB/s",
    "temperature": "temperature, celsius",
    "saturated": "saturated pixels, newest cube",
    "disk_minutes_left": "minutes of disk left",
}


@dataclass(frozen=True, kw_only=True)
class ChannelStatus:
    """The newest sample of a channel, and the state of its source."""

    source: str
    """The source as text, such as "gps:/dev/ttyUSB0"."""
    fields: tuple[str, ...]
    unit: str
    """Of the first field; empty if unknown."""
    values: tuple[float, ...]
    """One for each field; NaN before the first sample."""
    age_s: float
    """Time since the newest sample has arrived; NaN before the first."""
    rate: float
    """Recent samples per second."""
    lag_s: float
    """Arrival minus stamp of the newest sample; NaN without stamps."""
    offset_s: float
    """Stamp minus arrival, the largest of the newest samples: how far the source's clock is ahead, less its latency."""
    state: str
    """State of the source, such as "good", "unchanged", "stalled" or "no fix"."""
    why: str
    """Reason for the state, if there is one."""
    delivered: int
    """Samples since the camera or recording was created."""
    refused: int
    """Samples that were not usable."""
    squashed: int
    """Samples that are missing by the ids of the source."""

    @property
    def value(self) -> Any:
        """The number, or for several fields a mapping from field to number."""
        return self.values[0] if len(self.fields) == 1 else dict(zip(self.fields, self.values, strict=True))

    def __str__(self) -> str:
        values = ", ".join(f"{value:.10g}" for value in self.values)
        age = f", {self.age_s:.1f} s old" if self.age_s >= 1 else ""
        why = f" ({self.why})" if self.why else ""
        return f"{values}{f' {self.unit}' if self.unit else ''}{age}, {self.state}{why}, {self.rate:.4g}/s"


@dataclass(frozen=True, kw_only=True)
class Status:
    """Lines and cubes collected, lost and saved so far."""

    lines: int
    """Lines committed since the camera was created."""
    lines_lost: int
    """Frames that the camera skipped or that arrived when no slot was free, and lines of discarded cubes."""
    lost_ids: tuple[IdRange, ...]
    """Their frame ids: (first, last), both included."""
    lines_overwritten: int
    """Lines put beyond `n_lines` without a save, each of which overwrote an older one."""
    rate: float
    """Recent lines per second."""
    slots: Mapping[str, int]
    """Number of slots in each state; SAVING includes slots that are saved and still lent to a reader."""
    fill: float
    """Filled share of the current cube, 0 to 1."""
    cubes_saved: int
    """Cubes whose file is published."""
    cubes_pending: int
    """Cubes whose file or preview does not exist yet."""
    writer_mb_per_s: float
    """Write speed of the last cubes; NaN before the first."""
    writer_restarts: int
    """How many writers were replaced because they died or hung."""
    temperature: float
    """Of the sensor, in degrees Celsius; NaN if unknown."""
    saturated: float
    """Mean share of saturated pixels of the newest cube that was saved, 0 to 1, as `saturated` in its file; NaN before
    the first, and where the file does not have it."""
    errors: tuple[str, ...]
    """Of failed saves whose cubes are still in memory; and whether the disk of a recording does not respond."""
    readers: tuple[str, ...] = ()
    """Leases of slots besides that of the active writer: reader, slot, cube and age."""
    channels: Mapping[str, ChannelStatus] = field(default_factory=dict)
    """The channels by name."""
    analyses: Mapping[str, AnalysisStatus] = field(default_factory=dict)
    """The analyses of a recording by name."""
    scheduling: str = ""
    """Of the capturing thread, and of the writer: "capture real time (SCHED_FIFO 10), writer niceness 5"."""

    def __getstate__(self) -> dict[str, Any]:
        """Pickle `lost_ids` as plain numbers: 10,000 pairs would hold the interpreter's lock for 10 ms."""
        return {**self.__dict__, "lost_ids": list(chain.from_iterable(self.lost_ids))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` returned."""
        ends = iter(state["lost_ids"])
        self.__dict__.update(state, lost_ids=tuple(map(IdRange, ends, ends)))

    def __str__(self) -> str:
        lost = f"{self.lines_lost} lost" + (f" ({ranges_in_words(self.lost_ids[:5])})" if self.lost_ids else "")
        slots = ", ".join(f"{n} {state}" for state, n in self.slots.items() if n)
        parts = [
            f"{self.lines} lines at {self.rate:.0f} /s, {lost}",
            f"{self.lines_overwritten} overwritten" if self.lines_overwritten else "",
            f"{self.cubes_saved} cubes saved, {self.cubes_pending} pending",
            f"slots: {slots}",
            f"writer {self.writer_mb_per_s:.0f} MB/s" if self.cubes_saved else "",
            f"{_percent(self.saturated)} saturated" if self.saturated > 0 else "",
            *(f"{name}: {channel}" for name, channel in self.channels.items()),
            *(f"analysis {name}: {analysis}" for name, analysis in self.analyses.items()),
            *self.readers,
            f"scheduling: {self.scheduling}" if self.scheduling else "",
            *self.errors,
        ]
        return "; ".join(part for part in parts if part)

    def _repr_html_(self) -> str:
        from openhsi_shared.show.tables import table

        return table(type(self).__name__, self.rows())

    def rows(self) -> list[tuple[str, str]]:
        """Return names and values for a table; empty values are omitted."""
        tables = ("channels", "analyses")
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in tables}
        found = [(name, _format(name, value)) for name, value in values.items() if value or name not in ONLY_IF_ANY]
        rows = [(UNITS.get(name, name.replace("_", " ")), text) for name, text in found if text]
        rows += [(f"channel {name}", str(channel)) for name, channel in self.channels.items()]
        return rows + [(f"analysis {name}", str(analysis)) for name, analysis in self.analyses.items()]


@dataclass(frozen=True, kw_only=True)
class RecordingStatus(Status):
    """Status of a recording."""

    seconds: float
    """Since it began to wait for the first line."""
    cubes: int
    """Cubes started and closed so far."""
    is_paused: bool = False
    """Whether `pause` has taken effect: the cube is closed, and frames are thrown away."""
    is_waiting: bool = False
    """Whether it waits for an event: full cubes stay in their slots, and are recycled when these are needed."""
    event: int = 0
    """Number of the event that goes on, or of the last one; 0 before the first."""
    lines_not_wanted: int = 0
    """Lines of the cubes that were recycled; `lines` contains them, `lines_lost` does not."""
    disk_minutes_left: float
    """Until the disk is full, at this rate: 0 if its directory no longer exists, infinite while nothing arrives.

    If the disk does not respond, of its last answer (NaN before the first), and `errors` says so.
    """

    def __str__(self) -> str:
        return "; ".join(filter(None, [super().__str__(), self.event_in_words]))

    @property
    def event_in_words(self) -> str:
        """As "waiting for event 3", or "event 3"; empty if all lines are wanted."""
        return f"waiting for event {self.event + 1}" if self.is_waiting else f"event {self.event}" if self.event else ""


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _format(name: str, value: Any) -> str:
    match name, value:
        case "lost_ids", ids:
            return ranges_in_words(ids[:5]) + (" ..." if len(ids) > 5 else "")
        case "errors" | "readers" | "scheduling", texts:
            return texts if isinstance(texts, str) else "; ".join(texts)
        case "slots", slots:
            return ", ".join(f"{n} {state}" for state, n in slots.items() if n)
        case "fill" | "saturated", share if share == share:  # noqa: PLR0124 - NaN means unknown
            return _percent(share) if name == "saturated" else f"{100 * share:.0f} %"
        case _, float():
            return "" if value != value else f"{value:,.1f}"  # noqa: PLR0124 - NaN means unknown
    return f"{value:,}"
