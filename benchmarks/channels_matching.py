"""Matching to lines, rows, regions and clocks; the neighbour's way is its loop over updates, written plainly."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import medfilt

from benchmarks.measuring import Plan, Row, Spread
from openhsi_shared.matching import ClockFit, match
from openhsi_shared.matching.rows import Rows
from openhsi_shared.roi import find_roi

__all__ = ["NeighbourRows", "neighbour_region", "rows"]

START_NS = 1_795_000_000 * 10**9
THRESHOLD_S = 1 / 160


def rows(plan: Plan) -> list[Row]:
    regions = [_region(plan, dtype, target) for dtype, target in (("uint16", 4), ("int32", 3), ("float64", 2.5))]
    return [_lines(plan), _row_matcher(plan), *regions, _clock(plan)]


class NeighbourRows:
    """The EPICS recorder's matching: each update goes into the slot of a table whose time is nearest."""

    def __init__(self, names: list[str], maxlen: int = 50) -> None:
        self.table = {name: np.zeros(maxlen) for name in names}
        self.timestamp, self.valid = np.zeros(maxlen), np.zeros(maxlen, np.uint16)
        self.n_names, self.maxlen, self.index = len(names), maxlen, 0

    def add(self, name: str, value: float, timestamp: float) -> dict[str, float] | None:
        """Return the row that the update completes, if it does."""
        difference = np.abs(self.timestamp - timestamp)
        slot = np.argmin(difference)
        if difference[slot] > THRESHOLD_S:
            slot = np.intp(self.index)
            self.valid[slot], self.timestamp[slot] = 0, timestamp
            self.index = (self.index + 1) % self.maxlen
        self.table[name][slot] = value
        self.valid[slot] += 1
        if self.valid[slot] != self.n_names:
            return None
        return {name: column[slot] for name, column in self.table.items()}


def neighbour_region(image: NDArray[Any], threshold: float, expand: tuple[int, int]) -> tuple[slice, slice]:
    """The EPICS recorder's region of interest."""
    found = []
    for axis, enlarge in ((1, expand[0]), (0, expand[1])):
        line = medfilt(image.sum(axis), 5)
        bright = np.nonzero(line > line.min() * (1 - threshold) + line.max() * threshold)[0]
        radius = len(bright) // 2
        centre = bright[radius]
        found.append(slice(max(centre - radius - enlarge, 0), min(centre + radius + enlarge, len(line) - 1)))
    return found[0], found[1]


def _lines(plan: Plan) -> Row:
    n_channels, rate, n_lines, lines_rate = 10, 1000, plan.pick(1024, 1024, 32), 500
    n_samples = n_lines * rate // lines_rate + 100
    times = START_NS - 20 * 10**6 + np.arange(n_samples) * 10**9 // rate
    at = START_NS + np.arange(n_lines) * 10**9 // lines_rate + 123_456
    series = [(times - START_NS) * (k + 1.0) for k in range(n_channels)]
    mine, theirs = [], []
    for _ in range(plan.pick(21, 7, 2)):
        begun = time.perf_counter()
        found = [match(times, values, at, how="linear", gap_s=1.0) for values in series]
        mine.append(1e6 * (time.perf_counter() - begun) / n_lines)
        theirs.append(_time_loop(n_channels, min(n_lines, 128), rate, lines_rate))
    for k, matched in enumerate(found):
        np.testing.assert_allclose(matched.values, (at - START_NS) * (k + 1.0), rtol=1e-12)
    ratio = float(np.median(theirs) / np.median(mine))
    return Row(
        benchmark="channels",
        what=f"{n_channels} channels at {rate} Hz to a cube of {n_lines} lines at {lines_rate}/s, linear: a line",
        ours=Spread(mine).text("us", 2),
        against=f"the loop over updates {Spread(theirs).text('us')}",
        ratio=ratio,
        target="<= 1 us, >= 100 x cheaper",
        is_reached=float(np.median(mine)) <= 1 and ratio >= 100,
        verified="every value lies on the line through its neighbours",
        figures={"ours_us": mine, "neighbour_us": theirs},
    )


def _time_loop(n_channels: int, n_lines: int, rate: int, lines_rate: int) -> float:
    names = ["line", *(f"channel {k}" for k in range(n_channels))]
    loop = NeighbourRows(names)
    start = START_NS * 1e-9
    per_line = rate // lines_rate
    begun = time.perf_counter()
    for line in range(n_lines):
        now = start + line / lines_rate
        loop.add("line", float(line), now)
        for sample in range(per_line):
            for name in names[1:]:
                loop.add(name, 1.0, now + sample / rate)
    return 1e6 * (time.perf_counter() - begun) / n_lines


def _row_matcher(plan: Plan) -> Row:
    n_channels, n_rows, n_rounds = 4, plan.pick(5000, 2000, 50), plan.pick(9, 3, 1)
    period_ns = 10**9 // 120
    jitter = np.random.default_rng(0).integers(-(10**6), 10**6, (n_rows, n_channels))
    stamps = (START_NS + np.arange(n_rows)[:, None] * period_ns + jitter).tolist()
    names = [f"channel {k}" for k in range(n_channels)]
    mine, theirs, found = [], [], []
    for _ in range(n_rounds):
        rows = Rows(n_channels, 0, THRESHOLD_S)
        found = []
        begun = time.perf_counter()
        for number, row in enumerate(stamps):
            for channel, stamp in enumerate(row):
                found += rows.add(channel, stamp, float(number), number * period_ns)
        mine.append(1e6 * (time.perf_counter() - begun) / (n_rows * n_channels))
        loop = NeighbourRows(names)
        begun = time.perf_counter()
        for number, row in enumerate(stamps):
            for name, stamp in zip(names, row, strict=True):
                loop.add(name, float(number), stamp * 1e-9)
        theirs.append(1e6 * (time.perf_counter() - begun) / (n_rows * n_channels))
    found += rows.settle(n_rows * period_ns + 10**9)
    if [row.values for row in found] != [[float(number)] * n_channels for number in range(n_rows)]:
        raise AssertionError("the rows are not those of the shots")
    ratio = float(np.median(mine) / np.median(theirs))
    return Row(
        benchmark="channels",
        what=f"rows of the recorder, {n_channels} scalars at 120 Hz: an update",
        ours=Spread(mine).text("us", 1),
        against=f"the loop over updates {Spread(theirs).text('us', 1)}",
        ratio=ratio,
        target="<= the neighbour's",
        is_reached=ratio <= 1,
        verified=f"each of {n_rows} rows has the updates of one shot",
        figures={"ours_us": mine, "neighbour_us": theirs},
    )


def _region(plan: Plan, dtype: str, target: float) -> Row:
    side, n_rounds = plan.pick(1024, 1024, 64), plan.pick(201, 51, 3)
    grid = np.arange(side)
    spot = np.exp(-((grid[:, None] - 0.4 * side) ** 2 + (grid - 0.6 * side) ** 2) / (2 * (side / 20) ** 2))
    image = (3000 * spot + np.random.default_rng(0).uniform(0, 20, spot.shape)).astype(dtype)
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: find_roi(image, 0.2, (20, 10)),
        "neighbour": lambda: neighbour_region(image, 0.2, (20, 10)),
    }
    if find_roi(image, 0.2, (20, 10), compat=True) != neighbour_region(image, 0.2, (20, 10)):
        raise AssertionError(f"compat=True differs from the neighbour's region for {dtype}")
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(n_rounds):
        for way, work in ways.items():
            begun = time.perf_counter()
            work()
            times[way].append(1e6 * (time.perf_counter() - begun))
    ratio = float(np.median(times["neighbour"]) / np.median(times["ours"]))
    return Row(
        benchmark="channels",
        what=f"region of an image of {side} x {side} {dtype}",
        ours=Spread(times["ours"]).text("us"),
        against=f"sums of numpy, median of scipy {Spread(times['neighbour']).text('us')}",
        ratio=ratio,
        target=f">= {target} x",
        is_reached=ratio >= target,
        verified="compat=True gives the neighbour's region",
        figures={f"{way}_us": values for way, values in times.items()},
    )


def _clock(plan: Plan) -> Row:
    n_samples, offset, drift = 3000, 3.25e9, 50e-6
    times = START_NS + np.arange(n_samples) * 2 * 10**8
    stamps = times + np.rint(offset + drift * (times - START_NS)).astype(np.int64)
    errors_ms, mine = [], []
    for seed in range(plan.pick(200, 50, 3)):
        arrivals = times + np.random.default_rng(seed).exponential(20e6, n_samples).astype(np.int64)
        begun = time.perf_counter()
        fit = ClockFit.fit(stamps, arrivals)
        found = fit.offset_ns(times)
        mine.append(1e3 * (time.perf_counter() - begun))
        errors_ms.append(float(np.abs(found - (stamps - times)).max()) * 1e-6)
    return Row(
        benchmark="channels",
        what="offset of a clock: 5 Hz, drift of 50 ppm, exponential jitter of 20 ms, 10 minutes: largest error",
        ours=f"{Spread(errors_ms).text('ms', 3)}, computed in {Spread(mine).text('ms', 1)}",
        target="<= 1 ms anywhere",
        is_reached=max(errors_ms) <= 1,
        verified="against the true offset at every sample",
        figures={"errors_ms": errors_ms, "computing_ms": mine},
    )
