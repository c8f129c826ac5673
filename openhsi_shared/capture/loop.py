"""The loop that takes frames from a driver into slots."""

import time
from collections.abc import Callable

import numpy as np

from openhsi_shared.capture.slot_filler import SlotFiller
from openhsi_shared.drivers import FrameSource, FrameStamp, FrameStatus
from openhsi_shared.frames.ids import FrameIds
from openhsi_shared.levels import LevelPlan

__all__ = ["FrameLoop"]


class FrameLoop:
    """Takes one frame after the other. Where nothing is done to a frame, the camera fills the slot in place."""

    def __init__(
        self, source: FrameSource, filler: SlotFiller, plan: LevelPlan, temperature: Callable[[], float]
    ) -> None:
        self.exposure_ms = 0.0
        """To place a line's time in the middle of its exposure, where the driver does not know it."""
        self.ids = FrameIds(source.frame_id_period)
        self.source = source
        self.plan = plan
        """What is done to frames; another one for another exposure, whose lines have the same shape and type."""
        self._filler, self._temperature = filler, temperature
        self._scratch = np.empty(plan.frame_shape, plan.frame_dtype)

    def take(self) -> bool:
        """Wait for the next frame and make it a line; False if it was lost, or had been there before.

        Raises what the driver raises: FrameTimeout, CameraLost, SourceEnded. A cube that goes round keeps its oldest
        line until there is a frame to take its place.
        """
        filler = self._filler
        goes_round = filler.slot is not None and filler.slots.would_overwrite(filler.slot)
        line = None if goes_round else filler.next_line()
        out = line if line is not None and self.plan.is_identity else self._scratch
        frame_id, monotonic_ns, camera_ns, status = self.source.read_into(out, 5.0 + 0.01 * self.exposure_ms)
        if monotonic_ns is None:
            monotonic_ns = time.monotonic_ns() - int(self.exposure_ms * 500_000)
        is_whole = status is FrameStatus.GOOD
        if not is_whole and self._is_told_by_a_gap(frame_id):
            return False
        frame_id = filler.ledger.next_id if frame_id is None else self.ids.unwrap(frame_id)
        if goes_round and is_whole:
            if frame_id < filler.ledger.next_id:
                return False  # it was there before, and replaces nothing
            line = filler.next_line()
        if line is None or not is_whole:
            filler.lose(frame_id)
            return False
        if out is not line:
            self.plan.apply(out, line)
        return filler.commit(frame_id, monotonic_ns, camera_ns, self._temperature())

    def _is_told_by_a_gap(self, frame_id: int | None) -> bool:
        """Whether a frame that did not come whole is left to the gap that the ids of whole frames have there.

        It is where the counter says nothing of it: the packet with its number was lost, too; or it is the rest of a
        frame that was given up long ago, and counted then, since packets come late as well.
        """
        if frame_id is not None:
            return self.ids.is_behind(frame_id)
        return self.ids.period is not None or self.ids.last is not None

    def skip(self, stamp: FrameStamp) -> None:
        """Take note of a frame that somebody looked at instead of saving it: it is not lost, ids go on behind it."""
        if stamp.frame_id is not None:
            self._filler.skip(self.ids.unwrap(stamp.frame_id))
