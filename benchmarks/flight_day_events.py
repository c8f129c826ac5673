"""Events again and again: whether a line of them is missing, or saved twice."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import Plan, Row
from openhsi_shared import SharedSimulatedCamera, open_cube, record
from openhsi_shared.drivers.simulated.counting import check_frame, frame_number
from openhsi_shared.paths import cubes_below

__all__ = ["events_in_minutes"]

RATE, N_LINES, KEEP_S = 500, 250, 1.0
LATE_S = 0.1
"""How late the times of lines may be on a busy machine."""


class _OnAndOff:
    """A condition that is true for the middle third of each period; it notes when it was asked first and last."""

    def __init__(self, n_events: int, period_s: float) -> None:
        self._n_events, self._period_s, self._begun = n_events, period_s, 0.0
        self.spans_ns: dict[int, list[int]] = {}

    def __call__(self) -> bool:
        self._begun = self._begun or time.monotonic()
        number, phase = divmod((time.monotonic() - self._begun) / self._period_s, 1.0)
        is_on = number < self._n_events and 1 / 3 <= phase < 2 / 3
        if is_on:
            now_ns = time.monotonic_ns()
            self.spans_ns.setdefault(int(number), [now_ns, now_ns])[1] = now_ns
        return is_on


def events_in_minutes(plan: Plan) -> Row:
    """Events of 2 s, every 6 s, with a second before and half a second after each, at 500 lines/s."""
    n_events, period_s = plan.pick((50, 6.0), (5, 6.0), (1, 3.0))
    condition = _OnAndOff(n_events, period_s)
    camera: dict[str, Any] = {"mode": "counting", "resolution": (64, 64), "row_slice": None, "cal_path": ""}
    with plan.folder("flight-events") as folder:
        with record(
            SharedSimulatedCamera,
            folder,
            **camera,
            rate=RATE,
            queue=RATE,
            n_lines=N_LINES,
            n_buffers=8,
            seconds=n_events * period_s + 1,
            progress=False,
            save_when=condition,
            keep_before_s=KEEP_S,
            keep_after_s=0.5,
        ) as run:
            summary = run.wait()
        saved_ids, times_ns, numbers = _saved(folder)
    spans = [(begin - int(KEEP_S * 1e9), end) for begin, end in condition.spans_ns.values()]
    missing = [_missing(saved_ids, times_ns, *span) for span in spans]
    n_double, n_missing = len(saved_ids) - len(np.unique(saved_ids)), sum(missing)
    return Row(
        benchmark="flight_day",
        what=f"{n_events} events of {period_s / 3:.0f} s in {n_events * period_s / 60:.1f} min at {RATE} lines/s",
        ours=f"{len(numbers)} events, {n_missing} lines missing, {n_double} double, {summary.lines_lost} of them lost",
        against="",
        ratio=None,
        target="no line missing or double",
        is_reached=n_missing == 0,
        is_right=n_double == 0 and n_missing <= summary.lines_lost and len(numbers) == n_events,
        verified=f"pixels, ids and times of {len(saved_ids)} lines",
        figures={"missing": missing, "lines": len(saved_ids), "lost": summary.lines_lost},
    )


def _saved(folder: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], set[int]]:
    """Ids and monotonic times of all lines, numbers of the events. AssertionError if a line is not that of its id."""
    ids, times_ns, numbers = [], [], set()
    for path in sorted(cubes_below(folder)):
        with open_cube(path) as cube:
            about, lines = cube.attributes, np.asarray(cube.lines[:])
            wrong = [
                k for k, line in enumerate(lines) if not check_frame(line) or frame_number(line) != cube.frame_ids[k]
            ]
            if wrong or cube.times_ns is None:
                raise AssertionError(f"{path}: lines {wrong} are not the frames of their ids")
            ids.append(cube.frame_ids)
            times_ns.append(cube.times_ns - about["clock_anchor_wall_ns"] + about["clock_anchor_monotonic_ns"])
            numbers.add(int(about["event"]))
    return np.concatenate(ids), np.concatenate(times_ns), numbers


def _missing(ids: NDArray[np.int64], times_ns: NDArray[np.int64], begin_ns: int, end_ns: int) -> int:
    """How many lines are missing from one moment to another: by ids, and at both ends by time."""
    within = ids[(times_ns >= begin_ns) & (times_ns <= end_ns)]
    if not len(within):
        return int((end_ns - begin_ns) * RATE / 1e9)
    first_ns, last_ns = (int(times_ns[ids == one][0]) for one in (within.min(), within.max()))
    ends_s = [max(0.0, seconds - LATE_S) for seconds in ((first_ns - begin_ns) / 1e9, (end_ns - last_ns) / 1e9)]
    return int(np.ptp(within)) + 1 - len(np.unique(within)) + sum(int(seconds * RATE) for seconds in ends_s)
