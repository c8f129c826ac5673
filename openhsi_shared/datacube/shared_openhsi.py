"""The camera loop, for classes that define `start_cam`, `stop_cam`, `get_img` and optionally `get_temp`.

    class SharedMine(MyBase, SharedOpenHSI):
        pass

where MyBase calls `super().__init__(**keywords)` first, then opens its hardware.
"""

import functools
import inspect
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.arrays import CircArrayBuffer
from openhsi_shared.capture.loop import FrameLoop
from openhsi_shared.datacube.progress import progress_bar
from openhsi_shared.datacube.shared_data_cube import SharedDataCube
from openhsi_shared.drivers import FrameSource, FrameStamp
from openhsi_shared.errors import ArgumentError, CameraError, SourceEnded
from openhsi_shared.levels import LevelPlan, copy_pixels
from openhsi_shared.processes.at_exit import close_at_exit
from openhsi_shared.processes.logs import safe_logger

__all__ = ["SharedOpenHSI"]

logger = safe_logger(__name__)


class SharedOpenHSI(SharedDataCube):
    """A datacube in shared memory that collects from a camera, cube after cube, without stopping it between cubes."""

    _is_streaming = False
    _is_setting_exposure = False
    _loop: FrameLoop | None = None

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Make `start_cam` and `stop_cam` idempotent: both `collect` and users call them.

        `set_exposure` is called when `settings["exposure_ms"]` is set, and may set it to the camera's actual value.
        """
        super().__init_subclass__(**keywords)
        for name, streaming in (("start_cam", True), ("stop_cam", False)):
            method = getattr(cls, name, None)
            if method is not None and not getattr(method, "is_idempotent", False):
                setattr(cls, name, _once(method, streaming))
        method = inspect.getattr_static(cls, "set_exposure", None)
        if inspect.isfunction(method) and not getattr(method, "is_noted", False):
            cls.set_exposure = _noted(method)  # type: ignore[attr-defined]

    # ---- the camera ----

    def _frame_source(self) -> FrameSource:
        """The source from which the loop takes frames."""
        missing = [name for name in ("start_cam", "stop_cam", "get_img") if not callable(getattr(self, name, None))]
        if missing:
            raise CameraError(
                f"{type(self).__name__} has no {', '.join(missing)}: a camera needs start_cam, stop_cam and get_img"
            )
        return _Methods(self, self._plan)

    def _frame_loop(self) -> FrameLoop:
        if self._loop is None:
            self._loop = FrameLoop(self._frame_source(), self._engine.filler, self._plan, self._temperature)
        return self._loop

    def _temperature(self) -> float:
        source = self._loop and self._loop.source
        return source.temperature if isinstance(source, _Methods) else float("nan")

    @property
    def cam_temperatures(self) -> CircArrayBuffer:
        """Temperatures of the lines of the cube being filled, in degrees Celsius: a copy, `data` in time order.

        Before the first line it is one NaN.
        """
        self._engine.check_usable()
        values = self._engine.filler.column("temperature")
        buffer = CircArrayBuffer((max(1, len(values)),), 0, np.float32)
        for value in values if len(values) else [float("nan")]:
            buffer.put(value)
        return buffer

    def start_streaming(self) -> None:
        """Start the camera, unless it is streaming; it streams until `stop_cam`, or the end of the `with` block."""
        self._engine.start()
        self._frame_loop()
        self.start_cam()  # type: ignore[attr-defined]
        self._use_exposure()  # a user's camera may have noted its actual exposure

    # ---- collecting ----

    def take_line(self) -> bool:
        """Wait for one frame and make it the next line; False if it was lost. Raises CameraError and its subclasses."""
        loop = self._loop or self._frame_loop()
        self._engine.check_usable()
        with self._line_lock():
            return loop.take()

    def collect(self, callback: Callable[[int, int], Any] | None = None, progress: bool = True) -> None:
        """Take exactly `n_lines` frames, with a progress bar. Starts the camera if needed, and leaves it streaming.

        `callback(n, n_lines)` is called after each; it runs in the loop. If the source ends, the cube stays shorter.
        Raises CameraError and its subclasses; the lines taken before are kept, and can be saved.
        """
        with progress_bar(self.n_lines, "collecting", "line", progress) as bar:
            self.start_streaming()  # last: importing the bar, the first time, takes longer than a camera's queue lasts
            for n in range(1, self.n_lines + 1):
                try:
                    self.take_line()
                except SourceEnded:
                    if n == 1:
                        raise
                    logger.info("the source has ended after %d of %d lines", n - 1, self.n_lines)
                    return
                bar.update(1)
                if callback is not None:
                    callback(n, self.n_lines)

    def avgNimgs(self, n: int) -> NDArray[np.float32]:  # noqa: N802 - openhsi's name
        """Mean of the next `n` unprocessed frames, float32 (cross-track, wavelength); nothing is saved.

        Raises ArgumentError unless `n` is a whole number > 0, and what the camera raises.
        """
        if not isinstance(n, int | np.integer) or isinstance(n, bool) or n < 1:
            raise ArgumentError(f"avgNimgs: n must be a whole number of frames > 0, got {n!r}")
        was_streaming = self._is_streaming
        self.start_streaming()
        total = np.zeros(self._plan.frame_shape, np.float64)
        for _ in range(n):
            total += self.get_img()  # type: ignore[attr-defined]
        if not was_streaming:
            self.stop_cam()  # type: ignore[attr-defined]
        return (total / n).astype(np.float32)

    def _configure(self) -> None:
        self._loop = None
        super()._configure()

    def _apply_setting(self, key: str, value: Any) -> None:
        if key == "exposure_ms" and not self._is_setting_exposure and self._has_exposure():
            self._is_setting_exposure = True
            try:
                self.set_exposure(value)  # type: ignore[attr-defined]
            finally:
                self._is_setting_exposure = False
        super()._apply_setting(key, value)

    def _has_exposure(self) -> bool:
        return callable(getattr(type(self), "set_exposure", None))

    def reinitialise(self, **keywords: Any) -> None:
        """See `SharedDataCube`. If the exposure has changed, `set_exposure` of a user's camera is called."""
        before = self._known_exposure_ms
        super().reinitialise(**keywords)
        if self._known_exposure_ms != before:
            self._apply_exposure()

    def _apply_exposure(self) -> None:
        """Apply the new exposure to the hardware."""
        if self._has_exposure():
            self.set_exposure(self._known_exposure_ms)  # type: ignore[attr-defined]

    def _use_exposure(self) -> None:
        super()._use_exposure()
        if self._loop is not None:
            self._loop.exposure_ms, self._loop.plan = self._known_exposure_ms, self._plan

    def _close_source(self) -> None:
        if self._is_streaming:
            self.stop_cam()  # type: ignore[attr-defined]


def _once(method: Callable[..., Any], streaming: bool) -> Callable[..., Any]:
    """Make `method` a no-op if the camera is already in that state."""

    @functools.wraps(method)
    def idempotent(self: SharedOpenHSI, *args: Any, **keywords: Any) -> Any:
        if self._is_streaming is streaming:
            return None
        if streaming and self._loop is not None:
            self._loop.ids.restart()
        try:
            answer = method(self, *args, **keywords)
        except BaseException:
            if not streaming:
                self._is_streaming = False  # stopping is not retried; a failed start may be
            raise
        self._is_streaming = streaming
        if streaming:
            close_at_exit(self._close_source)
        return answer

    idempotent.is_idempotent = True  # type: ignore[attr-defined]
    return idempotent


def _noted(method: Callable[..., Any]) -> Callable[..., Any]:
    """Note the exposure passed to `method` in the settings, unless `method` itself notes the camera's actual value."""

    @functools.wraps(method)
    def noted(self: SharedOpenHSI, *args: Any, **keywords: Any) -> Any:
        was_setting, before = self._is_setting_exposure, self.settings.model
        self._is_setting_exposure = True
        try:
            answer = method(self, *args, **keywords)
        finally:
            self._is_setting_exposure = was_setting
        values = [*args, *keywords.values()]
        if values and isinstance(values[0], int | float | np.number) and self.settings.model is before:
            self.settings.note(exposure_ms=values[0])
            self._use_exposure()
        return answer

    noted.is_noted = True  # type: ignore[attr-defined]
    return noted


class _Methods:
    """A user's camera class as a source: `get_img` for each frame, `get_temp` between lines, at most once a second."""

    frame_id_period: int | None = None  # its frames have no ids: they are counted here

    def __init__(self, camera: Any, plan: LevelPlan) -> None:
        self.frame_shape, self.frame_dtype, self._check = plan.frame_shape, plan.frame_dtype, plan.check
        self.temperature = float("nan")
        self._camera = camera
        self._has_temperature = callable(getattr(camera, "get_temp", None))
        self._next_reading = 0.0

    def read_into(self, out: NDArray[Any], timeout_s: float) -> FrameStamp:  # noqa: ARG002 - get_img has no limit
        if self._has_temperature and time.monotonic() >= self._next_reading:
            self._next_reading = time.monotonic() + 1.0
            self.temperature = self._temperature_or_nan()
        frame = np.asarray(self._camera.get_img())
        self._check(frame)
        copy_pixels(frame, out)
        return FrameStamp()

    def _temperature_or_nan(self) -> float:
        try:
            return float(self._camera.get_temp())
        except Exception as error:  # noqa: BLE001 - a line without a temperature is better than no line
            logger.warning("get_temp failed, lines have no temperature: %s", error)
            return float("nan")
