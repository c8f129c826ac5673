"""Model of a free-running sensor and its queue, computed from the clock, without a thread.

Frame k is exposed at the end of period k, independent of readers, and is queued if there is room. The state between two
reads follows from the time between them: no frame was removed, so the first frames filled the queue, and all later ones
were dropped; their ids are never delivered.
"""

from collections import deque
from collections.abc import Collection
from fractions import Fraction

__all__ = ["FreeRun"]


class FreeRun:
    """Frames of a sensor that runs at `rate` frames/s since `start_ns`, with a queue of `n_queue` frames."""

    def __init__(
        self, rate: float, n_queue: int, start_ns: int, n_frames: int | None, missing: Collection[int]
    ) -> None:
        self._period = Fraction(1_000_000_000) / Fraction(rate).limit_denominator(1_000_000)
        self._start_ns = start_ns
        self._n_queue = n_queue
        self._n_frames = n_frames
        self._missing = missing
        self._waiting: deque[int] = deque()
        self._n_exposed = 0

    def exposed_ns(self, frame_id: int) -> int:
        """Return the time at which the exposure of a frame ends, to the nanosecond."""
        return self._start_ns - (-(frame_id + 1) * self._period.numerator // self._period.denominator)

    def take(self, now_ns: int) -> int | None:
        """Take the oldest waiting frame out of the queue; None if it is empty."""
        n_exposed = (now_ns - self._start_ns) * self._period.denominator // self._period.numerator
        if self._n_frames is not None:
            n_exposed = min(n_exposed, self._n_frames)
        while self._n_exposed < n_exposed and len(self._waiting) < self._n_queue:
            if self._n_exposed not in self._missing:
                self._waiting.append(self._n_exposed)
            self._n_exposed += 1
        self._n_exposed = max(self._n_exposed, n_exposed)  # frames dropped by the full queue
        return self._waiting.popleft() if self._waiting else None

    def next_ns(self) -> int | None:
        """Return the time at which the next exposure ends, right after `take` returned None; None if it ended."""
        if self._n_frames is not None and self._n_exposed >= self._n_frames:
            return None
        return self.exposed_ns(self._n_exposed)
