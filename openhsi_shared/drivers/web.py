"""Webcams and video files, through OpenCV: for tests, not for measurements.

Notes:
- Frames are converted to grey, 8 bits: rows are cross-track, columns the wavelength, as behind slit and grating.
- A webcam has no frame counter and does not report losses; frames of a file are counted from 0.
- A webcam without the requested size (`win_resolution`, or `resolution`) uses one close to it; window and binning are
  then applied here.
- Exposure has steps of 0.1 ms with Video4Linux, if the webcam supports it at all; most report wrong values.
- There is no temperature sensor.
"""

import math
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from openhsi_shared.drivers import FrameStamp
from openhsi_shared.errors import (
    ArgumentError,
    CameraError,
    CameraLost,
    CameraNotFound,
    FrameError,
    SettingsError,
    SourceEnded,
)
from openhsi_shared.loggers import safe_logger
from openhsi_shared.settings import CameraSettings

__all__ = ["WebDriver"]

logger = safe_logger(__name__)


class WebDriver:
    """A webcam, by its number, or a video file (or numbered pictures, "frame_%03d.png"), by its path: `source`."""

    frame_id_period: int | None = None

    def __init__(
        self,
        settings: CameraSettings,
        *,
        source: int | str = 0,
        loop: bool = False,
        compat: Literal["openhsi"] | None = None,
    ) -> None:
        del compat  # openhsi's webcam has neither window nor binning
        if isinstance(source, bool) or (isinstance(source, int) and source < 0):
            raise ArgumentError(f"source must be the number of a webcam or the path of a file, got {source!r}")
        is_number = isinstance(source, int) or source.isdigit()
        self.frame_shape: tuple[int, int] = settings.resolution or (0, 0)
        self.frame_dtype: np.dtype[Any] = np.dtype(np.uint8)
        self._settings, self._source, self._is_loop = settings, int(source) if is_number else str(source), loop
        self._name = f"webcam {source}" if is_number else f"video {source}"
        self._is_file = not is_number
        self._video: Any = None
        self._is_streaming = False
        self._n_read = 0

    def open(self) -> None:
        """Open it and read one frame. CameraNotFound, or SettingsError for a window outside the picture."""
        if self._video is not None:
            return
        if self._settings.pixel_format and "8" not in self._settings.pixel_format:
            raise SettingsError(f"pixel_format {self._settings.pixel_format!r}: {self._name} has 8 bits, set 'Mono8'")
        self._video = self._opened()
        try:
            shape = self._grey().shape
            self._set_window(shape)
            if not self._is_file:
                self.set_exposure(self._settings.exposure_ms)
        except BaseException:
            self.close()
            raise

    def _opened(self) -> Any:
        video = cv2.VideoCapture(self._source)
        if not video.isOpened():
            what = "a file that OpenCV can read" if self._is_file else "a webcam that is connected and not in use"
            raise CameraNotFound(f"{self._name} cannot be opened: expected {what}")
        wanted = self._settings.win_resolution or self._settings.resolution
        if not self._is_file and wanted and all(wanted):
            binning = self._settings.binxy
            video.set(cv2.CAP_PROP_FRAME_HEIGHT, wanted[0] * binning[1])
            video.set(cv2.CAP_PROP_FRAME_WIDTH, wanted[1] * binning[0])
            video.set(cv2.CAP_PROP_BUFFERSIZE, 4)
        return video

    def _set_window(self, shape: tuple[int, ...]) -> None:
        """Determine window and binning for pictures of this shape."""
        x, y = self._settings.binxy
        rows, columns = shape[0] // y, shape[1] // x
        top, left = self._settings.win_offset
        requested = self._settings.win_resolution or self._settings.resolution or (0, 0)
        height, width = requested[0] or rows - top, requested[1] or columns - left
        if not (0 < height <= rows - top and 0 < width <= columns - left):
            raise SettingsError(
                f"win_resolution {(height, width)} at win_offset {(top, left)} is outside the {(rows, columns)} "
                f"pixels of {self._name}"
            )
        self._window = np.s_[top * y : (top + height) * y, left * x : (left + width) * x]
        self.frame_shape = (height, width)

    def _grey(self) -> NDArray[Any]:
        is_read, picture = self._video.read()
        if not is_read:
            raise self._ended()
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if picture.ndim == 3 else picture)

    def _ended(self) -> CameraError:
        if self._is_file:
            return SourceEnded(f"{self._name} has ended after {self._n_read} frames; loop=True restarts it")
        return CameraLost(f"{self._name} was disconnected: check its cable, then open it again")

    def start(self) -> None:
        """Start streaming; a file restarts. Idempotent."""
        if self._video is None:
            raise CameraError(f"{self._name} is not open: open it before it is started")
        if not self._is_streaming and self._is_file:
            self._video.release()
            self._video = self._opened()
        if not self._is_streaming:
            self._n_read = 0
        self._is_streaming = True

    def read_into(self, out: NDArray[Any], timeout_s: float) -> FrameStamp:
        """Wait for the next frame, with OpenCV's timeout; see `Driver.read_into`."""
        del timeout_s  # OpenCV uses its own
        if not self._is_streaming:
            raise CameraError(f"{self._name} is not streaming: open and start it before frames are read")
        if out.shape != self.frame_shape or out.dtype != self.frame_dtype:
            raise FrameError(
                f"a frame of {self._name} is {self.frame_dtype} {self.frame_shape}, "
                f"got room for {out.dtype} {out.shape}"
            )
        try:
            picture = self._grey()
        except SourceEnded:
            if not (self._is_loop and self._n_read):
                raise
            self._video.release()
            self._video = self._opened()
            picture = self._grey()
        self._put(picture, out)
        number, self._n_read = self._n_read, self._n_read + 1
        return FrameStamp(number if self._is_file else None)

    def _put(self, picture: NDArray[Any], out: NDArray[Any]) -> None:
        x, y = self._settings.binxy
        cut = picture[self._window]
        if (x, y) == (1, 1):
            np.copyto(out, cut)
            return
        rows, columns = out.shape
        sums = cut.reshape(rows, y, columns, x).sum((1, 3), dtype=np.uint32)
        np.copyto(out, np.minimum(sums, 255), casting="unsafe")

    def set_exposure(self, exposure_ms: float) -> float:
        """Set the exposure of the webcam; return the requested value, because most report wrong ones."""
        if self._video is None:
            raise CameraError(f"{self._name} is not open: open it before its exposure is set")
        if not 0 < exposure_ms < math.inf:
            raise SettingsError(f"exposure_ms of {self._name} must be > 0, got {exposure_ms}")
        if not self._is_file:
            self._video.set(cv2.CAP_PROP_AUTO_EXPOSURE, 1)  # manual, in Video4Linux
            if not self._video.set(cv2.CAP_PROP_EXPOSURE, exposure_ms * 10):
                logger.warning("exposure of %s cannot be set", self._name)
        return float(exposure_ms)

    def stop(self) -> None:
        """Stop streaming."""
        self._is_streaming = False

    def close(self) -> None:
        """Release the webcam or file."""
        self.stop()
        video, self._video = self._video, None
        if video is not None:
            video.release()
