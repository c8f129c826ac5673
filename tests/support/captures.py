"""Captures for tests: records as dranspose writes them, by cbor2, and events with known content."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cbor2
import numpy as np

from openhsi_shared.analysis.events import Event, StreamData
from openhsi_shared.analysis.stins import TYP, end_frame, header_frame, image_frame
from openhsi_shared.analysis.streams.source import Source

Streams = Mapping[str, tuple[str, Sequence[bytes]]]
FIRST_TIME = datetime(2026, 5, 1, 12, tzinfo=UTC)


def record(number: object, streams: Streams, *, time: datetime | None = None) -> bytes:
    """A record of a capture, by cbor2."""
    tagged = {name: cbor2.CBORTag(42878, [typ, list(frames)]) for name, (typ, frames) in streams.items()}
    parts = [number, tagged, *([time] if time else [])]
    return cbor2.dumps(cbor2.CBORTag(55799, cbor2.CBORTag(42877, parts)))


def stins_streams(name: str, n_images: int, shape: tuple[int, ...] = (3, 4), filename: str = "") -> list[Streams]:
    """A STINS stream: header, images whose pixels are their number times 100 and more, end."""
    packets = [
        [header_frame(filename)],
        *([image_frame(k, shape, "uint16", k + 1), pixels(k, shape).tobytes()] for k in range(n_images)),
        [end_frame(n_images + 1)],
    ]
    return [{name: (TYP, frames)} for frames in packets]


def pixels(k: int, shape: tuple[int, ...] = (3, 4)) -> np.ndarray:
    """Pixels of image `k` of `stins_streams`."""
    return (k * 100 + np.arange(np.prod(shape)) % 97).astype(np.uint16).reshape(shape)


def write_capture(
    path: Path, streams: Iterable[Streams], numbers: Iterable[int] | None = None, *, timed: bool = False
) -> Path:
    """Write records of these numbers, else from 0 on; with `timed` record k is k ms after FIRST_TIME."""
    streams = list(streams)
    numbers = range(len(streams)) if numbers is None else numbers
    with path.open("wb") as file:
        for k, (number, one) in enumerate(zip(numbers, streams, strict=True)):
            file.write(record(number, one, time=FIRST_TIME + timedelta(milliseconds=k) if timed else None))
    return path


def read_all(source: Source, at_most: int = 16) -> list[Event]:
    """All events of a source, whose errors raise after what came before; each copied, as views may not hold."""
    events: list[Event] = []
    ranges, reader = source.ranges(), source.reader()
    try:
        while not ranges.is_ended:
            part = ranges.next(at_most)
            if part is None:
                continue
            for event in reader.events(part):
                assert isinstance(event, Event)
                streams = {name: data.get_bytes() for name, data in event.streams.items()}
                events.append(Event(event.event_number, streams, event.line, event.about))
    finally:
        ranges.close()
        reader.close()
    return events


def contents(events: Iterable[Event]) -> list[tuple[int, dict[str, tuple[str, list[bytes | memoryview]]]]]:
    """What can be compared of events."""
    return [(e.event_number, {name: (d.typ, d.frames) for name, d in e.streams.items()}) for e in events]


def expected(
    streams: Iterable[Streams], numbers: Iterable[int] | None = None
) -> list[tuple[int, dict[str, tuple[str, list[bytes]]]]]:
    """`contents` of the events of `write_capture`."""
    streams = list(streams)
    numbers = range(len(streams)) if numbers is None else numbers
    return [
        (number, {name: (typ, list(frames)) for name, (typ, frames) in one.items()})
        for number, one in zip(numbers, streams, strict=True)
    ]


def event(number: int, streams: Streams) -> Event:
    """An event of the package."""
    return Event(number, {name: StreamData(typ, list(frames)) for name, (typ, frames) in streams.items()})
