"""Averaging: what adding a frame to its line costs, beside a copy of the frame."""

import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.frames import frames_of_scene
from benchmarks.measuring import Plan, Row, Spread
from openhsi_shared.capture.averaging.sums import FrameSums
from openhsi_shared.levels import copy_pixels

__all__ = ["averaging"]


def averaging(plan: Plan) -> list[Row]:
    """Adding a frame to the sums of its line, with its share of the mean, beside a copy of the frame, in turns."""
    n_groups = plan.pick(60, 30, 3)
    frames = frames_of_scene(plan.frame_shape, 8)
    line, sums = np.empty(plan.frame_shape, np.uint16), FrameSums(plan.frame_shape, np.dtype(np.uint16))
    rows = []
    for average, limit in ((2, 5), (3, 5), (4, 3), (5, 5), (7, 5), (16, 5), (64, 5)):
        averaged, copied = [], []
        for _ in range(n_groups):
            begun = time.perf_counter()
            for number in range(average):
                sums.add(frames[number % 8], number, 1_000 * number, None)
            sums.mean_into(line)
            ended = time.perf_counter()
            sums.clear()
            for number in range(average):
                copy_pixels(frames[number % 8], line)
            averaged.append(1e6 * (ended - begun) / average)
            copied.append(1e6 * (time.perf_counter() - ended) / average)
        ratio = float(np.median(averaged) / np.median(copied))
        rows.append(
            Row(
                benchmark="flight_day",
                what=f"average={average}, per frame {plan.frame_shape} uint16",
                ours=Spread(averaged).text("us", 1),
                against=f"a copy: {Spread(copied).text('us', 1)}",
                ratio=ratio,
                target=f"<= {limit} x",
                is_reached=ratio <= limit,
                verified=_check_mean(frames, average, sums),
                figures={"averaged_us": averaged, "copied_us": copied},
            )
        )
    return rows


def _check_mean(frames: NDArray[np.uint16], average: int, sums: FrameSums) -> str:
    """AssertionError unless the mean is the nearest number, halves up."""
    line, chosen = np.empty(frames.shape[1:], np.uint16), frames[np.arange(average) % len(frames)]
    for number, frame in enumerate(chosen):
        sums.add(frame, number, 0, None)
    sums.mean_into(line)
    sums.clear()
    if not np.array_equal(line, (2 * chosen.sum(axis=0, dtype=np.int64) + average) // (2 * average)):
        raise AssertionError(f"average={average}: the mean is wrong")
    return "every pixel of a line"
