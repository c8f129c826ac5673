"""Events: what a worker is given.

Contract as in dranspose 0.2 (`dranspose.event.EventData`, `StreamData`), whose workers run unchanged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.analysis.stins import StinsPacket, parse

__all__ = ["About", "Event", "Line", "StreamData"]


@dataclass(slots=True, eq=False)
class StreamData:
    """What one stream delivers in one event."""

    typ: str
    """Encoding of the frames, such as "STINS"."""
    frames: list[bytes | memoryview]
    """Small ones are `bytes`, large ones read-only views, which hold until `process_event` returns."""

    @property
    def length(self) -> int:
        """Number of frames."""
        return len(self.frames)

    def get_bytes(self) -> "StreamData":
        """A copy whose frames are `bytes`, which may be kept."""
        return StreamData(self.typ, [bytes(frame) for frame in self.frames])

    def parse(self) -> StinsPacket:
        """Read a packet of a STINS stream: StinsHeader, StinsImage or StinsEnd. CaptureError if it is none.

        Streams of another `typ` are read by the parsers of dranspose.
        """
        return parse(self.typ, self.frames)


@dataclass(slots=True, eq=False, kw_only=True)
class Line:
    """A line of a cube, (cross-track, wavelength), besides its bytes in the stream."""

    data: NDArray[Any]
    """(cross-track, wavelength), read-only; holds until `process_event` returns."""
    cube: int
    """Number of the cube, from 1 on."""
    y: int
    """Number of the line in its cube, from 0 on."""
    frame_id: int
    """The camera's own counter, unwrapped; -1 if unknown."""
    time: np.datetime64
    """UTC, in ns; NaT if unknown."""
    temperature: float
    """Of the camera, in degrees Celsius; NaN if unknown."""
    channels: Mapping[str, float] = field(default_factory=dict)
    """Values of the channels at the time of the line, as far as they are known, by the names of the file's columns."""
    lost_before: int = 0
    """Frames lost between the line before it, also of the cube before, and this one, or within it, if it is a mean."""


@dataclass(slots=True, eq=False, kw_only=True)
class About:
    """What all lines of a stream have in common; for each band: (band,)."""

    wavelengths_nm: NDArray[np.float64] | None
    """Of each band; None if unknown."""
    level: int | None
    """Processing level of the lines."""
    settings: Mapping[str, Any]
    """Of the camera, by the names of openhsi's JSON."""
    exposure_ms: float | None
    """Of each line; None if unknown."""
    full_scale: int | None = None
    """Value of a saturated pixel; None if unknown."""


@dataclass(slots=True, eq=False)
class Event:
    """One event: all streams of one number."""

    event_number: int
    """From 0 on; of cubes, 0 is the header, and n the n-th line."""
    streams: Mapping[str, StreamData]
    """What each stream delivers, by its name."""
    line: Line | None = None
    """None for captures of other programs, and for the header and end of a stream."""
    about: About | None = None
    """None for captures of other programs."""
