"""Threads that look get copies of the next frame."""

import threading

import numpy as np

from openhsi_shared.capture.next_frame import NextFrame
from tests.support.helpers import wait_for


def test_all_that_wait_get_copies_of_their_own_of_the_next_frame_only():
    frames, seen = NextFrame(), []
    threads = [threading.Thread(target=lambda: seen.append(frames.wait(60))) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(frames._changed._waiters) == 2)
    frame = np.arange(6).reshape(2, 3)
    frames.give(frame)
    for thread in threads:
        thread.join(60)
    frame[...] = 0
    seen[0][...] = 7
    assert seen[1].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert not frames.is_wanted


def test_without_a_frame_there_is_none():
    assert NextFrame().wait(0.01) is None
