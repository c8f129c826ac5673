import logging

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError
from openhsi_shared.frames.ids import FrameIds

RESTART = "restart"

CASES = {
    "a counter that never wraps is kept as it is": (None, [5, 6, 9, 2**40], [5, 6, 9, 2**40]),
    "GigE goes from 65535 to 1": (65535, [65534, 65535, 1, 2], [65534, 65535, 65536, 65537]),
    "a gap across the wrap is counted right": (65535, [65530, 4], [65530, 65539]),
    "a counter of 32 bits goes from its largest to 0": (2**32, [2**32 - 1, 0, 1], [2**32 - 1, 2**32, 2**32 + 1]),
    "several rounds add up": (7, [1, 4, 7, 3, 6, 2, 5, 1], [1, 4, 7, 10, 13, 16, 19, 22]),
    "a frame sent twice has one id": (65535, [3, 4, 4, 5], [3, 4, 4, 5]),
    "after a restart it goes on": (None, [0, 1, 2, RESTART, 0, 1], [0, 1, 2, 3, 4]),
    "frames lost before the first of a new run do not count": (None, [0, 1, RESTART, 7, 9], [0, 1, 2, 4]),
    "the same number after a restart is a new frame": (65535, [1, RESTART, 1, RESTART, 1], [1, 2, 3]),
    "a restart that looks like a gap is none": (65535, [60000, RESTART, 1, 2], [60000, 60001, 60002]),
    "a restart before the first frame changes nothing": (None, [RESTART, 17, 18], [17, 18]),
    "two restarts are one": (None, [4, RESTART, RESTART, 0], [4, 5]),
    "a step back is a restart that nobody told": (None, [100, 101, 0, 1], [100, 101, 102, 103]),
    "also where the counter wraps": (65535, [100, 101, 1, 2], [100, 101, 102, 103]),
    "half a period is a gap": (100, [1, 51], [1, 51]),
    "more than half is a new start": (100, [1, 52], [1, 2]),
}


@pytest.mark.parametrize(("period", "counted", "expected"), CASES.values(), ids=CASES.keys())
def test_the_ids_are(period, counted, expected):
    ids, seen = FrameIds(period), []
    for raw in counted:
        if raw is RESTART:
            ids.restart()
        else:
            seen.append(ids.unwrap(raw))
    assert seen == expected
    assert ids.last == expected[-1]


@pytest.mark.parametrize(("period", "first"), [(None, 0), (65535, 1), (2**16, 0), (7, 1)])
def test_a_random_walk_with_losses_and_restarts_is_counted_frame_by_frame(period, first):
    random = np.random.default_rng(7)
    ids, truth, run = FrameIds(period), None, 0
    for _ in range(5_000):
        if truth is not None and random.random() < 0.01:
            ids.restart()
            run, truth = 0, truth + 1  # losses in between cannot be detected
        else:
            lost = int(random.integers(0, 3 if period == 7 else 100)) if random.random() < 0.1 else 0
            step = 1 + lost if truth is not None else 0
            run, truth = run + step, (truth + step if truth is not None else first)
        raw = first + run if period is None else first + run % period
        assert ids.unwrap(raw) == truth


def test_numbers_of_numpy_do_not_overflow():
    ids = FrameIds(65535)
    assert [ids.unwrap(raw) for raw in np.array([65535, 1, 2], np.uint16)] == [65535, 65536, 65537]


def test_a_counter_that_steps_back_is_warned_about_once(caplog):
    ids = FrameIds(None)
    with caplog.at_level(logging.WARNING):
        for raw in (5, 0, 1, 0):
            ids.unwrap(raw)
    assert [record.message for record in caplog.records] == [
        "the camera's frame counter stepped back from 5 to 0: treated as a restart"
    ]


def test_a_period_that_counts_nothing_is_refused():
    with pytest.raises(ArgumentError, match="must be None or at least 3, got 0"):
        FrameIds(0)
