"""What became of one cube of a job."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["JobResult", "stated_yield", "yield_text"]


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """The result of one cube; `line_rows` has the shape (n_lines,)."""

    path: Path
    """Of the result."""
    preview_path: Path | None
    """Of its picture; None without one."""
    n_lines: int
    """Lines of the result."""
    n_rows: int
    """Rows of the table; 0 without one."""
    n_failed: int
    """Lines that failed, or are damaged in the source; `line_flag` says which ones."""
    ppid: str
    """Identity of the job: all that decides what the result contains."""
    ppid_hash: str
    """Its hash."""
    skipped: bool
    """Whether the result was there already, whole, of a job with the same id."""
    seconds: float
    """That the cube took."""
    times: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Seconds of all workers together: "prepare", "process", "write", "survey", and, as parts of "process", "load" and
    the code of each stage."""
    counters: Mapping[str, int] = field(default_factory=dict, compare=False)
    """`blocks_loaded`, `blocks_waiting_for_writer`, `rows_dropped`."""
    line_rows: NDArray[np.int64] | None = field(default=None, compare=False, repr=False)
    """Rows that each line gave, -2 if it failed; None if the cube was skipped."""

    def get_time(self, stage: str) -> float:
        """Seconds that all workers together have spent in a stage; 0 if they have not had it."""
        return self.times.get(stage, 0.0)


def yield_text(n_lines: int, n_failed: int, n_rows: int) -> str:
    """The attribute `pipeline_yield` of a result."""
    return json.dumps({"n_lines": n_lines, "n_failed": n_failed, "n_rows": n_rows})


def stated_yield(attributes: Mapping[str, Any]) -> tuple[int, int, int]:
    """What that attribute of a file says: lines, failed ones, rows. ValueError if it says nothing."""
    found = json.loads(str(attributes.get("pipeline_yield", "")))
    return int(found["n_lines"]), int(found["n_failed"]), int(found["n_rows"])
