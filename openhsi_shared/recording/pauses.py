"""Pauses of a recording: its frames are taken and thrown away, so that the camera's queue does not overflow."""

import threading
import time
from collections.abc import Callable

from openhsi_shared.datacube.shared_openhsi import SharedOpenHSI
from openhsi_shared.recording.flight_notes import FlightNotes

__all__ = ["Pauses"]


class Pauses:
    """Whether a recording is paused."""

    def __init__(self) -> None:
        wanted = threading.Event()
        self.is_wanted = wanted.is_set
        """Whether frames from the next one on are not wanted."""
        self._pause, self._resume = wanted.set, wanted.clear
        self.is_now = False
        """Whether the cube is closed, and frames are thrown away."""

    def want(self, is_paused: bool) -> None:
        """Throw frames away from the next one on, or make lines of them again. Idempotent, for any thread."""
        if is_paused:
            self._pause()
        else:
            self._resume()

    def take(self, camera: SharedOpenHSI, ends: Callable[[], bool], notes: FlightNotes | None) -> None:
        """While it is paused, take frames, which do not count as lost, but not after `ends()`. Between two cubes."""
        if not self.is_wanted():
            return
        begun_ns = time.monotonic_ns()
        if notes is not None:
            notes.note("pause")
        self.is_now = True
        n_frames = camera.pass_over_frames(lambda: self.is_wanted() and not ends())
        self.is_now = False
        if notes is not None:
            notes.note("resume", paused_s=(time.monotonic_ns() - begun_ns) / 1e9, frames_paused=n_frames)
