"""Frame ids that never begin again, made from a camera's counter that does.

Lost frames are seen as gaps in the camera's own counter. That counter has few digits on some transports, and begins
anew whenever the camera is started; here it becomes one sequence that only grows.
"""

import logging

from openhsi_shared.errors import ArgumentError

__all__ = ["FrameIds"]

logger = logging.getLogger(__name__)


class FrameIds:
    """One growing sequence out of a counter that wraps after `period` ids (None: it never does).

    The first run keeps the camera's own numbers. It does not matter whether a counter begins at 0 or at 1: GigE Vision
    has period 65535 (1 to 65535, then 1 again, 0 unused), a counter of 32 bits has 2**32. Up to half a period may be
    lost at once and is still counted right; what looks like more is a counter that began anew.

    >>> ids = FrameIds(65535)
    >>> [ids.unwrap(raw) for raw in (65533, 65535, 1, 2)]
    [65533, 65535, 65536, 65537]
    >>> ids.restart()
    >>> ids.unwrap(1)
    65538
    """

    def __init__(self, period: int | None) -> None:
        if period is not None and period < 3:
            raise ArgumentError(f"period of a frame counter must be None or at least 3, got {period}")
        self.period = period
        self.last: int | None = None
        """The id returned last; None before the first."""
        self._last_raw = 0
        self._begins_anew = False
        self._has_warned = False

    def restart(self) -> None:
        """Say that the camera was stopped and started: whatever it counts next is the frame after the last one."""
        self._begins_anew = True

    def unwrap(self, raw: int) -> int:
        """Return the id of the frame that the camera counts as `raw`.

        The same `raw` again returns the same id (a frame that was sent twice: drop it). A step backwards without a
        `restart` counts as one, and is warned about the first time.
        """
        raw = int(raw)  # a numpy integer would overflow
        if self.last is None:
            unwrapped = raw
        elif self._begins_anew:
            unwrapped = self.last + 1
        else:
            unwrapped = self.last + self._step_to(raw)
        self.last, self._last_raw, self._begins_anew = unwrapped, raw, False
        return unwrapped

    def is_behind(self, raw: int) -> bool:
        """Whether the camera counted `raw` before the last frame, unless it was started anew since.

        >>> ids = FrameIds(65535)
        >>> ids.unwrap(2), ids.is_behind(65530), ids.is_behind(3)
        (2, True, False)
        """
        return self.last is not None and not self._begins_anew and self._is_backwards(self._step(int(raw)))

    def _step(self, raw: int) -> int:
        step = raw - self._last_raw
        return step if self.period is None else step % self.period

    def _is_backwards(self, step: int) -> bool:
        return step < 0 or (self.period is not None and step > self.period // 2)

    def _step_to(self, raw: int) -> int:
        step = self._step(raw)
        if self._is_backwards(step):
            if not self._has_warned:
                logger.warning(
                    "the camera's frame counter stepped back from %d to %d: taken as a new start", self._last_raw, raw
                )
            self._has_warned = True
            return 1
        return step
