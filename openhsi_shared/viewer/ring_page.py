"""The frames of a ring as a page for browsers on this machine.

A browser reports which frame it has painted, and is then sent the newest one; two are in flight at most. A slow browser
shows fewer frames, but no old ones. It receives unscaled values, so limits and the value under the mouse are exact.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np

from openhsi_shared.viewer.ring_frames import Frame, FrameReader
from openhsi_shared.viewer.server import PageSocket, serve
from openhsi_shared.viewer.theme import INK, PAPER, plot_theme
from openhsi_shared.viewer.updating import update_periodically

__all__ = ["RingPage", "sent_type", "serve_page"]

MAX_SIDE = 680
MAX_PIXELS = 1024
"""Pixels per side that are sent; larger frames are decimated to every second, third ... row and column."""
POLL_INTERVAL_MS = 10
POLLS_PER_CAPTION = 25
"""The caption is updated four times a second."""
MAX_IN_FLIGHT = 2
IDLE_TIMEOUT_S = 4.0
"""Allows for a reload of the page."""

PAINTED = """
const number = source.data.number[0]
requestAnimationFrame(() => requestAnimationFrame(() => { painted.value = number }))
"""
"""The second callback runs when the frame before the first one is on the screen."""
REQUEST_SAVE = "wanted.value = source.data.number[0] + ' ' + Date.now()"
HANDLE_KEY = f"""
window.addEventListener("keydown", (event) => {{
  if (event.key == "s" && !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat) {{ {REQUEST_SAVE} }}
}})
"""


def serve_page(
    reader: FrameReader, listening: PageSocket, ready: Callable[[], Any], is_over: Callable[[], bool]
) -> None:
    """Serve the page until `is_over()`, or until all browsers have disconnected."""
    monitor = IdleMonitor()
    serve(
        lambda document: RingPage(reader, document).fill(),
        listening,
        ready=lambda _: ready(),
        is_over=lambda n_browsers: is_over() or monitor.is_idle(n_browsers),
    )


class IdleMonitor:
    """Detects that all browsers have disconnected, after at least one was connected."""

    def __init__(self) -> None:
        self._idle_since: float | None = None
        self._had_browsers = False

    def is_idle(self, n_browsers: int) -> bool:
        if n_browsers:
            self._had_browsers, self._idle_since = True, None
        elif self._had_browsers:
            self._idle_since = self._idle_since or time.monotonic()
            return time.monotonic() - self._idle_since > IDLE_TIMEOUT_S
        return False


class RingPage:
    """The document of one browser."""

    def __init__(self, reader: FrameReader, document: Any) -> None:
        from bokeh.models import ColumnDataSource, Div, LinearColorMapper, TextInput

        self._reader, self._document = reader, document
        n_rows, n_columns = reader.shape
        self._step = -(-max(n_rows, n_columns) // MAX_PIXELS)
        empty = np.zeros((-(-n_rows // self._step), -(-n_columns // self._step)), sent_type(reader.ring.dtype))
        self._source = ColumnDataSource({"image": [empty], "number": [-1]}, name="frame")
        self._colours = LinearColorMapper(palette="Greys256", low=0, high=1)
        self._caption = Div(text=reader.caption(None), name="caption", styles={"font-size": "17px", "padding": "6px"})
        self._wanted = TextInput(name="wanted")
        self._in_flight: OrderedDict[int, Frame] = OrderedDict()
        self._painted: Frame | None = None
        self._sent, self._n_polls = -1, 0

    def fill(self) -> None:
        """Fill the document, and start its updates."""
        from bokeh.events import DocumentReady
        from bokeh.layouts import column, row
        from bokeh.models import Button, CustomJS, NumericInput

        painted = NumericInput(value=-1, name="painted")
        report_painted = CustomJS(args={"source": self._source, "painted": painted}, code=PAINTED)
        self._source.js_on_change("data", report_painted)
        painted.on_change("value", lambda _name, _old, new: self._note_painted(new))
        keys = {"source": self._source, "wanted": self._wanted}
        self._wanted.on_change("value", lambda _name, _old, new: self._save(new))
        button = Button(label="save (s)", width=90)
        button.js_on_click(CustomJS(args=keys, code=REQUEST_SAVE))
        for script in (CustomJS(args=keys, code=HANDLE_KEY), report_painted):  # the page may contain a frame already
            self._document.js_on_event(DocumentReady, script)
        self._document.theme = plot_theme()
        self._document.title = f"ring {self._reader.about.buffer_name}"
        self._document.add_root(column(row(button, self._caption), self._figure(), stylesheets=[_style()]))
        update_periodically(self._document, self._poll, POLL_INTERVAL_MS, self._show_failure)

    def _figure(self) -> Any:
        from bokeh.models import ColorBar, HoverTool, Range1d
        from bokeh.plotting import figure

        n_rows, n_columns = self._reader.shape
        scale = MAX_SIDE / max(n_rows, n_columns)
        plot = figure(
            frame_width=max(round(n_columns * scale), 60),
            frame_height=max(round(n_rows * scale), 60),
            x_range=Range1d(0, n_columns),
            y_range=Range1d(n_rows, 0),
            tools="pan,box_zoom,wheel_zoom,reset",
            x_axis_label="column",
            y_axis_label="row",
            name="picture",
        )
        image = plot.image("image", x=0, y=0, dw=n_columns, dh=n_rows, source=self._source, color_mapper=self._colours)
        plot.add_tools(HoverTool(renderers=[image], tooltips=[("row, column", "$y{0}, $x{0}"), ("value", "@image")]))
        plot.add_layout(
            ColorBar(color_mapper=self._colours, background_fill_color=None, major_label_text_color=INK), "right"
        )
        return plot

    def _poll(self) -> None:
        """Send the newest frame, if it is a new one and the browser keeps up."""
        self._n_polls += 1
        frame = self._reader.newest()
        if frame is not None and frame.number > self._sent and len(self._in_flight) < MAX_IN_FLIGHT:
            low, high = self._reader.limits.of(frame.pixels)
            if (self._colours.low, self._colours.high) != (low, high):
                self._colours.update(low=low, high=high)
            image = np.ascontiguousarray(frame.pixels[:: self._step, :: self._step], sent_type(frame.pixels.dtype))
            self._sent = frame.number
            self._in_flight[frame.number] = frame
            self._source.data = {"image": [image], "number": [frame.number]}
        if self._n_polls % POLLS_PER_CAPTION == 1:
            self._update_caption()

    def _show_failure(self, text: str) -> None:
        self._caption.text = escape(text, quote=False)

    def _update_caption(self) -> None:
        text = escape(self._reader.caption(self._painted), quote=False)  # an error contains the name of a directory
        if text != self._caption.text:
            self._caption.text = text

    def _note_painted(self, number: int) -> None:
        while self._in_flight and next(iter(self._in_flight)) <= number:
            _, frame = self._in_flight.popitem(last=False)
            if frame.number == number:
                self._painted = frame
                self._reader.note_shown(frame)
        self._poll()

    def _save(self, wanted: str) -> None:
        number = int(wanted.split(maxsplit=1)[0])
        available = [*([self._painted] if self._painted else []), *self._in_flight.values()]
        for frame in available:
            if frame.number == number:
                self._reader.save(frame)
                self._update_caption()


def sent_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A type that browsers support and that represents every value, at least approximately."""
    if dtype.kind == "b":
        return np.dtype("u1")
    if dtype.itemsize == 2 and dtype.kind == "f":
        return np.dtype("f4")
    return np.dtype("f8") if dtype.itemsize > 4 else dtype


def _style() -> Any:
    from bokeh.models import GlobalInlineStyleSheet

    return GlobalInlineStyleSheet(css=f"html {{ background: {PAPER}; color: {INK}; font: 15px monospace; }}")
