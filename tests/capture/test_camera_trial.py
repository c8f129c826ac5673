"""Trials of a camera: what the ids of its frames show about its rate and its queue."""

import itertools
import math
import time
from types import SimpleNamespace

import numpy as np
import pytest

from openhsi_shared.capture.planning import camera_trial
from openhsi_shared.capture.planning.camera_trial import CameraTrial
from openhsi_shared.drivers import FrameStamp

FRAME_S = 0.002


def test_a_source_whose_ids_do_not_go_on_in_a_pause_waits_for_its_reader():
    ids = itertools.count()

    def read(frame):
        time.sleep(FRAME_S)  # the time that a frame takes
        return FrameStamp(frame_id=next(ids))

    line = np.empty((2, 3), np.uint16)
    plan = SimpleNamespace(frame_shape=line.shape, frame_dtype=line.dtype, is_identity=True)
    trial = CameraTrial(read, SimpleNamespace(frame_id_period=None), plan, line)
    until = time.monotonic() + 60
    rate = trial.rate(until)
    assert 0 < rate < 1 / FRAME_S
    queue = trial.queue(rate, until)
    assert (queue.n_frames, queue.waits) == (None, True)


def test_the_rate_is_that_of_the_exposures_although_the_computer_stands_still(monkeypatch):
    ids, now_s = itertools.count(), itertools.count(100.0, 0.2)  # 0.2 s pass at each look at the clock
    monkeypatch.setattr(camera_trial, "time", SimpleNamespace(monotonic=lambda: next(now_s)))

    def read(frame):
        number = next(ids)
        return FrameStamp(frame_id=number, monotonic_ns=5_000_000_000 + number * 2_000_000)

    line = np.empty((2, 3), np.uint16)
    plan = SimpleNamespace(frame_shape=line.shape, frame_dtype=line.dtype, is_identity=True)
    trial = CameraTrial(read, SimpleNamespace(frame_id_period=None), plan, line)
    assert trial.rate(math.inf) == pytest.approx(500)
