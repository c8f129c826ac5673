"""Messages between the page of a recorder and the process of the recorder.

The page asks for the newest state, at most ten times a second and only while a browser is connected, and is sent one
answer: so the recorder never waits for a page, and a slow page is shown fewer states, but no old ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "TIME",
    "About",
    "Ask",
    "Clear",
    "Command",
    "Estimate",
    "Note",
    "RegionShown",
    "RowsShown",
    "Save",
    "Shift",
    "Start",
    "Stop",
]


PARTS = ("x (row)", "y (column)", "height", "width", "sum")
"""Of a region: its centre, in pixels of the whole image, its size, and the sum of its pixels."""
TIME = "time / s"
"""Of a row, from the newest one."""


# ---- from the page -------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """For the newest state; at most one is unanswered."""


@dataclass(frozen=True)
class Start:
    """The recorder."""


@dataclass(frozen=True)
class Stop:
    """The recorder."""


@dataclass(frozen=True)
class Clear:
    """Its rows."""


@dataclass(frozen=True)
class Save:
    """Its rows."""

    path: str


@dataclass(frozen=True)
class Shift:
    """A column by `n` rows."""

    column: str
    n: int


@dataclass(frozen=True)
class Estimate:
    """The shift of a column against another one, and apply it."""

    column: str
    other: str


Command = Start | Stop | Clear | Save | Shift | Estimate


# ---- to the page ---------------------------------------------------------------------


@dataclass(frozen=True)
class About:
    """What does not change while a recorder lives."""

    channels: tuple[str, ...]
    reference: str
    images: tuple[str, ...]
    """Columns of images."""
    scalars: tuple[str, ...]
    """Columns of numbers."""
    maxlen: int
    save_path: str
    """What is proposed."""

    @property
    def of_column(self) -> dict[str, str]:
        """Quantities that can be plotted, and the column of each, which can be shifted; of the time none."""
        found = {name: name for name in self.scalars}
        for image in self.images:
            found |= {f"{image} {part}": image for part in PARTS}
        return found | {TIME: ""}


@dataclass(frozen=True)
class RegionShown:
    """The region of an image in the newest row."""

    pixels: NDArray[Any]
    """Decimated if it is large."""
    start: tuple[int, int]
    """Row and column of its first pixel in the whole image."""
    size: tuple[int, int]
    """Rows and columns of the region."""
    centre: tuple[float, float]
    """NaN if nothing is lit."""
    whole: tuple[int, int]
    """Rows and columns of the whole image."""


@dataclass(frozen=True)
class Note:
    """What a command has done, or why it has failed."""

    number: int
    text: str
    is_error: bool = False


@dataclass(frozen=True)
class RowsShown:
    """State of the recorder."""

    is_running: bool
    is_full: bool
    n_rows: int
    """Without those that shifts leave without a partner."""
    quantities: Mapping[str, NDArray[np.float64]]
    """Of the newest rows, oldest first, by the names of `About.of_column`."""
    regions: Mapping[str, RegionShown]
    """By image; none before its first row."""
    rates: Mapping[str, float]
    unmatched: Mapping[str, int]
    refused: Mapping[str, int]
    states: Mapping[str, str]
    why: str
    """Why no rows come; empty if they do."""
    shifts: Mapping[str, int]
    newest_ns: int = 0
    """Time of the newest row."""
    busy: str = ""
    """The command that is being carried out."""
    note: Note = field(default_factory=lambda: Note(0, ""))
    """The last one."""
    failure: str = ""
    """Why the recorder has stopped by itself."""
