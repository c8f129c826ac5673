"""The document of one browser: plots, updated ten times a second at most and as fast as it paints, and buttons."""

import time
from collections import deque
from html import escape
from typing import Any

from openhsi_shared.buffers.tap import LineName
from openhsi_shared.viewer.analysis_panel import AnalysisPanel
from openhsi_shared.viewer.feed import Feed
from openhsi_shared.viewer.mark_field import MarkField
from openhsi_shared.viewer.spectrum import Histogram, Spectrum
from openhsi_shared.viewer.theme import css, layout_css, page_css, plot_theme
from openhsi_shared.viewer.tiles import Numbers, head, losses, tiles
from openhsi_shared.viewer.trends import Trends
from openhsi_shared.viewer.updating import update_periodically
from openhsi_shared.viewer.waterfall import N_ROWS, Waterfall, line_label

__all__ = ["LOST_CONNECTION", "SHOWN", "Page"]

TICK_MS = 100
NUMBERS_INTERVAL_S = 0.25
SLOW_INTERVAL_S = 0.5
PAINT_TIMEOUT_S = 2.0
"""A browser that has not painted an update within this time is sent the next one: it may have been suspended."""
ABOVE_ANALYSES = {"min-height": "540px"}
CONFIRM_S = 4.0
"""A second click within this time stops the recording."""

LOST_CONNECTION = """
if (document.getElementById("gone")) return
const gone = document.createElement("div")
gone.id = "gone"
gone.style.cssText = "position:fixed;top:0;left:0;right:0;z-index:99;padding:10px;text-align:center;background:#ffc233"
gone.style.font = "700 20px system-ui"
gone.textContent = "Connection lost or program ended: this page is no longer updated."
document.body.append(gone)
"""
SHOWN = "requestAnimationFrame(() => requestAnimationFrame(() => {echo.data = {n: [Number(sent.data.n[0])]}}))"
"""Reports when an update is on the screen; a hidden tab does not report, and receives no updates."""


class Page:
    """Fills a document and keeps it up to date, in the server's thread."""

    def __init__(self, feed: Feed, document: Any, url: str) -> None:
        self._feed, self._document, self._url = feed, document, url
        self._frozen_at: int | None = None
        self._selected: LineName | None = None
        self._pixel = feed.layout.line_shape[0] // 2
        self._stop_clicked_at = -CONFIRM_S
        self._numbers_at = self._slow_at = 0.0
        self._texts: dict[str, str] = {}
        self._sent: deque[tuple[int, float, int]] = deque()
        """Updates sent and not yet painted: (number, time of sending, exposure time of its newest line)."""
        self._n_sent, self._age_s, self._exposed_ns = 0, float("nan"), 0
        self._painted: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=30)
        self._make_parts()
        self._lay_out()
        update_periodically(document, self._tick, TICK_MS, self._show_failure)
        self._tick()

    # ---- creation ----

    def _make_parts(self) -> None:
        from bokeh.events import Tap
        from bokeh.models import Button, ColumnDataSource, CustomJS, Div, InlineStyleSheet, Slider

        feed = self._feed
        self._waterfall, self._spectrum = Waterfall(feed), Spectrum(feed)
        self._histogram, self._trends = Histogram(), Trends(feed)
        self._analyses = AnalysisPanel(feed)
        style = InlineStyleSheet(css=css())
        self._head, self._tiles, self._losses = (
            Div(text="", stylesheets=[style], sizing_mode="stretch_width") for _ in range(3)
        )
        self._losses.visible = False
        self._freeze = Button(label="Freeze", button_type="primary", stylesheets=[style], width=130)
        self._stop = Button(label="Stop", button_type="danger", stylesheets=[style], width=210)
        self._stop.visible = feed.about.can_stop
        self._mark_field = MarkField(feed, style)
        n_cross = feed.layout.line_shape[0]
        self._pixel_slider = Slider(
            start=0,
            end=max(1, n_cross - 1),
            value=self._pixel,
            step=1,
            title="Cross-track pixel of the spectrum",
            stylesheets=[style],
            sizing_mode="stretch_width",
        )
        self._back = Slider(
            start=-1,
            end=0,
            value=0,
            step=1,
            title="Scroll back (lines)",
            stylesheets=[style],
            sizing_mode="stretch_width",
            visible=False,
        )
        self._freeze.on_click(self._freeze_or_resume)
        self._stop.on_click(self._request_stop)
        self._pixel_slider.on_change("value", lambda _name, _old, new: self._select(int(new)))
        self._waterfall.figure.on_event(Tap, self._handle_tap)
        self._seen = ColumnDataSource({"n": [0]})
        echo = ColumnDataSource({"n": [0]})
        self._seen.js_on_change("data", CustomJS(args={"sent": self._seen, "echo": echo}, code=SHOWN))
        echo.on_change("data", lambda _name, _old, new: self._note_painted(int(new["n"][0])))
        self._echo = echo

    def _lay_out(self) -> None:
        from bokeh.events import ConnectionLost
        from bokeh.layouts import column, row
        from bokeh.models import CustomJS, Div, GlobalInlineStyleSheet, InlineStyleSheet

        help_div = Div(text=_help(self._url), stylesheets=self._head.stylesheets, sizing_mode="stretch_width")
        style = InlineStyleSheet(css=layout_css())
        below = row(
            *(self._pixel_slider, self._mark_field.field, self._mark_field.button),
            sizing_mode="stretch_width",
            spacing=10,
            stylesheets=[style],
            css_classes=["controls"],
        )
        left = column(self._waterfall.figure, self._back, below, sizing_mode="stretch_both", stylesheets=[style])
        right = column(
            *(self._spectrum.figure, self._histogram.figure),
            *(self._trends.figure, self._trends.legend, self._trends.choice),
            sizing_mode="stretch_both",
            spacing=8,
            stylesheets=[style],
        )
        main = row(left, right, sizing_mode="stretch_both", spacing=10, stylesheets=[style])
        # else the plots would become too small beside it, rather than the page longer
        self._analyses.root.on_change("visible", lambda _name, _old, _new: main.update(styles=ABOVE_ANALYSES))
        everything = column(
            row(
                self._head,
                self._freeze,
                self._stop,
                sizing_mode="stretch_width",
                spacing=10,
                stylesheets=[style],
                css_classes=["top"],
            ),
            self._tiles,
            self._losses,
            main,
            self._analyses.root,
            help_div,
            sizing_mode="stretch_both",
            spacing=8,
            styles={"padding": "10px", "box-sizing": "border-box", "min-height": "720px"},
            stylesheets=[GlobalInlineStyleSheet(css=page_css()), style],
        )
        document = self._document
        document.title = f"{self._feed.about.camera} · live"
        document.theme = plot_theme()
        document.add_root(everything)
        document.add_root(self._seen)
        document.add_root(self._echo)
        document.js_on_event(ConnectionLost, CustomJS(code=LOST_CONNECTION))

    # ---- ten times a second ----

    def _tick(self) -> None:
        now = time.monotonic()
        feed = self._feed
        if self._sent and now - self._sent[0][1] > PAINT_TIMEOUT_S:
            self._sent.clear()
        if self._frozen_at is not None:
            newest = self._waterfall.scroll(self._frozen_at + int(self._back.value))
            self._show_spectrum(self._selected or newest)
        elif len(self._sent) < 2:  # else the browser has not painted the last updates yet
            self._paint(now)
        if len(self._sent) < 2:
            self._analyses.update()
        if now - self._numbers_at > NUMBERS_INTERVAL_S:
            self._numbers_at = now
            self._update_numbers(now)
        if now - self._slow_at > SLOW_INTERVAL_S:
            self._slow_at = now
            self._histogram.update(feed)
            self._trends.update(feed)

    def _show_failure(self, _: str) -> None:
        self._head.text = head("failed", self._feed.about, self._feed.glance)

    def _paint(self, now: float) -> None:
        exposed_ns = self._feed.newest_monotonic_ns
        n_new, newest = self._waterfall.follow()
        if not n_new:
            return
        self._show_spectrum(newest)
        self._n_sent += 1
        self._sent.append((self._n_sent, now, exposed_ns))
        self._seen.data = {"n": [self._n_sent]}
        self._painted.append((now, self._painted[-1][1] + n_new))

    def _note_painted(self, number: int) -> None:
        """The browser has painted the update with this number, and all before it."""
        while self._sent and self._sent[0][0] <= number:
            _, _, self._exposed_ns = self._sent.popleft()
        self._age_s = (time.monotonic_ns() - self._exposed_ns) / 1e9 if self._exposed_ns else float("nan")

    def _show_spectrum(self, name: LineName | None) -> None:
        if name is None:
            self._spectrum.show_message("no line yet")
            return
        values = self._feed.spectrum(name, self._pixel)
        if values is not None:
            self._spectrum.show(values, self._pixel, line_label(name))
        elif self._frozen_at is not None:
            self._spectrum.show_message(f"{line_label(name)} is no longer in memory")

    def _update_numbers(self, now: float) -> None:
        feed, glance = self._feed, self._feed.glance
        age_s = self._age_s
        if self._sent or feed.newest_monotonic_ns == self._exposed_ns:  # nothing newer is on the screen
            age_s = (time.monotonic_ns() - self._exposed_ns) / 1e9 if self._exposed_ns else float("nan")
            age_s = self._age_s if age_s < 1 else age_s
        (since, n_before), (_, n_now) = self._painted[0], self._painted[-1]
        is_live = self._frozen_at is None and not feed.is_over
        shown_per_s = (n_now - n_before) / max(now - since, 0.2) if is_live else 0.0
        numbers = Numbers(shown_per_s, age_s, self._frozen_at is not None, feed.is_over)
        self._set_text("head", self._head, head(feed.state, feed.about, glance))
        self._set_text("tiles", self._tiles, tiles(glance, feed.slots, feed.layout.n_lines, numbers))
        lost = losses(glance)
        self._set_text("losses", self._losses, lost)
        self._losses.visible = bool(lost)
        self._label_stop(now)
        self._mark_field.update()

    def _set_text(self, name: str, div: Any, text: str) -> None:
        if self._texts.get(name) != text:  # bokeh would compare the whole text
            self._texts[name] = div.text = text

    # ---- event handlers ----

    def _freeze_or_resume(self) -> None:
        history = self._feed.history
        if self._frozen_at is not None:
            self._frozen_at = self._selected = None
            self._freeze.label, self._back.visible = "Freeze", False
            return
        self._frozen_at = history.n_seen
        self._back.start, self._back.value = -max(1, min(history.n_seen, history.n) - N_ROWS), 0
        self._freeze.label, self._back.visible = "Resume", True

    def _handle_tap(self, event: Any) -> None:
        if event.x is None or not 0 <= event.x < self._feed.layout.line_shape[0]:
            return
        self._pixel_slider.value = int(event.x)
        self._select(int(event.x), event.y)

    def _select(self, pixel: int, row: float | None = None) -> None:
        self._pixel = pixel
        self._selected = self._waterfall.select(pixel, row) or self._selected

    def _request_stop(self) -> None:
        now = time.monotonic()
        if now - self._stop_clicked_at < CONFIRM_S:
            self._stop_clicked_at = -CONFIRM_S
            self._feed.stop()
        else:
            self._stop_clicked_at = now
        self._label_stop(now)

    def _label_stop(self, now: float) -> None:
        is_running = self._feed.state in ("running", "silent")
        self._stop.disabled = not is_running
        is_clicked = now - self._stop_clicked_at < CONFIRM_S
        self._stop.label = ("Click again to stop" if is_clicked else "Stop") if is_running else "Stopped"


def _help(url: str) -> str:
    """Collapsible help text."""
    address, _, path = url.removeprefix("http://").partition("/")
    port = address.rpartition(":")[2]
    return (
        "<details><summary>Help: how to read this page, and access from another computer</summary>"
        "New lines appear at the bar; a dashed line is the border of two cubes. Click the waterfall for the spectrum "
        "of a pixel; freeze it to scroll back. Higher <i>focus</i> is sharper. The page may skip lines that the files "
        "contain, so as not to slow down the recording. <b>From another computer:</b> run "
        f"<code>ssh -L {escape(port)}:127.0.0.1:{escape(port)} USER@THIS-MACHINE</code> there, and open "
        f"<code>http://127.0.0.1:{escape(port)}/{escape(path)}</code></details>"
    )
