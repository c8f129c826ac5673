"""Status and result of several cameras that record together, each by its name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from openhsi_shared.control.status import RecordingStatus
from openhsi_shared.recording.messages import RecordingSummary

__all__ = ["StatusOfAll", "SummaryOfAll", "failures_in_words"]

OfOne = TypeVar("OfOne", RecordingStatus, RecordingSummary)


def failures_in_words(failures: Mapping[str, str]) -> list[str]:
    """One text for each camera that failed."""
    return [f"{name} has failed: {error}" for name, error in failures.items()]


@dataclass(frozen=True, kw_only=True)
class _OfAll(Generic[OfOne]):
    """What is known of each camera, and sums of it."""

    cameras: Mapping[str, OfOne]
    failures: Mapping[str, str]
    """Error of each camera that could not be started, or whose recording has failed, by name."""

    @property
    def lines(self) -> int:
        """Of all cameras."""
        return sum(one.lines for one in self.cameras.values())

    @property
    def lines_lost(self) -> int:
        """Of all cameras."""
        return sum(one.lines_lost for one in self.cameras.values())

    @property
    def lines_not_wanted(self) -> int:
        """Of all cameras."""
        return sum(one.lines_not_wanted for one in self.cameras.values())

    @property
    def errors(self) -> tuple[str, ...]:
        """Of all cameras, each with its name."""
        found = failures_in_words(self.failures)
        for name, one in self.cameras.items():
            found += [f"{name}: {error}" for error in one.errors]
        return tuple(found)

    def __str__(self) -> str:
        return "\n".join([*(f"{name}: {one}" for name, one in self.cameras.items()), *failures_in_words(self.failures)])


@dataclass(frozen=True, kw_only=True)
class StatusOfAll(_OfAll[RecordingStatus]):
    """Status of several cameras that record together: a frozen snapshot."""

    cameras: Mapping[str, RecordingStatus]
    """By name; of one that has ended, the last one. A camera whose process died is only among `failures`."""

    @property
    def is_paused(self) -> bool:
        """Whether `pause` has taken effect in each of them."""
        return bool(self.cameras) and all(one.is_paused for one in self.cameras.values())

    @property
    def disk_minutes_left(self) -> float:
        """Until the disk is full, at the rates of all cameras together; as `RecordingStatus`."""
        minutes = [one.disk_minutes_left for one in self.cameras.values()]
        if not all(minutes):
            return 0.0
        per_minute = sum(1 / each for each in minutes)  # of what is free now
        return 1 / per_minute if per_minute else float("inf")

    def _repr_html_(self) -> str:
        from openhsi_shared.show.tables import table

        rows = [(f"{name}: {what}", text) for name, one in self.cameras.items() for what, text in one.rows()]
        return table(
            type(self).__name__, [*rows, *((f"{name} has failed", text) for name, text in self.failures.items())]
        )


@dataclass(frozen=True, kw_only=True)
class SummaryOfAll(_OfAll[RecordingSummary]):
    """Result of several cameras that recorded together."""

    cameras: Mapping[str, RecordingSummary]
    """By name; a camera that saved nothing that is known is only among `failures`."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, camera by camera, each in chronological order."""
        return tuple(path for one in self.cameras.values() for path in one.paths)
