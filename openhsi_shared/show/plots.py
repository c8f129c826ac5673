"""Plots of lines to look at, in a notebook or from a script."""

import io
import logging
import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.errors import ArgumentError, UnknownKeyword
from openhsi_shared.rgb import SHOW_NM, Lines, Range, decimation, mean_of_bands, picture, preview_bands

__all__ = ["PLOT_LIBRARIES", "show_array", "show_lines"]

logger = logging.getLogger(__name__)

PLOT_LIBRARIES = ("bokeh", "matplotlib")
"""What holoviews may draw with."""
FRAME_PIXELS = (900, 500)
"""Bokeh: width and height into which a plot is fitted."""
LEAST_FRAME_PIXELS = 60
"""Bokeh: what a very long or very narrow cube gets at least; there is empty room beside it then."""
TICK_PIXELS = 40
"""Bokeh: numbers at an axis are no closer than this, about."""
PLOT_INCHES = (9.0, 5.0)
"""Matplotlib: size of the figure that holoviews makes."""
FIGURE_INCHES = (12.0, 3.0)
"""Size of the figure of `quick_imshow`."""
SIZES = {"width", "height", "frame_width", "frame_height", "aspect", "data_aspect", "responsive"}
"""Options of holoviews with which a user takes the size in hand."""


def show_lines(
    lines: Lines,
    wavelengths_nm: ArrayLike | None = None,
    *,
    plot_lib: str = "bokeh",
    red_nm: Range = SHOW_NM[0],
    green_nm: Range = SHOW_NM[1],
    blue_nm: Range = SHOW_NM[2],
    robust: bool | float = False,
    hist_eq: bool = False,
    quick_imshow: bool = False,
    **plot_kwargs: Any,
) -> Any:
    """Draw lines (along-track, cross-track, wavelength) in real colours, or grey where no wavelengths tell the colours.

    Cross-track goes down and along-track to the right, counted in pixels and lines, at true aspect. A colour is a
    wavelength in nm (its bands within 15 nm) or a range (first, last); `robust` and `hist_eq` are those of
    `rgb.stretch`. Returns a holoviews RGB (Image, if grey) that `plot_lib` will draw, `plot_kwargs` being options of
    holoviews; with `quick_imshow` a matplotlib Figure of 12 x 3 inches, `plot_kwargs` being those of `imshow`. Raises
    ArgumentError if there are no lines or an argument cannot be, UnknownKeyword for a `plot_kwargs` that nobody knows.
    """
    _check_library(plot_lib)
    if 0 in lines.shape:
        raise ArgumentError(
            f"nothing collected yet: lines of shape {tuple(lines.shape)} cannot be shown; collect first"
        )
    n_lines, n_cross, n_bands = lines.shape
    bands = preview_bands(wavelengths_nm, n_bands, (red_nm, green_nm, blue_nm))
    means = mean_of_bands(lines, bands, step=decimation(n_lines))
    image = picture(means, robust=robust, hist_eq=hist_eq)
    if quick_imshow:
        return _figure_of(image, n_lines, n_cross, plot_kwargs)
    return _element_of(image, n_lines, n_cross, plot_lib, plot_kwargs)


def show_array(array: NDArray[Any], plot_lib: str = "bokeh") -> Any:
    """Draw what is in a circular array: a frame (2-D) as it is, a cube (3-D) summed over its last axis.

    Returns a holoviews Image in grey; of a 1-D array its text, which is logged, too. ArgumentError for other arrays.
    """
    _check_library(plot_lib)
    array = np.asarray(array)
    if array.ndim == 1:
        text = f"#({len(array)}) {np.array2string(array, threshold=20)}"
        logger.info("%s", text)
        return text
    if array.ndim not in (2, 3) or array.size == 0:
        raise ArgumentError(
            f"an array of shape {array.shape} cannot be shown, expected one to three axes, and not empty"
        )
    summed = array.ndim == 3
    values = array.sum(axis=-1, dtype=np.float64) if summed else array
    hv = _holoviews(plot_lib)
    labels = ["along-track" if summed else "wavelength index", "cross-track"]
    n_rows, n_columns = values.shape
    # hv.Image wants the last row first, because its axis goes up
    element = hv.Image(values[::-1], bounds=(-0.5, -0.5, n_columns - 0.5, n_rows - 0.5), kdims=labels, vdims="value")
    return element.opts(cmap="gray", invert_yaxis=True, xlabel=labels[0], ylabel=labels[1], backend=plot_lib)


def _check_library(plot_lib: str) -> None:
    if plot_lib not in PLOT_LIBRARIES:
        raise ArgumentError(f"plot_lib={plot_lib!r} must be one of {PLOT_LIBRARIES}")


def _holoviews(plot_lib: str) -> Any:
    """Import holoviews and make `plot_lib` what it draws with; in a notebook all comes inline, for want of internet."""
    import holoviews as hv

    shell = _notebook()
    is_loaded = hv.extension._loaded  # noqa: SLF001 - holoviews has no public way
    if plot_lib not in hv.Store.renderers or (shell is not None and not is_loaded):
        hv.extension(plot_lib, logo=False, inline=True)
    hv.Store.set_current_backend(plot_lib)
    return hv


def _notebook() -> Any:
    """The shell of IPython that we run in, or None."""
    interactive = sys.modules.get("IPython")
    return interactive.get_ipython() if interactive is not None else None


def _element_of(image: NDArray[np.uint8], n_lines: int, n_cross: int, plot_lib: str, wanted: dict[str, Any]) -> Any:
    hv = _holoviews(plot_lib)
    bounds = (-0.5, -0.5, n_lines - 0.5, n_cross - 0.5)  # of all lines, also if the picture is decimated
    axes = ["along-track", "cross-track"]
    options: dict[str, Any] = {"invert_yaxis": True, "xlabel": axes[0], "ylabel": axes[1]}
    if image.ndim == 3:
        element = hv.RGB(image[::-1], bounds=bounds, kdims=axes)  # the last row first, because its axis goes up
    else:
        element = hv.Image(image[::-1], bounds=bounds, kdims=axes, vdims=hv.Dimension("brightness", range=(0, 255)))
        options |= {"cmap": "gray"}
    if not SIZES & set(wanted):
        frame = _frame_of(n_lines, n_cross) if plot_lib == "bokeh" else {"fig_inches": PLOT_INCHES}
        options |= {"data_aspect": 1} | frame
    try:
        return element.opts(**options | wanted, backend=plot_lib)
    except ValueError as error:
        if "Unexpected option" not in str(error):
            raise
        raise UnknownKeyword(f"show() hands other keywords to holoviews as options of {plot_lib}: {error}") from error


def _frame_of(n_lines: int, n_cross: int) -> dict[str, int]:
    """Size of the frame in pixels of the screen: as large as fits, at the cube's own aspect; few ticks if narrow."""
    scale = min(FRAME_PIXELS[0] / n_lines, FRAME_PIXELS[1] / n_cross)
    width, height = (max(LEAST_FRAME_PIXELS, round(side * scale)) for side in (n_lines, n_cross))
    ticks = {name: n for name, side in (("xticks", width), ("yticks", height)) if (n := side // TICK_PIXELS) < 6}
    return {"frame_width": width, "frame_height": height} | {name: max(2, n) for name, n in ticks.items()}


def _figure_of(image: NDArray[np.uint8], n_lines: int, n_cross: int, plot_kwargs: dict[str, Any]) -> Any:
    from matplotlib.figure import Figure  # not pyplot: it would look for a screen

    figure = Figure(figsize=FIGURE_INCHES, layout="constrained")
    axes = figure.add_subplot(xlabel="along-track", ylabel="cross-track")
    options: dict[str, Any] = {
        "extent": (-0.5, n_lines - 0.5, n_cross - 0.5, -0.5),
        "cmap": "gray",
        "vmin": 0,
        "vmax": 255,
    }
    try:
        axes.imshow(image, **options | plot_kwargs)
    except (AttributeError, TypeError) as error:
        raise UnknownKeyword(f"show(quick_imshow=True) hands other keywords to matplotlib's imshow: {error}") from error
    shell = _notebook()
    if shell is not None:
        formatter = shell.display_formatter.formatters["image/png"]
        if Figure not in formatter:  # pyplot would have told the notebook how to show a figure
            formatter.for_type(Figure, _png_of)
    return figure


def _png_of(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
