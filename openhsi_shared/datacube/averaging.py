"""Averaging by a camera: its keyword `average`, and what depends on it."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from openhsi_shared.capture.averaging.filler import AveragingFiller
from openhsi_shared.capture.averaging.loop import AveragingLoop, check_average
from openhsi_shared.capture.averaging.sums import FrameSums
from openhsi_shared.capture.loop import FrameLoop
from openhsi_shared.datacube.referencing import Referencing
from openhsi_shared.drivers import FrameSource
from openhsi_shared.errors import ArgumentError
from openhsi_shared.writer.final_rescue import Rescued

__all__ = ["Averaging"]


class Averaging(Referencing):
    """A camera whose lines may be means of several frames."""

    _loop: FrameLoop | None = None
    _sums: FrameSums | None = None

    def _configure(self) -> None:
        check_average(self._keywords.get("average"))
        super()._configure()

    def _make_plan(self, frame_shape: tuple[int, int], frame_dtype: np.dtype[Any]) -> None:
        super()._make_plan(frame_shape, frame_dtype)
        if self._average is not None and self._groups_from:
            raise ArgumentError(f"{type(self).__name__} has no average=: a stage of jobs averages lines that are saved")
        self._sums = None if self._average is None else FrameSums(self._plan.line_shape, self._plan.line_dtype)

    def _new_loop(self, source: FrameSource, temperature: Callable[[], float]) -> FrameLoop:
        filler = self._engine.filler
        if self._average is None or self._sums is None or not isinstance(filler, AveragingFiller):
            return FrameLoop(source, filler, self._plan, temperature)
        return AveragingLoop(source, filler, self._plan, temperature, self._average, self._sums)

    def takes_of(self, n_lines: int) -> Iterable[int]:
        """Yield the number of lines taken or lost, before each `take_line`, until it is `n_lines`."""
        loop = self._frame_loop()
        return loop.takes_of(n_lines) if isinstance(loop, AveragingLoop) else range(n_lines)

    def end_line(self) -> None:
        """With `average`, end a group early: the frames that have come of it become a line, if there are any.

        `stop_cam` does it, too, within a cube. If no slot is free: see `when_full`. Raises ClosedError.
        """
        if self._loop is not None:
            self._engine.turn.between_lines("line", self._end_line)

    def _end_line(self, is_stopped: bool = False) -> None:
        if isinstance(self._loop, AveragingLoop):
            self._loop.end_line(is_stopped)

    def abandon(self, *, camera_hangs: bool = False) -> Rescued:
        """See `SharedDataCube`. Frames of an incomplete line are lost if the camera hangs, and counted."""
        if camera_hangs and isinstance(self._loop, AveragingLoop):
            self._loop.lose_begun()
        return super().abandon(camera_hangs=camera_hangs)
