"""What a source calls when it has a sample, or when its state changes."""

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from openhsi_shared.buffers.samples import SampleMemory
from openhsi_shared.channels.properties import ChannelProperties
from openhsi_shared.channels.units import known_unit
from openhsi_shared.errors import ArgumentError
from openhsi_shared.line_times import UNKNOWN_TIME_NS
from openhsi_shared.loggers import safe_logger
from openhsi_shared.matching.states import State

__all__ = ["Deliver", "RingDeliver"]

logger = safe_logger(__name__)

LOG_INTERVAL_S = 1.0
SILENT_S = 1.0
"""A source that speaks on change is `unchanged` after this time, or after five of its mean periods."""
RESUMES = frozenset({State.CONNECTING, State.UNCHANGED, State.STALLED, State.LOST, State.REFUSED})
"""States that end with the next sample; the others end when the source says so."""

TROUBLES = frozenset({State.STALLED, State.LOST, State.NO_FIX, State.JUMPED, State.REFUSED})


class Deliver(Protocol):
    """What a source calls. All methods are thread-safe, and never block for long."""

    def sample(
        self,
        value: Any,
        time_ns: int | None = None,
        id: int = -1,  # noqa: A002
        quality: int = 0,
        arrival_ns: int | None = None,
    ) -> None:
        """Deliver a number, or a sequence with one for each field. NaN is a value.

        `time_ns` is the source's stamp, UTC in ns since 1970; None if it has none: then arrival is taken. `arrival_ns`
        is the `time.monotonic_ns()` at which it came, None: now. What is no number is refused: counted, and logged. The
        state becomes `good`, unless it is `no fix`, `jumped` or `ended`.
        """

    def state(self, state: State, why: str = "") -> None:
        """Note the state of the source, if it has changed, and `why` for the log."""

    def describe(self, **more: Any) -> None:
        """Add what the source says of itself, such as unit="mm" or flags=["closed", "open"], for file and status.

        Everything that JSON can store, 4 KiB in all; ArgumentError for anything else. `unit` is converted to UDUNITS'
        spelling; one that is not known becomes `unit_as_given`, with a warning.
        """

    def refuse(self, why: str, n: int = 1) -> None:
        """Count `n` samples that cannot be used; logged once a second at most."""

    def squash(self, n: int) -> None:
        """Count `n` samples that ids show to be missing."""


class RingDeliver:
    """Delivers into shared memory, with the time of arrival."""

    def __init__(self, properties: ChannelProperties, memory: SampleMemory) -> None:
        self.properties = properties
        self._ring, view, clock = memory.ring(properties.name), memory.view(properties.name), memory.clock
        self._n_values = len(properties.fields)
        self._wall_minus_monotonic = clock.wall_ns(0)
        self._lock = threading.RLock()
        self._state: State | None = view.state() if view.states() else None
        self._resumes = self._state is None or self._state in RESUMES
        self._description = view.description()
        self._next_log, self._n_unlogged = 0.0, 0
        self._begun_ns = self._last_ns = time.monotonic_ns()

    def sample(
        self,
        value: Any,
        time_ns: int | None = None,
        id: int = -1,  # noqa: A002
        quality: int = 0,
        arrival_ns: int | None = None,
    ) -> None:
        """See `Deliver`."""
        monotonic_ns = time.monotonic_ns() if arrival_ns is None else arrival_ns
        stamp = UNKNOWN_TIME_NS if time_ns is None else time_ns
        try:
            kind = type(value)
            values = value if kind in (tuple, list) else value.reshape(-1) if kind is np.ndarray else (value,)
            self._ring.put(stamp, monotonic_ns + self._wall_minus_monotonic, id, quality, values)
        except Exception as error:  # noqa: BLE001 - whatever a source delivers; counted, and logged
            self.refuse(f"{value!r:.60} with time {time_ns!r:.30}: {self._expected()}; {error}")
            return
        self._last_ns = monotonic_ns
        if self._resumes:
            self.state(State.GOOD)

    def _expected(self) -> str:
        return "expected a number" if self._n_values == 1 else f"expected {self._n_values} numbers"

    def state(self, state: State, why: str = "") -> None:
        """See `Deliver`."""
        with self._lock:
            if state is self._state:
                return
            before, self._state = self._state, state
            self._resumes = state in RESUMES
            self._ring.note_state(self._now_ns(), state)
            self._description["why"] = why[:200]
            self._describe()
        level = logger.warning if state in TROUBLES else logger.info if before in TROUBLES else logger.debug
        level("channel %r is %s%s", self.properties.name, state.words, f": {why}" if why else "")

    def describe(self, **more: Any) -> None:
        """See `Deliver`."""
        unit = more.get("unit")
        if unit is not None and known_unit(str(unit)) is None:
            name, why = self.properties.name, "it is stored as unit_as_given"
            logger.warning("channel %r: unit %r of its source is not known to UDUNITS: %s", name, unit, why)
            more |= {"unit": None, "unit_as_given": str(unit)}
        elif unit is not None:
            more["unit"] = known_unit(str(unit))
        with self._lock:
            before = dict(self._description)
            self._description |= more
            try:
                self._describe()
            except ArgumentError:
                self._description = before
                raise

    def _describe(self) -> None:
        self._ring.describe(self._description)

    def refuse(self, why: str, n: int = 1) -> None:
        """See `Deliver`."""
        self._ring.refuse(n)
        with self._lock:
            self._n_unlogged += n
            now = time.monotonic()
            if now < self._next_log:
                return
            self._next_log, n_refused, self._n_unlogged = now + LOG_INTERVAL_S, self._n_unlogged, 0
            if self._state is State.CONNECTING:  # what a recording that waits for the first sample will say
                self._description["why"] = why[:200]
                self._describe()
        logger.warning("channel %r: %d samples refused: %s", self.properties.name, n_refused, why)

    def squash(self, n: int) -> None:
        """See `Deliver`."""
        self._ring.squash(n)

    def watch(self) -> None:
        """Look whether the source is silent; called a few times a second."""
        if self._state not in (State.GOOD, State.UNCHANGED):
            return
        silent_s, stall_s = 1e-9 * (time.monotonic_ns() - self._last_ns), self.properties.stall_s
        if stall_s is not None and silent_s > stall_s:
            self.state(State.STALLED, f"nothing for {silent_s:.1f} s, at {self.properties.rate:g} samples/s expected")
        elif stall_s is None and self.properties.speaks_on_change and silent_s > max(SILENT_S, 5 * self._period_s()):
            self.state(State.UNCHANGED)

    def _period_s(self) -> float:
        """Mean time between samples: a slow source is not called silent after each of them."""
        return 1e-9 * (self._last_ns - self._begun_ns) / max(1, self._ring.counts.delivered - 1)

    def _now_ns(self) -> int:
        return time.monotonic_ns() + self._wall_minus_monotonic


_: Callable[..., Deliver] = RingDeliver  # mypy: it has the methods of the protocol
