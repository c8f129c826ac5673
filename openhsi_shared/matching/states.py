"""States of sources and of the lines that are matched to them."""

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["State", "overlay"]


class State(IntEnum):
    """What is known of a source at a time, or of the value of a line; files and shared memory store the number."""

    GOOD = 0
    """A value that was true at that time."""
    UNCHANGED = 1
    """Connected, and silent because the value did not change."""
    STALE = 2
    """The last value is older than `max_age_s`."""
    GAP = 3
    """No sample is near enough."""
    EDGE = 4
    """No later sample has come yet."""
    STALLED = 5
    """Connected, but silent for longer than its rate allows."""
    LOST = 6
    """Not connected any more, or its process died."""
    NO_FIX = 7
    """A receiver that does not know its position."""
    JUMPED = 8
    """The clock of the source was set."""
    REFUSED = 9
    """The sample cannot be used."""
    CONNECTING = 10
    """Not connected yet."""
    ENDED = 11
    """Closed, or at its end."""

    @property
    def words(self) -> str:
        """As users read it: "no fix"."""
        return self.name.lower().replace("_", " ")


def overlay(matched: ArrayLike, change_times_ns: ArrayLike, states: ArrayLike, at_ns: ArrayLike) -> NDArray[np.int8]:
    """States of lines: those of their source where it was neither good nor unchanged, else those of the matching.

    `matched` (n,) are the states of `match` at the times `at_ns` (n,), as is the result; the source has `states[i]`
    from `change_times_ns[i]` on, in the order of time. `UNCHANGED` replaces `GOOD` only: a value that is missing is
    not unchanged. Before the first change, nothing is known of the source.
    """
    result = np.array(matched, np.int8)
    times = np.asarray(change_times_ns, np.int64)
    if len(times) == 0:
        return result
    latest = np.searchsorted(times, np.asarray(at_ns, np.int64), side="right") - 1
    of_source = np.where(latest >= 0, np.asarray(states, np.int8)[np.maximum(latest, 0)], np.int8(State.GOOD))
    is_bad = (of_source != State.GOOD) & (of_source != State.UNCHANGED)
    is_unchanged = (of_source == State.UNCHANGED) & (result == State.GOOD)
    return np.where(is_bad | is_unchanged, of_source, result).astype(np.int8)
