"""Finds the exposure at which the brightest band of the scene just stays below full scale."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError
from openhsi_shared.given_numbers import is_finite, is_number
from openhsi_shared.loggers import safe_logger

__all__ = ["Exposing", "Exposure", "brightest_share", "check_target", "find_exposure"]

logger = safe_logger(__name__)

MAX_FRAMES = 20
FRAMES_OF_A_LOOK = 4
"""A scene moves: one exposure is judged by the brightest of these frames."""
TOLERANCE = 0.02
TOO_BRIGHT = 0.98
"""From this share of full scale on, a band says only that the exposure is too long."""
NEAR = 0.3
"""An exposure that is further from the target is judged by one frame."""
STEPS = (1 / 8, 64.0)
"""Largest change from one look to the next: a band that is too bright does not say by how much."""
SHARE_OF_PIXELS = 0.999
LIMITS_MS = (0.001, 10_000.0)
NOT_TAKEN = 0.01
"""The camera has a limit if it sets an exposure that differs by more than this share."""


@dataclass(frozen=True)
class Exposure:
    """Result of `auto_exposure`."""

    exposure_ms: float
    """As the camera reports it."""
    limited_by: Literal["target", "rate", "camera"]
    """"rate": a longer one does not fit into the line rate. "camera": it sets no other one, or that has no effect."""
    brightest: float
    """Of the brightest band, which 99.9 % of its pixels do not exceed: share of full scale, 0 to 1."""
    n_frames: int
    """Frames that were looked at."""

    def __str__(self) -> str:
        return (
            f"{self.exposure_ms:.4g} ms, limited by the {self.limited_by}: "
            f"the brightest band is at {100 * self.brightest:.0f} % of full scale"
        )


class Exposing(NamedTuple):
    """What is done with the camera."""

    set_exposure: Callable[[float], float]
    """Set it in ms, with an empty queue of frames; returns the one that the camera has set."""
    next_frame: Callable[[], NDArray[Any]]
    """The next frame, (cross-track, wavelength), of the illuminated rows."""
    full_scale: int


def check_target(target: Any, rate: Any) -> None:
    """Raise ArgumentError for a target that is no share of full scale, or a rate that is none."""
    if not is_number(target) or not 0.05 <= target <= 0.95:
        raise ArgumentError(f"target must be a share of full scale from 0.05 to 0.95, got {target!r}")
    if rate is not None and not (is_finite(rate) and rate > 0):
        raise ArgumentError(f"rate must be lines/s > 0, or None for any exposure, got {rate!r}")


def brightest_share(frame: NDArray[Any], full_scale: int) -> float:
    """Return the number that 99.9 % of the pixels of the brightest band do not exceed, as a share of full scale."""
    at = max(0, math.ceil(SHARE_OF_PIXELS * len(frame)) - 1)
    return float(np.partition(frame, at, axis=0)[at].max()) / full_scale


def find_exposure(camera: Exposing, exposure_ms: float, target: float, rate: float | None) -> Exposure:
    """Set the longest exposure at which the brightest band stays at `target`, from `exposure_ms` on.

    Looks at 20 frames at most. Counts are taken to be proportional to the exposure; what a dark level adds is corrected
    by the next look.
    """
    longest = LIMITS_MS[1] if rate is None else min(LIMITS_MS[1], 1000.0 / rate)
    asked = min(exposure_ms, longest)
    n_frames, limited_by = 0, "target"
    while True:
        taken = camera.set_exposure(asked)
        share, n = _look(camera, target, min(FRAMES_OF_A_LOOK, MAX_FRAMES - n_frames))
        n_frames += n
        has_taken = abs(taken - asked) <= NOT_TAKEN * asked
        if abs(share / target - 1) <= TOLERANCE:
            break
        factor = STEPS[0] if share >= TOO_BRIGHT else min(STEPS[1], target / max(share, 1e-6))
        wanted = min(max(taken * factor, LIMITS_MS[0]), longest)
        if not has_taken and (wanted - asked) * (asked - taken) >= 0:  # further beyond its limit
            limited_by = "camera"
            break
        if factor > 1 and taken >= longest * (1 - NOT_TAKEN):
            limited_by = "camera" if rate is None else "rate"
            break
        if n_frames >= MAX_FRAMES:
            limited_by = "camera"
            break
        asked = wanted
    found = Exposure(taken, limited_by, share, n_frames)  # type: ignore[arg-type]
    if limited_by == "camera":
        logger.warning("auto_exposure: no exposure reaches %.0f %% of full scale: %s", 100 * target, found)
    return found


def _look(camera: Exposing, target: float, n_most: int) -> tuple[float, int]:
    """Brightest share of some frames, and their number: one, unless it is near the target."""
    share, n = 0.0, 0
    while n == 0 or (n < n_most and abs(share / target - 1) <= NEAR and share < TOO_BRIGHT):
        share = max(share, brightest_share(camera.next_frame(), camera.full_scale))
        n += 1
    return share, n
