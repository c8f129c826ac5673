"""A camera that logs its committed lines in a file, which survives the death of any process.

Committed lines are counted in a mapped file, by plain stores: after a SIGKILL the page cache still contains them.
"""

import mmap
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared import SharedSimulatedCamera

__all__ = ["COUNTING_KEYWORDS", "CommitLog", "CommitLogCamera"]

MAX_STALLS = 4096
_WORDS = 8 + 2 * MAX_STALLS
_COMMITTED, _NEXT_ID, _N_STALLS = 0, 1, 2
COUNTING_KEYWORDS: dict[str, Any] = {"mode": "counting", "row_slice": None, "cal_path": ""}
"""Keywords of a camera whose frames can be verified."""


class CommitLog:
    """The file, written by the camera's process and read by any other."""

    def __init__(self, path: Path) -> None:
        """Open it; created, with zeros, if it does not exist."""
        with Path(path).open("a+b") as file:
            file.truncate(_WORDS * 8)
            self._words: NDArray[np.int64] = np.frombuffer(mmap.mmap(file.fileno(), _WORDS * 8), np.int64)

    @property
    def n_committed(self) -> int:
        """Number of committed lines, without the one during which the process died."""
        return int(self._words[_COMMITTED])

    @property
    def next_id(self) -> int:
        """The id after that of the last committed frame."""
        return int(self._words[_NEXT_ID])

    def add_line(self, next_id: int) -> None:
        """Record that a frame was committed."""
        self._words[_NEXT_ID] = next_id
        self._words[_COMMITTED] += 1

    def add_stall(self, when_ns: int, stall_ns: int) -> None:
        """Record that the loop was late."""
        n = int(self._words[_N_STALLS])
        self._words[8 + 2 * (n % MAX_STALLS) :][:2] = when_ns, stall_ns
        self._words[_N_STALLS] = n + 1

    def stalls(self) -> NDArray[np.int64]:
        """(number, 2): time on the monotonic clock, and delay, both in ns."""
        n = min(int(self._words[_N_STALLS]), MAX_STALLS)
        return self._words[8 : 8 + 2 * n].reshape(n, 2).copy()


class CommitLogCamera(SharedSimulatedCamera):
    """The simulated camera, which records each line in the file `commit_log`."""

    def __init__(self, *, commit_log: str | Path, **keywords: Any) -> None:
        self._commit_log = CommitLog(Path(commit_log))
        self._last_ns = 0
        rate = keywords.get("rate")
        self._period_ns = int(1e9 / rate) if rate else 1 << 62
        super().__init__(**keywords)

    def take_line(self) -> bool:
        """Take a line, and record it."""
        is_line = super().take_line()
        now = time.monotonic_ns()
        late = now - self._last_ns - self._period_ns
        if self._last_ns and late > self._period_ns:
            self._commit_log.add_stall(now, late)
        self._last_ns = now
        if is_line:
            self._commit_log.add_line(self._engine.filler.ledger.expected)
        return is_line
