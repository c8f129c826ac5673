"""Pending cubes, which were handed to the writer and whose slots are not free yet; counters of saved cubes."""

import math
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from openhsi_shared.buffers.lease import Lease
from openhsi_shared.errors import SaveError
from openhsi_shared.frames.losses import IdRange, merged
from openhsi_shared.writer.handle import SaveHandle
from openhsi_shared.writer.messages import Failed, Label

__all__ = ["KEPT", "Pending", "Tally", "save_error"]

KEPT = "it is kept in memory: retry(directory) saves it elsewhere, discard() drops it"


@dataclass
class Pending:
    """A cube that was sent to the writer and has no result yet, or whose save failed."""

    slot: int
    cube: int
    label: Label
    handle: SaveHandle
    crashes: int = 0
    """Writers that died while saving this cube."""
    as_dump: bool = False
    """Too many writers died: only its raw bytes are to be saved."""
    is_safe: bool = False
    """Its lines are stored in a dump: discarding it loses nothing."""
    awaits_writer: bool = False
    """Held only because no writer could be started: it is sent to the next one that starts."""
    avoid: tuple[str, ...] = ()
    """Directories that did not respond when it was sent last: the writer has not looked there."""
    is_repeated: bool = False
    """It was sent to a writer before."""
    only_look: bool = False
    """It is about to be discarded: the writer only looks whether it is saved already."""
    is_looked_for: bool = False
    """The writer has looked."""
    lease: Lease | None = None
    """Of the writer that saves it."""
    path: Path | None = None

    def crash_error(self, details: str) -> SaveError:
        """The error of a cube that is not sent to a writer any more."""
        message = f"{self.handle.name}: {self.crashes} writers died while saving it{details}; {KEPT}"
        return SaveError(None, message, self.label.directory)


@dataclass
class Tally:
    """Counters of the writer."""

    n_saved: int = 0
    n_restarts: int = 0
    n_lines_discarded: int = 0
    discarded: tuple[IdRange, ...] = ()
    """Frame ids of discarded cubes, including frames lost before and within them."""
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=8))
    """MB/s of the last cubes."""

    saturated: float = math.nan
    """Mean share of saturated pixels of the newest cube."""

    def discard(self, n_lines: int, ids: IdRange) -> None:
        """Count the lines of a discarded cube; `ids` are its frames, including those lost before and within."""
        self.n_lines_discarded += n_lines
        self.discarded = merged((*self.discarded, ids))


def save_error(answer: Failed, handle: SaveHandle) -> SaveError:
    """The failure that the writer sent, as the error that `result` raises."""
    error = SaveError(answer.errno, f"{answer.message}: {handle.name} was not saved; {KEPT}", answer.filename)
    error.add_note(answer.traceback)
    return error
