"""An interactive page of one cube, which needs neither a kernel nor the internet.

The page contains a sample of the cube: every k-th line and pixel, and means of neighbouring bands. Mouse events are
handled in the browser (`cube_viewer.js`), so it works in a remote notebook, in a static one, and as a file.
"""

import html
import json
import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.errors import ArgumentError
from openhsi_shared.packages import require
from openhsi_shared.paths import given_path
from openhsi_shared.rgb import SHOW_NM, Lines, Range, mean_of_bands, picture, preview_bands

__all__ = ["CubeViewer", "Sample", "cube_viewer", "sample_of"]

MAX_BANDS = 128
MAX_PICTURE_SIDE = 1200
"""Pixels along-track or cross-track of the colour picture."""
PICTURE_PIXELS = (620, 420)
"""Maximum size of the picture on the screen."""
MIN_PIXELS = 80
TICK_PIXELS = 40
"""Approximate minimum distance of tick labels."""
WIDE = 480
"""The spectrum is below a picture wider than this, else beside it."""
SPECTRUM_PIXELS = (460, 300)
PINS = ("#e41a1c", "#377eb8", "#4daf4a", "#ff7f00")
"""Colours of the pinned spectra, used in turn."""


class Sample(NamedTuple):
    """The part of a cube that the page contains."""

    values: NDArray[Any]
    """(along-track, cross-track, wavelength), uint16 or float32"""
    wavelengths: NDArray[np.float64]
    """In nm, or band indices"""
    step: int
    """Sampling interval of lines and pixels"""
    n_bands_each: float
    """Approximate number of bands that are averaged"""


def sample_of(lines: Lines, wavelengths_nm: ArrayLike | None, megabytes: float) -> Sample:
    """Sample lines (along-track, cross-track, wavelength) to approximately `megabytes` at most.

    Pixels are selected, bands are averaged. Reads only the selected lines, one at a time.
    """
    n_lines, n_cross, n_bands = lines.shape
    n_bins = min(n_bands, MAX_BANDS)
    edges = np.linspace(0, n_bands, n_bins + 1).astype(np.intp)
    dtype = np.dtype(np.uint16 if lines.dtype.kind == "u" and lines.dtype.itemsize <= 2 else np.float32)
    budget = max(1.0, megabytes * 1e6 / dtype.itemsize / n_bins)
    step = max(1, math.ceil(math.sqrt(n_lines * n_cross / budget)))
    counts = np.diff(edges)
    selected = range(0, n_lines, step)
    values = np.empty((len(selected), len(range(0, n_cross, step)), n_bins), dtype)
    for row, index in enumerate(selected):
        line = np.asarray(lines[index : index + 1])[0, ::step].astype(np.float32)
        means = np.add.reduceat(line, edges[:-1], axis=1) / counts
        values[row] = np.rint(means) if dtype.kind == "u" else means
    bands = np.arange(n_bands, dtype=np.float64) if wavelengths_nm is None else np.asarray(wavelengths_nm, np.float64)
    return Sample(values, np.add.reduceat(bands, edges[:-1]) / counts, step, n_bands / n_bins)


def cube_viewer(
    cube: Any,
    wavelengths_nm: ArrayLike | None = None,
    *,
    megabytes: float = 8.0,
    red_nm: Range = SHOW_NM[0],
    green_nm: Range = SHOW_NM[1],
    blue_nm: Range = SHOW_NM[2],
    robust: bool | float | None = None,
    hist_eq: bool = False,
) -> "CubeViewer":
    """Explore a cube: hover over a pixel for its spectrum, click to pin it, select a wavelength by the slider.

    `cube` is an opened cube, a camera or a SharedDataCube (its lines so far), the path of a file, or an array
    (along-track, cross-track, wavelength) with its `wavelengths_nm`. The page contains a sample of at most about
    `megabytes`, described below the spectrum. Colours and stretch are those of `show`. Reads the cube, which takes as
    long as its preview. ArgumentError if it is not a cube, or has no lines, PackageMissing without bokeh.
    """
    require("cube_viewer()", "bokeh")
    if isinstance(cube, str | Path):
        from openhsi_shared.files.reading import open_cube

        with open_cube(cube) as opened:
            opened.check_not_empty()
            return cube_viewer(
                opened,
                megabytes=megabytes,
                red_nm=red_nm,
                green_nm=green_nm,
                blue_nm=blue_nm,
                robust=robust,
                hist_eq=hist_eq,
            )
    lines, found_nm = _lines_of(cube)
    wavelengths = found_nm if wavelengths_nm is None else wavelengths_nm
    if not megabytes > 0:
        raise ArgumentError(f"megabytes={megabytes!r} must be > 0")
    bands = preview_bands(wavelengths, lines.shape[2], (red_nm, green_nm, blue_nm))
    image = picture(mean_of_bands(lines, bands, step=_shown(lines.shape[0])), robust=robust, hist_eq=hist_eq)
    image = image[:: _shown(lines.shape[1])]
    return CubeViewer(
        image, (lines.shape[0], lines.shape[1]), sample_of(lines, wavelengths, megabytes), wavelengths is not None
    )


def _shown(n: int) -> int:
    return -(-n // MAX_PICTURE_SIDE)


def _lines_of(cube: Any) -> tuple[Any, ArrayLike | None]:
    lines = getattr(cube, "lines", cube)
    wavelengths = getattr(cube, "wavelengths_nm", None)
    if not hasattr(lines, "shape") or len(lines.shape) != 3:
        raise ArgumentError(
            f"{type(cube).__name__} is not a cube: expected an opened cube, a camera, a path, "
            "or an array (along-track, cross-track, wavelength)"
        )
    if 0 in lines.shape:
        raise ArgumentError(
            f"nothing collected yet: lines of shape {tuple(lines.shape)} cannot be shown; collect first"
        )
    return lines, wavelengths


class CubeViewer:
    """The page that `cube_viewer` returns: displayed in a notebook, or saved to a file."""

    def __init__(self, image: NDArray[np.uint8], shape: tuple[int, int], sample: Sample, has_wavelengths: bool) -> None:
        """`image` is (cross-track, along-track, colour), `shape` (along-track, cross-track) of the cube."""
        self.sample = sample
        """The spectra that the page contains."""
        self._image, self._shape, self._has_wavelengths = image, shape, has_wavelengths
        self._html = ""

    @property
    def html(self) -> str:
        """The complete page, including scripts."""
        if not self._html:
            self._html = _page_of(self._layout())
        return self._html

    def save(self, path: str | Path) -> Path:
        """Write the page to a file for any browser; an existing file is replaced. Returns the path."""
        path = given_path(path)
        path.write_text(self.html, encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        width, height = self._size()
        page = html.escape(self.html, quote=True)
        return f'<iframe srcdoc="{page}" width="{width}" height="{height}" style="border:none"></iframe>'

    # ---- the page ----

    def _size(self) -> tuple[int, int]:
        width, height = self._picture_pixels()
        if width > WIDE:
            return max(width, SPECTRUM_PIXELS[0]) + 130, height + SPECTRUM_PIXELS[1] + 190
        return width + SPECTRUM_PIXELS[0] + 160, max(height, SPECTRUM_PIXELS[1]) + 170

    def _picture_pixels(self) -> tuple[int, int]:
        n_lines, n_cross = self._shape
        scale = min(PICTURE_PIXELS[0] / n_lines, PICTURE_PIXELS[1] / n_cross)
        return max(MIN_PIXELS, round(n_lines * scale)), max(MIN_PIXELS, round(n_cross * scale))

    def _layout(self) -> Any:
        from bokeh.layouts import column, row
        from bokeh.models import CustomJS, RadioButtonGroup, Slider, Span

        sources = self._sources()
        image = self._picture(sources)
        spectrum = self._spectrum(sources)
        mark = Span(
            location=float(self.sample.wavelengths[0]),
            dimension="height",
            line_color="gray",
            visible=False,
            name="mark",
        )
        spectrum.add_layout(mark)
        mode = RadioButtonGroup(labels=["colours", "one wavelength"], active=0)
        slider = Slider(start=0, end=max(1, len(self.sample.wavelengths) - 1), value=0, step=1, show_value=False)
        arguments = sources | {
            "mark": mark,
            "mode": mode,
            "slider": slider,
            "colours": image.select_one({"name": "colours"}),
            "band": image.select_one({"name": "band"}),
            "step": self.sample.step,
            "unit": "nm" if self._has_wavelengths else "",
            "word": "wavelength" if self._has_wavelengths else "band",
        }
        slider.title = "wavelength" if self._has_wavelengths else "band"
        code = (files("openhsi_shared.viewer") / "cube_viewer.js").read_text(encoding="utf-8")

        def on(what: str) -> Any:
            return CustomJS(args=arguments, code=f'const what = "{what}"\n{code}')

        for event, what in (("mousemove", "hover"), ("mouseleave", "leave"), ("tap", "pin"), ("doubletap", "pin")):
            image.js_on_event(event, on(what))
        spectrum.js_on_event("tap", on("choose"))
        slider.js_on_change("value", on("slide"))
        mode.js_on_change("active", on("mode"))
        beside = row if self._picture_pixels()[0] <= WIDE else column
        return column(row(mode, slider), beside(image, column(spectrum, self._caption())))

    def _sources(self) -> dict[str, Any]:
        from bokeh.models import ColumnDataSource

        values, wavelengths = self.sample.values, self.sample.wavelengths
        low, high = _tails(values)
        empty, middle = np.zeros(0), values[len(values) // 2, values.shape[1] // 2]
        return {
            "samples": ColumnDataSource({"values": values.reshape(-1)}),
            "bands": ColumnDataSource({"wavelengths": wavelengths, "low": low, "high": np.maximum(high, low + 1e-6)}),
            "here": ColumnDataSource({"x": wavelengths, "y": middle.astype(np.float64)}, name="here"),
            "pins": ColumnDataSource(
                {
                    "xs": [empty] * len(PINS),
                    "ys": [empty] * len(PINS),
                    "line": [np.nan] * len(PINS),
                    "pixel": [np.nan] * len(PINS),
                    "colour": list(PINS),
                },
                name="pins",
            ),
            "plane": ColumnDataSource({"image": [np.zeros(values.shape[1::-1], np.float32)]}, name="plane"),
        }

    def _picture(self, sources: dict[str, Any]) -> Any:
        from bokeh.models import LinearColorMapper, Range1d
        from bokeh.plotting import figure

        (n_lines, n_cross), (width, height) = self._shape, self._picture_pixels()
        plot = figure(
            frame_width=width,
            frame_height=height,
            x_range=Range1d(-0.5, n_lines - 0.5),
            y_range=Range1d(n_cross - 0.5, -0.5),
            x_axis_label="along-track",
            y_axis_label="cross-track",
            tools="pan,box_zoom,wheel_zoom,reset",
            toolbar_location="above",
            min_border_right=20,
            name="picture",
        )
        plot.xaxis.ticker.desired_num_ticks = max(2, min(6, width // TICK_PIXELS))
        pixels = np.full((*self._image.shape[:2], 4), 255, np.uint8)
        pixels[..., :3] = self._image if self._image.ndim == 3 else self._image[..., None]
        rgba = pixels.view(np.uint32)[..., 0]
        plot.image_rgba([rgba], -0.5, -0.5, n_lines, n_cross, name="colours")
        step, (n_rows, n_columns) = self.sample.step, self.sample.values.shape[1::-1]
        grey = LinearColorMapper("Greys256", low=0, high=1, nan_color="black")
        grey.palette = list(reversed(grey.palette)) if grey.palette[0] > grey.palette[-1] else grey.palette
        plot.image(
            "image", -0.5, -0.5, n_columns * step, n_rows * step,
            source=sources["plane"], color_mapper=grey, name="band", visible=False,
        )  # fmt: skip
        plot.scatter(
            "line", "pixel", source=sources["pins"], marker="cross", size=14, line_width=3, line_color="colour"
        )
        return plot

    def _spectrum(self, sources: dict[str, Any]) -> Any:
        from bokeh.models import Range1d
        from bokeh.plotting import figure

        first, last = float(self.sample.wavelengths.min()), float(self.sample.wavelengths.max())
        plot = figure(
            x_range=Range1d(first, max(last, first + 1)),
            frame_width=SPECTRUM_PIXELS[0] - 80,
            frame_height=SPECTRUM_PIXELS[1] - 70,
            x_axis_label="wavelength / nm" if self._has_wavelengths else "band",
            tools="pan,wheel_zoom,reset",
            toolbar_location="above",
        )
        plot.multi_line("xs", "ys", source=sources["pins"], line_color="colour", line_width=2)
        plot.line("x", "y", source=sources["here"], color="black")
        return plot

    def _caption(self) -> Any:
        from bokeh.models import Div

        return Div(text=describe(self.sample), width=SPECTRUM_PIXELS[0])


def _page_of(layout: Any) -> str:
    """Format the page. Not by `file_html`, which would include bokeh extensions of other packages."""
    from bokeh.embed import json_item
    from bokeh.resources import Resources

    scripts = "\n".join(Resources(mode="inline", components=["bokeh", "bokeh-widgets"]).js_raw)
    item = json.dumps(json_item(layout)).replace("</", "<\\/")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>cube</title></head>\n'
        f'<body><div id="cube"></div><script>{scripts}</script>\n'
        f'<script>Bokeh.embed.embed_item({item}, "cube")</script></body></html>\n'
    )


def _tails(values: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Black and white level of each band: the 2nd and 98th percentile of its finite values."""
    finite = np.isfinite(values)
    pixels = np.where(finite, values, np.nan).reshape(-1, values.shape[2])
    pixels[:, ~finite.any(axis=(0, 1))] = 0  # a band without finite values
    low, high = np.nanpercentile(pixels, [2, 98], axis=0).astype(np.float32)
    return low, high


def describe(sample: Sample) -> str:
    """Describe the sample, and how to use the page."""
    parts: Sequence[str] = [
        f"1 of {sample.step} lines and pixels" if sample.step > 1 else "",
        f"means of about {sample.n_bands_each:.1f} bands" if sample.n_bands_each > 1 else "",
    ]
    sampling = ", ".join(part for part in parts if part) or "every line, pixel and band"
    return (
        f"Spectra: {sampling}. Hover for a spectrum, click to pin it; click into the spectrum to select a wavelength."
    )
