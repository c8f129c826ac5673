"""How many physical cores this process may use: its affinity and the limit of its container considered."""

import math
import os
from pathlib import Path

__all__ = ["usable_cores"]

_CPU = Path("/sys/devices/system/cpu")


def usable_cores() -> int:
    """Physical cores that this process may use, at least 1."""
    import psutil  # not above: workers, which are given recipes, do not count cores

    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if allowed is None:
        return psutil.cpu_count(logical=False) or os.cpu_count() or 1
    cores = {_core_of(cpu) for cpu in allowed}
    return max(1, min(len(cores), psutil.cpu_count(logical=False) or len(cores), _quota()))


def _core_of(cpu: int) -> str:
    """The threads of the core of a processor, such as "0,4"; that processor alone if the system does not say."""
    try:
        return (_CPU / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _quota(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores' worth of time that the container has, rounded up; many without a limit."""
    try:
        limit, period = (root / "cpu.max").read_text().split()
        return math.ceil(int(limit) / int(period))
    except (OSError, ValueError):  # no control groups of version 2; "max"
        return 1 << 16
