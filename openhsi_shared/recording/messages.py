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
    "MarkRequest",
    "PauseRequest",
    "RecordingSummary",
    "ReferenceTaken",
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

    def __str__(self) -> str:
        return (
            f"{self.lines} lines in {len(self.paths)} cubes, {self.lines_lost} lost, "
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


class TakeReference(NamedTuple):
    """To the recording: close the cube, take a reference, and go on; answered with a ReferenceTaken."""

    kind: Kind
    n: int


class ReferenceTaken(NamedTuple):
    """From the recording: the file of a reference, or why there is none."""

    path: Path | None
    error: Exception | None = None


class Started(NamedTuple):
    """From the recording: camera and writer are running."""

    camera: str
    dc_shape: tuple[int, int, int]


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
