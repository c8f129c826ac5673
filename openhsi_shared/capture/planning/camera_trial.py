"""A trial of the camera: its line rate, its queue, and some of its lines; nothing is saved.

The rate is that of the frames that the camera delivers, by its counter, taken or not, and by the times of their
exposures if they are known: frames that have waited in the queue come late. For the queue no frame is taken for a time
that is doubled until the ids show a gap. A source without a counter has an unknown queue; one whose ids do
not go on in a pause waits for its reader.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.drivers import FrameSource, FrameStamp, FrameStatus
from openhsi_shared.frames.ids import FrameIds
from openhsi_shared.levels import LevelPlan

__all__ = ["CameraTrial", "Queue"]

RATE_S = 1.5
QUEUE_S = 4.0
"""For all pauses together."""
FIRST_FRAMES = 2
"""Of a start, which may come late."""
KEPT_BYTES = 64 << 20
KEPT_LINES = 64
IS_WAITING = 0.7
"""A source waits if with pauses it delivers less than this share of its rate ..."""
WAITS_S, WAITS_FRAMES = 0.25, 32
"""... with pauses of this length: a camera whose frames are read hardly faster than they come has lost some by then."""

Read = Callable[[NDArray[Any]], FrameStamp]


class Queue(NamedTuple):
    """Result of the test of the queue."""

    n_frames: int | None
    is_full: bool
    waits: bool


class CameraTrial:
    """Takes frames of a camera that streams, computes its level, and counts what is missing."""

    def __init__(self, read: Read, source: FrameSource, plan: LevelPlan, line: NDArray[Any]) -> None:
        """`read` fills a frame, in the camera's turn; `line` is memory of a line, whose shape and type it has."""
        self.n_taken = self.n_lost = 0
        self.last_id: int | None = None
        self.taken_at = 0.0
        """`time.monotonic()` of the last frame."""
        self.exposed_ns: int | None = None
        """Time of its exposure, if the camera tells it."""
        self.busy_s = 0.0
        """What the level has taken."""
        self.lines: deque[NDArray[Any]] = deque(maxlen=max(2, min(KEPT_LINES, KEPT_BYTES // max(1, line.nbytes))))
        """The last lines of the measurement of the rate."""
        self._read, self._plan, self._line = read, plan, line
        self._ids = FrameIds(source.frame_id_period)
        self._frame = np.empty(plan.frame_shape, plan.frame_dtype)

    def take(self, keep: bool = False) -> int:
        """Take a frame; returns how many are missing before it."""
        stamp = self._read(self._frame)
        self.taken_at, self.exposed_ns = time.monotonic(), stamp.monotonic_ns
        self.n_taken += 1
        n_missing = 0
        if stamp.frame_id is not None and not self._ids.is_behind(stamp.frame_id):
            before, self.last_id = self.last_id, self._ids.unwrap(stamp.frame_id)
            n_missing = 0 if before is None else max(0, self.last_id - before - 1)
        if stamp.status is not FrameStatus.GOOD:
            n_missing += 1
        elif not self._plan.is_identity:
            self._plan.apply(self._frame, self._line)
            self.busy_s += time.monotonic() - self.taken_at
        self.n_lost += n_missing
        if keep and stamp.status is FrameStatus.GOOD:
            self.lines.append((self._frame if self._plan.is_identity else self._line).copy())
        return n_missing

    def rate(self, until: float) -> float:
        """Measure frames/s, until `time.monotonic()` is `until` at the latest; at least three frames are taken."""
        for _ in range(FIRST_FRAMES):
            self.take()
        self.busy_s = 0.0
        begun, begun_ns, n_begun, id_begun = self.taken_at, self.exposed_ns, self.n_taken, self.last_id
        end = min(until, begun + RATE_S)
        while self.n_taken == n_begun or time.monotonic() < end:
            self.take(keep=len(self.lines) < (self.lines.maxlen or 0))
        n = self.n_taken - n_begun if id_begun is None or self.last_id is None else self.last_id - id_begun
        seconds = self.taken_at - begun
        if begun_ns is not None and self.exposed_ns is not None and self.exposed_ns > begun_ns:
            seconds = (self.exposed_ns - begun_ns) / 1e9
        return max(1, n) / seconds

    def busy(self, rate: float) -> float:
        """Share of the time between two frames that the level takes."""
        return self.busy_s / max(1, self.n_taken - FIRST_FRAMES) * rate

    def queue(self, rate: float, until: float) -> Queue:
        """Pause, for twice as many frames each time, until some are missing or the time is over."""
        if self.last_id is None:
            return Queue(None, False, False)
        end = min(until, time.monotonic() + QUEUE_S)
        held, n_frames = 0, 2
        while (pause := n_frames / rate) < (end - time.monotonic()) / 2:
            before, id_before = self.taken_at, self.last_id
            time.sleep(max(0.0, before + pause - time.monotonic()))
            n_waiting = math.floor((time.monotonic() - before) * rate)
            n_missing = 0
            while self.taken_at < before + 1.5 * pause or self.last_id < id_before + 2:
                n_missing += self.take()
            n_offered = self.last_id - id_before
            is_long = pause >= WAITS_S and n_frames >= WAITS_FRAMES
            if is_long and not n_missing and n_offered < IS_WAITING * rate * (self.taken_at - before):
                return Queue(None, False, True)
            if n_missing:
                return Queue(max(held, n_waiting - n_missing), True, False)
            held, n_frames = n_frames, 2 * n_frames
        return Queue(held, False, False)
