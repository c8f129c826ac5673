"""Slowly changing values: the camera's temperature over time."""

import math
from typing import Any

import numpy as np

from openhsi_shared.viewer.feed import Feed
from openhsi_shared.viewer.theme import WARN

__all__ = ["Trends"]

N_SHOWN = 3600


class Trends:
    """Curves of one browser over the last hour."""

    def __init__(self, feed: Feed) -> None:
        from bokeh.models import ColumnDataSource, DatetimeTickFormatter, Range1d
        from bokeh.plotting import figure

        now_ms = 1000 * feed.started_s
        self._min_range_ms = 60_000.0
        self._source = ColumnDataSource({"time": [], "temperature": []})
        self._last = -1.0
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
        new = [point for point in list(feed.trend_points) if point.time_s > self._last]
        if not new:
            return
        self._last = new[-1].time_s
        self._source.stream(
            {"time": [point.time_s * 1000 for point in new], "temperature": [point.temperature for point in new]},
            rollover=N_SHOWN,
        )
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
