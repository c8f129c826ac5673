"""What analyses publish, on the live page: numbers with their trend, a curve, a picture."""

import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from openhsi_shared.viewer.analysis_feed import ShownAnalysis
from openhsi_shared.viewer.feed import Feed
from openhsi_shared.viewer.published_values import COLOURS, curve, curves, numbers_as_html, picture, pictures
from openhsi_shared.viewer.theme import ACCENT, css

__all__ = ["AnalysisPanel"]

INTERVAL_S = 0.2
HEIGHT = 320
NOT_UPDATED = "what analyses publish is no longer updated"
SEPARATOR = " · "
"""Between the name of an analysis and the path of what it publishes."""


class AnalysisPanel:
    """The panel of one browser; hidden until there is an analysis."""

    def __init__(self, feed: Feed) -> None:
        from bokeh.layouts import column, row
        from bokeh.models import ColumnDataSource, Div, InlineStyleSheet, LinearColorMapper, Range1d, Select
        from bokeh.plotting import figure

        self._feed = feed
        self._seen: object = None
        self._updated_at = 0.0
        style = InlineStyleSheet(css=css())
        self._numbers = Div(text="", stylesheets=[style], sizing_mode="stretch_width")
        plain: dict[str, Any] = {"height": HEIGHT, "sizing_mode": "stretch_width", "tools": "box_zoom,reset,hover"}
        self._curve = ColumnDataSource({"x": [], "y": []})
        self._curve_figure: Any = figure(title="", tooltips=[("x", "@x{0.0}"), ("value", "@y")], **plain)
        self._curve_figure.line("x", "y", source=self._curve, line_color=ACCENT, line_width=2.5)
        self._picture = ColumnDataSource({"image": [], "across": [], "down": []})
        ranges = {"x_range": Range1d(0, 1), "y_range": Range1d(1, 0)}
        self._picture_figure: Any = figure(title="", **ranges, **{**plain, "tools": "box_zoom,reset"})
        palette = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in COLOURS.tolist()]
        mapper = LinearColorMapper(palette=palette, low=0, high=255)
        self._picture_figure.image("image", x=0, y=0, dw="across", dh="down", source=self._picture, color_mapper=mapper)
        self._curve_choice, self._picture_choice = (
            Select(title=title, options=[], stylesheets=[style], sizing_mode="stretch_width")
            for title in ("Curve", "Picture")
        )
        for choice in (self._curve_choice, self._picture_choice):
            choice.on_change("value", lambda _name, _old, _new: self._show())
        self._curves = column(self._curve_choice, self._curve_figure, sizing_mode="stretch_width", visible=False)
        self._pictures = column(self._picture_choice, self._picture_figure, sizing_mode="stretch_width", visible=False)
        plots = row(self._curves, self._pictures, sizing_mode="stretch_width", spacing=10)
        self.root: Any = column(self._numbers, plots, sizing_mode="stretch_width", visible=False)

    def update(self) -> None:
        """Show what was published since the last update, at most five times a second."""
        now, shown = time.monotonic(), self._feed.analyses.shown
        if now - self._updated_at < INTERVAL_S or shown is self._seen:
            return
        self._updated_at, self._seen = now, shown
        failure = self._feed.analyses.failure
        self.root.visible = bool(shown or failure)
        texts = [numbers_as_html(one.status, one.snapshot, one.trends) for one in shown.values()]
        if failure:
            texts.insert(0, f'<div class="analysis">{escape(f"{NOT_UPDATED} ({failure}): open another page")}</div>')
        self._numbers.text = "".join(texts)
        snapshots = {name: one.snapshot for name, one in shown.items()}
        _offer(self._curve_choice, curves(snapshots))
        _offer(self._picture_choice, pictures(snapshots))
        self._show()

    def _show(self) -> None:
        shown = self._feed.analyses.shown
        self._show_curve(shown)
        self._show_picture(shown)

    def _show_curve(self, shown: Mapping[str, ShownAnalysis]) -> None:
        name, _, path = (self._curve_choice.value or "").partition(SEPARATOR)
        self._curves.visible = name in shown and path in shown[name].snapshot.datasets()
        if not self._curves.visible:
            return
        now = curve(shown[name].snapshot, path, self._feed.about.wavelengths_nm)
        self._curve.data = {"x": now.x.astype(np.float32), "y": now.y.astype(np.float32)}
        self._curve_figure.xaxis.axis_label = now.label
        self._curve_figure.title.text = path

    def _show_picture(self, shown: Mapping[str, ShownAnalysis]) -> None:
        name, _, path = (self._picture_choice.value or "").partition(SEPARATOR)
        datasets = shown[name].snapshot.datasets() if name in shown else {}
        self._pictures.visible = path in datasets
        if not self._pictures.visible:
            return
        now = picture(datasets[path])
        down, across = now.size
        self._picture.data = {"image": [now.pixels], "across": [across], "down": [down]}
        self._picture_figure.x_range.end, self._picture_figure.y_range.start = across, down
        self._picture_figure.title.text = f"{path} · colours from {now.low:.4g} to {now.high:.4g}"


def _offer(choice: Any, found: Sequence[tuple[str, str]]) -> None:
    """Let the user choose; until then it is the first, and what is chosen stays while it is there."""
    options = [SEPARATOR.join(one) for one in found]
    if list(choice.options) != options:
        choice.options = options
    first = options[0] if options else ""
    if choice.value not in options or choice.value in choice.tags:
        choice.tags = [first]
        choice.value = first
