"""Messages between the user's process and the recording process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from openhsi_shared.analysis.live.messages import ReaderEnded
from openhsi_shared.control.status import RecordingStatus
from openhsi_shared.files.references import Kind

__all__ = [
    "Ended",
    "EventChange",
    "ForAll",
    "MarkMade",
    "MarkRequest",
    "PauseRequest",
    "Place",
    "RecordingSummary",
    "ReferenceTaken",
    "StartAt",
    "Started",
    "StatusRequest",
    "StopAnalysis",
    "StopRequest",
    "TakeReference",
]


@dataclass(frozen=True, kw_only=True)
class RecordingSummary:
    """Result of a recording."""

    paths: tuple[Path, ...]
    """The files, in chronological order."""
    lines: int
    """Lines saved in them."""
    lines_lost: int
    lost_ids: tuple[Any, ...]
    seconds: float
    rate: float
    """Lines per second, lost ones included."""
    errors: tuple[str, ...]
    events: int | None = None
    """Number of events; None if all lines were wanted."""
    lines_not_wanted: int = 0
    """Lines that were taken, and neither saved nor lost, because no event went on."""

    @property
    def events_in_words(self) -> str:
        """As "3 events, 500 lines not wanted"; empty if all lines were wanted."""
        if self.events is None:
            return ""
        return f"{self.events} event{'s' * (self.events != 1)}, {self.lines_not_wanted} lines not wanted"

    def __str__(self) -> str:
        events = f"{self.events_in_words}, " if self.events_in_words else ""
        return (
            f"{self.lines} lines in {len(self.paths)} cubes, {self.lines_lost} lost, {events}"
            f"{self.seconds:.1f} s at {self.rate:.0f} lines/s" + "".join(f"; {error}" for error in self.errors)
        )


class StatusRequest(NamedTuple):
    """To the recording: answered with a RecordingStatus."""


class StopRequest(NamedTuple):
    """To the recording: shut down cleanly, and save the unfinished cube as well."""


class StopAnalysis(NamedTuple):
    """To the recording: let one analysis finish with what it has, and end."""

    name: str


class MarkRequest(NamedTuple):
    """To the recording: put a mark."""

    text: str
    monotonic_ns: int
    """When it was called."""


class PauseRequest(NamedTuple):
    """To the recording: close and save the cube, and throw frames away, until it is resumed."""

    is_paused: bool
    """Pause, or resume."""


class StartAt(NamedTuple):
    """To a recording that is one of several: the first line is that of the next frame after this moment."""

    monotonic_ns: int


class ForAll(NamedTuple):
    """From a recording that is one of several: another program's request, which all of them are to get."""

    message: StopRequest | MarkRequest | PauseRequest


class EventChange(NamedTuple):
    """To the recording: what holds of the condition of events. Sent when it changes, and once a second."""

    is_on: bool
    since_ns: int
    """Since when, by the monotonic clock."""
    doubt: str = ""
    """Why it is not known, and taken for true."""


class MarkMade(NamedTuple):
    """From the recording: a mark was made, for conditions that wait for one."""

    monotonic_ns: int


class TakeReference(NamedTuple):
    """To the recording: close the cube, take a reference, and go on; answered with a ReferenceTaken."""

    kind: Kind
    n: int


class ReferenceTaken(NamedTuple):
    """From the recording: the file of a reference, or why there is none."""

    path: Path | None
    error: Exception | None = None


class Place(NamedTuple):
    """What a recording needs of memory and disk."""

    cube_bytes: int
    max_bytes_per_s: float
    """At the largest rate that the exposure allows."""


class Started(NamedTuple):
    """From the recording: camera and writer are running."""

    camera: str
    dc_shape: tuple[int, int, int]
    place: Place


@dataclass(frozen=True)
class Ended:
    """From the recording: every file is written, or has failed."""

    summary: RecordingSummary | None
    error: BaseException | None
    traceback: str
    status: RecordingStatus | None = None
    """The last status, for `Recording.status` after the end."""
    analyses: Mapping[str, ReaderEnded] = field(default_factory=dict)
    """How each analysis has ended, by name."""
