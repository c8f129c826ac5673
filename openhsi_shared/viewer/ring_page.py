"""The frames of a ring as a page for browsers on this machine.

A browser says which frame it has painted, and is sent the newest one then; two are under way at most. So a slow one
shows fewer frames, and none of them is old. It gets the values as they are: limits and the value under the mouse are
true ones.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from openhsi_shared.viewer.ring_frames import Frame, Looker
from openhsi_shared.viewer.server import PageSocket, serve
from openhsi_shared.viewer.theme import INK, PAPER, plot_theme

__all__ = ["RingPage", "serve_page"]

LONGEST_SIDE = 680
MOST_PIXELS = 1024
"""So many of a side are sent; of larger frames, every second, third ... row and column."""
LOOK_MS = 10
CAPTION_LOOKS = 25
"""The caption is renewed after so many looks: four times a second."""
MOST_UNDER_WAY = 2
LEFT_S = 4.0
"""A page whose browser left is loaded anew, perhaps."""

PAINTED = """
const number = source.data.number[0]
requestAnimationFrame(() => requestAnimationFrame(() => { painted.value = number }))
"""
"""The second is called when what was asked for before the first is on the screen."""
ASK_TO_SAVE = "wanted.value = source.data.number[0] + ' ' + Date.now()"
HEAR_KEY = f"""
window.addEventListener("keydown", (event) => {{
  if (event.key == "s" && !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat) {{ {ASK_TO_SAVE} }}
}})
"""


def serve_page(looker: Looker, listening: PageSocket, ready: Callable[[], Any], is_over: Callable[[], bool]) -> None:
    """Serve the page until `is_over()`, or until the last browser has left for good."""
    nobody = IdleMonitor()
    serve(
        lambda document: RingPage(looker, document).fill(),
        listening,
        ready=lambda _: ready(),
        is_over=lambda n_browsers: is_over() or nobody.is_left(n_browsers),
    )


class IdleMonitor:
    """Knows whether those who came have gone."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._somebody_came = False

    def is_left(self, n_browsers: int) -> bool:
        if n_browsers:
            self._somebody_came, self._since = True, None
        elif self._somebody_came:
            self._since = self._since or time.monotonic()
            return time.monotonic() - self._since > LEFT_S
        return False


class RingPage:
    """What one browser sees."""

    def __init__(self, looker: Looker, document: Any) -> None:
        from bokeh.models import ColumnDataSource, Div, LinearColorMapper, TextInput

        self._looker, self._document = looker, document
        n_rows, n_columns = looker.shape
        self._step = -(-max(n_rows, n_columns) // MOST_PIXELS)
        empty = np.zeros((-(-n_rows // self._step), -(-n_columns // self._step)), _sent_type(looker.ring.dtype))
        self._source = ColumnDataSource({"image": [empty], "number": [-1]}, name="frame")
        self._colours = LinearColorMapper(palette="Greys256", low=0, high=1)
        self._caption = Div(text=looker.caption(None), name="caption", styles={"font-size": "17px", "padding": "6px"})
        self._wanted = TextInput(name="wanted")
        self._under_way: OrderedDict[int, Frame] = OrderedDict()
        self._painted: Frame | None = None
        self._sent, self._looks = -1, 0

    def fill(self) -> None:
        """Fill the document, and keep it going."""
        from bokeh.events import DocumentReady
        from bokeh.layouts import column, row
        from bokeh.models import Button, CustomJS, NumericInput

        painted = NumericInput(value=-1, name="painted")
        say_painted = CustomJS(args={"source": self._source, "painted": painted}, code=PAINTED)
        self._source.js_on_change("data", say_painted)
        painted.on_change("value", lambda _name, _old, new: self._note_painted(new))
        keys = {"source": self._source, "wanted": self._wanted}
        self._wanted.on_change("value", lambda _name, _old, new: self._save(new))
        button = Button(label="save (s)", width=90)
        button.js_on_click(CustomJS(args=keys, code=ASK_TO_SAVE))
        for script in (CustomJS(args=keys, code=HEAR_KEY), say_painted):  # a frame may have come with the page
            self._document.js_on_event(DocumentReady, script)
        self._document.theme = plot_theme()
        self._document.title = f"ring {self._looker.about.buffer_name}"
        self._document.add_root(column(row(button, self._caption), self._figure(), stylesheets=[_style()]))
        self._document.add_periodic_callback(self._look, LOOK_MS)

    def _figure(self) -> Any:
        from bokeh.models import ColorBar, HoverTool, Range1d
        from bokeh.plotting import figure

        n_rows, n_columns = self._looker.shape
        scale = LONGEST_SIDE / max(n_rows, n_columns)
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

    def _look(self) -> None:
        """Send the newest frame, if it is a new one and the browser keeps up."""
        self._looks += 1
        frame = self._looker.newest()
        if frame is not None and frame.number > self._sent and len(self._under_way) < MOST_UNDER_WAY:
            low, high = self._looker.limits.of(frame.pixels)
            if (self._colours.low, self._colours.high) != (low, high):
                self._colours.update(low=low, high=high)
            image = np.ascontiguousarray(frame.pixels[:: self._step, :: self._step], _sent_type(frame.pixels.dtype))
            self._sent = frame.number
            self._under_way[frame.number] = frame
            self._source.data = {"image": [image], "number": [frame.number]}
        if self._looks % CAPTION_LOOKS == 1:
            self._tell()

    def _tell(self) -> None:
        text = self._looker.caption(self._painted)
        if text != self._caption.text:
            self._caption.text = text

    def _note_painted(self, number: int) -> None:
        while self._under_way and next(iter(self._under_way)) <= number:
            _, frame = self._under_way.popitem(last=False)
            if frame.number == number:
                self._painted = frame
                self._looker.note_shown(frame)
        self._look()

    def _save(self, wanted: str) -> None:
        number = int(wanted.split(maxsplit=1)[0])
        at_hand = [*([self._painted] if self._painted else []), *self._under_way.values()]
        for frame in at_hand:
            if frame.number == number:
                self._looker.save(frame)
                self._tell()


def _sent_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that browsers know and that holds every value, or nearly so."""
    if dtype.kind == "b":
        return np.dtype("u1")
    if dtype.itemsize == 2 and dtype.kind == "f":
        return np.dtype("f4")
    return np.dtype("f8") if dtype.itemsize > 4 else dtype


def _style() -> Any:
    from bokeh.models import GlobalInlineStyleSheet

    return GlobalInlineStyleSheet(css=f"html {{ background: {PAPER}; color: {INK}; font: 15px monospace; }}")
