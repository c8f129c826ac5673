"""Ids of the frames of averaged lines, by the columns `frame_id` and `frames_used`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["frames_of", "frames_per_line"]

BITS = np.arange(64, dtype=np.uint64)


def frames_of(frame_ids: NDArray[Any], frames_used: NDArray[Any]) -> NDArray[np.int64]:
    """Ids of all frames of the lines, in order; `frame_ids` are those of the first frame of each line.

    >>> frames_of(np.array([5, 8]), np.array([0b1010, 0b1111], np.uint64)).tolist()
    [5, 7, 8, 9, 10, 11]
    """
    is_used = _bits(frames_used)
    begins = np.asarray(frame_ids, np.int64) - is_used.argmax(axis=1)
    ids: NDArray[np.int64] = (begins[:, None] + np.arange(64))[is_used]
    return ids


def frames_per_line(frame_ids: NDArray[Any], frames_used: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each line, the id of its last frame, and the number of its frames.

    >>> last, n = frames_per_line(np.array([5, 8]), np.array([0b1010, 0b1111], np.uint64))
    >>> last.tolist(), n.tolist()
    ([7, 11], [2, 4])
    """
    is_used = _bits(frames_used)
    span = 63 - is_used[:, ::-1].argmax(axis=1) - is_used.argmax(axis=1)
    return np.asarray(frame_ids, np.int64) + span, is_used.sum(axis=1)


def _bits(frames_used: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each of 64 bits is set, (line, bit)."""
    found: NDArray[np.bool_] = (np.asarray(frames_used, np.uint64)[:, None] >> BITS) & np.uint64(1) != 0
    return found
