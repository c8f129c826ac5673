"""The layout of a record of a capture: where its number and its frames are, found without decoding it.

A capture is a sequence of CBOR items (RFC 8949), as dranspose 0.2 writes them (`dranspose.event.message_encoder`)::

    55799( 42877( [event_number, {stream: 42878( [typ, [frame, ...]] ), ...}, 0(created_at)] ) )

The last element is absent in older ones. Most records have the layout of one before them: then only the bytes between
number and frames are compared.
"""

import struct
from struct import Struct
from typing import NamedTuple

__all__ = ["CutRecord", "OtherEncoding", "RecordLayout", "head", "layout_at"]

RECORD = b"\xd9\xd9\xf7\xd9\xa7\x7d"
"""Tags 55799 and 42877."""
STREAM = b"\xd9\xa7\x7e\x82"
"""Tag 42878, and the head of an array of two."""
UINT, BYTES, TEXT, ARRAY, MAP, TAG = 0, 2, 3, 4, 5, 6
MAX_NUMBER = 2**63 - 1


class CutRecord(Exception):
    """The data end within the record."""


class OtherEncoding(Exception):
    """Not a record of this layout; it may still be one that a decoder of CBOR reads."""


class StreamLayout(NamedTuple):
    """A stream of a record."""

    name: str
    typ: str
    frames: tuple[tuple[int, int], ...]
    """First byte of each, and the one after its last, from the start of the record on."""


class RecordLayout:
    """Positions in a record, from its start on; records of the same layout differ in number, frames and time only."""

    def __init__(
        self,
        record: memoryview,
        streams: tuple[StreamLayout, ...],
        number: tuple[int, int],
        time: tuple[int, int] | None,
    ) -> None:
        self.streams, self.time, self.length = streams, time, len(record)
        self.names = frozenset(stream.name for stream in streams)
        is_in_head = record[number[0] - 1] == ARRAY << 5 | (3 if time else 2)  # numbers below 24
        self._max_number = 23 if is_in_head else MAX_NUMBER
        code = {1: "B", 2: "H", 4: "I", 8: "Q"}[number[1] - number[0]]
        pieces, end = [f">{number[0]}s{code}"], number[1]
        for start, stop in (*(frame for stream in streams for frame in stream.frames), *([time] if time else ())):
            pieces.append(f"{start - end}s{stop - start}x")
            end = stop
        self._structure = Struct("".join(pieces) + f"{len(record) - end}s")
        self._before, self.number, *after = self._structure.unpack(record)
        self._after = tuple(after)

    def number_at(self, data: memoryview, start: int) -> int | None:
        """Event number of the record that begins at `start`; None if its layout differs, or it is cut."""
        try:
            before, number, *after = self._structure.unpack_from(data, start)
        except struct.error:
            return None
        is_same = before == self._before and tuple(after) == self._after and number <= self._max_number
        return number if is_same else None


def layout_at(data: memoryview, start: int) -> RecordLayout:
    """The layout of the record that begins at `start`. Raises CutRecord, OtherEncoding."""
    walk = _Walk(data, start)
    try:
        return walk.record()
    except IndexError:
        raise CutRecord from None


class _Walk:
    """Reads the heads of one record, one after the other."""

    def __init__(self, data: memoryview, start: int) -> None:
        self._data, self._start, self._at = data, start, start

    def record(self) -> RecordLayout:
        self._expect(RECORD)
        n_parts = self._head(ARRAY)
        if n_parts not in (2, 3):
            raise OtherEncoding
        number = self._number()
        streams = tuple(self._stream() for _ in range(self._head(MAP)))
        time = None
        if n_parts == 3:
            self._expect(b"\xc0")
            time = self._skip(self._head(TEXT))
        return RecordLayout(self._data[self._start : self._at], streams, number, time)

    def _stream(self) -> StreamLayout:
        name = self._text()
        self._expect(STREAM)
        typ = self._text()
        return StreamLayout(name, typ, tuple(self._skip(self._head(BYTES)) for _ in range(self._head(ARRAY))))

    def _number(self) -> tuple[int, int]:
        before = self._at
        if self._head(UINT) > MAX_NUMBER:
            raise OtherEncoding
        first = before if self._at == before + 1 else before + 1
        return first - self._start, self._at - self._start

    def _text(self) -> str:
        start, stop = self._skip(self._head(TEXT))
        try:
            return str(self._data[self._start + start : self._start + stop], "utf-8")
        except UnicodeDecodeError:
            raise OtherEncoding from None

    def _skip(self, n_bytes: int) -> tuple[int, int]:
        start, self._at = self._at, self._at + n_bytes
        if self._at > len(self._data):
            raise CutRecord
        return start - self._start, self._at - self._start

    def _expect(self, expected: bytes) -> None:
        found = self._data[self._at : self._at + len(expected)]
        if found != expected:
            raise CutRecord if expected.startswith(found) else OtherEncoding
        self._at += len(expected)

    def _head(self, major: int) -> int:
        """The argument of the next head, which must be of this major type."""
        first = self._data[self._at]
        info = first & 31
        if first >> 5 != major or info > 27:  # among others an indefinite length
            raise OtherEncoding
        self._at += 1
        if info < 24:
            return info
        start, stop = self._skip(1 << info - 24)
        return int.from_bytes(self._data[self._start + start : self._start + stop], "big")


def head(major: int, value: int) -> bytes:
    """The shortest head of this major type."""
    if value < 24:
        return bytes([major << 5 | value])
    for info, code in enumerate(("B", "H", "I", "Q"), 24):
        if value < 1 << (8 << info - 24):
            return Struct(f">B{code}").pack(major << 5 | info, value)
    raise OverflowError(value)
