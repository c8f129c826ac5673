"""Events of a stream of lines, encoded as STINS: a header, one event for each line, an end.

STINS is dranspose's encoding of a detector's frames: `frames[0]` is JSON, `frames[1]` the bytes of an image.
"""

import json

import numpy as np

from openhsi_shared.analysis.events import About, Event, Line, StreamData

__all__ = ["STINS", "LineStream"]

STINS = "STINS"


class LineStream:
    """Makes the events of one stream. Number 0 is the header, `n` the n-th line, and the last one the end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._format: tuple[tuple[int, ...], np.dtype[np.generic]] | None = None
        self._image = b""

    def header(self, filename: str, about: About | None, number: int = 0) -> Event:
        """The first event. `filename` is "" if nothing is saved."""
        return self._event(number, {"htype": "header", "filename": filename, "msg_number": number}, about)

    def end(self, number: int, about: About | None) -> Event:
        """The last event."""
        return self._event(number, {"htype": "series_end", "msg_number": number}, about)

    def _event(self, number: int, fields: dict[str, object], about: About | None) -> Event:
        return Event(number, {self.name: StreamData(STINS, [json.dumps(fields).encode()])}, None, about)

    def line(self, number: int, line: Line, about: About) -> Event:
        """The event of a line, without a copy of its pixels, which must be contiguous."""
        data = line.data
        if self._format != (data.shape, data.dtype):
            self._format = data.shape, data.dtype
            fixed = {"shape": data.shape, "type": data.dtype.name, "compression": "none"}
            self._image = b'{"htype": "image", "frame": %d, "msg_number": %d, ' + json.dumps(fixed).encode()[1:]
        frames: list[bytes | memoryview] = [self._image % (number - 1, number), data.data.cast("B")]
        return Event(number, {self.name: StreamData(STINS, frames)}, line, about)
