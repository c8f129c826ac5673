"""The frames of a ring in a window of matplotlib.

`imshow` would convert and resample each frame several times over, on the way to the screen. Here the pixels of the
screen are picked out of the frame, and only these are painted anew. The window hears mouse and keys a hundred times a
second, also while no frame comes; zooming and panning are matplotlib's own.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ViewerError
from openhsi_shared.viewer.ring_frames import Frame, Looker, to_grey

__all__ = ["Window", "pick", "show_window"]

LONGEST_SIDE = 720
CAPTION_HEIGHT = 28
DOTS_PER_INCH = 100
PAUSE_S = 0.01
CAPTION_S = 0.25
"""The caption is renewed this often: letters take longer than the picture."""
OUTSIDE = 60
"""Shade of what lies beside the frame."""


def show_window(looker: Looker, ready: Callable[[], Any], is_over: Callable[[], bool]) -> None:
    """Show frames until `is_over()`, or the window is closed. ViewerError if there is no screen."""
    window = Window(looker)
    ready()
    while not window.is_closed and not is_over():
        window.look()
        time.sleep(PAUSE_S)
    window.close()


class Window:
    """One window, used by one thread."""

    def __init__(self, looker: Looker) -> None:
        """Open it. ViewerError if matplotlib has nothing to open it with."""
        plt = _pyplot()
        self._looker, self._plt = looker, plt
        self.frame: Frame | None = None
        """What is on the screen."""
        self.is_closed = False
        n_rows, n_columns = looker.shape
        scale = LONGEST_SIDE / max(n_rows, n_columns)
        width, height = max(n_columns * scale, 320), max(n_rows * scale, 60)
        share = CAPTION_HEIGHT / (height + CAPTION_HEIGHT)
        inches = width / DOTS_PER_INCH, (height + CAPTION_HEIGHT) / DOTS_PER_INCH
        self.figure = plt.figure(f"ring {looker.about.buffer_name}", figsize=inches, dpi=DOTS_PER_INCH)
        canvas = self.figure.canvas
        self._blits = bool(canvas.supports_blit)
        self.axes = self.figure.add_axes((0, share, 1, 1 - share))
        self.axes.set_axis_off()
        self.axes.set(xlim=(-0.5, n_columns - 0.5), ylim=(n_rows - 0.5, -0.5), aspect="equal", adjustable="datalim")
        self.axes.format_coord = self._tell_pixel
        self._picture = self.axes.add_artist(_picture(self._pick))
        self._picture.set_animated(self._blits)
        place = {"x": 0.01, "y": share / 2, "va": "center", "family": "monospace"}
        self._caption = self.figure.text(s="", animated=self._blits, **place)
        self._background: Any = None
        self._captioned_at = 0.0
        canvas.mpl_connect("draw_event", self._keep_background)
        canvas.mpl_connect("key_press_event", self._hear_key)
        canvas.mpl_connect("close_event", self._note_closed)
        if canvas.required_interactive_framework:
            plt.show(block=False)
        canvas.draw()

    def look(self) -> None:
        """Show the newest frame, if it is a new one, and let the window do what it was asked to."""
        frame = self._looker.newest()
        if frame is not None and (self.frame is None or frame.number > self.frame.number):
            self.frame = frame
            self._paint(self._picture, self.axes.bbox)
            self._looker.note_shown(frame)
        if time.monotonic() - self._captioned_at > CAPTION_S:
            self._tell()
        self.figure.canvas.flush_events()

    def close(self) -> None:
        """Close it; twice is once."""
        self._plt.close(self.figure)

    def _tell(self) -> None:
        self._captioned_at = time.monotonic()
        text = self._looker.caption(self.frame)
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
        """The window was opened, resized or zoomed: all was drawn but what changes with each frame."""
        if self._blits:
            self._background = self.figure.canvas.copy_from_bbox(self.figure.bbox)
            self.figure.draw_artist(self._picture)
            self.figure.draw_artist(self._caption)

    def _pick(self, height: int, width: int) -> NDArray[np.uint8] | None:
        if self.frame is None:
            return None
        pixels = self.frame.pixels
        rows, beside_rows = pick(self.axes.get_ylim(), height, pixels.shape[0])
        columns, beside_columns = pick(self.axes.get_xlim(), width, pixels.shape[1])
        grey = to_grey(pixels[rows][:, columns], *self._looker.limits.of(pixels))
        grey[beside_rows] = OUTSIDE
        grey[:, beside_columns] = OUTSIDE
        return grey

    def _hear_key(self, event: Any) -> None:
        if event.key == "s" and self.frame is not None:
            self._looker.save(self.frame)
            self._tell()

    def _note_closed(self, _: Any) -> None:
        self.is_closed = True

    def _tell_pixel(self, x: float, y: float) -> str:
        column, row = round(x), round(y)
        n_rows, n_columns = self._looker.shape
        if self.frame is None or not (0 <= row < n_rows and 0 <= column < n_columns):
            return ""
        return f"row {row}, column {column}: {self.frame.pixels[row, column]}"


def pick(limits: tuple[float, float], n_screen: int, n_frame: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Find the pixel of a frame for each of a screen between `limits`, along one axis, and which of these lie beside.

    The centre of a pixel has its index as coordinate.

    >>> [array.tolist() for array in pick((2.5, -1.5), 4, 2)]
    [[1, 1, 0, 0], [True, False, False, True]]
    """
    begin, end = limits
    places = np.rint(begin + (np.arange(n_screen) + 0.5) * ((end - begin) / n_screen)).astype(np.intp)
    inside = np.clip(places, 0, n_frame - 1)
    return inside, inside != places


def _picture(pick_grey: Callable[[int, int], NDArray[np.uint8] | None]) -> Any:
    """Make an artist that fills its axes with what `pick_grey(height, width)` gives, bottom row first."""
    from matplotlib.artist import Artist

    class Picture(Artist):
        def draw(self, renderer: Any) -> None:
            box: Any = self.axes.bbox  # type: ignore[union-attr]
            left, bottom = round(box.x0), round(box.y0)
            grey = pick_grey(round(box.y1) - bottom, round(box.x1) - left)
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
    """Import pyplot with something that opens windows, and `s` free for us."""
    asked = os.environ.get("MPLBACKEND", "")
    if "inline" in asked or "ipympl" in asked:  # of the notebook that we come from
        del os.environ["MPLBACKEND"]
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.rcParams["keymap.save"] = ["ctrl+s"]
    if mpl.get_backend().lower() == "agg" and asked.lower() != "agg":
        raise ViewerError(
            "no window can be opened here: matplotlib finds no screen, or none of Tk, Qt, GTK and wx; set DISPLAY, "
            "install one of them, or use backend='browser'"
        )
    return plt
