"""Parts of a recorder's page: the newest region, the scatter of quantities, and boxes with numbers."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.viewer.recorder_messages import About, RowsShown
from openhsi_shared.viewer.ring_page import sent_type
from openhsi_shared.viewer.theme import ACCENT, BAD, GOOD, GREY, INK, WARN

__all__ = ["MARKS", "Picture", "Scatter", "correlation", "head", "matching", "note", "numbers"]

MARKS = tuple(
    zip(
        (ACCENT, WARN, GOOD, "#ff7ad9", "#c78bff", INK),
        ("circle", "square", "triangle", "diamond", "inverted_triangle", "star"),
        "●■▲◆▼★",
        strict=True,
    )
)
"""Colour, symbol, and the symbol as text, of the columns of a scatter."""
MIN_HZ = 120.0
"""The bars extend to this rate at least."""
MARGIN = 1.05
"""A measured rate may be this much more than the true one."""
MIN_PAIRS = 3


class Picture:
    """The newest region of an image, in pixels of the whole image."""

    def __init__(self) -> None:
        from bokeh.models import ColorBar, ColumnDataSource, HoverTool, LinearColorMapper, Range1d
        from bokeh.plotting import figure

        self._source = ColumnDataSource(_picture_data(np.zeros((1, 1)), (0, 0), (1, 1)), name="region")
        self._centre = ColumnDataSource({"x": [], "y": []}, name="centre")
        self._colours = LinearColorMapper(palette="Viridis256", low=0, high=1)
        self.is_zoomed = False
        """Whether the axes show the region only, instead of the whole image."""
        self.figure: Any = figure(
            title="newest region: none yet",
            x_range=Range1d(0, 1),
            y_range=Range1d(1, 0),
            x_axis_label="column",
            y_axis_label="row",
            tools="",
            sizing_mode="stretch_both",
            min_height=220,
        )
        self.figure.xaxis.ticker.desired_num_ticks = 5
        image = self.figure.image("image", x="x", y="y", dw="dw", dh="dh", source=self._source)
        image.glyph.color_mapper = self._colours
        self.figure.scatter("x", "y", source=self._centre, marker="cross", size=16, color=BAD, line_width=2)
        self.figure.add_tools(
            HoverTool(renderers=[image], tooltips=[("row, column", "$y{0}, $x{0}"), ("value", "@image")])
        )
        self.figure.add_layout(
            ColorBar(color_mapper=self._colours, background_fill_color=None, major_label_text_color=INK, width=12),
            "right",
        )

    def show(self, rows: RowsShown, image: str) -> None:
        """Show the region of the newest row."""
        region = rows.regions.get(image)
        if region is None or not region.pixels.size:
            self._source.data = _picture_data(np.zeros((1, 1)), (0, 0), (0, 0))
            self._centre.data = {"x": [], "y": []}
            self.figure.title.text = f"{image}: {'no row yet' if region is None else 'nothing is lit'}"
            if region is not None:
                self._fit((0, 0), region.whole)
            return
        low, high = float(np.nanmin(region.pixels)), float(np.nanmax(region.pixels))
        self._colours.update(low=low, high=high if high > low else low + 1)
        self._source.data = _picture_data(region.pixels, region.start, region.size)
        is_lit = all(map(math.isfinite, region.centre))
        self._centre.data = {"x": [region.centre[1] + 0.5], "y": [region.centre[0] + 0.5]} if is_lit else _NOWHERE
        (row, column), (height, width) = region.start, region.size
        self.figure.title.text = (
            f"{image}, {region.whole[0]} x {region.whole[1]}\n"
            f"rows {row} to {row + height - 1}, columns {column} to {column + width - 1}"
        )
        if self.is_zoomed:
            self._fit(region.start, region.size)
        else:
            self._fit((0, 0), region.whole)

    def _fit(self, start: tuple[int, int], size: tuple[int, int]) -> None:
        self.figure.x_range.update(start=start[1], end=start[1] + size[1])
        self.figure.y_range.update(start=start[0] + size[0], end=start[0])


_NOWHERE: dict[str, list[float]] = {"x": [], "y": []}


def _picture_data(pixels: NDArray[Any], start: tuple[int, int], size: tuple[int, int]) -> dict[str, list[Any]]:
    pixels = pixels.astype(sent_type(pixels.dtype), copy=False)
    return {"image": [pixels], "x": [start[1]], "y": [start[0]], "dw": [size[1]], "dh": [size[0]]}


class Scatter:
    """Quantities of the rows against one of them; each has a colour and a symbol."""

    def __init__(self) -> None:
        from bokeh.models import ColumnDataSource
        from bokeh.plotting import figure

        self.figure: Any = figure(
            title="",
            tools="pan,wheel_zoom,box_zoom,reset",
            sizing_mode="stretch_both",
            min_height=220,
            output_backend="canvas",
        )
        self._sources = [ColumnDataSource({"x": [], "y": []}, name=f"scatter {n}") for n in range(len(MARKS))]
        for source, (colour, symbol, _) in zip(self._sources, MARKS, strict=True):
            self.figure.scatter("x", "y", source=source, color=colour, marker=symbol, size=7, alpha=0.7)
        self._shown: tuple[Any, ...] = ()

    def show(self, rows: RowsShown, x: str, ys: Sequence[str]) -> str:
        """Show the quantities `ys` against `x`; returns their legend, with r and n."""
        parts = []
        horizontal = rows.quantities[x]
        for source, name, (colour, _, text) in zip(self._sources, [*ys, *[""] * len(MARKS)], MARKS, strict=False):
            if not name:
                if len(source.data["x"]):
                    source.data = dict(_NOWHERE)
                continue
            vertical = rows.quantities[name]
            source.data = {"x": horizontal, "y": vertical}
            r, n = correlation(horizontal, vertical)
            shown = f"{r:.4f}" if math.isfinite(r) else "–"
            parts.append(
                f'<span class="mark" style="color:{colour}">{text}</span> {escape(name)} '
                f'<span class="where">r = {shown}, n = {n}</span>'
            )
        newest = f"newest {len(horizontal)} of {rows.n_rows} rows" if len(horizontal) < rows.n_rows else ""
        self.figure.xaxis.axis_label = x
        self.figure.title.text = f"against {x}" + (f" ({newest})" if newest else "")
        return f'<div class="legend">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, int]:
    """Pearson's r, and the number of pairs without NaN; r is NaN for less than three, and for a constant.

    >>> correlation(np.array([1.0, 2, 3, np.nan]), np.array([2.0, 4, 6, 8]))
    (1.0, 3)
    """
    are_finite = np.isfinite(x) & np.isfinite(y)
    one, two = x[are_finite], y[are_finite]
    n = int(are_finite.sum())
    if n < MIN_PAIRS or np.ptp(one) == 0 or np.ptp(two) == 0:
        return math.nan, n
    one, two = one - one.mean(), two - two.mean()
    length = math.sqrt(float(one @ one) * float(two @ two))
    return (max(-1.0, min(1.0, float(one @ two) / length)) if length > 0 else math.nan), n


# ---- boxes ---------------------------------------------------------------------------


def head(about: About, rows: RowsShown) -> str:
    """First row: whether it runs, and by which channel."""
    text, colour = ("RECORDING", GOOD) if rows.is_running else ("STOPPED", GREY)
    if rows.failure:
        text, colour = "FAILED", BAD
    return (
        f'<div class="head"><span class="badge" style="background:{colour}">{text}</span>'
        f'<span class="where">a row for each update of {escape(about.reference)}</span></div>'
    )


def numbers(about: About, rows: RowsShown) -> str:
    """Fill, and the rate of each channel, as bars."""
    is_full = rows.is_full
    share = min(1.0, rows.n_rows / about.maxlen)
    most = max(rows.rates.values())
    top = MIN_HZ if most <= MARGIN * MIN_HZ else math.ceil(most / 50) * 50
    bars = [
        _bar(escape(name), min(1.0, rate / top), f"{rate:.1f} Hz", INK if name == "Total" else ACCENT)
        for name, rate in rows.rates.items()
    ]
    fill = _bar("rows", share, f"{rows.n_rows:,} of {about.maxlen:,}", GOOD if is_full else WARN, "fill")
    state = f'<span class="full">{"Full" if is_full else "Not full"}</span>'
    scale = f'<div class="scale"><span></span><span>0</span><span>{top:.0f} Hz</span></div>'
    return f'<div class="bars">{fill}<div class="filled">{state}</div>{"".join(bars)}{scale}</div>'


def _bar(name: str, share: float, text: str, colour: str, kind: str = "") -> str:
    return (
        f'<div class="bar {kind}"><span class="label">{name}</span>'
        f'<span class="track"><i style="width:{100 * share:.1f}%;background:{colour}"></i></span><b>{text}</b></div>'
    )


def matching(rows: RowsShown) -> str:
    """What is in no row, the state of each channel, and why no rows come."""
    cells = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(rows.states.get(name, ''))}</td><td>{n:,}</td>"
        f"<td>{rows.refused.get(name, 0):,}</td></tr>"
        for name, n in rows.unmatched.items()
    )
    why = f'<div class="why">{escape(rows.why)}</div>' if rows.why else ""
    return (
        '<table class="matching"><tr><th>channel</th><th>state</th><th>unmatched</th><th>refused</th></tr>'
        f"{cells}</table>{why}"
    )


def note(rows: RowsShown) -> str:
    """What the last command has done, and errors."""
    parts = [f'<div class="errors">{escape(rows.failure)}</div>'] if rows.failure else []
    if rows.note.text:
        kind = "errors" if rows.note.is_error else "done"
        parts.append(f'<div class="{kind}">{escape(rows.note.text)}</div>')
    return "".join(parts)
