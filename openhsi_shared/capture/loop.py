"""The loop that takes frames from a driver into slots."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.capture.next_frame import NextFrame
from openhsi_shared.capture.slot_filler import SlotFiller
from openhsi_shared.drivers import FrameSource, FrameStamp, FrameStatus
from openhsi_shared.frames.ids import FrameIds
from openhsi_shared.levels import LevelPlan

__all__ = ["FrameLoop"]


class FrameLoop:
    """Takes frames one by one. If the level plan is the identity, the camera writes into the slot directly."""

    def __init__(
        self, source: FrameSource, filler: SlotFiller, plan: LevelPlan, temperature: Callable[[], float]
    ) -> None:
        self.exposure_ms = 0.0
        """Used to compute the mid-exposure time of a line, if the driver does not give it."""
        self.ids = FrameIds(source.frame_id_period)
        self.source = source
        self.plan = plan
        """How frames are processed; replaced when the exposure changes, with the same shape and type of lines."""
        self.next_frame = NextFrame()
        """For threads that look while another one collects."""
        self._filler, self._temperature = filler, temperature
        self._scratch = np.empty(plan.frame_shape, plan.frame_dtype)

    @property
    def half_line_ns(self) -> int:
        """How long a line lasts after its time."""
        return int(self.exposure_ms * 500_000)

    def take(self) -> bool:
        """Wait for the next frame and make it a line; False if it was lost, or is a duplicate.

        Raises what the driver raises: FrameTimeout, CameraLost, SourceEnded. A cube that wraps around keeps its oldest
        line until there is a frame to replace it.
        """
        filler = self._filler
        wraps_around = filler.slot is not None and filler.slots.would_overwrite(filler.slot)
        line = None if wraps_around else filler.next_line()
        out = line if line is not None and self.plan.is_identity else self._scratch
        frame_id, monotonic_ns, camera_ns, status = self.source.read_into(out, 5.0 + 0.01 * self.exposure_ms)
        if monotonic_ns is None:
            monotonic_ns = time.monotonic_ns() - int(self.exposure_ms * 500_000)
        is_whole = status is FrameStatus.GOOD
        if self.next_frame.is_wanted and is_whole:
            self.next_frame.give(out)
        if not is_whole and self._is_counted_by_gap(frame_id):
            return False
        frame_id = filler.ledger.next_id if frame_id is None else self.ids.unwrap(frame_id)
        if wraps_around and is_whole:
            if frame_id < filler.ledger.next_id:
                return False  # a duplicate overwrites nothing
            line = filler.next_line()
        if line is None or not is_whole:
            filler.lose(frame_id)
            return False
        if out is not line:
            self.plan.apply(out, line)
        return filler.commit(frame_id, monotonic_ns, camera_ns, self._temperature())

    def _is_counted_by_gap(self, frame_id: int | None) -> bool:
        """Whether an incomplete frame is already accounted for by the gap in frame ids.

        That is so if its id is unknown, because the packet with the id was lost as well, or if it consists of late
        packets of a frame that was discarded and counted before.
        """
        if frame_id is not None:
            return self.ids.is_behind(frame_id)
        return self.ids.period is not None or self.ids.last is not None

    def pass_over(self) -> NDArray[Any] | None:
        """Wait for the next frame, which is not wanted: it does not count as lost. Only between two cubes.

        Returns it, valid until the next call, or None if it is incomplete. Raises what the driver raises.
        """
        filler = self._filler
        frame_id, _, _, status = self.source.read_into(self._scratch, 5.0 + 0.01 * self.exposure_ms)
        is_whole = status is FrameStatus.GOOD
        if self.next_frame.is_wanted and is_whole:
            self.next_frame.give(self._scratch)
        if is_whole or not self._is_counted_by_gap(frame_id):
            filler.pass_over(filler.ledger.next_id if frame_id is None else self.ids.unwrap(frame_id))
        return self._scratch if is_whole else None

    def skip(self, stamp: FrameStamp) -> None:
        """Note a frame that was consumed without being saved: it is not lost, ids continue after it."""
        if stamp.frame_id is not None:
            self._filler.skip(self.ids.unwrap(stamp.frame_id))
