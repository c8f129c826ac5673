"""The waterfall: the last lines in colour, in a fixed image over which a bar marks the newest line."""

from typing import Any

import numpy as np

from openhsi_shared.buffers.tap import LineName
from openhsi_shared.viewer.feed import Feed
from openhsi_shared.viewer.history import Strip
from openhsi_shared.viewer.theme import ACCENT, GOOD, INK

__all__ = ["N_ROWS", "Waterfall"]

N_ROWS = 512
"""Lines on the screen."""
MIN_LABEL_DISTANCE = 24
"""Rows between the labels of two cubes, so that they do not overlap."""
EMPTY = 0xFF0A0705
"""Pixel without a line, ABGR."""


class Waterfall:
    """The waterfall of one browser. Line `i` of the history is in row `i % N_ROWS`, so only new lines are sent."""

    def __init__(self, feed: Feed) -> None:
        from bokeh.models import ColumnDataSource, LabelSet, Range1d, Span
        from bokeh.plotting import figure

        self._history = feed.history
        width, n_cross = self._history.width, feed.layout.line_shape[0]
        self._step = self._history.step
        self._n_shown, self._version, self._window = 0, -1, -1
        self._names: list[LineName | None] = [None] * N_ROWS
        self._image = ColumnDataSource({"image": [np.full((N_ROWS, width), EMPTY, np.uint32)]})
        self._marks = ColumnDataSource({"row": [], "end": [], "text": []})
        self._shown_marks: list[int] = []
        self.figure: Any = figure(
            title="Waterfall",
            x_range=Range1d(0, n_cross),
            y_range=Range1d(N_ROWS, 0),
            x_axis_label="cross-track pixel (click for its spectrum)",
            tools="tap,wheel_zoom,box_zoom,reset",
            active_scroll=None,
            sizing_mode="stretch_both",
            min_height=300,
        )
        plot = self.figure
        plot.yaxis.visible = plot.grid.visible = False
        plot.image_rgba("image", x=0, y=0, dw=width * self._step, dh=N_ROWS, source=self._image)
        plot.segment(0, "row", "end", "row", source=self._marks, line_color=INK, line_dash="dashed", line_width=2)
        plot.add_layout(
            LabelSet(
                x=0,
                y="row",
                text="text",
                source=self._marks,
                x_offset=4,
                y_offset=-20,
                text_color=INK,
                text_font_size="14px",
                background_fill_color="#000000",
                background_fill_alpha=0.6,
            )
        )
        self._cursor = Span(location=0, dimension="width", line_color=GOOD, line_width=4)
        self._pixel = Span(
            location=n_cross // 2, dimension="height", line_color=ACCENT, line_width=2, line_dash="dotted"
        )
        self._row = Span(location=0, dimension="width", line_color=ACCENT, line_width=2, visible=False)
        for span in (self._cursor, self._pixel, self._row):
            plot.add_layout(span)
        self._colours = "red 640-670, green 530-590, blue 450-510 nm" if feed.has_wavelengths else "mean of all bands"
        self._set_live_title()

    def _set_live_title(self) -> None:
        self.figure.title.text = f"Waterfall · newest line at the green bar\n{self._colours}"

    # ---- live ----

    def follow(self) -> tuple[int, LineName | None]:
        """Show new lines; returns their number and the last line shown."""
        if self._window >= 0:  # it was frozen: repaint everything
            self._window, self._version = -1, -1
            self._cursor.visible, self._row.visible = True, False
            self._set_live_title()
        before = self._n_shown
        strip = self._history.since(before, N_ROWS)
        if self._history.version != self._version or strip.version != self._version:
            strip = self._history.since(0, N_ROWS)
            self._repaint(strip)
        elif strip.names:
            self._patch(strip)
        self._version, self._n_shown = strip.version, strip.end
        if strip.names:
            self._cursor.location = strip.end % N_ROWS
            self._show_marks()
        return strip.end - before, self._names[(strip.end - 1) % N_ROWS]

    def _rows(self, strip: Strip) -> list[int]:
        return (np.arange(strip.end - len(strip.names), strip.end) % N_ROWS).tolist()

    def _patch(self, strip: Strip) -> None:
        rows = self._rows(strip)
        for row, name in zip(rows, strip.names, strict=True):
            self._names[row] = name
        until_bottom = min(len(rows), N_ROWS - rows[0])
        width = slice(0, strip.pixels.shape[1])
        patches = [((0, slice(rows[0], rows[0] + until_bottom), width), strip.pixels[:until_bottom])]
        if until_bottom < len(rows):
            patches.append(((0, slice(0, len(rows) - until_bottom), width), strip.pixels[until_bottom:]))
        self._image.patch({"image": patches})

    def _repaint(self, strip: Strip, rows: list[int] | None = None) -> None:
        rows = self._rows(strip) if rows is None else rows
        image = np.full((N_ROWS, self._history.width), EMPTY, np.uint32)
        image[rows] = strip.pixels
        self._names = [None] * N_ROWS
        for row, name in zip(rows, strip.names, strict=True):
            self._names[row] = name
        self._image.data = {"image": [image]}

    # ---- frozen ----

    def scroll(self, end: int) -> LineName | None:
        """Show the last of the first `end` lines, oldest at the top, without updates; return the newest of them."""
        strip = self._history.before(end, N_ROWS)
        if self._window < 0 or end != self._window:
            self._window = end
            self._cursor.visible = False
            self._repaint(strip, list(range(len(strip.names))))
            self._show_marks()
            first, last = (strip.names[0], strip.names[-1]) if strip.names else (None, None)
            self.figure.title.text = f"Frozen · {line_label(first)} (top)\nto {line_label(last)} (bottom)"
        return strip.names[-1] if strip.names else None

    def select(self, pixel: int, row: float | None = None) -> LineName | None:
        """Mark a cross-track pixel, and a row if frozen; return the line in that row."""
        self._pixel.location = pixel + 0.5
        if row is None or self._window < 0 or not 0 <= row < N_ROWS:
            return None
        name = self._names[int(row)]
        self._row.visible = name is not None
        self._row.location = int(row) + 0.5
        return name

    # ---- borders of cubes ----

    def _show_marks(self) -> None:
        """Draw a dashed line where a cube begins."""
        found = [
            row
            for row, name in enumerate(self._names)
            if name is not None
            and (before := self._names[row - 1] if row or self._window < 0 else None) is not None
            and name.cube == before.cube + 1
        ]
        shown = [(row, self._names[row]) for row in found]
        if (key := [row * 1_000_003 + name.cube for row, name in shown if name]) == self._shown_marks:
            return
        self._shown_marks = key
        n_cross = float(self.figure.x_range.end)
        texts, last = [], -MIN_LABEL_DISTANCE
        for row, name in shown:
            has_space = row - last >= MIN_LABEL_DISTANCE
            last = row if has_space else last
            texts.append(f" cube {name.cube} " if has_space and name else "")
        self._marks.data = {"row": found, "end": [n_cross] * len(found), "text": texts}


def line_label(name: LineName | None) -> str:
    """Label of a line; the first line of a cube is 1.

    >>> line_label(LineName(3, 0))
    'cube 3 line 1'
    """
    return "no line" if name is None else f"cube {name.cube} line {name.line + 1}"
