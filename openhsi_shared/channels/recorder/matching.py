"""The matching of a recorder: by time, by id, or as the EPICS recorder does, and why nothing matches."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from openhsi_shared.errors import ArgumentError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.matching.delays import Differences, differences_of
from openhsi_shared.matching.rows import IdRows, MatchedRow, Rows, SlotRows
from openhsi_shared.matching.states import State

__all__ = ["FoundRow", "RowMatching"]

logger = safe_logger(__name__)

N_PERIODS = 101
LIVELY_S = 1.0
"""Rows come if the last one is not older than this time, and than three periods of the reference."""
WARN_S = 5.0
"""A warning is logged when nothing has matched for this time."""


class FoundRow(NamedTuple):
    """Values of the channels that belong together, in their order."""

    time_ns: int
    time_s: float
    values: list[Any]


class RowMatching:
    """Finds rows; not thread-safe."""

    def __init__(
        self,
        names: Sequence[str],
        reference: str,
        threshold_s: float,
        maxlen: int,
        match: str,
        settle_s: float,
        compat: bool,
        id_mask: int | None,
    ) -> None:
        if match not in ("time", "id"):
            raise ArgumentError(f"match must be 'time' or 'id', got {match!r}")
        if compat and match == "id":
            raise ArgumentError("compat=True matches by time: match='id' has no counterpart there")
        if id_mask is not None and (match != "id" or not isinstance(id_mask, int | np.integer) or id_mask < 1):
            raise ArgumentError(f"id_mask is for match='id', and a whole number > 0 such as 0x1FFFF, got {id_mask!r}")
        n, self._place = len(names), names.index(reference)
        place = self._place
        self._by_time = Rows(n, place, threshold_s, maxlen, settle_s)
        self._by_id = IdRows(n, place, maxlen) if match == "id" else None
        self._by_slot = SlotRows(n, threshold_s, maxlen) if compat else None
        self._names, self._reference, self._id_mask = list(names), reference, id_mask
        self._threshold_s, self._maxlen = threshold_s, maxlen
        self._last_ns: list[int | None] = [None] * n
        self._n_updates, self._n_rows = [0] * n, 0
        self._latest_ns, self._periods_ns = 0, deque[int](maxlen=N_PERIODS)
        self._waits_since: float | None = None
        self._row_at = float("-inf")
        self._is_warned = False

    @property
    def needs_ids(self) -> bool:
        """Whether an update without an id cannot be used."""
        return self._by_id is not None and self._id_mask is None

    @property
    def attributes(self) -> dict[str, Any]:
        """For the file."""
        how = "id" if self._by_id is not None else "slots" if self._by_slot is not None else "time"
        found = {"match": how, "timestamp_threshold_s": self._threshold_s, "matching_maxlen": self._maxlen}
        return found | ({"id_mask": self._id_mask} if self._id_mask is not None else {})

    @property
    def n_unmatched(self) -> dict[str, int]:
        """Updates of each channel that are in no row, and never will be; as slots, those that are in none now."""
        if self._by_slot is not None:
            counts = [max(0, n - self._n_rows) for n in self._n_updates]
        else:
            counts = (self._by_id or self._by_time).n_unmatched
        return dict(zip(self._names, counts, strict=True))

    @property
    def n_updates(self) -> dict[str, int]:
        """Updates of each channel that were taken."""
        return dict(zip(self._names, self._n_updates, strict=True))

    def differences(self, name: str) -> Differences:
        """Of the channel's latest updates to those of the reference."""
        period_s = float(np.median(self._periods_ns)) * 1e-9 if self._periods_ns else None
        return differences_of(self._by_time.differences_ns(self._names.index(name)), period_s)

    def add(self, place: int, time_ns: int, number: int, value: Any, arrival_ns: int) -> list[FoundRow]:
        """Take an update, and return the rows that are decided by it."""
        self._last_ns[place] = arrival_ns
        if place == self._place:
            self._periods_ns.append(abs(time_ns - self._latest_ns))
            self._latest_ns = time_ns
        self._n_updates[place] += 1
        if self._waits_since is None:
            self._waits_since = time.monotonic()
        if self._by_slot is not None:
            found = self._by_slot.add(place, time_ns / 1e9, value)
            rows = [] if found is None else [FoundRow(round(found[0] * 1e9), found[0], found[1])]
            return self._note(rows)
        if self._by_id is not None:
            identity = number if self._id_mask is None else time_ns & self._id_mask
            return self._note(_found(self._by_id.add(place, identity, time_ns, value)))
        return self._note(_found(self._by_time.add(place, time_ns, value, arrival_ns)))

    def settle(self, now_ns: int) -> list[FoundRow]:
        """Return the rows that have settled by now."""
        if self._by_slot is not None or self._by_id is not None:
            return []
        return self._note(_found(self._by_time.settle(now_ns)))

    def finish(self) -> list[FoundRow]:
        """Return the rows that are complete, when nothing more comes; what still waits is unmatched."""
        if self._by_slot is not None:
            return []
        if self._by_id is not None:
            self._by_id.finish()
            return []
        return self._note(_found(self._by_time.finish()))

    def clear(self) -> None:
        """Forget what waits, and the counts."""
        self._by_time.clear()
        if self._by_id is not None:
            self._by_id.clear()
        if self._by_slot is not None:
            self._by_slot = SlotRows(len(self._names), self._threshold_s, self._maxlen)
        self._n_updates, self._n_rows = [0] * len(self._names), 0
        self._waits_since, self._is_warned = None, False

    def warning(self, states: Mapping[str, State]) -> str:
        """Why nothing has matched for 5 s; once, and again after a row. Empty if there is nothing to say."""
        if self._is_warned or self._waits_since is None or time.monotonic() - self._waits_since < WARN_S:
            return ""
        self._is_warned = True
        return self.why(states)

    def why(self, states: Mapping[str, State]) -> str:
        """Why no rows come; empty if they do, or if there was no update yet to wait for."""
        period_s = float(np.median(self._periods_ns)) * 1e-9 if self._periods_ns else 0.0
        if self._waits_since is None or time.monotonic() - self._row_at < max(LIVELY_S, 3 * period_s):
            return ""
        silent = [self._silence(place, states) for place in range(len(self._names))]
        reasons = [reason for reason in silent if reason] or [
            reason for name in self._names if (reason := self._distance(name))
        ]
        return "; ".join(reasons) or "no updates belong together"

    def _silence(self, place: int, states: Mapping[str, State]) -> str:
        name, last_ns = self._names[place], self._last_ns[place]
        if last_ns is None:
            return f"no update of {name!r} has come ({states[name].words})"
        silent_s = (time.monotonic_ns() - last_ns) * 1e-9
        return f"no update of {name!r} for {silent_s:.1f} s ({states[name].words})" if silent_s > WARN_S else ""

    def _distance(self, name: str) -> str:
        found = self.differences(name)
        if found.shift_s is not None and abs(found.shift_s) > self._threshold_s:
            return (
                f"{name!r} is {found.shift_s:+.6f} s off {self._reference!r} all the time: "
                f"clock_offset_s={-found.shift_s:.6f} would correct it"
            )
        if found.threshold_s is not None and found.threshold_s > self._threshold_s:
            return (
                f"{name!r} differs from {self._reference!r} by more than timestamp_threshold="
                f"{self._threshold_s:.6f} s: {found.threshold_s:.6f} would fit"
            )
        return ""

    def _note(self, rows: list[FoundRow]) -> list[FoundRow]:
        if rows:
            self._n_rows += len(rows)
            self._waits_since, self._is_warned = None, False
            self._row_at = time.monotonic()
        return rows


def _found(rows: list[MatchedRow]) -> list[FoundRow]:
    return [FoundRow(row.time_ns, row.time_ns * 1e-9, row.values) for row in rows]
