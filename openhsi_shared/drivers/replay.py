"""Replay of saved cubes as a camera: the lines of a file, or of a folder of files, at any rate.

Notes:
- The stream continues where it was stopped; after closing and opening, it restarts with the first line.
- Lines are kept for a slow reader. The average rate is maintained: a late reader gets all due lines at once.
- A damaged line of a file becomes an incomplete frame: counted as lost, with its id.
- The exposure is that of the recording: `set_exposure` does not change it.
- Groups of variables in a cube's file are skipped, with a warning; channels are matched to the lines by the writer.
"""

import math
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.drivers import FrameStamp, FrameStatus
from openhsi_shared.drivers.saved_lines import SavedLine, inspect_cubes, lines_of
from openhsi_shared.errors import ArgumentError, CameraError, FileError, FrameError, FrameTimeout, SourceEnded
from openhsi_shared.given_numbers import is_finite
from openhsi_shared.loggers import safe_logger
from openhsi_shared.paths import given_path
from openhsi_shared.settings import CameraSettings

__all__ = ["ReplayDriver"]

logger = safe_logger(__name__)


class ReplayDriver:
    """Replays `path`: a cube written by this library or by openhsi, or a folder of cubes, ordered by time.

    - `rate`: "recorded", by the times of the lines (pauses are limited to 10 s); None, unlimited; or lines/s.
    - `loop`: restart at the end instead of raising SourceEnded; ids and times continue.

    Frame ids are those of the files, or count the lines if a file has none, and continue from one recording to the
    next. The camera's clock and temperature are the recorded ones of the line.
    """

    frame_id_period: int | None = None
    carries_groups = False
    """Whether the caller copies groups of the replayed cube itself."""

    def __init__(
        self, settings: CameraSettings, *, path: str | Path, rate: str | float | None = "recorded", loop: bool = False
    ) -> None:
        if not (rate is None or rate == "recorded" or (is_finite(rate) and rate > 0)):
            raise ArgumentError(f"rate must be lines/s > 0, 'recorded', or None for unlimited, got {rate!r}")
        self.frame_shape: tuple[int, int] = settings.resolution or (0, 0)
        self.frame_dtype: np.dtype[Any] = settings.dtype_in
        self._exposure_ms = settings.exposure_ms
        self.exposure_is_known = True
        self._is_exposure_set = "exposure_ms" in settings.model_fields_set
        self._path, self._rate, self._loop = given_path(path), rate, loop
        self._lines: Generator[SavedLine] | None = None
        self._waiting: SavedLine | None = None
        self._is_streaming = False
        self._celsius = math.nan

    def open(self) -> None:
        """Open and check all files. FileError if one is missing, not a cube, or has other frames than the first."""
        if self._lines is not None:
            return
        cubes = inspect_cubes(self._path)
        for cube in cubes:
            if self._rate == "recorded" and cube.times_ns is None:
                raise FileError(f"{cube.path} has no times of lines: pass a rate in lines/s, or None")
            groups = [name for name in cube.groups if name != "channels"]  # those are matched to the lines
            if groups and not self.carries_groups:
                logger.warning("replay skips the groups %s of %s", ", ".join(groups), cube.path)
        self.frame_shape, self.frame_dtype = cubes[0].line_shape, cubes[0].dtype
        self._exposure_ms = cubes[0].exposure_ms or self._exposure_ms
        self.exposure_is_known = bool(cubes[0].exposure_ms) or self._is_exposure_set
        self._lines = lines_of(cubes, loop=self._loop)

    def start(self) -> None:
        """Start, or continue with the line after the last one."""
        self._require_open()
        if not self._is_streaming:
            self._is_streaming = True
            self._due_ns: int | None = None

    def read_into(self, out: NDArray[Any], timeout_s: float) -> FrameStamp:
        """Wait until the next line is due and copy it into `out`. CameraError when not started.

        Raises SourceEnded after the last line, unless it loops.
        """
        lines = self._require_open()
        if not self._is_streaming:
            raise CameraError(f"the replay of {self._path} is not streaming: start it before frames are read")
        if out.shape != self.frame_shape or out.dtype != self.frame_dtype:
            raise FrameError(
                f"a frame of {self._path} is {self.frame_dtype} {self.frame_shape}, "
                f"got room for {out.dtype} {out.shape}"
            )
        if self._waiting is None:
            self._waiting = next(lines, None)
        line = self._waiting
        if line is None:
            raise SourceEnded(f"all lines of {self._path} were replayed; loop=True restarts it")
        due_ns = self._wait_for(line, timeout_s)
        self._waiting = None
        self._celsius = line.temperature
        if line.pixels is None:
            return FrameStamp(line.frame_id, due_ns, line.time_ns, FrameStatus.INCOMPLETE)
        np.copyto(out, line.pixels)
        return FrameStamp(line.frame_id, due_ns, line.time_ns)

    def _wait_for(self, line: SavedLine, timeout_s: float) -> int | None:
        """Sleep until a line is due; return its due time on the monotonic clock, None if the rate is unlimited."""
        if self._rate is None:
            return None
        now_ns = time.monotonic_ns()
        if self._due_ns is None:
            due_ns = now_ns
        else:
            due_ns = self._due_ns + (line.pause_ns if isinstance(self._rate, str) else round(1e9 / self._rate))
        wait_s = max(0, due_ns - now_ns) / 1e9
        time.sleep(min(wait_s, max(timeout_s, 0.0)))
        if wait_s > timeout_s:
            raise FrameTimeout(f"no line of {self._path} within {timeout_s} s: the next one is due in {wait_s:g} s")
        self._due_ns = due_ns
        return due_ns

    def set_exposure(self, exposure_ms: float) -> float:
        """Return the exposure of the recording, which cannot be changed; ArgumentError if `exposure_ms` is invalid."""
        self._require_open()
        if not 0 < exposure_ms < math.inf:
            raise ArgumentError(f"exposure_ms must be > 0, got {exposure_ms}")
        return self._exposure_ms

    def temperature_celsius(self) -> float:
        """Return the recorded temperature of the line that was read last."""
        return self._celsius

    def stop(self) -> None:
        """Pause; `start` continues with the next line."""
        self._is_streaming = False

    def close(self) -> None:
        """Close the file."""
        self.stop()
        if self._lines is not None:
            self._lines.close()
        self._lines = self._waiting = None

    def _require_open(self) -> Generator[SavedLine]:
        if self._lines is None:
            raise CameraError(f"the replay of {self._path} is not open: open it first")
        return self._lines
