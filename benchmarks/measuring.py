"""The size of a benchmark, and the table of its figures and targets."""

import json
import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

__all__ = [
    "FRAME_SHAPE",
    "LINE_BYTES",
    "MB",
    "Plan",
    "Row",
    "Spread",
    "machine",
    "print_table",
    "private_bytes",
    "write_json",
]

FRAME_SHAPE = (644, 800)
"""(cross-track, wavelength) of the camera that the targets are for; its pixels are uint16."""
LINE_BYTES = FRAME_SHAPE[0] * FRAME_SHAPE[1] * 2
MB = 1e6

Choice = TypeVar("Choice")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The size of the benchmarks, and where they run."""

    size: Literal["full", "quick", "tiny"] = "full"
    """"full" is what the targets are for; "quick" takes less time; "tiny" only shows that the benchmark works."""
    directory: Path
    """Folder for cubes, on the disk that is to be measured."""
    openhsi_python: Path | None = None
    """The Python of an environment that has openhsi, or None: no comparison with it."""
    dranspose_python: Path | None = None
    """The Python of an environment that has dranspose, or None: no comparison with it."""
    before: Path | None = None
    """A checkout of an earlier state of this library that `jobs` is compared with, or None: no comparison with it."""
    cases: tuple[str, ...] = ()
    """The only cases of a benchmark that has several; empty: all."""

    def pick(self, full: Choice, quick: Choice, tiny: Choice) -> Choice:
        """The one for this size."""
        return {"full": full, "quick": quick, "tiny": tiny}[self.size]

    @property
    def frame_shape(self) -> tuple[int, int]:
        """(cross-track, wavelength)."""
        return self.pick(FRAME_SHAPE, FRAME_SHAPE, (32, 64))

    @property
    def line_bytes(self) -> int:
        """Bytes of a line."""
        return self.frame_shape[0] * self.frame_shape[1] * 2

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """A new folder for cubes, deleted afterwards with its contents."""
        path = self.directory / f"{name}-{os.getpid()}"
        path.mkdir(parents=True)
        try:
            yield path
        finally:
            shutil.rmtree(path)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure, and the one it is compared with."""

    benchmark: str
    what: str
    ours: str
    against: str = ""
    ratio: float | None = None
    target: str = ""
    is_reached: bool | None = None
    """None: there is no target, or nothing to compare with."""
    is_right: bool = True
    """False: what was checked is not as it must be, so the figure counts for nothing, whatever the size of the run."""
    verified: str
    """What was checked before the figure was accepted."""
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.is_right and self.is_reached:
            object.__setattr__(self, "is_reached", False)


@dataclass(frozen=True)
class Spread:
    """Several measurements of the same figure."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """The one in the middle."""
        return statistics.median(self.values)

    @property
    def highest(self) -> float:
        """The largest."""
        return max(self.values)

    def text(self, unit: str, digits: int = 0) -> str:
        """Median, minimum and maximum."""
        if len(self.values) == 1:
            return f"{self.median:,.{digits}f} {unit}"
        low, high = min(self.values), max(self.values)
        return f"{self.median:,.{digits}f} {unit} [{low:,.{digits}f}..{high:,.{digits}f}]"


def private_bytes(process_id: int) -> int:
    """Memory that only this process has: neither shared memory nor libraries."""
    text = Path(f"/proc/{process_id}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Private_"))


# ---- output ----


def print_table(rows: Sequence[Row]) -> None:
    for row in rows:
        mark = {True: "reached", False: "MISSED", None: "-"}[row.is_reached]
        ratio = "" if row.ratio is None else f"   ratio {row.ratio:.3g}"
        print(f"{row.benchmark}: {row.what}")
        print(f"    ours     {row.ours}{ratio}")
        if row.against:
            print(f"    against  {row.against}")
        print(f"    target   {row.target or 'none'}: {mark}")
        print(f"    verified {'' if row.is_right else 'WRONG: '}{row.verified}", flush=True)


def machine(plan: Plan) -> dict[str, Any]:
    """The machine on which the figures were measured."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.processor(),
    )
    ask = ["findmnt", "-no", "FSTYPE,SOURCE", "-T", str(plan.directory)]
    found = subprocess.run(ask, capture_output=True, text=True, check=False) if shutil.which(ask[0]) else None
    return {
        "size": plan.size,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": model,
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "memory_kb": next((line.split()[1] for line in _lines(Path("/proc/meminfo"))), None),
        "disk": found.stdout.strip() if found else "unknown",
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def write_json(path: Path, about: dict[str, Any], rows: Sequence[Row]) -> None:
    """Write machine and rows; numbers that JSON does not have (NaN, infinity) are written as null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"machine": about, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(_as_json(found), indent=1, default=str, allow_nan=False))


def _as_json(value: Any) -> Any:
    """The same without NaN and infinity, which most readers of JSON refuse."""
    if isinstance(value, dict):
        return {str(key): _as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value
