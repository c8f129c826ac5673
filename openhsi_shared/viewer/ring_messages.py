"""What a viewer of a ring and its owner tell each other.

The four that the neighbour's viewer has, and one more. Frames do not travel: the viewer finds the newest in the ring by
itself, so its owner need not wait for its Ready, nor tell it DataIndexes; it is told them.
"""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["DataIndexes", "Initialize", "Ready", "Saved", "Shutdown"]


@dataclass(frozen=True)
class Initialize:
    """To the viewer, at its birth: what to look at."""

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
    """From the viewer: it is up, and shows what comes."""


@dataclass(frozen=True)
class DataIndexes:
    """From the viewer, a few times a second: this frame is on the screen."""

    start: int
    stop: int
    number: int
    """Of the frame: 0 for the first that was put."""
    n_shown: int
    """How many frames were on the screen so far."""


@dataclass(frozen=True)
class Saved:
    """From the viewer: somebody pressed `s`."""

    path: Path


@dataclass(frozen=True)
class Shutdown:
    """To the viewer: end. From it: it ends, and why."""

    reason: str = ""
    is_failure: bool = False
