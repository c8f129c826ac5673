"""Replay of a saved cube for processing: each line with its recorded time, temperature and camera's clock."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.buffers.times import Anchor
from openhsi_shared.drivers import FrameStamp
from openhsi_shared.drivers.replay import ReplayDriver
from openhsi_shared.errors import ArgumentError
from openhsi_shared.files.reading import open_cube
from openhsi_shared.files.source_cube import SourceCube
from openhsi_shared.line_times import UNKNOWN_TIME_NS, ns_of
from openhsi_shared.loggers import safe_logger

__all__ = ["RecordedDriver", "require_times", "times_given_for"]

logger = safe_logger(__name__)


class RecordedDriver(ReplayDriver):
    """Replays a file, each line with its recorded times and temperature."""

    anchor = Anchor(0, 0)
    """Anchor of the clock that converts monotonic times of lines to UTC."""
    times_ns: NDArray[np.int64] | None = None
    """Times of the lines: those of the file, which may be replaced after it was opened. None: unknown."""
    carries_groups = True
    _number = -1

    def open(self) -> None:
        """Open the file and read its columns."""
        super().open()
        with open_cube(self._path) as cube:
            self.times_ns = cube.times_ns
            self._temperatures, self._camera_times = cube.temperatures, cube.camera_times_ns

    def read_into(self, out: NDArray[Any], timeout_s: float) -> FrameStamp:
        """Copy the next line into `out`; never waits. SourceEnded after the last one."""
        stamp = super().read_into(out, timeout_s)
        self._number = number = self._number + 1
        camera_ns = -1 if self._camera_times is None else int(self._camera_times[number])
        at = UNKNOWN_TIME_NS if self.times_ns is None else int(self.times_ns[number])
        monotonic_ns = at - self.anchor.wall_ns + self.anchor.monotonic_ns
        return FrameStamp(stamp.frame_id, monotonic_ns, None if camera_ns == -1 else camera_ns, stamp.status)

    def temperature_celsius(self) -> float:
        """The recorded temperature of the line that was read last."""
        known = self._temperatures is not None and self._number >= 0
        return float(self._temperatures[self._number]) if known else float("nan")  # type: ignore[index]


def times_given_for(cube: SourceCube, times: ArrayLike) -> NDArray[np.int64]:
    """Times that were given for the lines of a cube, in ns. ArgumentError if they are not one for each line."""
    n_lines = cube.n_lines
    if isinstance(times, str) and times == "unknown":
        return np.full(n_lines, UNKNOWN_TIME_NS)
    given = np.asarray(times)
    if given.shape != (n_lines,) or given.dtype.kind not in "Miu":
        raise ArgumentError(
            f"times are {given.dtype} {given.shape}, expected one for each of the {n_lines} lines of {cube.path}: "
            f"datetime64, or whole nanoseconds since 1970; or 'unknown'"
        )
    return ns_of(given, "times") if given.dtype.kind == "M" else given.astype(np.int64)


def require_times(cube: SourceCube) -> None:
    """ArgumentError if the file has times, but it is not certain which belongs to which line."""
    if cube.times_are_uncertain:
        raise ArgumentError(
            f"the times in {cube.path} are not those of its lines, as when lines were selected and times were not: "
            f"pass times=, one for each line, or times='unknown'"
        )
    if cube.times_ns is None:
        logger.warning("%s has no times of its lines: pass times=, or those of the result are missing", cube.path)
