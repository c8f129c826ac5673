"""Where lines are missing in a run of cubes, by frame ids, or else by times."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Gap", "gaps_of_run"]

MAX_STEP = 1.5
"""A gap in times without frame ids: so many times the usual step."""


class Gap(NamedTuple):
    """Lines that are missing between two lines of a run."""

    line: int
    """Number of the first line after the gap, in the flight."""
    path: Path
    """File of that line."""
    is_between_cubes: bool
    """Whether that line is the first one of its file."""
    first_id: int | None
    """Frame id of the first missing line; None without frame ids."""
    last_id: int | None
    n_lines: int | None
    """How many lines are missing; None without frame ids."""
    seconds: float
    """From the line before the gap to that after it; NaN if their times are unknown."""


def gaps_of_run(
    times: NDArray[np.datetime64],
    ids: NDArray[np.int64] | None,
    begins: NDArray[np.int64],
    paths: Sequence[Path],
    paused: Sequence[int] = (),
    average: int = 1,
    step: int | None = None,
) -> list[Gap]:
    """The gaps in a run with these times and ids of its lines.

    `begins`: number of the first line of each cube, and that after the last one, in the flight; `paths`: their files;
    `paused`: how many frames were not wanted before each cube, which are not missing; `average`: how many frames were
    one line, whose ids are then those of the first frames that came; `step`: from line to line in ids, where it is
    known: of a recording that has lost every second line it is not the usual one.
    """
    is_known = ~(np.isnat(times[1:]) | np.isnat(times[:-1]))
    seconds = np.where(is_known, np.diff(times.astype(np.int64)) / 1e9, np.nan)
    steps = seconds if ids is None else np.diff(ids // average)
    if ids is not None and len(paused):
        steps[begins[1:-1] - begins[0] - 1] -= np.array(paused[1:], np.int64) // average
    usual = _usual(steps) if ids is None or step is None else step
    found = []
    for index in np.flatnonzero(steps > usual * MAX_STEP) if usual else ():
        line = int(begins[0]) + int(index) + 1
        number = int(np.searchsorted(begins, line, "right")) - 1
        missing: tuple[int | None, int | None, int | None] = None, None, None
        if ids is not None:
            before, after = (int(one) // average for one in ids[index : index + 2])
            missing = (before + 1) * average, after * average - 1, round(int(steps[index]) / usual) - 1
        found.append(Gap(line, paths[number], bool(line == begins[number]), *missing, float(seconds[index])))
    return found


def _usual(steps: NDArray[Any]) -> float:
    """The usual step; 0 if there is none."""
    known = steps[np.isfinite(steps) & (steps > 0)]
    return float(np.median(known)) if len(known) else 0.0
