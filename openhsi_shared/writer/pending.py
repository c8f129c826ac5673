"""Cubes that were handed to the writer and whose slots are not free yet."""

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from openhsi_shared.buffers.slot_owner import Lease
from openhsi_shared.errors import SaveError
from openhsi_shared.frames.losses import IdRange, merged
from openhsi_shared.writer.handle import SaveHandle
from openhsi_shared.writer.messages import Failed, Label

__all__ = ["KEPT", "Pending", "Tally", "save_error"]

KEPT = "it is kept in memory: retry(directory) saves it elsewhere, discard() gives it up"


@dataclass
class Pending:
    """A cube that was sent and not yet answered, or whose save failed."""

    slot: int
    cube: int
    label: Label
    handle: SaveHandle
    crashes: int = 0
    """Writers that died while this cube was the first of theirs."""
    as_dump: bool = False
    """Too many died of it: only its bytes are to be saved, in the plainest way."""
    is_safe: bool = False
    """Its lines lie in a dump: who discards it loses nothing."""
    lease: Lease | None = None
    """Of the writer that was told to save it."""
    path: Path | None = None

    def died_of_it(self, words: str) -> SaveError:
        """Why it is not sent to a writer any more."""
        said = f"{self.handle.name}: {self.crashes} writers died of it{words}; {KEPT}"
        return SaveError(None, said, self.label.directory)


@dataclass
class Tally:
    """What the writer has done so far."""

    n_saved: int = 0
    n_restarts: int = 0
    n_lines_discarded: int = 0
    discarded: tuple[IdRange, ...] = ()
    """Frame ids of discarded cubes, with those of frames that were lost before."""
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=8))
    """MB/s of the last cubes."""

    def discard(self, n_lines: int, ids: IdRange) -> None:
        """Count the lines of a cube that was discarded; `ids` are its frames, with those lost before and within."""
        self.n_lines_discarded += n_lines
        self.discarded = merged((*self.discarded, ids))


def save_error(answer: Failed, handle: SaveHandle) -> SaveError:
    """What the writer could not do, as the error that `result` raises."""
    error = SaveError(answer.errno, f"{answer.words}: {handle.name} was not saved; {KEPT}", answer.filename)
    error.add_note(answer.traceback)
    return error
