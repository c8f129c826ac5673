"""Slowly changing values over time: those of channels, or, without any, the camera's temperature."""

import math
import time
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.times import Clock
from openhsi_shared.viewer.channel_values import label_of, values_of
from openhsi_shared.viewer.feed import Feed, TrendPoint
from openhsi_shared.viewer.theme import ACCENT, GOOD, WARN, css

__all__ = ["Trends"]

N_SHOWN = 3600
COLOURS = (WARN, ACCENT, GOOD, "#ff7ad9")
"""Of the curves that are shown."""
TEMPERATURE = "camera temperature"


class Trends:
    """Curves of one browser over the last hour.

    Channels have units of their own, so each curve has a scale of its own, which the legend tells.
    """

    def __init__(self, feed: Feed) -> None:
        from bokeh.models import ColumnDataSource, DatetimeTickFormatter, Div, InlineStyleSheet, MultiChoice, Range1d
        from bokeh.plotting import figure

        self._clock = Clock()
        now_ms = self._clock.wall_ns(time.monotonic_ns()) / 1e6
        self._min_range_ms = 60_000.0
        fields = list(values_of(feed.glance.status.channels))
        self._names = [*fields, TEMPERATURE]
        self._has_channels = bool(fields)
        self._source = ColumnDataSource({"time": [], **{name: [] for name in self._names}}, name="trends")
        self._last_ns = -1
        self._feed = feed
        self.figure: Any = figure(
            title="",
            x_axis_type="datetime",
            x_range=Range1d(now_ms, now_ms + self._min_range_ms),
            y_range=Range1d(0, 1),
            tools="",
            sizing_mode="stretch_both",
            min_height=110,
        )
        clock = DatetimeTickFormatter(
            milliseconds="%H:%M:%S", seconds="%H:%M:%S", minsec="%H:%M:%S", minutes="%H:%M", hourmin="%H:%M"
        )
        self.figure.xaxis.formatter = clock
        self.figure.xaxis.ticker.desired_num_ticks = 4
        self.figure.extra_y_ranges = {str(n): Range1d(0, 1) for n in range(1, len(COLOURS))}
        self._ranges = [self.figure.y_range, *self.figure.extra_y_ranges.values()]
        self._curves = [self._curve(n, colour) for n, colour in enumerate(COLOURS)]
        style = InlineStyleSheet(css=css())
        self.legend = Div(text="", stylesheets=[style], sizing_mode="stretch_width", visible=self._has_channels)
        self.choice: Any = MultiChoice(
            options=self._names,
            value=fields[:3] or [TEMPERATURE],
            max_items=len(COLOURS),
            title="Curves",
            stylesheets=[style],
            sizing_mode="stretch_width",
            visible=self._has_channels,
        )
        self.choice.on_change("value", lambda _name, _old, _new: self._choose())
        self._choose()

    def _curve(self, n: int, colour: str) -> list[Any]:
        scale = {"y_range_name": str(n)} if n else {}
        line = self.figure.line("time", TEMPERATURE, source=self._source, line_color=colour, line_width=3, **scale)
        return [line, self.figure.scatter("time", TEMPERATURE, source=self._source, color=colour, size=3, **scale)]

    def update(self, feed: Feed) -> None:
        """Append the new points."""
        new = [point for point in list(feed.trend_points) if point.monotonic_ns > self._last_ns]
        if not new:
            return
        self._last_ns = new[-1].monotonic_ns
        if step := self._clock.follow():
            moved = [time_ms + step.total_ns / 1e6 for time_ms in self._source.data["time"]]
            self._source.data = {**self._source.data, "time": moved}
        times = [self._clock.wall_ns(point.monotonic_ns) / 1e6 for point in new]
        values = {name: [_value(point, name) for point in new] for name in self._names}
        self._source.stream({"time": times, **values}, rollover=N_SHOWN)
        self._fit()

    # ---- what is shown ----

    def _choose(self) -> None:
        """Draw the chosen curves. One has an axis with its values; several have scales of their own."""
        for curve, name in zip(self._curves, [*self.choice.value, *[""] * len(COLOURS)], strict=False):
            for renderer in curve:
                renderer.visible = bool(name)
                renderer.glyph.y = name or TEMPERATURE
        is_single = len(self.choice.value) == 1
        self.figure.yaxis.visible = is_single
        self.figure.yaxis.axis_label = "°C" if self.choice.value == [TEMPERATURE] else None
        self._fit()

    def _fit(self) -> None:
        """Fit the axes to the data, and tell the newest values and the scales."""
        times = self._source.data["time"]
        if len(times):
            self.figure.x_range.start = times[0]
            self.figure.x_range.end = max(times[-1], times[0] + self._min_range_ms)
        parts = []
        for range_, name, colour in zip(self._ranges, self.choice.value, COLOURS, strict=False):
            low, high = _limits(np.asarray(self._source.data[name], float), in_degrees=name == TEMPERATURE)
            range_.update(start=low, end=high)
            scale = f'<span class="where">{low:.7g} to {high:.7g}</span>' if math.isfinite(low) else ""
            parts.append(
                f'<div><span class="mark" style="color:{colour}">●</span> {escape(self._label(name))} {scale}</div>'
            )
        self.legend.text = f'<div class="legend">{"".join(parts)}</div>'
        title = "Channels" if self._has_channels else self._label(TEMPERATURE)
        self.figure.title.text = f"{title}\ntime in UTC"

    def _label(self, name: str) -> str:
        if name != TEMPERATURE:
            return label_of(name, self._feed.glance.status.channels) or name
        values = self._source.data[TEMPERATURE]
        celsius = values[-1] if len(values) else math.nan
        now = "not reported by the camera" if math.isnan(celsius) else f"{celsius:.1f} °C now"
        return f"Camera temperature · {now}"


def _value(point: TrendPoint, name: str) -> float:
    return point.temperature if name == TEMPERATURE else point.channels.get(name, math.nan)


def _limits(values: NDArray[np.float64], *, in_degrees: bool) -> tuple[float, float]:
    """Limits of an axis: in steps of whole degrees to avoid flicker, else a tenth more than the values."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if in_degrees:
        return math.floor(low - 0.5), math.ceil(high + 0.5)
    margin = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin
