"""Status of an analysis of running lines: a frozen snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from openhsi_shared.frames.losses import IdRange, ranges_in_words

__all__ = ["AnalysisStatus", "Mode"]

Mode = Literal["lossless", "best_effort", "tap"]
"""Holds slots until their lines are processed; gives them back when no other slot is free; holds none."""


@dataclass(frozen=True, kw_only=True)
class AnalysisStatus:
    """Events done, skipped, failed and waiting, and what the analysis costs the recording."""

    name: str
    mode: Mode
    state: Literal["starting", "running", "ending", "ended", "failed"] = "starting"
    why: str = ""
    """Why it has failed."""
    events: int = 0
    """Events processed, failed ones included."""
    results: int = 0
    """Results that the reducer has processed."""
    skipped: int = 0
    """Lines that were overwritten before they were processed, or skipped by a tap."""
    skipped_ids: tuple[IdRange, ...] = ()
    """Their frame ids: (first, last), both included."""
    failed: int = 0
    """Events for which the worker, or the reducer, has raised, or that were given up."""
    waiting: int = 0
    """Lines that exist and are not processed."""
    rates: tuple[float, ...] = ()
    """Recent events per second of each worker."""
    age_s: float = float("nan")
    """Time from a line to its result, of the newest result; NaN before the first."""
    restarts: int = 0
    """How many workers were replaced because they died or hung."""
    slots: int = 0
    """Slots that it holds whose cubes are saved: they would be free without it."""
    lines_lost: int = 0
    """Lines that the recording has lost while it held such slots."""
    not_saved: int = 0
    """Lines that it was given, of cubes that were discarded, or could not be saved."""
    error: str = ""
    """The newest failure of an event, in one line."""
    socket: str = ""
    """Path of its control socket; empty while it has none."""
    recording: str = ""
    """Path of the control socket of the recording that it is attached to; empty if it is a part of the recording."""
    url: str = ""
    """Address of its HTTP server; empty without one."""
    processes: Mapping[str, int] = field(default_factory=dict)
    """Process ids: of "dispatcher", "reducer", and each worker by its name."""
    saved_to: str = ""
    """File of the result, once it is saved."""

    def __getstate__(self) -> dict[str, Any]:
        """Pickle `skipped_ids` as plain numbers, as `Status` does."""
        return {**self.__dict__, "skipped_ids": [tuple(ids) for ids in self.skipped_ids]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` returned."""
        self.__dict__.update(state, skipped_ids=tuple(IdRange(*ids) for ids in state["skipped_ids"]))

    def __str__(self) -> str:
        ids = f" ({ranges_in_words(self.skipped_ids[:5])})" if self.skipped_ids else ""
        parts = [
            f"{self.state}{f': {self.why}' if self.why else ''}, {self.mode.replace('_', ' ')}",
            f"{self.events} events at {sum(self.rates):.0f} /s, {self.waiting} waiting",
            f"{self.skipped} skipped{ids}" if self.skipped else "",
            f"{self.failed} failed{f' ({self.error})' if self.error else ''}" if self.failed else "",
            f"holds {self.slots} slots" if self.slots else "",
            f"{self.lines_lost} lines lost to it" if self.lines_lost else "",
            f"{self.not_saved} lines in no file" if self.not_saved else "",
            f"{self.restarts} workers replaced" if self.restarts else "",
        ]
        return ", ".join(part for part in parts if part)
