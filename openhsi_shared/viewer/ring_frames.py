"""The newest frame of a ring for both backends: brightness limits, caption, and saving."""

import io
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.ring import SharedRing
from openhsi_shared.dataset import cube_stem
from openhsi_shared.durable import PartFile
from openhsi_shared.errors import OverrunError, SaveError
from openhsi_shared.line_times import utc_of
from openhsi_shared.loggers import safe_logger
from openhsi_shared.viewer.ring_messages import DataIndexes, Initialize, Saved

__all__ = ["Frame", "FrameReader", "Limits", "frame_name", "save_frame", "to_grey"]

logger = safe_logger(__name__)

TOLERANCE = 0.1
"""Automatic limits change if they are off by more than this share of their range, to avoid flicker."""
REPORT_INTERVAL_S = 0.25
RATE_WINDOW_S = 2.0
SAVED_CAPTION_S = 4.0
"""Time for which the caption shows the result of a save."""


class Frame(NamedTuple):
    """A copy of a frame of the ring."""

    number: int
    time_ns: int
    """When it was put: since 1970, UTC."""
    start: int
    stop: int
    pixels: NDArray[Any]
    """(rows, columns)"""


class Limits:
    """Values shown as black and white: as given, or minimum and maximum of the frame."""

    def __init__(self, vmin: float | None, vmax: float | None) -> None:
        self._given = vmin, vmax
        self._low, self._high = 0.0, 0.0

    def of(self, pixels: NDArray[Any]) -> tuple[float, float]:
        """Return the limits for a frame: the previous ones if they still fit."""
        vmin, vmax = self._given
        low, high = _range_of(pixels) if vmin is None or vmax is None else (0.0, 1.0)
        low, high = low if vmin is None else float(vmin), high if vmax is None else float(vmax)
        if not low < high:  # a constant frame, or all values beyond the given limit
            if vmax is not None:
                low = high - 1
            elif vmin is None and low > 0:
                low = 0.0  # white, as for a saturated frame
            else:
                high = low + 1
        allowed = TOLERANCE * (self._high - self._low)
        if not (self._low < self._high and abs(low - self._low) <= allowed and abs(high - self._high) <= allowed):
            self._low, self._high = low, high
        return self._low, self._high


def _range_of(pixels: NDArray[Any]) -> tuple[float, float]:
    values = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
    return (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)


def to_grey(pixels: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Paint values from `low` (0) to `high` (255); NaN is 0.

    >>> to_grey(np.array([[0, 5, 10, 20]]), 0, 10).tolist()
    [[0, 127, 255, 255]]
    """
    scaled = np.subtract(pixels, np.float32(low), dtype=np.float32)
    scaled *= np.float32(255 / (high - low))
    if pixels.dtype.kind == "f":
        np.nan_to_num(scaled, copy=False, nan=0.0)
    grey: NDArray[np.uint8] = np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)
    return grey


def frame_name(number: int, time_ns: int) -> str:
    """File name from number and time of a frame, in UTC, to the microsecond.

    >>> frame_name(12, 1_700_000_000_123_456_789)
    'frame_00000012_2023_11_14-22_13_20_123456'
    """
    return cube_stem(time_ns, prefix=f"frame_{number:08d}_")


def save_frame(frame: Frame, limits: tuple[float, float], directory: Path) -> Path:
    """Save the values as `.npy`, and the displayed image beside it as `.png`; return the path of the `.npy`.

    Nothing is overwritten. SaveError.
    """
    from PIL import Image

    values, picture = io.BytesIO(), io.BytesIO()
    np.save(values, frame.pixels, allow_pickle=False)
    Image.fromarray(to_grey(frame.pixels, *limits)).save(picture, "PNG")
    name = frame_name(frame.number, frame.time_ns)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveError(error.errno, error.strerror, str(directory)) from error
    paths = []
    for ending, content in ((".npy", values), (".png", picture)):
        with PartFile(directory, name + ending) as part:
            part.write_at(0, content.getbuffer())
            paths.append(part.publish(name, ending))
    return paths[0]


class FrameReader:
    """Reads the newest frame, and reports what is shown. One per viewer, for any number of browsers."""

    def __init__(self, ring: SharedRing, about: Initialize, send: Callable[[Any], Any]) -> None:
        self.ring, self.about = ring, about
        self.shape = about.num_rows, about.num_cols
        self.limits = Limits(about.vmin, about.vmax)
        self.n_shown = 0
        self._send = send
        self._newest: Frame | None = None
        self._seen = self._last_shown = -1
        self._warned = False
        self._unreported: DataIndexes | None = None
        self._reported_at = self._saved_at = float("-inf")
        self._saved_text = ""
        self._history: deque[tuple[float, int, int]] = deque([(time.monotonic(), 0, ring.n_put)])

    def newest(self) -> Frame | None:
        """Return the newest frame of the right size, even if it was returned before. Never blocks."""
        self._report()  # also the last frame before a pause of the camera, which no other follows
        try:
            item = self.ring.latest(self._seen, patience_s=0)
        except OverrunError:
            return self._newest  # overwritten during the copy; a newer one follows soon
        if item is not None:
            self._seen = item.number
            if item.data.size == self.shape[0] * self.shape[1]:
                pixels = item.data.reshape(self.shape)
                self._newest = Frame(item.number, item.time_ns, item.start, item.stop, pixels)
            elif not self._warned:
                self._warned = True
                about = f"item {item.number} of the ring {self.ring.name!r} has {item.data.size} pixels"
                logger.warning("%s: only frames of shape %s are shown", about, self.shape)
        return self._newest

    def note_shown(self, frame: Frame) -> None:
        """Count a frame that is now on the screen."""
        if frame.number <= self._last_shown:
            return  # shown by another browser
        self._last_shown = frame.number
        self.n_shown += 1
        now = time.monotonic()
        self._history.append((now, self.n_shown, self.ring.n_put))
        while self._history[1][0] < now - RATE_WINDOW_S:
            self._history.popleft()
        self._unreported = DataIndexes(frame.start, frame.stop, frame.number, self.n_shown)
        self._report()

    def _report(self) -> None:
        """Send what is shown, unless it was sent, or another frame less than `REPORT_INTERVAL_S` ago."""
        now = time.monotonic()
        if self._unreported is not None and now - self._reported_at > REPORT_INTERVAL_S:
            self._reported_at = now
            self._send(self._unreported)
            self._unreported = None

    def caption(self, frame: Frame | None) -> str:
        """Describe the frame on the screen in one line."""
        if time.monotonic() - self._saved_at < SAVED_CAPTION_S:
            return self._saved_text
        if frame is None:
            return "waiting for the first frame"
        (then, shown_then, put_then), now = self._history[0], time.monotonic()
        seconds = max(now - then, 1e-3)
        shown, put = (self.n_shown - shown_then) / seconds, (self.ring.n_put - put_then) / seconds
        low, high = self.limits.of(frame.pixels)
        at = f"{utc_of(frame.time_ns):%H:%M:%S}"
        return f"frame {frame.number} of {at}, {shown:.0f}/s of {put:.0f}/s shown, {low:g} to {high:g}"

    def save(self, frame: Frame) -> None:
        """Save a frame; the result is shown in the caption, and sent to the owner."""
        self._saved_at = time.monotonic()
        try:
            path = save_frame(frame, self.limits.of(frame.pixels), self.about.save_dir)
        except SaveError as error:
            self._saved_text = f"NOT SAVED: {error}"
            logger.error("frame %d not saved: %s", frame.number, error)
        else:
            self._saved_text = f"saved {path.name}"
            self._send(Saved(path))

    def report_last(self) -> None:
        """Send the last frame shown, regardless of the report interval."""
        if self._unreported is not None:
            self._send(self._unreported)
