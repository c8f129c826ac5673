"""Messages between the user's process and the recording process."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from openhsi_shared.control.status import RecordingStatus

__all__ = ["Ended", "RecordingSummary", "Started", "StatusRequest", "StopRequest"]


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


class Started(NamedTuple):
    """From the recording: camera and writer are running."""

    camera: str
    dc_shape: tuple[int, int, int]


class Ended(NamedTuple):
    """From the recording: every file is written, or has failed."""

    summary: RecordingSummary | None
    error: BaseException | None
    traceback: str
    status: RecordingStatus | None = None
    """The last status, for `Recording.status` after the end."""
