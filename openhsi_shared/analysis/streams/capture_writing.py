"""Writing captures that dranspose replays."""

import zlib
from pathlib import Path
from typing import Self

import numpy as np
from isal import isal_zlib

from openhsi_shared.analysis.events import Event
from openhsi_shared.analysis.streams.capture_options import check_new_capture
from openhsi_shared.analysis.streams.record_layout import ARRAY, BYTES, MAP, RECORD, STREAM, TEXT, UINT, head
from openhsi_shared.durable import PartFile
from openhsi_shared.errors import ArgumentError, NothingToSave

__all__ = ["CaptureWriter"]

BUFFER_BYTES = 1 << 20
GZIP = 16 + zlib.MAX_WBITS


class CaptureWriter:
    """A capture that is being written, under a temporary name; compressed if `path` ends in `.cbors.gz`.

    Use it as a context manager: at its end the file is published, after an exception it is removed. A file is never
    overwritten, nor appended to. Every method raises SaveError with the system's errno.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = check_new_capture(Path(path))
        self._part = PartFile(self.path.parent, self.path.name)
        self._compressor = isal_zlib.compressobj(1, wbits=GZIP) if self.path.suffix == ".gz" else None
        self._buffer, self._offset, self._last, self._is_closed = bytearray(), 0, -1, False

    def write(self, event: Event) -> None:
        """Append an event; frames are copied. ArgumentError if its number is not above that of the one before."""
        number = event.event_number
        if number <= self._last:
            raise ArgumentError(f"event number {number} after {self._last}: expected rising ones")
        self._last = number
        time = None if event.line is None or np.isnat(event.line.time) else event.line.time
        buffer = self._buffer
        buffer += RECORD + head(ARRAY, 2 if time is None else 3) + head(UINT, number) + head(MAP, len(event.streams))
        for name, data in event.streams.items():
            buffer += _text(name) + STREAM + _text(data.typ) + head(ARRAY, data.length)
            for frame in data.frames:
                pixels = memoryview(frame).cast("B")
                buffer += head(BYTES, len(pixels))
                buffer += pixels
        if time is not None:
            buffer += b"\xc0" + _text(f"{np.datetime_as_string(time, unit='us')}Z")
        if len(buffer) >= BUFFER_BYTES:
            self._flush()

    def close(self) -> None:
        """Publish the file. SaveError (EEXIST) if a file of that name was made meanwhile. Idempotent.

        NothingToSave if no event was written: then there is no file.
        """
        if self._is_closed:
            return
        self._is_closed = True
        with self._part:
            if self._last < 0:
                raise NothingToSave(f"no event was written into {self.path}")
            self._flush(is_last=True)
            self._part.publish_as(self.path)

    def abandon(self) -> None:
        """Remove what was written. Idempotent."""
        self._is_closed = True
        self._part.close()

    def _flush(self, *, is_last: bool = False) -> None:
        buffer, self._buffer = self._buffer, bytearray()
        data = buffer if self._compressor is None else self._compressor.compress(buffer)
        if is_last and self._compressor is not None:
            data += self._compressor.flush()
        self._part.write_at(self._offset, memoryview(data))
        self._offset += len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def _text(value: str) -> bytes:
    data = value.encode()
    return head(TEXT, len(data)) + data
