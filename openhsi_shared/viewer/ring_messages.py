"""Messages between a viewer of a ring and its owner.

The four of the live viewer in `docs/coming_from_the_live_viewer.md`, and `Saved`. Frames are not sent: the viewer reads
the newest one from the ring, so the owner neither waits for Ready nor sends DataIndexes, but receives them.
"""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["DataIndexes", "Initialize", "Ready", "Saved", "Shutdown"]


@dataclass(frozen=True)
class Initialize:
    """To the viewer, when it is started: the ring and its frames."""

    buffer_name: str
    buffer_capacity: int
    """In bytes."""
    num_rows: int
    num_cols: int
    vmin: float | None
    vmax: float | None
    save_dir: Path


@dataclass(frozen=True)
class Ready:
    """From the viewer: it is up, and shows new frames."""


@dataclass(frozen=True)
class DataIndexes:
    """From the viewer, a few times a second: this frame is on the screen."""

    start: int
    stop: int
    number: int
    """Of the frame: 0 for the first that was put."""
    n_shown: int
    """Number of frames shown so far."""


@dataclass(frozen=True)
class Saved:
    """From the viewer: a frame was saved by `s`."""

    path: Path


@dataclass(frozen=True)
class Shutdown:
    """To the viewer: request to end. From it: it ends, and the reason."""

    reason: str = ""
    is_failure: bool = False
