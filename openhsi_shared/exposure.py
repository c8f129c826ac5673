"""How well a line is exposed and focused, as numbers. Pure functions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["focus_of", "share_saturated"]


def share_saturated(line: NDArray[Any], full_scale: int | None) -> float:
    """Share of the pixels of a line that are at full scale, 0 to 1; NaN if full scale is unknown.

    >>> share_saturated(np.array([[4095, 7], [4095, 4094]]), 4095)
    0.5
    """
    return float(np.mean(line >= full_scale)) if full_scale else float("nan")


def focus_of(line: NDArray[Any]) -> float:
    """Mean step between cross-track neighbours of a line (x, band), in percent of the mean; higher is sharper.

    Of every fourth band. 0 if the mean is not above 0.
    """
    profile = np.nan_to_num(line[:, ::4].mean(axis=1, dtype=np.float64))
    mean = float(profile.mean())
    return 100 * float(np.abs(np.diff(profile)).mean()) / mean if mean > 0 and profile.size > 1 else 0.0
