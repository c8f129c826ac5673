"""What of a published snapshot is shown, and how: numbers, curves, pictures. Pure functions."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.control.snapshot import Dataset, Snapshot
from openhsi_shared.viewer.tiles import width_of

__all__ = [
    "COLOURS",
    "Curve",
    "Picture",
    "curve",
    "curves",
    "numbers",
    "numbers_as_html",
    "picture",
    "pictures",
    "texts",
]

MAX_TEXT = 80
MAX_PROBLEMS = 3
_ANCHORS = [(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)]
COLOURS: NDArray[np.uint8] = np.vstack(
    [
        np.zeros((1, 3)),
        np.stack([np.interp(np.linspace(0, 4, 255), range(5), one) for one in zip(*_ANCHORS, strict=True)], axis=1),
    ]
).astype(np.uint8)
"""Of the 256 values of a picture, RGB: black for none, then those of viridis."""
WAVELENGTHS = ("wavelength", "wavelengths", "wavelengths_nm")
"""A dataset of one of these names is the axis of the curves beside it."""
AXES = (*WAVELENGTHS, "event_number")
"""Curves of these names are of interest only if there are no others."""


class Curve(NamedTuple):
    """Values along an axis."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    label: str
    """Of the axis."""


class Picture(NamedTuple):
    """Values as colours."""

    pixels: NDArray[np.uint8]
    """Indices of COLOURS, (down, across)."""
    low: float
    """Value of the first colour: 1 % of all are below."""
    high: float
    """Value of the last one: 1 % of all are above."""
    size: tuple[int, int]
    """Rows and columns before they were thinned."""


def numbers(snapshot: Snapshot) -> dict[str, float]:
    """Return single numbers by path."""
    return {path: float(one.values) for path, one in snapshot.datasets().items() if _is_numeric(one, 0)}


def texts(snapshot: Snapshot) -> dict[str, str]:
    """Return single texts by path."""
    found = {path: one.values for path, one in snapshot.datasets().items()}
    return {path: str(one) for path, one in found.items() if one.ndim == 0 and one.dtype.kind == "U"}


def curves(snapshots: Mapping[str, Snapshot]) -> list[tuple[str, str]]:
    """Return names and paths of all curves; axes come last."""
    found = [
        (name, path)
        for name, snapshot in snapshots.items()
        for path, one in snapshot.datasets().items()
        if _is_numeric(one, 1) and one.values.size > 1
    ]
    return sorted(found, key=lambda one: one[1].rpartition("/")[2] in AXES)


def pictures(snapshots: Mapping[str, Snapshot]) -> list[tuple[str, str]]:
    """Return names and paths of all pictures."""
    return [
        (name, path)
        for name, snapshot in snapshots.items()
        for path, one in snapshot.datasets().items()
        if _is_numeric(one, 2) and one.values.size
    ]


def _is_numeric(dataset: Dataset, n_axes: int) -> bool:
    return dataset.values.ndim == n_axes and dataset.values.dtype.kind in "biuf"


def curve(snapshot: Snapshot, path: str, wavelengths_nm: Sequence[float] | None) -> Curve:
    """Return a curve: over wavelengths if it has as many values, or if a dataset of that name is beside it."""
    datasets = snapshot.datasets()
    dataset = datasets[path]
    y = dataset.values.astype(np.float64)
    step = dataset.steps[0] if dataset.steps else 1
    x = np.asarray(() if wavelengths_nm is None else wavelengths_nm, np.float64)[::step]
    for name in WAVELENGTHS:
        beside = datasets.get(path.rpartition("/")[0] + "/" * ("/" in path) + name)
        if beside is not None and _is_numeric(beside, 1) and beside.values.size == y.size:
            x = beside.values.astype(np.float64)
    if x.size == y.size:
        return Curve(x, y, "wavelength / nm")
    return Curve(np.arange(y.size, dtype=np.float64) * step, y, "index")


def picture(dataset: Dataset) -> Picture:
    """Return an array of two axes as colours, from its 1st to its 99th percentile."""
    values = dataset.values.astype(np.float32)
    finite = np.isfinite(values)
    low, high = map(float, np.percentile(values[finite], (1, 99))) if finite.any() else (0.0, 1.0)
    scale = 254 / (high - low) if high > low else 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        pixels = 1 + np.clip((values - low) * scale, 0, 254)
    steps = dataset.steps or (1, 1)
    size = (values.shape[0] * steps[0], values.shape[1] * steps[1])
    return Picture(np.where(finite, pixels, 0).astype(np.uint8), low, high, size)


def numbers_as_html(
    status: AnalysisStatus, snapshot: Snapshot, trends: Mapping[str, Iterable[float]], limit: int = 24
) -> str:
    """Return the state of an analysis, its numbers with their trend, and its texts."""
    colour = "var(--bad, #c00)" if status.state == "failed" or status.failed else "inherit"
    found = numbers(snapshot)
    boxes = [
        f'<div class="tile number"><div class="name">{escape(path)}</div>'
        f'<div class="value"{width_of(f"{value:.6g}")}>{value:.6g}</div>{_trend(list(trends.get(path, ())))}</div>'
        for path, value in list(found.items())[:limit]
    ]
    lines = [f"{escape(path)}: {escape(text[:MAX_TEXT])}" for path, text in list(texts(snapshot).items())[:limit]]
    if len(found) > limit:
        lines.append(f"and {len(found) - limit:,} more numbers")
    lines += [f"not published: {escape(problem[:200])}" for problem in snapshot.problems[:MAX_PROBLEMS]]
    return (
        f'<div class="analysis"><b>{escape(status.name)}</b> <span style="color:{colour}">{escape(str(status))}</span>'
        f'<div class="tiles">{"".join(boxes)}</div>{"<br>".join(lines)}</div>'
    )


def _trend(values: list[float]) -> str:
    """Draw a curve of the last values."""
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2:
        return '<svg width="100" height="20"></svg>'
    low, high = min(known), max(known)
    scale = 16 / (high - low) if high > low else 0.0
    step = 100 / (len(values) - 1)
    points: list[Any] = [
        f"{k * step:.1f},{18 - (value - low) * scale:.1f}" for k, value in enumerate(values) if math.isfinite(value)
    ]
    line = f'<polyline points="{" ".join(points)}" fill="none" stroke="#4db8ff" stroke-width="2"/>'
    return f'<svg width="100" height="20">{line}</svg>'
