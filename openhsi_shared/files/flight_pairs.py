"""Lines of two cameras that were taken at the same time."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError
from openhsi_shared.files.flight_part import FlightPart
from openhsi_shared.given_numbers import is_finite
from openhsi_shared.line_times import UNKNOWN_TIME_NS

__all__ = ["Pairs", "pairs_of"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Lines of two cameras that belong together, a row each, in the order of the first camera's lines: shapes (rows,).

    `flight.cameras["vnir"].lines[pairs.first[:100]]` and `flight.cameras["swir"].lines[pairs.second[:100]]` were taken
    at the same time, but for `pairs.apart_s[:100]`.
    """

    first: NDArray[np.intp]
    """Numbers of lines of the first camera, each at most once."""
    second: NDArray[np.intp]
    """Numbers of lines of the second camera; of a slower one, a line belongs to several."""
    apart_s: NDArray[np.float64]
    """Time of the second line minus time of the first one, by one clock."""
    cubes: tuple[tuple[int, int], ...]
    """Numbers of the cubes of both cameras that have such lines."""

    def __len__(self) -> int:
        return len(self.first)


def pairs_of(first: Sequence[FlightPart], second: Sequence[FlightPart], within_s: float | None) -> Pairs:
    """See `Flight.pairs`."""
    if within_s is not None and not (is_finite(within_s) and within_s >= 0):
        raise ArgumentError(f"within_s must be a number of seconds >= 0, or None, got {within_s!r}")
    found = [
        _nearest(_Lines(first, joint_id, by_clock), _Lines(second, joint_id, by_clock), within_s)
        for joint_id in dict.fromkeys(part.joint_id for part in first)
        for by_clock in (
            bool(joint_id)
            and all(part.clock_ns is not None for part in (*first, *second) if part.joint_id == joint_id),
        )
    ]
    lines, others, apart_ns = (np.concatenate([rows[column] for rows in found]) for column in range(3))
    order = np.argsort(lines, kind="stable")
    lines, others = lines[order], others[order]
    cubes = np.stack([_cubes_of(first, lines), _cubes_of(second, others)], axis=1)
    return Pairs(lines, others, apart_ns[order] / 1e9, tuple(dict.fromkeys(map(tuple, cubes.tolist()))))


def _cubes_of(parts: Sequence[FlightPart], lines: NDArray[np.intp]) -> NDArray[np.intp]:
    ends = list(accumulate(part.shape[0] for part in parts))
    return np.searchsorted(ends, lines, "right")


class _Lines:
    """The lines of one camera in one recording, in the order of time; those of unknown time are left out."""

    def __init__(self, parts: Sequence[FlightPart], joint_id: str, by_clock: bool) -> None:
        """`by_clock`: times are of the monotonic clock."""
        begins = [0, *accumulate(part.shape[0] for part in parts)]
        numbers, times = [np.empty(0, np.intp)], [np.empty(0, np.int64)]
        for part, begin in zip(parts, begins[:-1], strict=True):
            if part.joint_id == joint_id:
                known = np.flatnonzero(part.times_ns != UNKNOWN_TIME_NS)
                numbers.append(known + begin)
                times.append(part.times_ns[known] - ((part.clock_ns or 0) if by_clock else 0))
        unsorted = np.concatenate(times)
        order = np.argsort(unsorted, kind="stable")
        self.numbers, self.times_ns = np.concatenate(numbers)[order], unsorted[order]


def _nearest(
    lines: _Lines, others: _Lines, within_s: float | None
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int64]]:
    """Lines, the nearest other line of each, and how much later that is, in ns."""
    n = len(others.times_ns)
    if not n:
        return np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.int64)
    step_ns = float(np.median(np.diff(others.times_ns))) if n > 1 else 0.0
    after = np.searchsorted(others.times_ns, lines.times_ns)
    choices = np.stack([np.maximum(after - 1, 0), np.minimum(after, n - 1)])
    apart = others.times_ns[choices] - lines.times_ns
    best = np.argmin(np.abs(apart), axis=0)
    columns = np.arange(len(best))
    nearest, apart_ns = choices[best, columns], apart[best, columns]
    kept = np.abs(apart_ns) <= (step_ns if within_s is None else within_s * 1e9)
    return lines.numbers[kept], others.numbers[nearest[kept]], apart_ns[kept]
