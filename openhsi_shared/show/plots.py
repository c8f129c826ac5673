"""Plots of lines, in a notebook or from a script."""

import io
import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.errors import ArgumentError, UnknownKeyword
from openhsi_shared.loggers import safe_logger
from openhsi_shared.packages import require
from openhsi_shared.rgb import SHOW_NM, Lines, Range, decimation, mean_of_bands, picture, preview_bands

__all__ = ["PLOT_LIBRARIES", "show_array", "show_lines"]

logger = safe_logger(__name__)

PLOT_LIBRARIES = ("bokeh", "matplotlib")
"""Plotting libraries (backends) of holoviews."""
FRAME_PIXELS = (900, 500)
"""Bokeh: maximum width and height of a plot."""
MIN_FRAME_PIXELS = 60
"""Bokeh: minimum width and height, for very long or narrow cubes, which are padded."""
TICK_PIXELS = 40
"""Bokeh: approximate minimum distance of ticks."""
PLOT_INCHES = (9.0, 5.0)
"""Matplotlib: size of the figure that holoviews makes."""
FIGURE_INCHES = (12.0, 3.0)
"""Size of the figure of `quick_imshow`."""
SIZES = {"width", "height", "frame_width", "frame_height", "aspect", "data_aspect", "responsive"}
"""Options of holoviews by which a user sets the size."""


def show_lines(
    lines: Lines,
    wavelengths_nm: ArrayLike | None = None,
    *,
    plot_lib: str = "bokeh",
    red_nm: Range = SHOW_NM[0],
    green_nm: Range = SHOW_NM[1],
    blue_nm: Range = SHOW_NM[2],
    robust: bool | float | None = None,
    hist_eq: bool = False,
    quick_imshow: bool = False,
    **plot_kwargs: Any,
) -> Any:
    """Draw lines (along-track, cross-track, wavelength) in real colours, or in grey without wavelengths.

    Cross-track points down and along-track to the right, in pixels and lines, with equal aspect. A colour is a
    wavelength in nm (the bands within 15 nm) or a range (first, last); `robust` and `hist_eq` are those of
    `rgb.stretch`. Returns a holoviews RGB (Image, if grey) to be drawn by `plot_lib`, `plot_kwargs` being options of
    holoviews; with `quick_imshow` a matplotlib Figure of 12 x 3 inches, `plot_kwargs` being those of `imshow`. Raises
    ArgumentError if there are no lines or an argument is invalid, UnknownKeyword for an unknown `plot_kwargs`,
    PackageMissing without holoviews, or matplotlib.
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
    """Draw a circular array: a frame (2-D) unchanged, a cube (3-D) summed over its last axis.

    Returns a holoviews Image in grey; for a 1-D array its text, which is also logged. ArgumentError for other arrays,
    PackageMissing without holoviews.
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
    # hv.Image expects the last row first, because its axis points up
    element = hv.Image(values[::-1], bounds=(-0.5, -0.5, n_columns - 0.5, n_rows - 0.5), kdims=labels, vdims="value")
    return element.opts(cmap="gray", invert_yaxis=True, xlabel=labels[0], ylabel=labels[1], backend=plot_lib)


def _check_library(plot_lib: str) -> None:
    if plot_lib not in PLOT_LIBRARIES:
        raise ArgumentError(f"plot_lib={plot_lib!r} must be one of {PLOT_LIBRARIES}")


def _holoviews(plot_lib: str) -> Any:
    """Import holoviews with `plot_lib` as its backend; in a notebook, resources are inline, to work offline."""
    require(f"show(plot_lib={plot_lib!r})", "holoviews", plot_lib)
    import holoviews as hv

    shell = _notebook()
    is_loaded = hv.extension._loaded  # noqa: SLF001 - holoviews has no public way
    if plot_lib not in hv.Store.renderers or (shell is not None and not is_loaded):
        hv.extension(plot_lib, logo=False, inline=True)
    hv.Store.set_current_backend(plot_lib)
    return hv


def _notebook() -> Any:
    """The IPython shell that runs this code, or None."""
    interactive = sys.modules.get("IPython")
    return interactive.get_ipython() if interactive is not None else None


def _element_of(image: NDArray[np.uint8], n_lines: int, n_cross: int, plot_lib: str, wanted: dict[str, Any]) -> Any:
    hv = _holoviews(plot_lib)
    bounds = (-0.5, -0.5, n_lines - 0.5, n_cross - 0.5)  # of all lines, even if the picture is decimated
    axes = ["along-track", "cross-track"]
    options: dict[str, Any] = {"invert_yaxis": True, "xlabel": axes[0], "ylabel": axes[1]}
    if image.ndim == 3:
        element = hv.RGB(image[::-1], bounds=bounds, kdims=axes)  # the last row first, because its axis points up
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
        raise UnknownKeyword(f"show(): unknown holoviews options of {plot_lib}: {error}") from error


def _frame_of(n_lines: int, n_cross: int) -> dict[str, int]:
    """Size of the plot in screen pixels: the largest that fits, with the aspect of the cube; few ticks if narrow."""
    scale = min(FRAME_PIXELS[0] / n_lines, FRAME_PIXELS[1] / n_cross)
    width, height = (max(MIN_FRAME_PIXELS, round(side * scale)) for side in (n_lines, n_cross))
    ticks = {name: n for name, side in (("xticks", width), ("yticks", height)) if (n := side // TICK_PIXELS) < 6}
    return {"frame_width": width, "frame_height": height} | {name: max(2, n) for name, n in ticks.items()}


def _figure_of(image: NDArray[np.uint8], n_lines: int, n_cross: int, plot_kwargs: dict[str, Any]) -> Any:
    require("show(quick_imshow=True)", "matplotlib")
    from matplotlib.figure import Figure  # not pyplot, which would need a display

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
        raise UnknownKeyword(f"show(quick_imshow=True): unknown keywords of imshow: {error}") from error
    shell = _notebook()
    if shell is not None:
        formatter = shell.display_formatter.formatters["image/png"]
        if Figure not in formatter:  # otherwise registered by pyplot
            formatter.for_type(Figure, _png_of)
    return figure


def _png_of(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
