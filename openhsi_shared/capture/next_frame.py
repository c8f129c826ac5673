"""Copies of the next frame that the loop reads, for threads that look while another one collects."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NextFrame"]


class NextFrame:
    """Hands the next frame from the loop to the threads that wait for it."""

    def __init__(self) -> None:
        self.is_wanted = False
        """Whether a thread waits; the loop checks it for each frame."""
        self._changed = threading.Condition()
        self._frame: NDArray[Any] | None = None
        self._n_given = 0

    def give(self, frame: NDArray[Any]) -> None:
        """Copy a frame for all threads that wait."""
        with self._changed:
            self.is_wanted = False
            self._frame = np.array(frame)
            self._n_given += 1
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> NDArray[Any] | None:
        """Wait for the next frame and return a copy of it; None if none came in time."""
        with self._changed:
            n_given, self.is_wanted = self._n_given, True
            came = self._changed.wait_for(lambda: self._n_given != n_given, timeout_s)
            return np.array(self._frame) if came else None
