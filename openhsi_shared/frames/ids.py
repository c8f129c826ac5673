"""Frame ids that only increase, unwrapped from a camera's counter.

Lost frames are detected as gaps in the camera's counter. That counter wraps around after few frames on some transports,
and restarts whenever the camera is started; here it becomes one increasing sequence.
"""

from openhsi_shared.errors import ArgumentError
from openhsi_shared.loggers import safe_logger

__all__ = ["FrameIds"]

logger = safe_logger(__name__)


class FrameIds:
    """One increasing sequence from a counter that wraps around after `period` ids (None: never).

    The first run keeps the camera's numbers. A counter may begin at 0 or 1: GigE Vision has period 65535 (1 to 65535,
    then 1 again, 0 unused), a 32 bit counter 2**32. Up to half a period may be lost at once and is still counted
    correctly; a larger step is treated as a restart of the counter.

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
        """The last id returned; None before the first."""
        self._last_raw = 0
        self._was_restarted = False
        self._has_warned = False

    def restart(self) -> None:
        """Report that the camera was restarted: its next frame, whatever its number, follows the last one."""
        self._was_restarted = True

    def unwrap(self, raw: int) -> int:
        """Return the id of the frame with the camera's number `raw`.

        The same `raw` again returns the same id (a duplicate frame: discard it). A step backwards without `restart` is
        treated as a restart, with a warning the first time.
        """
        raw = int(raw)  # a numpy integer would overflow
        if self.last is None:
            unwrapped = raw
        elif self._was_restarted:
            unwrapped = self.last + 1
        else:
            unwrapped = self.last + self._step_to(raw)
        self.last, self._last_raw, self._was_restarted = unwrapped, raw, False
        return unwrapped

    def is_behind(self, raw: int) -> bool:
        """Whether `raw` is older than the last frame; False directly after `restart`.

        >>> ids = FrameIds(65535)
        >>> ids.unwrap(2), ids.is_behind(65530), ids.is_behind(3)
        (2, True, False)
        """
        return self.last is not None and not self._was_restarted and self._is_backwards(self._step(int(raw)))

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
                    "the camera's frame counter stepped back from %d to %d: treated as a restart", self._last_raw, raw
                )
            self._has_warned = True
            return 1
        return step
