"""Progress of the work on one cube, as numbers that any thread may read at any time."""

from dataclasses import dataclass, field

__all__ = ["Progress"]


@dataclass(eq=False)
class Progress:
    """Made by the runner, changed by the workers, read without locks. All numbers only grow, except `blocks`."""

    n_lines: int = 0
    """Lines of the result; 0 before the work has begun."""
    n_processed: int = 0
    """Lines of the result that are computed, or were by an earlier run."""
    n_done: int = 0
    """Lines of the result that are written."""
    n_failed: int = 0
    n_rows: int = 0
    survey: float | None = None
    """Part of the first pass that is done, 0 to 1; None without one, or before it."""
    blocks: dict[str, int] = field(default_factory=dict)
    """Number of blocks by stage ("process", "write"), and of free places ("free")."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds of all workers together, by what they did: "prepare" (stages), "process", "write", "survey", and, as
    parts of "process", "load" (read) and the code of each stage."""
