"""Records of captures that are decoded: compressed ones, other encodings of CBOR, and pickles."""

import gzip
import io
import pickle
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import cbor2

from openhsi_shared.analysis.events import Event, StreamData
from openhsi_shared.errors import CaptureError, FileError
from openhsi_shared.line_times import ns_of_iso

__all__ = ["ByteStream", "TimedEvent", "capture_error", "decode_record", "decoded_events", "event_of"]

RECORD_TAG, STREAM_TAG = 42877, 42878
RAW = "is a list of frames: a raw capture, without events; capture the events instead"
CUT = "is cut: the capture ends within it"
TAGS = (b"\xd9\xd9\xf7", b"\xd9\xa7\x7d")
"""With which a record may begin: 55799, which any CBOR may begin with, and its own."""


class TimedEvent(NamedTuple):
    """An event with the time of its record: UTC in ns; None if the record has none."""

    event: Event
    time_ns: int | None
    offset: int | None = None
    """Of its record, in the uncompressed data; None if it has none."""


def capture_error(path: Path | str, record: int, offset: int, what: str) -> CaptureError:
    """An error at a record of a capture, with its place."""
    text = f"{path}: record {record} at byte {offset} {what}"
    return CaptureError(text, path=str(path), record=record, offset=offset)


class ByteStream:
    """What cbor2 reads from: counts bytes, and offers no seeking, so that no version of cbor2 reads ahead."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._next = b""
        self.offset = 0
        """Of the next byte."""
        self.is_cut = False
        """Whether compressed data ended too early."""
        self.start = b""
        """The first bytes that were read since it was emptied."""

    def is_at_end(self) -> bool:
        """Whether no byte follows."""
        self._next = self._next or self._some(1)
        return not self._next

    def read(self, n_bytes: int = -1) -> bytes:
        """Read at most `n_bytes`."""
        data, self._next = self._next[:n_bytes], self._next[n_bytes:]
        if len(data) < n_bytes:
            data += self._some(n_bytes - len(data))
        self.offset += len(data)
        if len(self.start) < len(TAGS[0]):
            self.start += data[: len(TAGS[0])]
        return data

    def _some(self, n_bytes: int) -> bytes:
        try:
            return self._read(n_bytes)
        except EOFError:  # here, since cbor2 makes another error of it
            self.is_cut = True
            return b""

    def readable(self) -> bool:
        """Asked by cbor2."""
        return True

    def seekable(self) -> bool:
        """Asked by cbor2."""
        return False


class _Record(NamedTuple):
    parts: Any


def _tag_hook(*arguments: Any) -> Any:  # (decoder, tag) in cbor2 5, (tag, immutable) in cbor2 6
    tag = next(argument for argument in arguments if isinstance(argument, cbor2.CBORTag))
    if tag.tag == STREAM_TAG:
        typ, frames = tag.value
        return StreamData(typ, [bytes(frame) for frame in frames])
    return _Record(tag.value) if tag.tag == RECORD_TAG else tag


def decode_record(stream: ByteStream, path: Path | str, record: int) -> TimedEvent:
    """The next record, by cbor2. CaptureError if it is cut, damaged, or no record."""
    start, stream.start = stream.offset, b""
    try:
        value = cbor2.load(cast(IO[bytes], stream), tag_hook=_tag_hook)
    except (EOFError, cbor2.CBORDecodeEOF) as error:
        begun = stream.start[: len(TAGS[0])]
        is_begun = any(tag.startswith(begun) for tag in TAGS)
        what = CUT if is_begun else f"is no record of a capture: it begins with {begun!r}"
        raise capture_error(path, record, start, what) from error
    except (cbor2.CBORDecodeError, zlib.error, ValueError, TypeError, OSError, MemoryError, RecursionError) as error:
        raise capture_error(path, record, start, f"is no record of a capture: {error}") from error
    if isinstance(value, list | tuple) and not isinstance(value, _Record):
        raise capture_error(path, record, start, RAW)
    try:
        number, streams, *rest = value.parts
        event = Event(_checked_number(number), {name: _checked(data) for name, data in streams.items()})
    except (AttributeError, TypeError, ValueError) as error:
        raise capture_error(path, record, start, f"is no record of a capture, but {str(value)[:60]!r}") from error
    return TimedEvent(event, ns_of_iso(rest[0]) if rest else None, start)


def _checked_number(number: object) -> int:
    if not isinstance(number, int) or not 0 <= number < 2**63:
        raise ValueError(number)
    return number


def _checked(data: object) -> StreamData:
    if not isinstance(data, StreamData) or not isinstance(data.typ, str):
        raise TypeError(data)
    return data


def event_of(message: object) -> TimedEvent:
    """The event of a message of dranspose, or of any object with `event_number` and `streams`; frames become bytes.

    TypeError if it is no such object.
    """
    number, streams = getattr(message, "event_number", None), getattr(message, "streams", None)
    if not isinstance(number, int) or not isinstance(streams, Mapping):
        raise TypeError(f"{message!r:.60} has no event_number and streams")
    copied = {}
    for name, data in streams.items():
        frames: list[bytes | memoryview] = [
            bytes(getattr(frame, "bytes", frame)) for frame in data.frames
        ]  # zmq.Frame has `bytes`
        copied[str(name)] = StreamData(data.typ, frames)
    line, about = getattr(message, "line", None), getattr(message, "about", None)
    return TimedEvent(Event(number, copied, line, about), ns_of_iso(getattr(message, "created_at", None)))


def decoded_events(path: Path) -> Iterator[TimedEvent]:
    """All events of a compressed or pickled capture. CaptureError after the last whole one if it is cut."""
    is_pickled = ".pkls" in path.suffixes
    with _open(path) as file:
        stream = ByteStream(file.read)
        record = 0
        while not _is_at_end(stream, path, record):
            yield _unpickled(stream, path, record) if is_pickled else decode_record(stream, path, record)
            record += 1
    if not record:
        raise CaptureError(f"{path} is empty: expected records of a capture", path=str(path))


def _open(path: Path) -> io.BufferedIOBase:
    """Not by isal: before the end of cut data, igzip withholds what it has decompressed."""
    try:
        return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error}") from error


def _is_at_end(stream: ByteStream, path: Path, record: int) -> bool:
    try:
        is_at_end = stream.is_at_end()
    except (OSError, zlib.error) as error:
        raise capture_error(path, record, stream.offset, f"cannot be decompressed: {error}") from error
    if is_at_end and stream.is_cut:
        raise capture_error(path, record, stream.offset, "is cut: the compressed data end before it")
    return is_at_end


class _PickleStream:
    """What pickle reads from."""

    def __init__(self, stream: ByteStream) -> None:
        self.read = stream.read

    def readline(self) -> bytes:
        line = b""
        while not line.endswith(b"\n") and (byte := self.read(1)):
            line += byte
        return line


def _unpickled(stream: ByteStream, path: Path, record: int) -> TimedEvent:
    start = stream.offset
    try:
        message = pickle.load(_PickleStream(stream))  # only after the user has said that it is trusted
    except ModuleNotFoundError as error:
        raise capture_error(path, record, start, f"needs the package {error.name!r}: pip install it") from error
    except EOFError as error:
        raise capture_error(path, record, start, CUT) from error
    except Exception as error:
        raise capture_error(path, record, start, f"cannot be unpickled: {error!r}") from error
    try:
        return event_of(message)._replace(offset=start)
    except (TypeError, AttributeError) as error:
        what = RAW if isinstance(message, list | tuple) else f"is no record of a capture: {error}"
        raise capture_error(path, record, start, what) from error
