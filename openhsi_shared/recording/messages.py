"""What the user's process and the recording's say to each other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from openhsi_shared.control.status import RecordingStatus

__all__ = ["Ask", "Ended", "RecordingSummary", "Started", "StopNow"]


@dataclass(frozen=True, kw_only=True)
class RecordingSummary:
    """What a recording came to."""

    paths: tuple[Path, ...]
    """The files, in order of time."""
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


class Ask(NamedTuple):
    """To the recording: how goes it? Answered with a RecordingStatus."""


class StopNow(NamedTuple):
    """To the recording: end in good order, and save the unfinished cube as well."""


class Started(NamedTuple):
    """From the recording: camera and writer are up, the first line is awaited."""

    camera: str
    dc_shape: tuple[int, int, int]


class Ended(NamedTuple):
    """From the recording: every file is there, or could not be written."""

    summary: RecordingSummary | None
    error: BaseException | None
    traceback: str
    status: RecordingStatus | None = None
    """The last one, with which the user's process can say how it went."""
