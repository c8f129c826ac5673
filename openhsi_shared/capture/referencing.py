"""Takes dark and white references: frames that are averaged at the camera's level, and saved as no line."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, ReferenceRefused
from openhsi_shared.files.references import Kind
from openhsi_shared.levels import LevelPlan

__all__ = ["Averaged", "average_frames", "check_brightness", "check_number"]

MAX_FRAMES = 100_000
MAX_BAD_FRAMES = 1000
"""Incomplete frames, one behind the other, after which no complete one is expected."""
BRIGHT_DARK, SATURATED_WHITE, DARK_WHITE = 0.2, 0.001, 0.1
"""Mean of a dark reference, share of saturated pixels and median of a white one from which it is refused."""


@dataclass(frozen=True, kw_only=True)
class Averaged:
    """What frames show."""

    mean: NDArray[np.float32]
    """(cross-track, wavelength) of lines."""
    standard_deviation: NDArray[np.float32]
    n_frames: int
    saturated: float
    """Share of the pixels of raw frames, within the illuminated rows."""
    raw_mean: float
    """Of these, as a share of full scale."""
    raw_median: float
    """Of these, averaged over the frames, as a share of full scale."""


def check_number(n: Any) -> int:
    """ArgumentError unless `n` is a number of frames."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 2 <= n <= MAX_FRAMES:
        raise ArgumentError(f"take_reference: n must be a whole number of frames from 2 to {MAX_FRAMES}, got {n!r}")
    return int(n)


def average_frames(
    next_frame: Callable[[NDArray[Any]], bool], n: int, plan: LevelPlan, rows: slice, full_scale: int
) -> Averaged:
    """Average the lines that `plan` makes of the next `n` complete frames.

    `next_frame` fills a frame, and returns whether it is complete. Sums are float64: exact for whole numbers.
    ReferenceRefused if no complete frame comes.
    """
    frame = np.empty(plan.frame_shape, plan.frame_dtype)
    line = np.empty(plan.line_shape, plan.line_dtype)
    first = np.empty(plan.line_shape)
    total, squares, step = np.zeros(plan.line_shape), np.zeros(plan.line_shape), np.empty(plan.line_shape)
    raw = np.zeros(frame[rows].shape)
    n_saturated, n_bad, n_taken = 0, 0, 0
    while n_taken < n:
        if not next_frame(frame):
            n_bad += 1
            if n_bad >= MAX_BAD_FRAMES:
                raise ReferenceRefused(f"{n_bad} frames were incomplete, one after the other: check the connection")
            continue
        plan.apply(frame, line)
        if n_taken == 0:
            first[:] = line
        np.subtract(line, first, out=step)  # else the squares of large numbers that differ little have no digits left
        total += step
        np.multiply(step, step, out=step)
        squares += step
        raw += frame[rows]
        n_saturated += int(np.count_nonzero(frame[rows] >= full_scale))
        n_bad, n_taken = 0, n_taken + 1
    mean = total / n
    variance = np.maximum(squares / n - mean * mean, 0) * n / (n - 1)
    raw /= n * full_scale
    return Averaged(
        mean=(first + mean).astype(np.float32),
        standard_deviation=np.sqrt(variance).astype(np.float32),
        n_frames=n,
        saturated=n_saturated / (n * raw.size),
        raw_mean=float(raw.mean()),
        raw_median=float(np.median(raw)),
    )


def check_brightness(kind: Kind, taken: Averaged) -> float:
    """The brightness of a reference, a share of full scale. ReferenceRefused for a bright dark one, and a white one
    that is saturated or dark.
    """
    if kind == "dark":
        if not taken.raw_mean <= BRIGHT_DARK:
            raise ReferenceRefused(
                f"the dark reference is bright: its mean is {_percent(taken.raw_mean)} of full scale, at most "
                f"{_percent(BRIGHT_DARK)} is expected: cover the lens, and take it again"
            )
        return taken.raw_mean
    if not taken.saturated <= SATURATED_WHITE:
        raise ReferenceRefused(
            f"the white reference is saturated: {_percent(taken.saturated)} of its pixels are at full scale, at most "
            f"{_percent(SATURATED_WHITE)} are expected: set a shorter exposure (auto_exposure), and take it again"
        )
    if not taken.raw_median >= DARK_WHITE:
        raise ReferenceRefused(
            f"the white reference is dark: its median is {_percent(taken.raw_median)} of full scale, at least "
            f"{_percent(DARK_WHITE)} is expected: uncover the lens, set a longer exposure, and take it again"
        )
    return taken.raw_median


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if math.isfinite(share) else "no number"
