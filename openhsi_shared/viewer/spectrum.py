"""The spectrum of one pixel, and exposure and focus of the newest line."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.processing_levels import AXIS_LABELS, LEVELS
from openhsi_shared.viewer.feed import Feed
from openhsi_shared.viewer.theme import ACCENT, BAD, GREY

__all__ = ["Histogram", "Spectrum", "nice_top"]


def nice_top(value: float, now: float) -> float:
    """Upper end of an axis for `value`: 1, 2 or 5 times a power of ten; `now` is kept if it fits well.

    >>> nice_top(3100, 1), nice_top(2600, 5000), nice_top(900, 5000)
    (5000.0, 5000, 1000.0)
    """
    if not (math.isfinite(value) and value > 0) or 0.35 * now < value <= now:
        return now
    power = 10.0 ** math.floor(math.log10(value))
    return float(next(step * power for step in (1, 2, 5, 10) if value <= step * power))


class Spectrum:
    """The spectrum of a cross-track pixel, and the full scale of the sensor."""

    def __init__(self, feed: Feed) -> None:
        from bokeh.models import ColumnDataSource, Range1d, Span
        from bokeh.plotting import figure

        x = feed.wavelengths
        self._full_scale = feed.about.full_scale
        self._source = ColumnDataSource({"x": x.astype(np.float32), "y": np.zeros(x.size, np.float32)})
        self.figure: Any = figure(
            title="Spectrum",
            x_axis_label="wavelength / nm" if feed.has_wavelengths else "band",
            y_axis_label=AXIS_LABELS[LEVELS[feed.about.level].quantity],
            x_range=Range1d(float(x.min()), float(x.max()) + 1e-6),
            y_range=Range1d(0, 1),
            tools="box_zoom,reset,hover",
            tooltips=[("x", "@x{0.0}"), ("value", "@y{0.000}")],
            sizing_mode="stretch_both",
            min_height=120,
        )
        self.figure.yaxis.ticker.desired_num_ticks = 3  # it may be a hundred pixels high
        self.figure.yaxis.formatter.power_limit_high = 6  # 60000 rather than 6.000e+4
        self.figure.line("x", "y", source=self._source, line_color=ACCENT, line_width=2.5)
        if self._full_scale:
            self.figure.add_layout(
                Span(location=self._full_scale, dimension="width", line_color=BAD, line_width=3, line_dash="dashed")
            )

    def show(self, values: NDArray[Any], pixel: int, line: str) -> None:
        """Show a spectrum, one value per band."""
        y = np.nan_to_num(values.astype(np.float32))
        top = float(y.max(initial=0))
        self.figure.y_range.end = nice_top(top * 1.02, self.figure.y_range.end)
        self._source.patch({"y": [(slice(0, y.size), y)]})
        full = ""
        if self._full_scale:
            n_full = int(np.count_nonzero(values >= self._full_scale))
            full = f" · {n_full} bands SATURATED" if n_full else f" · peak {100 * top / self._full_scale:.0f} % of full"
        self.figure.title.text = f"Spectrum · pixel {pixel}\n{line}{full}"
        self.figure.title.text_color = BAD if "SATURATED" in full else "white"

    def show_message(self, text: str) -> None:
        """Show why there is no spectrum."""
        self.figure.title.text = f"Spectrum\n{text}"


class Histogram:
    """Histogram of the pixels of one line, with the share of saturated pixels and the focus value."""

    def __init__(self) -> None:
        from bokeh.models import ColumnDataSource, Range1d
        from bokeh.plotting import figure

        self._source = ColumnDataSource({"left": [], "right": [], "top": []})
        self._best = 0.0
        self.figure: Any = figure(
            title="Exposure and focus",
            x_axis_label="pixel values of the newest line",
            x_range=Range1d(0, 1),
            y_range=Range1d(0, 1),
            tools="",
            sizing_mode="stretch_both",
            min_height=110,
        )
        plot = self.figure
        plot.yaxis.visible = plot.grid.visible = False
        plot.quad(left="left", right="right", top="top", bottom=0, source=self._source, color=GREY, line_color=None)

    def update(self, feed: Feed) -> None:
        """Show exposure and focus of the newest line."""
        facts = feed.facts
        if facts is None:
            return
        top = np.sqrt(facts.counts)  # makes rare values visible
        self._source.data = {
            "left": facts.edges[:-1].astype(np.float32),
            "right": facts.edges[1:].astype(np.float32),
            "top": (top / max(top.max(), 1) * 0.95).astype(np.float32),
        }
        self.figure.x_range.start, self.figure.x_range.end = float(facts.edges[0]), float(facts.edges[-1])
        self._best = max(self._best, facts.focus)
        saturated = facts.share_saturated
        full = "" if math.isnan(saturated) else f"{100 * saturated:.2f} % saturated"
        self.figure.title.text = f"Exposure · {full}\nfocus {facts.focus:.2f} (best {self._best:.2f})"
        self.figure.title.text_color = BAD if saturated > 0.001 else "white"
