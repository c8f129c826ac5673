"""A small plot of a curve, drawn in a millisecond; matplotlib would block the camera's loop for fifty."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["curve_picture", "nice_step"]

PAPER, INK, GRID, LINE = (255, 255, 255), (70, 70, 70), (225, 225, 225), (31, 119, 180)
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 36
FONT_SIZE = 11


def nice_step(extent: float, n: int) -> float:
    """Distance of about `n` ticks on an axis: 1, 2 or 5 times a power of ten.

    >>> nice_step(600, 6), nice_step(3100, 4), nice_step(0.07, 4)
    (100.0, 1000.0, 0.02)
    """
    raw = extent / n
    power = 10.0 ** math.floor(math.log10(raw))
    return next(float(f"{step * power:.6g}") for step in (1, 2, 5, 10) if raw <= step * power * 1.0001)


def curve_picture(
    x: NDArray[Any],
    y: NDArray[Any],
    label: str,
    size: tuple[int, int] = (420, 240),
    top: float | None = None,
    over_time: bool = False,
) -> NDArray[np.uint8]:
    """Draw `y` over `x` as (height, width, 3); the y axis extends from 0, or below, to `top`, or to the largest value.

    Values that are not finite are omitted. `over_time`: the axis extends from the least value, and they are gaps.
    """
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(FONT_SIZE)
    finite = np.isfinite(y) & np.isfinite(x)
    pieces = np.cumsum(~finite)[finite] if over_time else np.zeros(finite.sum())
    x, y = np.asarray(x, float)[finite], np.asarray(y, float)[finite]
    low, high = min(0.0, float(y.min(initial=0))), float(top if top is not None else y.max(initial=0))
    if over_time and y.size:
        low, high = float(y.min()), float(y.max())
    high = high if high > low else low + max(1.0, abs(low) * 1e-6)
    first, last = (float(x.min()), float(x.max())) if x.size else (0.0, 1.0)
    last = last if last > first else first + 1
    width, height = size[0] - LEFT - RIGHT, size[1] - TOP - BOTTOM

    def across(value: Any) -> Any:
        return LEFT + (value - first) / (last - first) * width

    def down(value: Any) -> Any:
        return TOP + height - (np.clip(value, low, high) - low) / (high - low) * height

    for tick in _ticks(first, last, 5):
        draw.line((across(tick), TOP, across(tick), TOP + height), GRID)
        draw.text((across(tick), TOP + height + 4), f"{tick:g}", INK, font, anchor="ma")
    for tick in _ticks(low, high, 4):
        draw.line((LEFT, down(tick), LEFT + width, down(tick)), GRID)
        draw.text((LEFT - 6, down(tick)), f"{tick:g}", INK, font, anchor="rm")
    draw.text((LEFT + width / 2, size[1] - 4), label, INK, font, anchor="md")
    draw.rectangle((LEFT, TOP, LEFT + width, TOP + height), outline=INK)
    for piece in np.unique(pieces):
        points = list(zip(across(x[pieces == piece]).tolist(), down(y[pieces == piece]).tolist(), strict=True))
        if len(points) > 1:
            draw.line(points, LINE, 2)
    return np.asarray(image)


def _ticks(low: float, high: float, n: int) -> list[float]:
    step = nice_step(high - low, n)
    return [float(f"{k * step:.6g}") for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
