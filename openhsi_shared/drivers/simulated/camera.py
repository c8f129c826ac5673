"""Driver of the simulated camera: frames of any shape and rate, and injected faults.

With `rate` it is a free-running sensor that drops frames when its queue is full; without, a source that waits.
"""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.drivers import FrameStamp, FrameStatus
from openhsi_shared.drivers.simulated.counting import CountingPainter
from openhsi_shared.drivers.simulated.free_run import FreeRun
from openhsi_shared.drivers.simulated.light import Image, Light, LitPainter, Warmth, scene_image, still_image
from openhsi_shared.drivers.simulated.optics import NATIVE_SHAPE, lamp, optics_of, planck, response
from openhsi_shared.drivers.simulated.packaged import SCENE_PATH
from openhsi_shared.drivers.simulated.painters import Painter, ScenePainter, StillPainter
from openhsi_shared.drivers.simulated.scenes import read_picture
from openhsi_shared.errors import (
    ArgumentError,
    CameraError,
    CameraLost,
    FrameError,
    FrameTimeout,
    SettingsError,
    SourceEnded,
)
from openhsi_shared.given_numbers import is_finite, is_whole
from openhsi_shared.loggers import safe_logger
from openhsi_shared.near_names import nearest_name
from openhsi_shared.settings import CameraSettings

logger = safe_logger(__name__)

__all__ = ["FAULTS", "MODES", "SimulatedDriver"]

MODES = (None, "HgAr", "flat", "counting")
"""A scene; a mercury-argon lamp; a flat field lit by a black body of 5800 K; self-checking frames."""

FAULTS = {
    "gap": "the frame is never delivered",
    "incomplete": "its lower half is missing, and its status is INCOMPLETE",
    "timeout": "the read raises FrameTimeout at once; the next read returns the frame",
    "wrong_shape": "the read raises FrameError, and the frame is lost",
    "unplug": "CameraLost from then on, until the camera is closed and opened again",
}
"""Faults of a frame, for the option `script`."""

MIN_RATE = 0.001
MAX_RATE = 1e6
"""Lines/s: a line of 1 us is shorter than what one is read in."""
_CLOCK_OFFSET_NS = 1_000_000_000
_MAX_TIMEOUT_S = 1e6  # an infinite timeout cannot be converted to nanoseconds


class SimulatedDriver:
    """A camera without hardware. `resolution` and `pixel_format` of the settings define its frames.

    Frames are numbered from 0 at each start. The light is scaled so that frames use the full range at any exposure.

    - `img_path`: picture of the scene (mode None), scanned column by column, cyclically; by default a coast.
    - `mode`: one of `MODES`.
    - `rate`: lines/s of a free-running sensor with a queue of `queue` frames, which drops the newest frame when the
      queue is full. The exposure is limited to the period. None: as fast as it is read, without loss.
    - `calibration`: its `wavelengths` and `smile_shifts` are used if they fit the frame.
    - `n_frames`: SourceEnded after this number. None: endless.
    - `script`: frame id to fault, one of `FAULTS`, restarted at each start.
    - `light`: counts per ms of the brightest pixel: then the exposure counts, and pixels saturate at `full_scale` of
      the settings. `dark`: counts, or (counts, counts per ms). `noise`: standard deviation in counts. `defocus`: blur
      along the slit, in pixels. These four replace the noise that is built in; see `light.py` for the formula.
    - `celsius`: of the sensor, or (at the opening, per minute).

    ArgumentError for an invalid option, FileError from `open` for a picture that cannot be read.
    """

    frame_id_period: int | None = None

    def __init__(
        self,
        settings: CameraSettings,
        *,
        img_path: str | Path | None = None,
        mode: str | None = None,
        rate: float | None = None,
        queue: int = 30,
        calibration: Mapping[str, Any] | None = None,
        n_frames: int | None = None,
        script: Mapping[int, str] | None = None,
        light: float | None = None,
        dark: float | Sequence[float] | None = None,
        noise: float | None = None,
        defocus: float | None = None,
        celsius: float | Sequence[float] | None = None,
    ) -> None:
        self.frame_shape: tuple[int, int] = settings.resolution or NATIVE_SHAPE
        self.frame_dtype: np.dtype[Any] = settings.dtype_in
        self._settings = settings
        self._img_path = img_path or SCENE_PATH
        self._mode = _known_mode(mode)
        if rate is not None and not (is_finite(rate) and rate > 0):
            raise ArgumentError(f"rate must be > 0 lines/s, or None for unlimited, got {rate!r}")
        if rate is not None and rate < MIN_RATE:
            raise ArgumentError(f"rate must be at least {MIN_RATE} lines/s, or None for unlimited, got {rate!r}")
        if rate is not None and rate > MAX_RATE:
            raise ArgumentError(f"rate must be at most {MAX_RATE:,.0f} lines/s, or None for unlimited, got {rate!r}")
        if not is_whole(queue) or queue < 1:
            raise ArgumentError(f"queue must hold at least 1 frame, got {queue!r}")
        if n_frames is not None and not (is_whole(n_frames) and n_frames >= 0):
            raise ArgumentError(f"n_frames must be >= 0, or None for an endless source, got {n_frames!r}")
        self._rate = None if rate is None else float(rate)
        self._n_queue, self._n_frames = int(queue), None if n_frames is None else int(n_frames)
        self._calibration = calibration
        self._script = _known_faults(script or {})
        self._light, self._warmth = Light.of(light, dark, noise, defocus), Warmth.of(celsius)
        self._exposure_ns = self._possible_exposure_ns(settings.exposure_ms)
        self._painter: Painter | None = None
        self._opened_ns = 0
        self._is_streaming = self._is_lost = False
        self._scene_scaling = ""

    def provenance(self) -> dict[str, str]:
        """How the values of the scene were scaled, if they were, and the light that was simulated."""
        found = {"scene_scaling": self._scene_scaling} if self._scene_scaling else {}
        return found if self._light is None else {**found, "simulated_light": self._light.in_words()}

    def open(self) -> None:
        """Prepare the light. Blocks while the picture is read."""
        if self._painter is None:
            self._painter = self._make_painter()
            self._is_lost = False
            self._opened_ns = time.monotonic_ns()

    def start(self) -> None:
        """Start with frame 0."""
        self._require_open()
        if not self._is_streaming:
            self._is_streaming = True
            self._next_id = 0
            self._held_id: int | None = None
            self._faults = dict(self._script)
            self._run = self._new_run() if self._rate is not None else None

    def read_into(self, out: NDArray[Any], timeout_s: float) -> FrameStamp:
        """Wait for the next frame and paint it into `out`; see `Driver.read_into`. CameraError when not started."""
        painter = self._require_open()
        if not self._is_streaming:
            raise CameraError("the simulated camera is not streaming: start it before frames are read")
        if out.shape != self.frame_shape or out.dtype != self.frame_dtype or not out.flags.c_contiguous:
            order = "" if out.flags.c_contiguous else " in another order"
            raise FrameError(
                f"a frame of the simulated camera is {self.frame_dtype} {self.frame_shape} in C order, "
                f"got room for {out.dtype} {out.shape}{order}"
            )
        frame_id, exposed_ns = self._next_frame(timeout_s)
        status = self._inject_fault(frame_id)
        painter.paint(out, frame_id)
        if status is FrameStatus.INCOMPLETE:
            out[len(out) // 2 :] = 0
        middle_ns = exposed_ns - self._exposure_ns // 2
        return FrameStamp(frame_id, middle_ns, middle_ns - self._opened_ns + _CLOCK_OFFSET_NS, status)

    def mode_change(self, mode: str | None) -> None:
        """Change the mode from the next frame on. ArgumentError unless it is one of `MODES`."""
        before, self._mode = self._mode, _known_mode(mode)
        if self._painter is not None:
            try:
                self._painter = self._make_painter()
            except BaseException:
                self._mode = before
                raise

    def set_exposure(self, exposure_ms: float) -> float:
        """Set the exposure and return it, limited to the period if there is a `rate`."""
        self._require_open()
        if not 0 < exposure_ms < math.inf:
            raise ArgumentError(f"exposure_ms must be > 0, got {exposure_ms}")
        self._exposure_ns = self._possible_exposure_ns(exposure_ms)
        if isinstance(self._painter, LitPainter):
            self._painter.exposure_ms = self._exposure_ns / 1e6
        return self._exposure_ns / 1e6

    def temperature_celsius(self) -> float:
        """Return 20, or what `celsius` says; before the opening that of its beginning."""
        opened_ns = self._opened_ns or time.monotonic_ns()
        return self._warmth.after((time.monotonic_ns() - opened_ns) / 1e9)

    def stop(self) -> None:
        """Stop; queued frames are discarded."""
        self._is_streaming = False

    def close(self) -> None:
        """Stop, and release the light."""
        self.stop()
        self._painter = None

    def _require_open(self) -> Painter:
        if self._painter is None:
            raise CameraError("the simulated camera is not open: call open() first")
        if self._is_lost:
            raise CameraLost("the simulated camera was unplugged: plug it in, close it and open it again")
        return self._painter

    def _new_run(self) -> FreeRun:
        missing = {frame_id for frame_id, fault in self._script.items() if fault == "gap"}
        return FreeRun(self._rate or 0.0, self._n_queue, time.monotonic_ns(), self._n_frames, missing)

    def _next_frame(self, timeout_s: float) -> tuple[int, int]:
        """Wait for the next frame; return its id, and the end of its exposure."""
        if self._held_id is not None:
            frame_id, self._held_id = self._held_id, None
        elif self._run is not None:
            frame_id = self._wait_for(self._run, timeout_s)
        else:
            while self._faults.get(self._next_id) == "gap":
                self._next_id += 1
            if self._n_frames is not None and self._next_id >= self._n_frames:
                raise self._ended()
            frame_id, self._next_id = self._next_id, self._next_id + 1
        return frame_id, self._run.exposed_ns(frame_id) if self._run is not None else time.monotonic_ns()

    def _wait_for(self, run: FreeRun, timeout_s: float) -> int:
        deadline_ns = time.monotonic_ns() + int(min(timeout_s, _MAX_TIMEOUT_S) * 1e9)
        while (frame_id := run.take(time.monotonic_ns())) is None:
            next_ns = run.next_ns()
            if next_ns is None:
                raise self._ended()
            time.sleep(max(0, min(next_ns, deadline_ns) - time.monotonic_ns()) / 1e9)
            if next_ns > deadline_ns:
                raise FrameTimeout(
                    f"no frame of the simulated camera within {timeout_s} s: its rate is {self._rate} lines/s"
                )
        return frame_id

    def _inject_fault(self, frame_id: int) -> FrameStatus:
        fault = self._faults.pop(frame_id, None)
        if fault == "timeout":
            self._held_id = frame_id
            raise FrameTimeout(f"no frame of the simulated camera in time: injected by its script at frame {frame_id}")
        if fault == "wrong_shape":
            rows, columns = self.frame_shape
            raise FrameError(
                f"frame {frame_id} of the simulated camera has shape {(rows - 1, columns)}, expected {(rows, columns)}"
            )
        if fault == "unplug":
            self._is_lost = True
            self._require_open()
        return FrameStatus.INCOMPLETE if fault == "incomplete" else FrameStatus.GOOD

    def _ended(self) -> SourceEnded:
        return SourceEnded(f"the simulated camera has delivered its {self._n_frames} frames (n_frames)")

    def _possible_exposure_ns(self, exposure_ms: float) -> int:
        period_ms = 1000.0 / self._rate if self._rate is not None else math.inf
        return round(min(exposure_ms, period_ms) * 1e6)

    def _make_painter(self) -> Painter:
        if self._mode == "counting":
            if self._light is not None:
                raise ArgumentError("mode 'counting' has no light, dark, noise or defocus: its pixels are numbers")
            return CountingPainter(self.frame_shape, self.frame_dtype)
        top = _largest_number(self._settings)
        try:
            rows = self._settings.rows_of(self.frame_shape[0])
        except SettingsError:  # levels that crop refuse it; others do not need it
            rows = slice(0, self.frame_shape[0])
        optics = optics_of(self.frame_shape, rows, self._calibration)
        if self._mode is None:
            picture, self._scene_scaling = read_picture(self._img_path, self.frame_shape[0])
            if self._scene_scaling:
                logger.warning("scene %s: %s", self._img_path, self._scene_scaling)
            if self._light is not None:
                return self._lit(scene_image(picture, optics), self._light)
            return ScenePainter(picture, optics, self.frame_dtype, top)
        wavelengths = optics.wavelengths_nm
        light = lamp(wavelengths) if self._mode == "HgAr" else planck(wavelengths, 5800.0) * response(wavelengths)
        still = optics.image(light / light.max())
        if self._light is not None:
            return self._lit(still_image(still), self._light)
        return StillPainter(still, self.frame_dtype, top)

    def _lit(self, image: Image, light: Light) -> LitPainter:
        full_scale = self._settings.full_scale or _largest_number(self._settings)
        return LitPainter(image, self.frame_shape, light, full_scale, self._exposure_ns / 1e6)


def _known_mode(mode: str | None) -> str | None:
    if mode not in MODES:
        raise ArgumentError(f"mode must be one of {list(MODES)}, got {mode!r}{nearest_name(str(mode), MODES[1:])}")
    return mode


def _known_faults(script: Mapping[int, str]) -> dict[int, str]:
    for frame_id, fault in script.items():
        if fault not in FAULTS:
            raise ArgumentError(f"script: fault at frame {frame_id} must be one of {sorted(FAULTS)}, got {fault!r}")
    return dict(script)


def _largest_number(settings: CameraSettings) -> int:
    """Largest digital number: of 8, 10 or 12 bits; formats of 16 bits contain 12."""
    if settings.dtype_in == np.uint8:
        return 255
    return 1023 if "10" in (settings.pixel_format or "") else 4095
