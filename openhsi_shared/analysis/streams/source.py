"""What every source of events is: a description that travels, ranges of events for who distributes them, a reader."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.analysis.events import Event
from openhsi_shared.errors import OpenHSIError

__all__ = ["Overwritten", "Range", "Ranges", "Read", "Reader", "Source", "Unreadable"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Range:
    """Consecutive events of a source, which one worker reads by itself. Small, and picklable."""

    numbers: NDArray[np.int64]
    """Event number of each, rising."""
    times_ns: NDArray[np.int64] | None = None
    """Time of each, UTC, UNKNOWN_TIME_NS where it is unknown; None if the source has none."""
    is_for_all: bool = False
    """One event, the first one of a stream: every worker gets it."""
    where: Any = None
    """Where its source finds it; only its own reader knows what that is."""
    events: tuple[Event, ...] | None = None
    """The events themselves, of a source that only one process can read; None otherwise."""

    def __len__(self) -> int:
        return len(self.numbers)


class Overwritten(NamedTuple):
    """In place of an event: its line was overwritten before it could be read."""

    event_number: int
    frame_id: int


class Unreadable(NamedTuple):
    """In place of an event: its line is damaged. It counts as failed, and the events after it are read."""

    event_number: int
    error: OpenHSIError
    """Names the file and the line."""


Read = Event | Overwritten | Unreadable


class Source(ABC):
    """A description of a source: it is pickled and sent to the workers, which open it themselves."""

    is_live: bool = False
    """Whether ranges come as time passes."""

    @abstractmethod
    def ranges(self) -> "Ranges":
        """Open it in the process that distributes the events. CaptureError or FileError if it cannot be read."""

    @abstractmethod
    def reader(self) -> "Reader":
        """Open it in a process that reads events."""


class Ranges(ABC):
    """The events of an open source, one range after the other, in the order of their numbers."""

    n_events: int | None = None
    """Of the whole source; None if it is not known before its end."""
    is_ended: bool = False
    """Whether no range follows: all were given, and none is to come."""

    @abstractmethod
    def next(self, at_most: int) -> Range | None:
        """The next range, of at most `at_most` events, or None: there is none now, or no more (`is_ended`).

        Never blocks if the source is live. After the last whole event of a source that ends within a record it raises
        CaptureError, once.
        """

    def release(self, part: Range) -> None:  # noqa: B027 - most sources hold nothing
        """All events of a range are processed, or given up: its memory is not needed any more."""

    @abstractmethod
    def close(self) -> None:
        """Close the source. Idempotent."""


class Reader(ABC):
    """An open source in a process that reads."""

    @abstractmethod
    def events(self, part: Range) -> Iterator[Read]:
        """Read the events of a range, one after the other; views in an event hold until the next one is requested."""

    @abstractmethod
    def close(self) -> None:
        """Close it. Idempotent."""
