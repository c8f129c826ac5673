"""The camera loop, for classes that define `start_cam`, `stop_cam`, `get_img` and optionally `get_temp`.

    class SharedMine(MyBase, SharedOpenHSI):
        pass

where MyBase calls `super().__init__(**keywords)` first, then opens its hardware.
"""

import functools
import inspect
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.capture.averaging.loop import check_average
from openhsi_shared.capture.loop import FrameLoop
from openhsi_shared.datacube.averaging import Averaging
from openhsi_shared.datacube.engine import CubeEngine
from openhsi_shared.datacube.user_methods import UserMethods, next_frame
from openhsi_shared.drivers import FrameSource, FrameStamp
from openhsi_shared.errors import ArgumentError, CameraError, ClosedError, IllegalMove, SourceEnded
from openhsi_shared.given_numbers import is_finite
from openhsi_shared.loggers import safe_logger
from openhsi_shared.paths import given_path
from openhsi_shared.processes.at_exit import close_at_exit
from openhsi_shared.processes.progress import progress_bar
from openhsi_shared.processes.scheduling import CaptureScheduling

if TYPE_CHECKING:
    from openhsi_shared.capture.planning.plan import Plan

__all__ = ["SharedOpenHSI"]

logger = safe_logger(__name__)

NEXT_FRAME_S = 0.2
"""How long to wait for the next frame of another thread before looking whether it still collects."""


class SharedOpenHSI(Averaging):
    """A datacube in shared memory that collects from a camera, cube after cube, without stopping it between cubes.

    With `average=n`, from 2 to 64, a line is the mean of n frames: see docs/averaging.md. With `realtime=True` the
    thread that collects is scheduled in real time meanwhile (SCHED_FIFO, Linux), for cameras with a short queue on a
    busy machine. RealTimeRefused if the system refuses it: see docs/platforms.md.
    """

    _is_streaming = False
    _is_setting_exposure = False
    _n_collecting = 0

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Make `start_cam` and `stop_cam` idempotent: both `collect` and users call them. `get_img` gets its turn.

        `set_exposure` is called when `settings["exposure_ms"]` is set, and may set it to the camera's actual value.
        """
        super().__init_subclass__(**keywords)
        for name, streaming in (("start_cam", True), ("stop_cam", False)):
            method = getattr(cls, name, None)
            if method is not None and not getattr(method, "is_idempotent", False):
                setattr(cls, name, _once(method, streaming))
        method = inspect.getattr_static(cls, "get_img", None)
        if inspect.isfunction(method) and not getattr(method, "has_turn", False):
            cls.get_img = _in_turn(method)  # type: ignore[attr-defined]
        method = inspect.getattr_static(cls, "set_exposure", None)
        if inspect.isfunction(method) and not getattr(method, "is_noted", False):
            cls.set_exposure = _noted(method)  # type: ignore[attr-defined]

    # ---- the camera ----

    def _source_keywords(self) -> set[str]:
        return {"realtime", "average"}

    def _frame_source(self) -> FrameSource:
        """The source from which the loop takes frames."""
        missing = [name for name in ("start_cam", "stop_cam", "get_img") if not callable(getattr(self, name, None))]
        if missing:
            raise CameraError(
                f"{type(self).__name__} has no {', '.join(missing)}: a camera needs start_cam, stop_cam and get_img"
            )
        return UserMethods(self, self._plan)

    def _frame_loop(self) -> FrameLoop:
        return self._loop or self._engine.turn.between_lines("start", self._make_loop)

    def _make_loop(self) -> FrameLoop:
        if self._loop is None:
            self._loop = self._new_loop(self._frame_source(), self._temperature)
        return self._loop

    @property
    def _line_lead_ns(self) -> int:
        return int(self._known_exposure_ms * 500_000) if self._loop is None else self._loop.half_line_ns

    def _temperature(self) -> float:
        source = self._loop and self._loop.source
        return source.temperature if isinstance(source, UserMethods) else float("nan")

    def start_streaming(self) -> None:
        """Start the camera, unless it is streaming; it streams until `stop_cam`, or the end of the `with` block."""
        self._engine.start()
        self._engine.turn.between_lines("start", self._start_streaming)

    def _start_streaming(self) -> None:
        self._make_loop()
        self.start_cam()  # type: ignore[attr-defined]
        self._use_exposure()  # a user's camera may have noted its actual exposure

    # ---- collecting ----

    def capturing(self) -> AbstractContextManager[None]:
        """With `realtime=True`, schedule this thread in real time in the block: `collect` and `record` do so.

        Needed only around loops of `take_line`. RealTimeRefused if the system refuses it by now.
        """
        return self._scheduling.capturing()

    def take_line(self) -> bool:
        """Wait for one frame and make it the next line; False if it was lost, or with `average` is not the last of one.

        Raises CameraError and its subclasses; ClosedError, also if another thread closes the camera; ReentryError from
        a signal handler of a thread that is filling a line.
        """
        engine = self._engine
        engine.check_usable()
        loop = self._loop or self._frame_loop()
        engine.turn.taken_by = get_ident()
        return engine.turn.line(loop.take)

    def pass_over_frame(self) -> NDArray[Any] | None:
        """Wait for one frame that is not wanted: it becomes no line, and does not count as lost. Only between cubes.

        Returns the frame as it came, valid until the next one, or None if it was incomplete. Raises as `take_line`;
        IllegalMove if the cube being filled has lines: save it before.
        """
        engine = self._engine
        engine.check_usable()
        if self.n_collected:
            raise IllegalMove(f"{self.n_collected} lines are collected: save() them before frames are passed over")
        loop = self._loop or self._frame_loop()
        engine.turn.taken_by = get_ident()
        return engine.turn.line(loop.pass_over)

    def pass_over_frames(self, goes_on: Callable[[], bool]) -> int:
        """Pass over frames while `goes_on()`, and return their number; the next file declares them as a pause.

        IllegalMove if the cube being filled has lines; else it raises as `take_line`.
        """
        engine, begun_ns = self._engine, time.monotonic_ns()
        before = engine.filler.ledger.n_passed_over
        while goes_on():
            self.pass_over_frame()
        n_frames = engine.filler.ledger.n_passed_over - before
        if n_frames:
            engine.slots.add_pause(time.monotonic_ns() - begun_ns, n_frames)
        return n_frames

    def collect(self, callback: Callable[[int, int], Any] | None = None, progress: bool = True) -> None:
        """Take exactly `n_lines` frames, with a progress bar. Starts the camera if needed, and leaves it streaming.

        With `average`, take the frames of `n_lines` lines. `callback(n, n_lines)` is called after each frame, or line;
        it runs in the loop. If the source ends, the cube stays shorter. Raises CameraError and its subclasses; the
        lines taken before are kept, and can be saved. ClosedError if another thread, or `callback`, calls
        `reinitialise` meanwhile.
        """
        with progress_bar(self.n_lines, "collecting", "line", progress) as bar:
            self.start_streaming()  # last: importing the bar, the first time, takes longer than a camera's queue lasts
            with self.capturing():
                self._collect(bar, callback)

    def _collect(self, bar: Any, callback: Callable[[int, int], Any] | None) -> None:
        engine, n_lines = self._engine, self.n_lines
        take_line = self.take_line if self._average is None else self._take_frames_of_line
        self._n_collecting += 1
        try:
            for n in range(1, n_lines + 1):
                try:
                    take_line()
                except SourceEnded:
                    if n == 1:
                        raise
                    logger.info("the source has ended after %d of %d lines", n - 1, n_lines)
                    return
                bar.update(1)
                if callback is not None:
                    callback(n, n_lines)
                if self._engine is not engine:
                    raise ClosedError(f"collect ended after {n} of {n_lines} lines: reinitialise() was called")
        finally:
            self._n_collecting -= 1

    def _take_frames_of_line(self) -> None:
        for _ in self.takes_of(1):
            self.take_line()

    def avgNimgs(self, n: int) -> NDArray[np.float32]:  # noqa: N802 - openhsi's name
        """Mean of the next `n` unprocessed frames, float32 (cross-track, wavelength); nothing is saved.

        Raises ArgumentError unless `n` is a whole number > 0, FrameError for what is no frame, and what the camera
        raises.
        """
        if not isinstance(n, int | np.integer) or isinstance(n, bool) or n < 1:
            raise ArgumentError(f"avgNimgs: n must be a whole number of frames > 0, got {n!r}")
        was_streaming = self._is_streaming
        self.start_streaming()
        total = np.zeros(self._plan.frame_shape, np.float64)
        for _ in range(n):
            total += next_frame(self, self._plan.check)
        if not (was_streaming or self._n_collecting or self._engine.turn.is_taken_by_other()):
            self.stop_cam()  # type: ignore[attr-defined]
        return (total / n).astype(np.float32)

    def plan(self, save_dir: str | Path, minutes: float | None = None) -> "Plan":
        """Measure what holds with this camera and the disk of `save_dir`: lines of a cube, slots, compression.

        Saves cubes of its frames there, as the writer does, and removes them. Blocks for at most 20 s; afterwards it
        does not stream. With `minutes`, the disk must last so long. `holds` of the result is the promise: nothing is
        lost if machine and disk stay as fast as they were. Raises ArgumentError for `minutes` that are none, and while
        lines are collected that are not saved, SaveError if the disk cannot be used or has no room for the trial,
        MemoryShortage, and what the camera raises.
        """
        from openhsi_shared.capture.planning.measuring import measured_plan

        if minutes is not None and not (is_finite(minutes) and minutes > 0):
            raise ArgumentError(f"minutes must be a number > 0, or None, got {minutes!r}")
        engine = self._engine
        if self.n_collected or engine.turn.is_taken_by_other():
            raise ArgumentError("plan: lines are collected that are not saved: save() them first, and collect none")
        self.stop_cam()  # type: ignore[attr-defined] # what its queue has dropped before does not count
        self.start_cam()  # type: ignore[attr-defined]
        source, wait_s = self._frame_loop().source, 5.0 + 0.01 * self._known_exposure_ms

        def read(frame: NDArray[Any]) -> FrameStamp:
            return engine.turn.between_lines("frame", source.read_into, frame, wait_s)

        try:
            directory = given_path(save_dir).absolute()
            layout, average = engine.slots.layout, self._average or 1
            return measured_plan(engine.kind.camera, source, read, self._plan, layout, directory, minutes, average)
        finally:
            self.stop_cam()  # type: ignore[attr-defined]

    def _look(self, read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return a copy of the next frame of another thread that collects, which loses nothing, else `read()`."""
        engine = self._engine
        engine.check_usable()
        turn, loop = engine.turn, self._frame_loop()
        end = time.monotonic() + self._patience_s
        while turn.is_taken_by_other() and time.monotonic() < end:
            frame = loop.next_frame.wait(NEXT_FRAME_S)
            if frame is not None:
                return frame
            engine.check_usable()
            if not turn.doing and not self._n_collecting:
                turn.taken_by = None  # it takes no more lines
        return turn.between_lines("frame", read)

    def _configure(self) -> None:
        self._loop = None
        self._scheduling = CaptureScheduling(self._keywords.get("realtime", False))
        super()._configure()

    def _scheduling_in_words(self) -> str:
        return self._scheduling.in_words()

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
        """See `SharedDataCube`. If the exposure has changed, `set_exposure` of a user's camera is called.

        ArgumentError also for an `average` that is none: then nothing has changed.
        """
        CaptureScheduling(keywords.get("realtime", False))  # if it is refused, nothing has changed
        check_average(keywords.get("average"))
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
        engine: CubeEngine | None = getattr(self, "_engine", None)
        if self._is_streaming is streaming:
            return None
        if engine is None or engine.is_closed:  # in a constructor, or at the end
            return switch(self, args, keywords)
        if not (streaming or engine.turn.is_mine() or engine.turn.wait_for_line(self._patience_s)):
            return switch(self, args, keywords)  # beside a line that does not end
        return engine.turn.between_lines("start" if streaming else "stop", switch, self, args, keywords)

    def switch(self: SharedOpenHSI, args: Any, keywords: Any) -> Any:
        if self._is_streaming is streaming:
            return None
        if streaming and self._loop is not None:
            self._loop.ids.restart()
        if not streaming and self._loop is not None and self._engine.turn.is_mine():
            self._end_line(is_stopped=True)
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


def _in_turn(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let the loop call `method`, a user's `get_img`, within its line; others look as by `_look`."""

    @functools.wraps(method)
    def in_turn(self: SharedOpenHSI, *args: Any, **keywords: Any) -> Any:
        engine: CubeEngine | None = getattr(self, "_engine", None)
        if engine is None or engine.turn.is_mine():
            return method(self, *args, **keywords)
        return self._look(functools.partial(method, self, *args, **keywords))

    in_turn.has_turn = True  # type: ignore[attr-defined]
    return in_turn


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
