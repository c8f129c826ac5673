"""The methods of a user's camera class as a source of frames."""

import time
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from openhsi_shared.drivers import FrameStamp
from openhsi_shared.errors import FrameError
from openhsi_shared.levels import LevelPlan, copy_pixels
from openhsi_shared.loggers import safe_logger
from openhsi_shared.masked import unmasked

__all__ = ["UserMethods", "next_frame"]

logger = safe_logger(__name__)


class UserMethods:
    """A user's camera class as a source: `get_img` for each frame, `get_temp` between lines, at most once a second."""

    frame_id_period: int | None = None  # its frames have no ids: they are counted here

    def __init__(self, camera: Any, plan: LevelPlan) -> None:
        self.frame_shape, self.frame_dtype, self._check = plan.frame_shape, plan.frame_dtype, plan.check
        self.temperature = float("nan")
        self._camera = camera
        self._has_temperature = callable(getattr(camera, "get_temp", None))
        self._next_reading = 0.0

    def read_into(self, out: NDArray[Any], timeout_s: float) -> FrameStamp:  # noqa: ARG002 - get_img has no limit
        """Fill `out` with the next frame. FrameError for what is no frame."""
        if self._has_temperature and time.monotonic() >= self._next_reading:
            self._next_reading = time.monotonic() + 1.0
            self.temperature = self._temperature_or_nan()
        copy_pixels(next_frame(self._camera, self._check), out)
        return FrameStamp()

    def _temperature_or_nan(self) -> float:
        try:
            return float(self._camera.get_temp())
        except Exception as error:  # noqa: BLE001 - a line without a temperature is better than no line
            logger.warning("get_temp failed, lines have no temperature: %s", error)
            return float("nan")


def next_frame(camera: Any, check: Callable[[NDArray[Any]], None]) -> NDArray[Any]:
    """What `get_img` returns. FrameError for what is no frame."""
    answer = camera.get_img()
    try:
        check(frame := unmasked(answer))
    except FrameError as error:
        raise FrameError(f"{type(camera).__name__}.get_img returned {_what(answer)}: {error}") from error
    return frame


def _what(answer: Any) -> str:
    """An answer of `get_img` in words: None, a tuple such as (ok, frame), or its type."""
    if isinstance(answer, tuple):
        return f"a tuple ({', '.join(type(item).__name__ for item in answer[:4])})"
    return "None" if answer is None else type(answer).__name__
