"""Slowly changing values: the camera's temperature over time."""

import math
import time
from typing import Any

import numpy as np

from openhsi_shared.buffers.times import Clock
from openhsi_shared.viewer.feed import Feed
from openhsi_shared.viewer.theme import WARN

__all__ = ["Trends"]

N_SHOWN = 3600


class Trends:
    """Curves of one browser over the last hour."""

    def __init__(self) -> None:
        from bokeh.models import ColumnDataSource, DatetimeTickFormatter, Range1d
        from bokeh.plotting import figure

        self._clock = Clock()
        now_ms = self._clock.wall_ns(time.monotonic_ns()) / 1e6
        self._min_range_ms = 60_000.0
        self._source = ColumnDataSource({"time": [], "temperature": []})
        self._last_ns = -1
        self.figure: Any = figure(
            title="Camera temperature",
            x_axis_type="datetime",
            x_range=Range1d(now_ms, now_ms + self._min_range_ms),
            y_range=Range1d(0, 1),
            y_axis_label="°C",
            tools="",
            sizing_mode="stretch_both",
            min_height=110,
        )
        clock = DatetimeTickFormatter(
            milliseconds="%H:%M:%S", seconds="%H:%M:%S", minsec="%H:%M:%S", minutes="%H:%M", hourmin="%H:%M"
        )
        self.figure.xaxis.formatter = clock
        self.figure.xaxis.ticker.desired_num_ticks = 4
        self.figure.line("time", "temperature", source=self._source, line_color=WARN, line_width=3)
        self.figure.scatter("time", "temperature", source=self._source, color=WARN, size=3)

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
        self._source.stream({"time": times, "temperature": [point.temperature for point in new]}, rollover=N_SHOWN)
        self._fit()
        celsius = new[-1].temperature
        now = "not reported by the camera" if math.isnan(celsius) else f"{celsius:.1f} °C now"
        self.figure.title.text = f"Camera temperature · {now}\ntime in UTC"

    def _fit(self) -> None:
        """Fit the axes to the data, in steps of whole degrees to avoid flicker."""
        times = self._source.data["time"]
        celsius = np.asarray(self._source.data["temperature"], float)
        self.figure.x_range.start = times[0]
        self.figure.x_range.end = max(times[-1], times[0] + self._min_range_ms)
        if np.isfinite(celsius).any():
            self.figure.y_range.start = math.floor(float(np.nanmin(celsius)) - 0.5)
            self.figure.y_range.end = math.ceil(float(np.nanmax(celsius)) + 0.5)
