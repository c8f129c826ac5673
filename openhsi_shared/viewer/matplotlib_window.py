"""The frames of a ring in a matplotlib window.

`imshow` would convert and resample each frame several times. Here the pixels of the screen are sampled from the frame
(nearest neighbour), and only these are painted. Mouse and keyboard events are processed a hundred times a second, also
while no frame arrives; zooming and panning are matplotlib's own.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ViewerError
from openhsi_shared.viewer.ring_frames import Frame, FrameReader, to_grey

__all__ = ["Window", "sample", "show_window"]

MAX_SIDE = 720
CAPTION_HEIGHT = 28
DOTS_PER_INCH = 100
POLL_INTERVAL_S = 0.01
CAPTION_INTERVAL_S = 0.25
"""Update interval of the caption: drawing text takes longer than drawing the frame."""
OUTSIDE = 60
"""Grey level outside the frame."""


def show_window(reader: FrameReader, ready: Callable[[], Any], is_over: Callable[[], bool]) -> None:
    """Show frames until `is_over()`, or the window is closed. ViewerError if there is no screen."""
    window = Window(reader)
    ready()
    while not window.is_closed and not is_over():
        window.update()
        time.sleep(POLL_INTERVAL_S)
    window.close()


class Window:
    """One window, used by one thread."""

    def __init__(self, reader: FrameReader) -> None:
        """Open it. ViewerError if matplotlib has no interactive backend."""
        plt = _pyplot()
        self._reader, self._plt = reader, plt
        self.frame: Frame | None = None
        """The frame on the screen."""
        self.is_closed = False
        n_rows, n_columns = reader.shape
        scale = MAX_SIDE / max(n_rows, n_columns)
        width, height = max(n_columns * scale, 320), max(n_rows * scale, 60)
        share = CAPTION_HEIGHT / (height + CAPTION_HEIGHT)
        inches = width / DOTS_PER_INCH, (height + CAPTION_HEIGHT) / DOTS_PER_INCH
        self.figure = plt.figure(f"ring {reader.about.buffer_name}", figsize=inches, dpi=DOTS_PER_INCH)
        canvas = self.figure.canvas
        self._blits = bool(canvas.supports_blit)
        self.axes = self.figure.add_axes((0, share, 1, 1 - share))
        self.axes.set_axis_off()
        self.axes.set(xlim=(-0.5, n_columns - 0.5), ylim=(n_rows - 0.5, -0.5), aspect="equal", adjustable="datalim")
        self.axes.format_coord = self._format_pixel
        self._picture = self.axes.add_artist(_picture(self._sample))
        self._picture.set_animated(self._blits)
        place = {"x": 0.01, "y": share / 2, "va": "center", "family": "monospace"}
        self._caption = self.figure.text(s="", animated=self._blits, **place)
        self._background: Any = None
        self._captioned_at = 0.0
        canvas.mpl_connect("draw_event", self._keep_background)
        canvas.mpl_connect("key_press_event", self._handle_key)
        canvas.mpl_connect("close_event", self._note_closed)
        if canvas.required_interactive_framework:
            plt.show(block=False)
        canvas.draw()

    def update(self) -> None:
        """Show the newest frame, if it is a new one, and process the events of the window."""
        frame = self._reader.newest()
        if frame is not None and (self.frame is None or frame.number > self.frame.number):
            self.frame = frame
            self._paint(self._picture, self.axes.bbox)
            self._reader.note_shown(frame)
        if time.monotonic() - self._captioned_at > CAPTION_INTERVAL_S:
            self._update_caption()
        self.figure.canvas.flush_events()

    def close(self) -> None:
        """Close it. Idempotent."""
        self._plt.close(self.figure)

    def _update_caption(self) -> None:
        self._captioned_at = time.monotonic()
        text = self._reader.caption(self.frame)
        if text != self._caption.get_text():
            self._caption.set_text(text)
            if self._background is not None:
                self.figure.canvas.restore_region(self._background)
                self.figure.draw_artist(self._picture)
            self._paint(self._caption, self.figure.bbox)

    def _paint(self, artist: Any, box: Any) -> None:
        if not self._blits:
            self.figure.canvas.draw_idle()
        elif self._background is not None:
            self.figure.draw_artist(artist)
            self.figure.canvas.blit(box)

    def _keep_background(self, _: Any) -> None:
        """Store the background after the window was opened, resized or zoomed: everything but frame and caption."""
        if self._blits:
            self._background = self.figure.canvas.copy_from_bbox(self.figure.bbox)
            self.figure.draw_artist(self._picture)
            self.figure.draw_artist(self._caption)

    def _sample(self, height: int, width: int) -> NDArray[np.uint8] | None:
        if self.frame is None:
            return None
        pixels = self.frame.pixels
        rows, outside_rows = sample(self.axes.get_ylim(), height, pixels.shape[0])
        columns, outside_columns = sample(self.axes.get_xlim(), width, pixels.shape[1])
        grey = to_grey(pixels[rows][:, columns], *self._reader.limits.of(pixels))
        grey[outside_rows] = OUTSIDE
        grey[:, outside_columns] = OUTSIDE
        return grey

    def _handle_key(self, event: Any) -> None:
        if event.key == "s" and self.frame is not None:
            self._reader.save(self.frame)
            self._update_caption()

    def _note_closed(self, _: Any) -> None:
        self.is_closed = True

    def _format_pixel(self, x: float, y: float) -> str:
        column, row = round(x), round(y)
        n_rows, n_columns = self._reader.shape
        if self.frame is None or not (0 <= row < n_rows and 0 <= column < n_columns):
            return ""
        return f"row {row}, column {column}: {self.frame.pixels[row, column]}"


def sample(limits: tuple[float, float], n_screen: int, n_frame: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Nearest frame pixel of each screen pixel between `limits`, along one axis, and whether it is outside the frame.

    The coordinate of the centre of a pixel is its index.

    >>> [array.tolist() for array in sample((2.5, -1.5), 4, 2)]
    [[1, 1, 0, 0], [True, False, False, True]]
    """
    begin, end = limits
    places = np.rint(begin + (np.arange(n_screen) + 0.5) * ((end - begin) / n_screen)).astype(np.intp)
    inside = np.clip(places, 0, n_frame - 1)
    return inside, inside != places


def _picture(sample_grey: Callable[[int, int], NDArray[np.uint8] | None]) -> Any:
    """Make an artist that fills its axes with the result of `sample_grey(height, width)`, bottom row first."""
    from matplotlib.artist import Artist

    class Picture(Artist):
        def draw(self, renderer: Any) -> None:
            box: Any = self.axes.bbox  # type: ignore[union-attr]
            left, bottom = round(box.x0), round(box.y0)
            grey = sample_grey(round(box.y1) - bottom, round(box.x1) - left)
            if grey is not None:
                context = renderer.new_gc()
                context.set_alpha(1.0)
                renderer.draw_image(context, left, bottom, _as_colour(grey))
                context.restore()

    return Picture()


def _as_colour(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pixels = np.full((*grey.shape, 4), 255, np.uint8)
    pixels[..., :3] = grey[..., np.newaxis]
    return pixels


def _pyplot() -> Any:
    """Import pyplot with a backend that opens windows, and with the key `s` unbound."""
    requested = os.environ.get("MPLBACKEND", "")
    if "inline" in requested or "ipympl" in requested:  # inherited from a notebook
        del os.environ["MPLBACKEND"]
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.rcParams["keymap.save"] = ["ctrl+s"]
    if mpl.get_backend().lower() == "agg" and requested.lower() != "agg":
        raise ViewerError(
            "cannot open a window: matplotlib finds no screen, or none of Tk, Qt, GTK and wx; set DISPLAY, "
            "install one of them, or use backend='browser'"
        )
    return plt
