"""The document of a recorder in one browser, updated ten times a second at most and as fast as it paints."""

import time
from collections import deque
from collections.abc import Callable
from html import escape
from typing import Any

from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.viewer.page import LOST_CONNECTION, SHOWN
from openhsi_shared.viewer.recorder_messages import (
    TIME,
    About,
    Ask,
    Clear,
    Command,
    Estimate,
    RowsShown,
    Save,
    Shift,
    Start,
    Stop,
)
from openhsi_shared.viewer.recorder_parts import MARKS, Picture, Scatter, head, matching, note, numbers
from openhsi_shared.viewer.theme import css, layout_css, page_css, plot_theme
from openhsi_shared.viewer.updating import update_periodically

__all__ = ["RecorderFeed", "RecorderPage"]

TICK_MS = 100
NUMBERS_INTERVAL_S = 0.25
PAINT_TIMEOUT_S = 2.0
"""A browser that has not painted an update within this time is sent the next one: it may have been suspended."""
MAX_UNPAINTED = 2
ZOOM = "Zoom to region"
ANSWER_TIMEOUT_S = 5.0
"""After this time without an answer the page reports that the recorder's program does not respond."""


class RecorderFeed:
    """The newest state, which all browsers of one page share. Only the server's thread uses it."""

    def __init__(self, parent: Parent, about: About) -> None:
        self.about = about
        self.newest: RowsShown | None = None
        self.number = 0
        """Number of states received."""
        self.is_over = False
        """Whether the recorder's process is gone."""
        self._parent = parent
        self._asked_at: float | None = None
        self._asked_before = float("-inf")

    @property
    def is_silent(self) -> bool:
        """Whether the recorder's program does not respond."""
        return self._asked_at is not None and time.monotonic() - self._asked_at > ANSWER_TIMEOUT_S

    def poll(self, *, asks: bool = True) -> None:
        """Receive what has come, and ask for the next state. Does not block."""
        while (message := self._parent.receive(0)) is not None:
            if message is GONE:
                self.is_over = True
                return
            self.newest, self._asked_at = message, None
            self.number += 1
        now = time.monotonic()
        if asks and self._asked_at is None and now - self._asked_before >= TICK_MS / 1000:
            self._asked_at = self._asked_before = now
            self.tell(Ask())

    def tell(self, message: Ask | Command) -> None:
        """Send a message, unless the recorder's program does not read: then the button is without effect."""
        if self._parent.is_writable():
            self._parent.tell(message)


class RecorderPage:
    """Fills a document and keeps it up to date, in the server's thread."""

    def __init__(self, feed: RecorderFeed, document: Any) -> None:
        self._feed, self._document = feed, document
        self._number = 0
        self._sent: deque[float] = deque()
        """Times of the updates that are not painted yet."""
        self._n_sent = 0
        self._numbers_at = float("-inf")
        self._texts: dict[str, str] = {}
        self._drawn: tuple[Any, ...] = ()
        self._shifts_shown: tuple[str, int] | None = None
        self._make_parts()
        self._make_controls()
        self._lay_out()
        update_periodically(document, self._tick, TICK_MS, self._show_failure)
        self._tick()

    # ---- creation ----

    def _make_parts(self) -> None:
        from bokeh.models import ColumnDataSource, CustomJS, Div, InlineStyleSheet

        self._picture, self._scatter = Picture(), Scatter()
        self._style = InlineStyleSheet(css=css())
        self._divs = {
            name: Div(text="", stylesheets=[self._style], sizing_mode="stretch_width", name=name)
            for name in ("head", "note", "legend", "numbers", "matching")
        }
        self._divs["note"].visible = False
        self._seen = ColumnDataSource({"n": [0]})
        self._echo = ColumnDataSource({"n": [0]})
        self._seen.js_on_change("data", CustomJS(args={"sent": self._seen, "echo": self._echo}, code=SHOWN))
        self._echo.on_change("data", lambda _name, _old, _new: self._sent.clear())

    def _make_controls(self) -> None:
        from bokeh.models import Button, MultiChoice, NumericInput, Select, TextInput, Toggle

        about = self._feed.about
        wide = {"stylesheets": [self._style], "sizing_mode": "stretch_width"}

        def button(label: str, kind: str, command: Callable[[], Command]) -> Any:
            made = Button(
                label=label, button_type=kind, width=120, stylesheets=[self._style], disabled=True, align="end"
            )
            made.on_click(lambda: self._feed.tell(command()))
            return made

        self._start = button("Start", "success", Start)
        self._stop = button("Stop", "danger", Stop)
        self._clear = button("Clear", "default", Clear)
        self._save = button("Save", "primary", lambda: Save(self._path.value))
        self._path = TextInput(title="Save path", value=about.save_path, **wide)
        quantities, columns = list(about.of_column), [*about.images, *about.scalars]
        x = about.scalars[0] if about.scalars else TIME
        x = about.reference if about.reference in about.scalars else x
        ys = [f"{image} {part}" for image in about.images[:1] for part in ("x (row)", "y (column)")]
        ys = ys or [name for name in about.scalars if name != x][:2] or [x]
        self._x = Select(title="Plot against", options=quantities, value=x, **wide)
        self._ys = MultiChoice(title="Plotted", options=quantities, value=ys, max_items=len(MARKS), **wide)
        self._image = Select(title="Image", options=list(about.images), value=(about.images or ("",))[0], **wide)
        self._image.visible = len(about.images) > 1
        self._zoom = Toggle(label=ZOOM, active=False, width=190, stylesheets=[self._style])
        self._zoom.on_change("active", lambda _name, _old, new: self._zoom_to_region(new))
        self._shifted = Select(title="Camera shift: column", options=columns, value=columns[0], **wide)
        self._shift = NumericInput(title="rows, then Return", value=0, mode="int", width=130, stylesheets=[self._style])
        self._shift.on_change("value", lambda _name, _old, new: self._request_shift(new))
        self._estimate = button("Estimate", "default", lambda: Estimate(self._shifted.value, self._compared()))

    def _lay_out(self) -> None:
        from bokeh.events import ConnectionLost
        from bokeh.layouts import column, row
        from bokeh.models import CustomJS, GlobalInlineStyleSheet, InlineStyleSheet

        style = InlineStyleSheet(css=layout_css())
        wide = {"sizing_mode": "stretch_width", "spacing": 10, "stylesheets": [style]}
        tall = {"sizing_mode": "stretch_both", "spacing": 8, "stylesheets": [style]}
        shifting = row(self._shifted, self._shift, self._estimate, css_classes=["controls"], **wide)
        images = [self._picture.figure, row(self._image, self._zoom, css_classes=["controls"], **wide)]
        left = column(*(images if self._feed.about.images else []), shifting, self._divs["numbers"], **tall)
        right = column(self._scatter.figure, self._divs["legend"], self._x, self._ys, self._divs["matching"], **tall)
        top = row(self._divs["head"], self._start, self._stop, self._clear, css_classes=["top"], **wide)
        everything = column(
            top,
            row(self._path, self._save, css_classes=["controls"], **wide),
            self._divs["note"],
            row(left, right, **tall),
            styles={"padding": "10px", "box-sizing": "border-box", "min-height": "820px"},
            **{**tall, "stylesheets": [GlobalInlineStyleSheet(css=page_css()), style]},
        )
        document = self._document
        document.title = f"{', '.join(self._feed.about.channels)[:60]} · recorder"
        document.theme = plot_theme()
        for root in (everything, self._seen, self._echo):
            document.add_root(root)
        document.js_on_event(ConnectionLost, CustomJS(code=LOST_CONNECTION))

    # ---- ten times a second ----

    def _show_failure(self, text: str) -> None:
        self._divs["note"].text = f'<div class="errors">{escape(text)}</div>'
        self._divs["note"].visible = True

    def _tick(self) -> None:
        self._feed.poll()
        rows, now = self._feed.newest, time.monotonic()
        if rows is None:
            return
        self._enable(rows)
        if now - self._numbers_at > NUMBERS_INTERVAL_S:
            self._numbers_at = now
            self._update_numbers(rows)
        while self._sent and now - self._sent[0] > PAINT_TIMEOUT_S:
            self._sent.popleft()
        if len(self._sent) < MAX_UNPAINTED:  # else the browser has not painted the last updates yet
            self._draw(rows, now)

    def _draw(self, rows: RowsShown, now: float) -> None:
        choice = (self._x.value, tuple(self._ys.value), self._image.value, self._picture.is_zoomed)
        drawn = (rows.newest_ns, rows.n_rows, dict(rows.shifts), choice)
        if drawn == self._drawn:
            return
        self._drawn = drawn
        if self._image.value:
            self._picture.show(rows, self._image.value)
        self._set_text("legend", self._scatter.show(rows, self._x.value, self._ys.value))
        self._n_sent += 1
        self._sent.append(now)
        self._seen.data = {"n": [self._n_sent]}

    def _update_numbers(self, rows: RowsShown) -> None:
        about = self._feed.about
        self._set_text("head", head(about, rows))
        self._set_text("numbers", numbers(about, rows))
        self._set_text("matching", matching(rows))
        text = note(rows)
        if self._feed.is_silent:
            text += '<div class="errors">The program of the recorder does not respond.</div>'
        self._set_text("note", text)
        self._divs["note"].visible = bool(text)

    def _enable(self, rows: RowsShown) -> None:
        """Buttons are on only when they mean something."""
        is_idle, has_rows = not rows.busy and not self._feed.is_silent, rows.n_rows > 0
        states = (
            (self._start, is_idle and not rows.is_running),
            (self._stop, is_idle and rows.is_running),
            (self._clear, is_idle and (has_rows or any(rows.unmatched.values()))),
            (self._save, is_idle and has_rows and bool(self._path.value.strip())),
            (self._estimate, is_idle and has_rows and bool(self._compared())),
        )
        for button, is_on in states:
            if button.disabled == is_on:
                button.disabled = not is_on
        shown = (self._shifted.value, rows.shifts.get(self._shifted.value, 0))
        if shown != self._shifts_shown:  # by another browser, by the program, or of another column
            self._shifts_shown = shown
            if self._shift.value != shown[1]:
                self._shift.value = shown[1]

    def _set_text(self, name: str, text: str) -> None:
        if self._texts.get(name) != text:  # bokeh would compare the whole text
            self._texts[name] = self._divs[name].text = text

    # ---- event handlers ----

    def _zoom_to_region(self, is_on: bool) -> None:
        self._picture.is_zoomed = is_on
        self._zoom.label = "Whole image" if is_on else ZOOM

    def _request_shift(self, n: int | None) -> None:
        if n is not None and (self._shifted.value, n) != self._shifts_shown:
            self._feed.tell(Shift(self._shifted.value, n))

    def _compared(self) -> str:
        """The column that a shift is estimated against: the one plotted against, else another scalar."""
        about, shifted = self._feed.about, self._shifted.value
        candidates = [about.of_column[self._x.value], about.reference, *about.scalars, *about.images]
        columns = {*about.scalars, *about.images}
        return next((one for one in candidates if one in columns and one != shifted), "")
