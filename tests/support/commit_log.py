"""A camera that keeps its account in a file, which survives whoever is killed.

What was committed is counted in a mapped file, by plain stores: after a SIGKILL the page cache still has it.
"""

import mmap
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared import SharedSimulatedCamera

__all__ = ["WITNESS", "Witness", "WitnessedCamera"]

MOST_STALLS = 4096
_WORDS = 8 + 2 * MOST_STALLS
_COMMITTED, _NEXT_ID, _N_STALLS = 0, 1, 2
WITNESS: dict[str, Any] = {"mode": "counting", "row_slice": None, "cal_path": ""}
"""Keywords of a camera whose frames prove themselves."""


class Witness:
    """The file, as the camera's process writes it and as everybody else reads it."""

    def __init__(self, path: Path) -> None:
        """Open it; made, with zeros, if it is not there."""
        with Path(path).open("a+b") as file:
            file.truncate(_WORDS * 8)
            self._words: NDArray[np.int64] = np.frombuffer(mmap.mmap(file.fileno(), _WORDS * 8), np.int64)

    @property
    def n_committed(self) -> int:
        """Lines that were committed, but for the one at which its process died."""
        return int(self._words[_COMMITTED])

    @property
    def next_id(self) -> int:
        """The id behind the last frame that became a line."""
        return int(self._words[_NEXT_ID])

    def note(self, next_id: int) -> None:
        """A frame has become a line."""
        self._words[_NEXT_ID] = next_id
        self._words[_COMMITTED] += 1

    def note_stall(self, when_ns: int, stall_ns: int) -> None:
        """The loop came back late."""
        n = int(self._words[_N_STALLS])
        self._words[8 + 2 * (n % MOST_STALLS) :][:2] = when_ns, stall_ns
        self._words[_N_STALLS] = n + 1

    def stalls(self) -> NDArray[np.int64]:
        """(number, 2): when, on the monotonic clock, and how much later than it should have been, both in ns."""
        n = min(int(self._words[_N_STALLS]), MOST_STALLS)
        return self._words[8 : 8 + 2 * n].reshape(n, 2).copy()


class WitnessedCamera(SharedSimulatedCamera):
    """The simulated camera, which notes each line in the file `witness`."""

    def __init__(self, *, witness: str | Path, **keywords: Any) -> None:
        self._witness = Witness(Path(witness))
        self._last_ns = 0
        rate = keywords.get("rate")
        self._period_ns = int(1e9 / rate) if rate else 1 << 62
        super().__init__(**keywords)

    def take_line(self) -> bool:
        """As usual, and note it."""
        is_line = super().take_line()
        now = time.monotonic_ns()
        late = now - self._last_ns - self._period_ns
        if self._last_ns and late > self._period_ns:
            self._witness.note_stall(now, late)
        self._last_ns = now
        if is_line:
            self._witness.note(self._engine.filler.ledger.expected)
        return is_line
