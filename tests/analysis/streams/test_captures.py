import gzip
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path

import cbor2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhsi_shared.analysis.events import Event
from openhsi_shared.analysis.streams import captures
from openhsi_shared.analysis.streams.captures import CaptureSource
from openhsi_shared.analysis.streams.source import Range
from openhsi_shared.analysis.streams.sources import open_source, open_sources
from openhsi_shared.errors import CaptureError
from tests.support.captures import contents, expected, pixels, read_all, record, stins_streams, write_capture

NUMBERS = [0, 1, 23, 24, 25, 255, 256, 300, 65535, 65536, 70000, 2**32 - 1, 2**32, 2**40]
"""Around the widths of CBOR."""


def _ranges(path: Path, at_most: int) -> list[Range]:
    ranges = open_source(path).ranges()
    found = []
    while (part := ranges.next(at_most)) is not None:
        found.append(part)
    return found


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("name", ["a.cbors", "a.cbors.gz"])
def test_every_event_is_read_as_it_was_written(tmp_path: Path, name: str, timed: bool):
    streams = stins_streams("xrd", len(NUMBERS) - 2)
    path = write_capture(tmp_path / "a.cbors", streams, NUMBERS, timed=timed)
    if name.endswith(".gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress((tmp_path / "a.cbors").read_bytes()))
    for at_most in (1, 5, 100):
        assert contents(read_all(open_source(path), at_most)) == expected(streams, NUMBERS)
    parts = _ranges(path, 100)
    assert [part.is_for_all for part in parts] == [True, False]
    times = [None if part.times_ns is None else part.times_ns.tolist() for part in parts]
    if timed:
        first = np.datetime64("2026-05-01T12:00", "ns").astype(int)
        assert [t for some in times if some for t in some] == [first + k * 1_000_000 for k in range(len(NUMBERS))]
    else:
        assert not any(t > -(2**63) for some in times if some for t in some)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what is mapped")
def test_a_reader_does_not_keep_what_it_has_read_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(captures, "MAPPED_BYTES", 1 << 20)
    path = write_capture(tmp_path / "large.cbors", stins_streams("x", 30, (400, 400)))
    most_kb = 0
    source = open_source(path)
    reader = source.reader()
    for part in _ranges(path, 4):
        for event in reader.events(part):
            assert isinstance(event, Event)
            sum(zlib.crc32(frame) for frame in event.streams["x"].frames)
            _, _, mapped = Path("/proc/self/smaps").read_text().partition(str(path))
            most_kb = max(most_kb, int(mapped.partition("Rss:")[2].split()[0]))
    reader.close()
    assert 300 < most_kb < 3000 < path.stat().st_size / 1000


def test_large_frames_are_views_of_the_file_and_outlive_the_reader(tmp_path: Path):
    shape = (200, 200)
    source = open_source(write_capture(tmp_path / "a.cbors", stins_streams("x", 2, shape)))
    ranges, reader = source.ranges(), source.reader()
    ranges.next(1)
    part = ranges.next(1)
    assert part is not None
    event = next(iter(reader.events(pickle.loads(pickle.dumps(part)))))
    reader.close()
    assert isinstance(event, Event)
    head, large = event.streams["x"].frames
    assert isinstance(head, bytes)
    assert isinstance(large, memoryview)
    assert large.readonly
    assert np.array_equal(event.streams["x"].parse().__dict__["data"], pixels(0, shape))


def test_the_first_event_of_each_stream_is_for_all_workers(tmp_path: Path):
    a, b = stins_streams("a", 3), stins_streams("b", 2)
    streams = [a[0], a[1], {**a[2], **b[0]}, {**a[3], **b[1]}, a[4]]
    parts = _ranges(write_capture(tmp_path / "a.cbors", streams, [3, 4, 6, 7, 8]), 10)
    assert [(part.numbers.tolist(), part.is_for_all) for part in parts] == [
        ([3], True),
        ([4], False),
        ([6], True),
        ([7, 8], False),
    ]


names = st.text(min_size=1, max_size=30)
some_streams = st.dictionaries(
    names, st.tuples(st.text(max_size=300), st.lists(st.binary(max_size=300), max_size=3)), max_size=3
)


@settings(deadline=None)
@given(st.lists(some_streams, min_size=1, max_size=6), st.booleans(), st.integers(0, 300), st.data())
def test_any_records_are_found_and_each_cut_is_an_error_after_the_whole_ones(
    tmp_path_factory: pytest.TempPathFactory, streams, timed: bool, first: int, data: st.DataObject
):
    numbers = range(first, first + len(streams))
    path = write_capture(tmp_path_factory.getbasetemp() / "any.cbors", streams, numbers, timed=timed)
    assert contents(read_all(open_source(path))) == expected(streams, numbers)

    whole = path.read_bytes()
    ends = np.cumsum([len(record(n, one)) + (23 if timed else 0) for n, one in zip(numbers, streams, strict=True)])
    if not timed:
        assert ends[-1] == len(whole)
        cut = data.draw(st.integers(1, len(whole) - 1).filter(lambda n: n not in ends))
        n_whole = int(np.searchsorted(ends, cut))
        path.write_bytes(whole[:cut])
        found = []
        with pytest.raises(
            CaptureError, match=f"record {n_whole} at byte {ends[n_whole - 1] if n_whole else 0} is cut"
        ):
            _collect(open_source(path), found)
        assert contents(found) == expected(streams[:n_whole], numbers[:n_whole])


def _collect(source, found: list[Event]) -> None:
    ranges, reader = source.ranges(), source.reader()
    try:
        while not ranges.is_ended:
            part = ranges.next(2)
            if part is not None:
                found.extend(reader.events(part))
    finally:
        reader.close()


def test_records_of_other_encodings_of_cbor_are_decoded(tmp_path: Path):
    streams = stins_streams("x", 3)
    indefinite = b"\xd9\xa7\x7d\x9f\x02\xbf\x61x\xd9\xa7\x7e\x9f\x65STINS\x9f\x5f\x42ab\x41c\xff\xff\xff\xff\xff"
    path = tmp_path / "a.cbors"
    path.write_bytes(record(0, streams[0]) + record(1, streams[1]) + indefinite + record(3, streams[3]))
    found = read_all(open_source(path), 2)
    assert contents(found) == [
        *expected(streams[:2]),
        (2, {"x": ("STINS", [b"abc"])}),
        (3, expected(streams)[3][1]),
    ]


def _appended(a: list, path: Path) -> None:
    path.write_bytes(b"".join(record(n, s) for _ in range(2) for n, s in enumerate(a)))


def _raw(a: list, path: Path) -> None:
    path.write_bytes(cbor2.dumps([b"frame", b"frame"]))


def _damaged(a: list, path: Path) -> None:
    path.write_bytes(b"".join(record(n, s) for n, s in enumerate(a)) + b"\xff\xffrest")


CASES: list[tuple[str, Callable[[list, Path], object], str, int]] = [
    ("empty", lambda a, path: path.write_bytes(b""), "is empty", 0),
    ("foreign", lambda a, path: path.write_bytes(b"\x89HDF\r\n\x1a\n" * 40), "record 0 at byte 0 is no record", 0),
    ("other cbor", lambda a, path: path.write_bytes(cbor2.dumps({"a": 1})), "record 0 at byte 0 is no record", 0),
    ("raw", _raw, "record 0 at byte 0 is a list of frames: a raw capture", 0),
    ("damaged", _damaged, "record 5 at byte [0-9]+ is no record", 5),
    ("twice", lambda a, path: write_capture(path, a, [0, 1, 2, 2, 3]), "record 3 .*event number 2(,| after 2: exp)", 3),
    ("two runs", _appended, "record 5 .*event number 0 after 4", 5),
    ("no number", lambda a, path: path.write_bytes(record("x", a[0])), "record 0 at byte 0 is no record", 0),
    ("negative", lambda a, path: path.write_bytes(record(-1, a[0])), "record 0 at byte 0 is no record", 0),
    (
        "negative later",
        lambda a, path: path.write_bytes(record(0, a[0]) + record(-1, a[0])),
        "record 1 .*is no record",
        1,
    ),
    (
        "tag",
        lambda a, path: path.write_bytes(record(0, a[0]) + b"\xda" + record(1, a[0])[1:]),
        "record 1 .*is no rec",
        1,
    ),
    ("large later", lambda a, path: path.write_bytes(record(2**40, a[0]) + record(2**63, a[0])), "record 1 .*is no", 1),
    ("too large", lambda a, path: path.write_bytes(record(2**63, a[0])), "record 0 at byte 0 is no record", 0),
]
KNOWN_BEFORE = ("twice", "two runs")
"""Of a mapped capture; a compressed one is read once."""


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize(("case", "make", "message", "n_before"), CASES, ids=[case[0] for case in CASES])
def test_what_is_no_capture_is_one_error_with_its_place(
    tmp_path: Path, case: str, make: Callable, message: str, n_before: int, is_compressed: bool
):
    path = tmp_path / "a.cbors"
    make(stins_streams("x", 3), path)
    if is_compressed:
        compressed = tmp_path / "a.cbors.gz"
        compressed.write_bytes(gzip.compress(path.read_bytes()))
        path = compressed
    found: list[Event] = []
    with pytest.raises(CaptureError, match=f"(?s){path.name}.*{message}") as caught:
        _collect(open_source(path), found)
    assert caught.value.path == str(path)
    assert len(found) == (0 if not is_compressed and case in KNOWN_BEFORE else n_before)


def test_compressed_data_that_are_cut_are_an_error_after_the_whole_records(tmp_path: Path):
    path = write_capture(tmp_path / "a.cbors", stins_streams("x", 40))
    compressed = tmp_path / "a.cbors.gz"
    compressed.write_bytes(gzip.compress(path.read_bytes(), 0)[:-1500])
    found: list[Event] = []
    with pytest.raises(CaptureError, match=r"record [0-9]+ at byte [0-9]+ is cut") as caught:
        _collect(open_source(compressed), found)
    assert caught.value.record == len(found) > 20
    compressor = zlib.compressobj(wbits=31)
    compressed.write_bytes(
        compressor.compress(record(0, stins_streams("x", 1)[0])) + compressor.flush(zlib.Z_SYNC_FLUSH)
    )
    with pytest.raises(CaptureError, match=r"record 1 at byte [0-9]+ is cut: the compressed data end before it"):
        read_all(open_source(compressed))
    compressed.write_bytes(b"no gzip")
    with pytest.raises(CaptureError, match="cannot be decompressed"):
        open_source(compressed).ranges()


def test_runs_of_one_file_are_sources_of_their_own(tmp_path: Path):
    path = tmp_path / "a.cbors"
    _appended(stins_streams("x", 3), path)
    sources = open_sources(path, per="run")
    assert [contents(read_all(source)) for source in sources] == [expected(stins_streams("x", 3))] * 2
    first = sources[1].ranges().next(9)
    assert first is not None
    assert first.is_for_all


def test_a_file_that_changed_after_it_was_opened_is_an_error(tmp_path: Path):
    path = write_capture(tmp_path / "a.cbors", stins_streams("x", 3))
    part = open_source(path).ranges().next(1)
    write_capture(path, stins_streams("x", 3), range(7, 12))
    assert part is not None
    with pytest.raises(CaptureError, match="event number 7, expected 0: the file has changed"):
        next(iter(CaptureSource(path).reader().events(part)))
