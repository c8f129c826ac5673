"""Saved cubes as a camera: the lines of a file, or of a folder of files, at their own pace or any.

What is particular about it:

- The stream goes on where it was stopped; closed and opened again, it begins with the first line.
- Lines wait for a slow reader. The pace is kept on the whole: a late reader gets at once all that is due.
- A line that is damaged in its file is an incomplete frame: counted as lost, with its id.
- The exposure is what it was: asking for another one changes nothing.
- Groups of variables beside a cube are left out, which is logged.
"""

import logging
import math
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.drivers import FrameStamp, FrameStatus
from openhsi_shared.drivers.saved_lines import SavedLine, lines_of, look_at
from openhsi_shared.errors import ArgumentError, CameraError, FileError, FrameError, FrameTimeout, SourceEnded
from openhsi_shared.settings import CameraSettings

__all__ = ["ReplayDriver"]

logger = logging.getLogger(__name__)


class ReplayDriver:
    """Replays `path`: a cube of ours or of openhsi's, or a folder with such, in the order of their times.

    - `rate`: "recorded", as the lines' times say (a pause of more than 10 s is cut to that); None, as fast as asked; or
      lines a second.
    - `loop`: begin anew at the end instead of raising SourceEnded; ids and times go on.

    Frame ids are those of the files, or count the lines where a file has none, and go on from one recording to the
    next. The camera's clock is the recorded time of the line, its temperature the recorded one.
    """

    frame_id_period: int | None = None
    carries_groups = False
    """Whether groups of the replayed cube go along by another way."""

    def __init__(
        self, settings: CameraSettings, *, path: str | Path, rate: str | float | None = "recorded", loop: bool = False
    ) -> None:
        if not (rate is None or rate == "recorded" or (not isinstance(rate, str) and 0 < rate < math.inf)):
            raise ArgumentError(f"rate must be lines/s > 0, 'recorded', or None for as fast as asked, got {rate!r}")
        self.frame_shape: tuple[int, int] = settings.resolution or (0, 0)
        self.frame_dtype: np.dtype[Any] = settings.dtype_in
        self._exposure_ms = settings.exposure_ms
        self.exposure_is_known = True
        self._was_told_exposure = "exposure_ms" in settings.model_fields_set
        self._path, self._rate, self._loop = Path(path), rate, loop
        self._lines: Generator[SavedLine] | None = None
        self._waiting: SavedLine | None = None
        self._is_streaming = False
        self._celsius = math.nan

    def open(self) -> None:
        """Look at all files. FileError for what is missing, foreign, or has other frames than the cubes before."""
        if self._lines is not None:
            return
        cubes = look_at(self._path)
        for cube in cubes:
            if self._rate == "recorded" and cube.times_ns is None:
                raise FileError(
                    f"{cube.path} does not know when its lines were recorded: give a rate in lines/s, or None"
                )
            if cube.groups and not self.carries_groups:
                logger.warning("a replay leaves out the groups %s of %s", ", ".join(cube.groups), cube.path)
        self.frame_shape, self.frame_dtype = cubes[0].line_shape, cubes[0].dtype
        self._exposure_ms = cubes[0].exposure_ms or self._exposure_ms
        self.exposure_is_known = bool(cubes[0].exposure_ms) or self._was_told_exposure
        self._lines = lines_of(cubes, loop=self._loop)

    def start(self) -> None:
        """Begin, or go on with the line after the last one."""
        self._require_open()
        if not self._is_streaming:
            self._is_streaming = True
            self._due_ns: int | None = None

    def read_into(self, out: NDArray[Any], timeout_s: float) -> FrameStamp:
        """Wait until the next line is due and copy it into `out`. CameraError when not started.

        Raises SourceEnded behind the last line, unless it loops.
        """
        lines = self._require_open()
        if not self._is_streaming:
            raise CameraError(f"the replay of {self._path} does not stream: start it before frames are read")
        if out.shape != self.frame_shape or out.dtype != self.frame_dtype:
            raise FrameError(
                f"a frame of {self._path} is {self.frame_dtype} {self.frame_shape}, "
                f"got room for {out.dtype} {out.shape}"
            )
        if self._waiting is None:
            self._waiting = next(lines, None)
        line = self._waiting
        if line is None:
            raise SourceEnded(f"all lines of {self._path} were replayed; loop=True begins anew")
        due_ns = self._wait_for(line, timeout_s)
        self._waiting = None
        self._celsius = line.temperature
        if line.pixels is None:
            return FrameStamp(line.frame_id, due_ns, line.time_ns, FrameStatus.INCOMPLETE)
        np.copyto(out, line.pixels)
        return FrameStamp(line.frame_id, due_ns, line.time_ns)

    def _wait_for(self, line: SavedLine, timeout_s: float) -> int | None:
        """Sleep until a line is due; returns when that was, on the monotonic clock. None if it may come at any time."""
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
        """Return the exposure of the recording, whatever is asked for; ArgumentError for what is no exposure at all."""
        self._require_open()
        if not 0 < exposure_ms < math.inf:
            raise ArgumentError(f"exposure_ms must be > 0, got {exposure_ms}")
        return self._exposure_ms

    def temperature_celsius(self) -> float:
        """Return the recorded temperature of the line that was read last."""
        return self._celsius

    def stop(self) -> None:
        """Hold; `start` goes on with the next line."""
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
