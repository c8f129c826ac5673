"""Rates of events by name, over the last ones and the time that they took."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

__all__ = ["TOTAL", "Rates"]

TOTAL = "Total"
N_TICKS = 100
SILENT_S = 2.0
"""Nothing for this time, and for five mean periods, is no rate."""


class Rates(Mapping[str, float]):
    """A read-only mapping from names to events per second; the last one is "Total"."""

    def __init__(self, *names: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds."""
        self._clock = clock
        self._ticks: dict[str, deque[float]] = {name: deque(maxlen=N_TICKS + 1) for name in (*names, TOTAL)}

    def tick(self, name: str = TOTAL) -> None:
        """Count an event; from any thread."""
        self._ticks[name].append(self._clock())

    def rate(self, name: str) -> float:
        """Events per second: of the last hundred, from two on; 0 when nothing comes any more."""
        ticks = list(self._ticks[name])
        if len(ticks) < 2:
            return 0.0
        period, silent = (ticks[-1] - ticks[0]) / (len(ticks) - 1), self._clock() - ticks[-1]
        if silent > max(SILENT_S, 5 * period):
            return 0.0
        passed = ticks[-1] - ticks[0] + max(0.0, silent - 2 * period)
        return (len(ticks) - 1) / passed if passed > 0 else 0.0

    def clear(self) -> None:
        """Forget all events."""
        for ticks in self._ticks.values():
            ticks.clear()

    def __getitem__(self, name: str) -> float:
        return self.rate(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ticks)

    def __len__(self) -> int:
        return len(self._ticks)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}: {rate:.3g} Hz' for name, rate in self.items())})"
