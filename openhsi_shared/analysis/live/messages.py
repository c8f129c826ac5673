"""Messages between the process that owns the slots and one that reads them, such as the dispatcher of an analysis."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from openhsi_shared.control.analysis_status import AnalysisStatus

__all__ = ["AllReleased", "EndNow", "NoMoreLines", "ReaderEnded", "Ready", "Released"]


# ---- to the owner of the slots -------------------------------------------------------


class Ready(NamedTuple):
    """It is ready for lines. After this it sends an AnalysisStatus at least every second."""


class Released(NamedTuple):
    """It does not read this cube any more."""

    slot: int
    cube: int


class AllReleased(NamedTuple):
    """It reads no line any more, and needs none of those to come; it has not ended yet."""


@dataclass(frozen=True, kw_only=True)
class ReaderEnded:
    """Its last message: everything is processed, or it has failed."""

    status: AnalysisStatus
    error: BaseException | None = None
    published: bytes = b""
    """What the reducer published, pickled; empty without a reducer."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Their last values, by name."""
    lines_of: Mapping[int, int] = field(default_factory=dict)
    """Lines that were processed of each cube that is not in `NoMoreLines.saved`."""


# ---- from the owner of the slots -----------------------------------------------------


class NoMoreLines(NamedTuple):
    """No line is committed any more: process those that exist, then end."""

    first_file: str
    """Path of the first cube; empty if nothing is saved."""
    saved: frozenset[int]
    """Numbers of cubes that are in files; the others were discarded, or could not be saved."""


class EndNow(NamedTuple):
    """Process what workers have, and end."""

    first_file: str
    """As that of `NoMoreLines`; empty if it is not saved yet, or not known."""
