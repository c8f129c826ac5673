"""All numbers of a report. Each field is a key of `report.json`; each value is computed from the files and the log.

Times are texts in UTC, paths relative to the directory of the report; what is not known is None.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from openhsi_shared.attributes import finite_json

__all__ = [
    "ChannelFacts",
    "ClockFacts",
    "CubeFacts",
    "EventFacts",
    "FlightFacts",
    "GapFacts",
    "MarkFacts",
    "PauseFacts",
    "PlanFacts",
    "Range",
    "RecordingFacts",
    "ReferenceFacts",
    "SettingFacts",
    "range_of",
]


class Range(NamedTuple):
    """Of the numbers that are known."""

    minimum: float
    mean: float
    maximum: float


def range_of(values: ArrayLike) -> Range | None:
    """Of these numbers; None if none of them is finite."""
    found = np.asarray(values, np.float64)
    found = found[np.isfinite(found)]
    return Range(float(found.min()), float(found.mean()), float(found.max())) if found.size else None


@dataclass(frozen=True, kw_only=True)
class CubeFacts:
    """One cube."""

    path: str
    recording: int
    """Number of its recording, from 1 on."""
    camera: str
    begin: str | None
    """Time of its first line."""
    end: str | None
    n_lines: int
    n_frames: int
    """In its lines: more, if frames were averaged."""
    n_cross_track: int
    n_bands: int
    dtype: str
    level: int | None
    n_bytes: int
    rate: float | None
    """Lines/s."""
    first_frame_id: int | None
    last_frame_id: int | None
    lines_lost: int | None
    """Before and within it, as the file declares."""
    lines_lost_within: int | None
    lost_frame_ids: str
    is_intact: bool
    """Whether `verify` found no problem."""
    n_damaged_lines: int
    recovered: bool
    """Whether it was saved after its recording had died."""
    exposure_ms: float | None
    temperature: Range | None
    """Of the lines, in celsius."""
    saturated: Range | None
    """Share of saturated pixels of the lines, 0 to 1."""
    latitude: float | None
    """Mean of its lines, in degrees north."""
    longitude: float | None
    """Degrees east."""
    altitude: float | None
    """m."""
    event: int | None


@dataclass(frozen=True, kw_only=True)
class RecordingFacts:
    """Cubes whose frame ids are one sequence."""

    run_id: str
    """"" for cubes of other programs."""
    camera: str
    begin: str | None
    end: str | None
    n_cubes: int
    n_lines: int
    n_lines_lost: int
    rate: float | None
    """Lines/s within cubes, lost ones included."""
    settings: Mapping[str, Any]
    """Of its first cube."""
    ended_by: str | None
    """By the log: the error that ended it, "" for an end as planned; None without such an entry."""
    log_n_lines: int | None
    """Lines, and lines lost, as the log has them at the end of the recording."""
    log_n_lines_lost: int | None


@dataclass(frozen=True, kw_only=True)
class GapFacts:
    """Frames that are missing before a line of a recording."""

    recording: int
    path: str
    """File of that line."""
    is_between_cubes: bool
    first_frame_id: int
    last_frame_id: int
    n_frames: int
    """All that are missing: lost, paused, or not wanted (waiting for an event, references)."""
    n_lost: int
    n_paused: int
    n_not_wanted: int
    seconds: float | None
    """From the line before to the line after."""


@dataclass(frozen=True, kw_only=True)
class ChannelFacts:
    """A channel of a recording."""

    recording: int
    name: str
    source: str
    n_delivered: int
    """Samples since the recording began, up to the last file; refused and overwritten ones as well."""
    n_refused: int
    n_overwritten: int
    states: Mapping[str, int]
    """Number of lines with each state."""
    n_without_value: int
    """Lines at which no field has a value."""
    units: Mapping[str, str]
    values: Mapping[str, Range | None]
    """Of each field, at the lines."""


@dataclass(frozen=True, kw_only=True)
class ClockFacts:
    """The clocks of a recording."""

    recording: int
    channel: str | None
    """By which `clock_offset` is known, and how."""
    method: str | None
    offset_s: Range | None
    """True UTC minus the times of the lines."""
    uncertainty_s: float | None
    source: Mapping[str, int]
    """By which clock true UTC is known, in words: number of cubes."""
    host_clock: Mapping[str, int]
    """State of the computer's clock: number of cubes."""
    host_clock_max_error_s: float | None
    steps_s: Mapping[str, float]
    """Steps of the computer's clock of 1 ms and more: path of the cube, seconds."""


@dataclass(frozen=True, kw_only=True)
class ReferenceFacts:
    """A dark or white reference."""

    kind: str
    path: str
    sha256: str
    time: str
    n_frames: int
    exposure_ms: float | None
    temperature: float | None
    saturated: float
    brightness: float
    """Share of full scale."""
    n_cubes: int
    """Cubes that name it."""
    n_cubes_embedded: int
    """Cubes that contain it."""
    age_s: Range | None
    """At these cubes."""
    temperature_change_k: Range | None


@dataclass(frozen=True, kw_only=True)
class MarkFacts:
    """A mark."""

    time: str
    text: str
    path: str | None
    """File of its line; None if it is only in the log."""
    line: int | None


@dataclass(frozen=True, kw_only=True)
class PauseFacts:
    """A pause before a cube."""

    recording: int
    path: str
    seconds: float
    n_frames: int


@dataclass(frozen=True, kw_only=True)
class EventFacts:
    """The cubes of one event."""

    recording: int
    number: int
    begin: str | None
    end: str | None
    n_cubes: int
    n_lines: int


@dataclass(frozen=True, kw_only=True)
class SettingFacts:
    """A setting that changed from one cube to the next."""

    recording: int
    path: str
    """The first cube with the new value."""
    name: str
    before: Any
    after: Any


@dataclass(frozen=True, kw_only=True)
class PlanFacts:
    """A plan, and the recordings after it."""

    time: str
    planned: Mapping[str, Any]
    """The entry of the log."""
    came: Mapping[str, Any]
    """The same keys, of the recordings after it, as far as the files have them."""


@dataclass(frozen=True, kw_only=True)
class FlightFacts:
    """The whole report."""

    directory: str
    """Name of the directory."""
    made: str
    version: str
    """Of this library."""
    begin: str | None
    end: str | None
    n_cubes: int
    """Recorded cubes that can be read, each once."""
    n_lines: int
    n_frames: int
    """In these lines: more, if frames were averaged."""
    n_lines_lost: int
    """Sum of what these cubes declare: frames, if frames were averaged."""
    n_intact: int
    """Of the cubes: without a problem by `verify`."""
    n_bytes: int
    """Of the files of these cubes."""
    problems: tuple[str, ...]
    """Files, and lines of the log, that are damaged, foreign or unfinished. The exit code is 1 if there are any."""
    remarks: tuple[str, ...]
    """What should be checked, of files that are good: losses, saturation, changed settings, gaps, clocks."""
    results: tuple[str, ...]
    """Cubes that were computed from others: not counted above."""
    recordings: tuple[RecordingFacts, ...]
    cubes: tuple[CubeFacts, ...]
    gaps: tuple[GapFacts, ...]
    channels: tuple[ChannelFacts, ...]
    clocks: tuple[ClockFacts, ...]
    references: tuple[ReferenceFacts, ...]
    marks: tuple[MarkFacts, ...]
    pauses: tuple[PauseFacts, ...]
    events: tuple[EventFacts, ...]
    settings_changed: tuple[SettingFacts, ...]
    plan: PlanFacts | None
    log: Mapping[str, int]
    """Entries of the flight log by kind."""
    log_errors: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as plain values; a range has the keys minimum, mean, maximum."""
        found: dict[str, Any] = finite_json(asdict(self))
        return found
