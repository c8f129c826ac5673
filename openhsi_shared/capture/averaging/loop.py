"""The loop that makes one line of several frames: their mean.

Groups of frames lie on the camera's count, as it is unwrapped: a frame belongs to group `frame_id // average`, so a
lost frame does not shift the groups that follow. A group becomes a line with its last frame, or with the first frame of
a later group; what has come of it when the camera stops becomes a line, too.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.capture.averaging.filler import AveragingFiller
from openhsi_shared.capture.averaging.sums import FrameSums
from openhsi_shared.capture.loop import FrameLoop
from openhsi_shared.drivers import FrameSource, FrameStamp, FrameStatus
from openhsi_shared.errors import ArgumentError, SourceEnded
from openhsi_shared.given_numbers import is_whole
from openhsi_shared.levels import LevelPlan

__all__ = ["MAX_AVERAGE", "AveragingLoop", "check_average"]

MAX_AVERAGE = 64
"""Frames of a line: each has a bit."""
NO_GROUP = -2
"""Not -1, which is the group of the id before the first one."""


def check_average(average: Any) -> None:
    """Raise ArgumentError unless `average` is None, which is off, or a whole number of frames from 2 to 64."""
    if average is not None and not (is_whole(average) and 2 <= average <= MAX_AVERAGE):
        raise ArgumentError(
            f"average must be a whole number of frames from 2 to {MAX_AVERAGE}, or None for a line of each frame, "
            f"got {average!r}"
        )


class AveragingLoop(FrameLoop):
    """Takes frames, and makes a line of each group. A line has the mean of the times of its frames."""

    _filler: AveragingFiller

    def __init__(
        self,
        source: FrameSource,
        filler: AveragingFiller,
        plan: LevelPlan,
        temperature: Callable[[], float],
        average: int,
        sums: FrameSums,
    ) -> None:
        super().__init__(source, filler, plan, temperature)
        self.n_done = 0
        """Groups that are lines, or lost."""
        self._average, self._sums = average, sums
        self._line = self._scratch if plan.is_identity else np.empty(plan.line_shape, plan.line_dtype)
        self._group = NO_GROUP
        self._newest = -1
        """Id of the newest frame."""
        self._span_ns = 0
        """Time from the first to the last frame of the last line."""

    @property
    def half_line_ns(self) -> int:
        """How long a line lasts after its time; of the last line, with `exposure_ms`."""
        return super().half_line_ns + self._span_ns // 2

    def take(self) -> bool:
        """Wait for the next frame, unless a line is complete already. True if a line was made.

        Raises what the driver raises: FrameTimeout, CameraLost, SourceEnded. Frames that have come of the group stay:
        for the next call, or for `end_line`.
        """
        if self._newest % self._average == self._average - 1 and self._group == self._newest // self._average:
            return self._end_group()
        ids, filler = self.ids, self._filler
        try:
            frame_id, monotonic_ns, camera_ns, status = self.source.read_into(
                self._scratch, 5.0 + 0.01 * self.exposure_ms
            )
        except SourceEnded:
            if self._sums.used:
                return self._end_group()
            raise
        if monotonic_ns is None:
            monotonic_ns = time.monotonic_ns() - int(self.exposure_ms * 500_000)
        is_whole = status is FrameStatus.GOOD
        if self.next_frame.is_wanted and is_whole:
            self.next_frame.give(self._scratch)
        if not is_whole and self._is_counted_by_gap(frame_id):
            return False
        expected = max(filler.ledger.next_id, self._newest + 1)
        frame_id = expected if frame_id is None else ids.unwrap(frame_id)
        if frame_id < expected:
            return False  # a duplicate
        if is_whole and not self.plan.is_identity:
            self.plan.apply(self._scratch, self._line)
        self._newest = frame_id
        group, place = divmod(frame_id, self._average)
        is_made = self._group not in (NO_GROUP, group) and self._end_group()
        self._group = group
        if is_whole:
            self._sums.add(self._line, place, monotonic_ns, camera_ns)
        elif not self._sums.used:
            filler.lose(frame_id)  # else it is counted by the gap before the next frame
        if place == self._average - 1 and not is_made:
            return self._end_group()
        return is_made

    def _end_group(self) -> bool:
        """Make a line of the frames that have come of the group. False if it is lost."""
        filler, sums = self._filler, self._sums
        is_made = False
        if used := sums.used:
            frame_ids = self._frame_ids(used)
            if frame_ids[-1] >= filler.ledger.next_id:  # else a signal handler has raised when it was made
                line = filler.next_line()
                if line is None:
                    self._lose(frame_ids)
                else:
                    sums.mean_into(line)
                    self._span_ns = sums.span_ns
                    is_made = filler.commit_mean(
                        frame_ids, used, sums.monotonic_ns, sums.camera_ns, self._temperature()
                    )
        self._forget()
        self.n_done += 1
        return is_made

    def end_line(self, is_stopped: bool = False) -> None:
        """Make a line of the frames that have come of a group which is not complete, if there are any.

        They are lost if the cube being filled is full. `is_stopped`: no frames follow, or none that are wanted. Then
        frames that came between two cubes count as those that wait in the camera's queue: they are neither saved nor
        lost. Frames that came incomplete behind them are counted as lost.
        """
        filler = self._filler
        if used := self._sums.used:
            slot = filler.slot
            if is_stopped and not filler.n_lines():
                self._leave(self._frame_ids(used))
            elif filler.turn.is_void or (slot is not None and filler.slots.would_overwrite(slot)):
                self._lose(self._frame_ids(used))
            else:
                self._end_group()
        self._forget()
        if self._newest >= filler.ledger.next_id:
            filler.lose(self._newest)

    def lose_begun(self) -> None:
        """Count the frames that have come of an incomplete line as lost: it cannot be made any more."""
        self._lose(self._frame_ids(self._sums.used))

    def _leave(self, frame_ids: list[int]) -> None:
        if 0 < self._filler.ledger.next_id < frame_ids[0]:
            self._filler.lose(frame_ids[0] - 1)  # the camera lost those before them: the next file declares them
        self._filler.pass_over(frame_ids[-1])

    def _frame_ids(self, used: int) -> list[int]:
        begin = self._group * self._average
        return [begin + place for place in range(self._average) if used >> place & 1]

    def _lose(self, frame_ids: list[int]) -> None:
        for frame_id in frame_ids:
            self._filler.lose(frame_id)

    def _forget(self) -> None:
        self._sums.clear()
        self._group = NO_GROUP

    def pass_over(self) -> NDArray[Any] | None:
        """See `FrameLoop.pass_over`. Frames that have come of a line are not wanted either."""
        self.end_line(is_stopped=True)
        frame = super().pass_over()
        self._newest = self._filler.ledger.next_id - 1
        return frame

    def skip(self, stamp: FrameStamp) -> None:
        """See `FrameLoop.skip`."""
        self.end_line(is_stopped=True)
        super().skip(stamp)
        self._newest = self._filler.ledger.next_id - 1

    def takes_of(self, n_lines: int) -> Iterator[int]:
        """Yield the number of groups that are done, before each `take`, until it is `n_lines`."""
        begin = self.n_done
        while (n := self.n_done - begin) < n_lines:
            yield n
