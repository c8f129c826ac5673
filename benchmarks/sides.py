"""Seconds of several ways to do the same, measured in turns."""

import resource
import time
from collections.abc import Callable
from typing import Any

from benchmarks.measuring import Spread

__all__ = ["Sides"]


class Sides:
    """Seconds and CPU seconds of each side, measured in turns."""

    def __init__(self) -> None:
        self.wall: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    def measure(self, name: str, work: Callable[[], Any]) -> Any:
        """Measure once."""
        begun, cpu = time.perf_counter(), _cpu_s()
        result = work()
        self.add(name, time.perf_counter() - begun, _cpu_s() - cpu)
        return result

    def add(self, name: str, wall_s: float, cpu_s: float) -> None:
        """Add what another process has measured."""
        self.wall.setdefault(name, []).append(wall_s)
        self.cpu.setdefault(name, []).append(cpu_s)

    def ratio(self, name: str, to: str, *, cpu: bool = False) -> float:
        """Median of the ratios of each turn."""
        of = self.cpu if cpu else self.wall
        return Spread([one / other for one, other in zip(of[name], of[to], strict=True)]).median

    def text(self, name: str) -> str:
        """Both figures."""
        return f"{Spread(self.wall[name]).text('s', 2)}, CPU {Spread(self.cpu[name]).median:.2f} s"


def _cpu_s() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
