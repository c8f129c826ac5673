"""Figures of a report, as SVG whose colours are variables of the page: it is read on a screen and on paper."""

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.files.references import Reference
from openhsi_shared.flight.report.cubes import CubeNotes, Image, encoded
from openhsi_shared.flight.report.curves import EARTH_M, Panel, panels_of, thinned_out
from openhsi_shared.flight.report.gathering import Gathered
from openhsi_shared.flight.report.recordings import Run, camera_of
from openhsi_shared.line_times import ns_of_iso

__all__ = ["over_time", "picture_of", "spectrum_of", "track_map"]

COLOURS = {
    "ink": "#010101",
    "grey": "#020202",
    "rule": "#030303",
    "accent": "#040404",
    "second": "#050505",
    "third": "#060606",
    "bad": "#070707",
    "warn": "#080808",
    "good": "#090909",
}
"""Stand-ins for the variables of the page."""
SERIES = ("accent", "second", "third", "good")
WIDTH = 9.6
"""Inches, of 100 pixels of the page."""
PANEL_HEIGHT, STRIP_HEIGHT = 0.82, 0.3
WIDE = 1e6
"""Numbers from this size on have no room beside an axis."""
MAX_PICTURE = 420
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "svg.hashsalt": "report",
    "font.size": 8.5,
    "axes.edgecolor": COLOURS["rule"],
    "axes.labelcolor": COLOURS["grey"],
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": COLOURS["rule"],
    "ytick.color": COLOURS["rule"],
    "xtick.labelcolor": COLOURS["grey"],
    "ytick.labelcolor": COLOURS["grey"],
    "text.color": COLOURS["ink"],
    "grid.color": COLOURS["rule"],
    "grid.linewidth": 0.6,
    "hatch.color": COLOURS["grey"],
    "hatch.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "timezone": "UTC",
}


@contextmanager
def _drawing() -> Iterator[Any]:
    import matplotlib as mpl
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    with mpl.rc_context(STYLE):
        yield Figure


def _svg(figure: Any, label: str) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(
        r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{label}">', text, count=1
    )
    text = re.sub(r"font: [\d.]*px[^;\"]*", lambda found: _font(found[0]), text)
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    return text


def _font(text: str) -> str:
    return f"font-size: {text.split()[1]}"


def _dates(times_ns: NDArray[np.int64] | Sequence[int]) -> NDArray[Any]:
    return np.asarray(times_ns, np.int64).view("datetime64[ns]").astype("datetime64[us]")


# ---- over time -------------------------------------------------------------------------------


def over_time(gathered: Gathered) -> str:
    """All cubes, and all quantities below each other, over the same time; "" if no time is known."""
    runs = [run for run in gathered.runs if run.known_ns.size]
    if not runs:
        return ""
    cameras = list(dict.fromkeys(camera_of(run.cubes[0].attributes) for run in runs))
    panels = panels_of(runs)
    heights = [STRIP_HEIGHT * len(cameras) + 0.05, *[PANEL_HEIGHT] * len(panels)]
    with _drawing() as figure_class:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        figure = figure_class(figsize=(WIDTH, sum(heights) + 0.13 * len(heights) + 0.5))
        grid = figure.add_gridspec(
            len(heights),
            1,
            height_ratios=heights,
            hspace=0.28,
            left=0.085,
            right=0.985,
            top=0.975,
            bottom=0.38 / figure.get_figheight(),
        )
        axes = [figure.add_subplot(grid[0])]
        axes += [figure.add_subplot(grid[number], sharex=axes[0]) for number in range(1, len(heights))]
        _draw_cubes(axes[0], runs, cameras, gathered)
        for axis, panel in zip(axes[1:], panels, strict=True):
            _draw_panel(axis, panel)
        for axis in axes:
            _draw_moments(axis, gathered, axis is axes[0])
            axis.tick_params(labelbottom=axis is axes[-1], length=3)
        locator = AutoDateLocator(minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
        axes[-1].xaxis.set_major_locator(locator)
        axes[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        known = np.concatenate([run.known_ns for run in runs])
        begin, end = int(known.min()), int(known.max())
        margin = max((end - begin) // 60, 10**6)
        axes[0].set_xlim(*_dates([begin - margin, end + margin]))
        return _svg(figure, "cubes and channels over time")


def _draw_cubes(axis: Any, runs: Sequence[Run], cameras: list[str], gathered: Gathered) -> None:
    for run in runs:
        row = cameras.index(camera_of(run.cubes[0].attributes))
        for number, cube in enumerate(run.cubes):
            if cube.known_ns.size:
                first, last = _dates([int(cube.known_ns.min()), int(cube.known_ns.max())])
                colour = COLOURS["accent"] if not cube.problems else COLOURS["bad"]
                axis.fill_between(
                    [first, last], row - 0.36, row + 0.36, color=colour, alpha=(0.85, 0.55)[number % 2], lw=0
                )
    lost = [gap for gap in gathered.facts.gaps if gap.n_lost]
    for gap in lost:
        cubes = [cube for run in runs for cube in run.cubes if cube.path.as_posix().endswith(f"/{gap.path}")]
        for cube in cubes[:1]:
            at = _time_of(cube, gap.last_frame_id)
            row = cameras.index(camera_of(cube.attributes))
            axis.plot(_dates([at, at]), [row - 0.45, row + 0.45], color=COLOURS["bad"], lw=1.6)
    axis.set_ylim(len(cameras) - 0.45, -0.55)
    axis.set_yticks(range(len(cameras)), [name if len(cameras) > 1 else "cubes" for name in cameras])
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.tick_params(axis="both", length=0)


def _time_of(cube: CubeNotes, last_missing_id: int) -> int:
    if cube.frame_ids is None:
        return int(cube.known_ns.min())
    index = min(int(np.searchsorted(cube.frame_ids, last_missing_id)), len(cube.times_ns) - 1)
    return int(cube.times_ns[index])


def _draw_panel(axis: Any, panel: Panel) -> None:
    base = _base_of(panel)
    for number, curve in enumerate(panel.curves):
        times, values = thinned_out(curve)
        values = values - base
        colour = COLOURS[SERIES[number % len(SERIES)]] if curve.label else COLOURS["accent"]
        axis.plot(_dates(times), values, color=colour, label=curve.label, solid_joinstyle="round")
    for first, last in panel.unknown_ns:
        axis.axvspan(*_dates([first, last]), color=COLOURS["bad"], alpha=0.18, lw=0)
    if any(curve.label for curve in panel.curves):
        axis.legend(loc="lower right", bbox_to_anchor=(1, 0.93), fontsize=7.5, frameon=False, ncols=4, handlelength=1)
    shift = f" {'-' if base > 0 else '+'} {abs(base):,}" if base else ""
    axis.set_title(
        panel.title + shift + (f" ({panel.unit})" if panel.unit not in ("", "1") else ""),
        loc="left",
        fontsize=8.5,
        pad=2,
        color=COLOURS["ink"],
    )
    axis.grid(axis="y", alpha=0.7)
    axis.locator_params(axis="y", nbins=3)
    axis.ticklabel_format(axis="y", useOffset=False, style="plain")
    axis.margins(y=0.12)


def _base_of(panel: Panel) -> int:
    """A whole number to be taken from values whose digits would not fit beside the axis, as of a clock years away."""
    known = np.concatenate([curve.values[np.isfinite(curve.values)] for curve in panel.curves])
    return int(known.min()) if known.size and np.abs(known).max() >= WIDE and np.ptp(known) < WIDE else 0


def _draw_moments(axis: Any, gathered: Gathered, is_first: bool) -> None:
    for number, mark in enumerate(gathered.facts.marks, 1):
        if (at := ns_of_iso(mark.time)) is not None:
            axis.axvline(_dates([at])[0], color=COLOURS["warn"], lw=1, ls=(0, (3, 2)))
            if is_first:
                axis.annotate(
                    str(number),
                    (_dates([at])[0], 1),
                    xycoords=("data", "axes fraction"),
                    fontsize=7.5,
                    color=COLOURS["warn"],
                    ha="center",
                    va="bottom",
                )
    for run in gathered.runs:
        for before, cube in zip(run.cubes, run.cubes[1:], strict=False):
            if "paused_before_s" in cube.attributes and before.known_ns.size and cube.known_ns.size:
                span = _dates([int(before.known_ns.max()), int(cube.known_ns.min())])
                axis.axvspan(*span, facecolor="none", edgecolor=COLOURS["grey"], hatch="////", alpha=0.35, lw=0)


# ---- the track -------------------------------------------------------------------------------


def track_map(gathered: Gathered) -> str:
    """The track in metres from its first point, north up, with the cubes and the marks on it; "" without a position."""
    tracks = [(run, *run.places) for run in gathered.runs if run.places is not None]
    if not tracks:
        return ""
    origin = tracks[0][1][0], tracks[0][2][0]
    with _drawing() as figure_class:
        figure = figure_class(figsize=(WIDTH, 5.0))
        axis = figure.add_axes((0.085, 0.1, 0.9, 0.88))
        for _, latitude, longitude in tracks:
            axis.plot(*_metres(latitude, longitude, origin), color=COLOURS["grey"], lw=0.9, alpha=0.7, zorder=1)
        cubes = [(run, cube) for run in gathered.runs for cube in run.cubes]
        for number, (run, cube) in enumerate(cubes, 1):
            latitude, longitude = run.lines_of(cube)
            if np.isfinite(latitude).any():
                _draw_cube(axis, number, _metres(latitude, longitude, origin), len(cubes), bool(cube.problems))
                for index, line in _marks_of(gathered, cube):
                    at = _metres(latitude[line : line + 1], longitude[line : line + 1], origin)
                    axis.plot(*at, "o", color=COLOURS["warn"], ms=6, zorder=3)
                    axis.annotate(
                        str(index),
                        _point(at),
                        xytext=(-5, -13),
                        textcoords="offset points",
                        zorder=3,
                        fontsize=8,
                        color=COLOURS["warn"],
                    )
        _fit(figure, axis)
        axis.grid(alpha=0.5)
        axis.set_xlabel(f"m east of {origin[1]:.5f}°")
        axis.set_ylabel(f"m north of {origin[0]:.5f}°")
        return _svg(figure, "track with the cubes on it")


def _fit(figure: Any, axis: Any) -> None:
    """The same scale on both axes, in a figure that is not higher than it must be."""
    axis.margins(0.06)
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    ratio = max(high - low, 1.0) / max(right - left, 1.0)
    figure.set_figheight(float(np.clip(0.9 * WIDTH * ratio / 0.88, 2.4, 6.5)))
    axis.set_position((0.085, 0.5 / figure.get_figheight(), 0.9, 1 - 0.6 / figure.get_figheight()))
    axis.set_aspect("equal", adjustable="datalim")


def _marks_of(gathered: Gathered, cube: CubeNotes) -> Iterator[tuple[int, int]]:
    """Number and line of the marks in a cube."""
    for index, mark in enumerate(gathered.facts.marks, 1):
        if mark.path is not None and mark.line is not None and cube.path.as_posix().endswith(f"/{mark.path}"):
            yield index, min(mark.line, cube.shape[0] - 1)


def _point(place: tuple[NDArray[np.float64], NDArray[np.float64]]) -> tuple[float, float]:
    return float(place[0][0]), float(place[1][0])


def _metres(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64], origin: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """East and north of the origin, at most 1200 points."""
    step = max(1, len(latitude) // 1200)
    turned = (longitude[::step] - origin[1] + 180) % 360 - 180
    return (
        np.radians(turned) * EARTH_M * math.cos(math.radians(origin[0])),
        np.radians(latitude[::step] - origin[0]) * EARTH_M,
    )


def _draw_cube(axis: Any, number: int, place: tuple[Any, Any], n_cubes: int, is_bad: bool) -> None:
    colour = COLOURS["bad"] if is_bad else COLOURS["accent"]
    step = max(1, len(place[0]) // 60)
    east, north = (np.concatenate([one[::step], one[-1:]]) for one in place)
    axis.plot(east, north, color=colour, lw=5, alpha=(0.85, 0.55)[number % 2], solid_capstyle="butt", zorder=2)
    if number == 1 or number % max(1, n_cubes // 12) == 0:
        middle = len(east) // 2
        axis.annotate(
            str(number), (east[middle], north[middle]), xytext=(7, 6), textcoords="offset points", fontsize=8, zorder=3
        )


# ---- references ------------------------------------------------------------------------------


def picture_of(reference: Reference) -> Image:
    """Its mean, cross-track down, bands to the right; from the darkest to the brightest percent."""
    mean = reference.mean
    rows, columns = (max(1, -(-n // MAX_PICTURE)) for n in mean.shape)
    mean = mean[::rows, ::columns]
    known = mean[np.isfinite(mean)]
    low, high = np.percentile(known, (1, 99)) if known.size else (0.0, 1.0)
    scaled = np.clip((np.nan_to_num(mean, nan=low) - low) / max(high - low, 1e-9), 0, 1)
    return encoded(np.rint(255 * scaled).astype(np.uint8))


def spectrum_of(reference: Reference) -> str:
    """The mean of each band over the line, and from the least to the greatest of its pixels."""
    mean = reference.mean.astype(np.float64)
    bands = np.arange(mean.shape[1]) if reference.wavelengths_nm is None else reference.wavelengths_nm
    order = np.argsort(bands)
    with _drawing() as figure_class:
        figure = figure_class(figsize=(4.6, 1.7))
        axis = figure.add_axes((0.11, 0.25, 0.88, 0.7))
        low, high = np.nanmin(mean, axis=0), np.nanmax(mean, axis=0)
        axis.fill_between(bands[order], low[order], high[order], color=COLOURS["accent"], alpha=0.2, lw=0)
        axis.plot(bands[order], np.nanmean(mean, axis=0)[order], color=COLOURS["accent"])
        axis.set_xlabel("band" if reference.wavelengths_nm is None else "nm")
        axis.grid(axis="y", alpha=0.7)
        axis.locator_params(axis="y", nbins=4)
        axis.margins(x=0)
        return _svg(figure, f"spectrum of the {reference.kind} reference")
