"""What travels between the process that distributes events, the workers, and the reducer."""

from dataclasses import dataclass, field
from typing import NamedTuple

from openhsi_shared.analysis.streams.source import Range

__all__ = ["Batch", "BatchResult", "EventFailure"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A range of events for a worker, with what it needs to know besides."""

    number: int
    """From 0 on, in the order of events."""
    part: Range
    version: int = 0
    """Of the parameters: the same for all its events, and for every worker."""
    tick: int | None = None
    """Number of the event for which `tick` is true; None if there is none in this batch."""
    is_repeated_for_state: bool = False
    """A first event of a stream for a worker that replaces another one: its results were delivered before."""


class EventFailure(NamedTuple):
    """An event for which the worker raised, or whose result cannot be pickled."""

    event_number: int
    error: str
    """Type and text, in one line."""
    traceback: str
    """"" if no code raised, and of all failures of a batch but the first."""


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """What came of a batch. One message, so that no result of it counts twice, or without the others."""

    number: int
    """Of the batch; -1 for the last result of `flush`."""
    worker: str
    """Its name, unique among all workers."""
    version: int
    """Of the parameters."""
    results: list[tuple[int, bytes]] = field(default_factory=list)
    """Event number and pickled payload of each event whose result is not None, in the order of events."""
    failures: list[EventFailure] = field(default_factory=list)
    n_events: int = 0
    """Events processed, failed ones included."""
    overwritten: list[tuple[int, int]] = field(default_factory=list)
    """Event number and frame id of lines that were overwritten before they were read."""
    seconds: float = 0.0
    """Time in the worker."""
    tick_interval_s: float | None = None
    """What `get_tick_interval` says now; None without it."""
