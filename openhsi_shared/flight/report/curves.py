"""What a report draws over time: one panel for each quantity, with points where it is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.channels.quantities import quantities
from openhsi_shared.flight.report.recordings import Run, camera_of
from openhsi_shared.line_times import UNKNOWN_TIME_NS
from openhsi_shared.matching import State

__all__ = ["Curve", "Panel", "panels_of", "thinned_out"]

MAX_POINTS = 1200
"""Of a curve: more would not be seen."""
"""Further quantities are only in the tables."""
EARTH_M = 6_371_008.8
"""Mean radius."""
MAY_HAVE_VALUE = (State.GOOD, State.UNCHANGED, State.EDGE)
SPEED = ("speed", "platform_speed_wrt_ground")


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Values at times, NaN where there are none."""

    label: str
    times_ns: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Curves that share an axis."""

    title: str
    unit: str
    curves: list[Curve] = field(default_factory=list)
    unknown_ns: list[tuple[int, int]] = field(default_factory=list)
    """Where lines have no good value."""


def panels_of(runs: Sequence[Run]) -> list[Panel]:
    """All quantities that are known of a flight: those of the same name in one panel."""
    panels: dict[tuple[str, str], Panel] = {}
    cameras = {camera_of(run.cubes[0].attributes) for run in runs}
    for run in runs:
        label = camera_of(run.cubes[0].attributes) if len(cameras) > 1 else ""
        for title, unit, curve, unknown in _curves(run, label):
            if np.isfinite(curve.values).any() or unknown:
                panel = panels.setdefault((title, unit), Panel(title=title, unit=unit))
                panel.curves.append(curve)
                panel.unknown_ns.extend(unknown)
    return list(panels.values())


Found = tuple[str, str, Curve, list[tuple[int, int]]]


def _curves(run: Run, label: str) -> Iterator[Found]:
    times = np.concatenate([cube.times_ns for cube in run.cubes])
    yield from _of_position(run, label)
    for column, title, unit, factor in (
        ("temperature", "sensor", "°C", 1.0),
        ("saturated", "saturated", "% of pixels", 100.0),
    ):
        yield title, unit, Curve(label=label, times_ns=times, values=factor * _column(run, column)), []
    for name in [] if run.channels is None else run.channels.names:
        properties = run.channels.properties(name)  # type: ignore[union-attr]
        if name == run.position:
            continue
        *variables, _, state = properties.variables
        unknown = _spans(times, _column(run, state))
        for one, variable in zip(properties.fields, variables, strict=True):
            title = name if properties.is_single else f"{name} {one.name}"
            curve = Curve(label=label, times_ns=times, values=_column(run, variable))
            yield title, one.unit or one.unit_as_given or "", curve, unknown
    offset = Curve(label=label, times_ns=times, values=_column(run, "clock_offset"))
    yield "UTC minus computer", "s", offset, []


def _column(run: Run, name: str) -> NDArray[np.float64]:
    """Of all lines; NaN for cubes without it."""
    parts = [cube.columns.get(name, np.full(cube.shape[0], np.nan)) for cube in run.cubes]
    return np.concatenate([np.asarray(part, np.float64) for part in parts])


def _spans(times_ns: NDArray[np.int64], states: NDArray[np.float64]) -> list[tuple[int, int]]:
    is_bad = np.isfinite(states) & ~np.isin(states, MAY_HAVE_VALUE) & (times_ns != UNKNOWN_TIME_NS)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_bad, [0]])))
    return [
        (int(times_ns[first]), int(times_ns[stop - 1])) for first, stop in zip(edges[::2], edges[1::2], strict=True)
    ]


def _of_position(run: Run, label: str) -> Iterator[Found]:
    """Height and speed at the rate of their source, also between cubes."""
    if run.channels is None or run.position is None:
        return
    series, properties = run.channels.series(run.position), run.channels.properties(run.position)
    values = np.where(series.is_invalid[:, None], np.nan, series.values)
    known = quantities(properties)
    lines = np.concatenate([cube.times_ns for cube in run.cubes])
    unknown = _spans(lines, _column(run, properties.variables[-1]))
    if "altitude" in known:
        height = Curve(label=label, times_ns=series.times_ns, values=values[:, known["altitude"]])
        yield "height", "m", height, unknown
    stated = [index for index, one in enumerate(properties.fields) if one.name in SPEED or one.standard_name in SPEED]
    speed = values[:, stated[0]] if stated else np.full(len(values), np.nan)
    if not np.isfinite(speed).any():
        speed = _speed(series.times_ns, values[:, known["latitude"]], values[:, known["longitude"]])
    unit = properties.fields[stated[0]].unit if stated else "m s-1"
    yield (
        "speed",
        (unit or "").replace("m s-1", "m/s"),
        Curve(label=label, times_ns=series.times_ns, values=speed),
        unknown,
    )


def _speed(
    times_ns: NDArray[np.int64], latitude: NDArray[np.float64], longitude: NDArray[np.float64]
) -> NDArray[np.float64]:
    """m/s over ground, of positions in degrees."""
    if len(times_ns) < 2:
        return np.full(len(times_ns), np.nan)
    north = np.radians(np.diff(latitude)) * EARTH_M
    east = np.radians(np.diff(longitude)) * EARTH_M * np.cos(np.radians(latitude[1:]))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.concatenate([[np.nan], np.hypot(north, east) / (np.diff(times_ns) / 1e9)])


def thinned_out(curve: Curve) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """At most about MAX_POINTS in the order of time: of neighbours the least and the greatest; NaN in holes."""
    is_known = curve.times_ns != UNKNOWN_TIME_NS
    times, values = curve.times_ns[is_known], curve.values[is_known]
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    holes = _holes(times)
    step = -(-2 * len(times) // MAX_POINTS)
    if step > 2:
        chosen = []
        for begin in range(0, len(times), step):
            part = values[begin : begin + step]
            if np.isfinite(part).any():
                chosen += sorted({begin + int(np.nanargmin(part)), begin + int(np.nanargmax(part))})
            else:
                chosen.append(begin)
        keep = np.unique([*chosen, *holes, *(holes - 1)])
        times, values = times[keep], values[keep]
        holes = np.searchsorted(keep, holes)
    return np.insert(times, holes, times[holes]), np.insert(values, holes, np.nan)


def _holes(times: NDArray[np.int64]) -> NDArray[np.intp]:
    """Where a point is much later than the one before it."""
    steps = np.diff(times)
    usual = np.median(steps[steps > 0]) if (steps > 0).any() else 0
    return np.flatnonzero(steps > 5 * usual + 1) + 1
