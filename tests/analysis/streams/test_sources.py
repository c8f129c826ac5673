import gzip
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from openhsi_shared.analysis.events import Event
from openhsi_shared.analysis.stins import StinsHeader
from openhsi_shared.analysis.streams.source import Ranges
from openhsi_shared.analysis.streams.sources import open_source, open_sources
from openhsi_shared.errors import AnalysisError, ArgumentError, CaptureError, FileError
from tests.support.captures import contents, event, expected, read_all, stins_streams, write_capture
from tests.support.job_cubes import save_raw_cube

A, B = stins_streams("a", 9), stins_streams("b", 3)


@pytest.fixture
def captures(tmp_path: Path) -> list[Path]:
    """Two streams: of 11 events, and of 5, of which one number is missing and one is above all others."""
    return [
        write_capture(tmp_path / "a.cbors", A),
        write_capture(tmp_path / "b.cbors", B, [2, 3, 5, 6, 20], timed=True),
    ]


def _merged() -> list:
    found = dict(expected(A))
    for number, streams in expected(B, [2, 3, 5, 6, 20]):
        found[number] = {**found.get(number, {}), **streams}
    return sorted(found.items())


@pytest.mark.parametrize("at_most", [1, 4, 50])
@pytest.mark.parametrize("is_compressed", [False, True])
def test_captures_are_merged_by_event_number_and_none_is_cut(captures: list[Path], at_most: int, is_compressed: bool):
    if is_compressed:
        (compressed := captures[1].with_suffix(".cbors.gz")).write_bytes(gzip.compress(captures[1].read_bytes()))
        captures[1] = compressed
    source = pickle.loads(pickle.dumps(open_source(captures)))
    assert contents(read_all(source, at_most)) == _merged()
    ranges = source.ranges()
    firsts = []
    while (part := ranges.next(at_most)) is not None:
        assert len(part) <= at_most
        firsts += part.numbers.tolist() if part.is_for_all else []
    assert firsts == [0, 2]


def test_the_same_stream_twice_in_one_event_names_both_files(captures: list[Path], tmp_path: Path):
    rest = write_capture(tmp_path / "rest.cbors", A[:2], [30, 31])
    assert [e.event_number for e in read_all(open_source([captures[0], rest]))] == [*range(11), 30, 31]
    again = write_capture(tmp_path / "again.cbors", A[:1], [10])
    for other in (again, gzip_of(again)):
        with pytest.raises(CaptureError, match=rf"event 10 has the stream 'a' in \S*a.cbors and in \S*{other.name}"):
            read_all(open_source([captures[0], other]))


def test_a_folder_of_captures_and_one_of_another_ending_are_found(captures: list[Path]):
    assert contents(read_all(open_source(captures[0].parent))) == _merged()
    renamed = captures[0].rename(captures[0].with_suffix(".data"))
    assert contents(read_all(open_source(renamed))) == expected(A)


def test_a_folder_that_holds_cubes_is_a_flight_also_beside_a_capture(captures: list[Path]):
    cube = save_raw_cube(captures[0].parent / "cube.nc", 3)
    found = read_all(open_source(captures[0].parent))
    assert [list(event.streams) for event in found] == [["lines"]] * 5
    header = found[0].streams["lines"].parse()
    assert isinstance(header, StinsHeader)
    assert Path(header.filename).name == cube.name
    (one,) = open_sources(captures[0].parent, per="cube")
    assert contents(read_all(one)) == contents(found)


def gzip_of(path: Path) -> Path:
    compressed = path.with_suffix(".cbors.gz")
    compressed.write_bytes(gzip.compress(path.read_bytes()))
    return compressed


def test_a_cut_capture_among_others_is_an_error_after_all_whole_events(captures: list[Path]):
    captures[0].write_bytes(captures[0].read_bytes()[:-3])
    ranges = open_source(captures).ranges()
    numbers: list[int] = []
    with pytest.raises(CaptureError, match=r"a.cbors: record 10 .*is cut"):
        _collect_numbers(ranges, numbers)
    assert numbers == [*range(10), 20]
    assert ranges.is_ended


def _collect_numbers(ranges: Ranges, numbers: list[int]) -> None:
    while (part := ranges.next(4)) is not None:
        numbers += part.numbers.tolist()


@pytest.mark.parametrize("name", ["cbors", "gz", "merged"])
def test_chosen_events_come_after_the_first_one_of_each_stream(captures: list[Path], name: str):
    files = {"cbors": captures[0], "gz": gzip_of(captures[0]), "merged": captures}[name]
    firsts = [0, 2] if name == "merged" else [0]

    def numbers(**chosen: int) -> list[int]:
        return [found.event_number for found in read_all(open_source(files, **chosen), 4)]

    assert numbers(only=7) == [*firsts, 7]
    assert numbers(first=5, until=8) == [*firsts, 5, 6, 7, 8]
    assert numbers(first=9)[len(firsts) :][:2] == [9, 10]
    assert numbers(until=1) == [0, 1]
    with pytest.raises(AnalysisError, match="no event from 99: the last"):
        numbers(first=99)


class Two:
    """As a user's: dranspose's messages, whose frames may be objects with `bytes`."""

    def get_source_generators(self) -> list[Iterator[object]]:
        return [self._first(), iter([event(1, B[0]), event(3, B[1])])]

    def _first(self) -> Iterator[object]:
        for number in range(3):
            data = SimpleNamespace(typ="STINS", frames=[SimpleNamespace(bytes=f) for f in A[number]["a"][1]])
            yield SimpleNamespace(event_number=number, streams={"a": data})


class Failing(Two):
    def _first(self) -> Iterator[object]:
        yield event(0, A[0])
        raise OSError("gone")


class Odd(Two):
    def _first(self) -> Iterator[object]:
        yield 5


class Empty:
    def get_source_generators(self) -> list[Iterator[object]]:
        return []


def test_generators_of_a_users_class_are_merged_and_carried():
    source = pickle.loads(pickle.dumps(open_source(source=Two)))
    found = read_all(open_source(source=Two), 2)
    assert contents(found) == [
        (0, expected(A)[0][1]),
        (1, {**expected(A)[1][1], **expected(B)[0][1]}),
        (2, expected(A)[2][1]),
        (3, expected(B)[1][1]),
    ]
    part = open_source(source=Two).ranges().next(5)
    assert part is not None
    assert [e.event_number for e in source.reader().events(part) if isinstance(e, Event)] == [0]


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (Failing, "Failing failed after 1 events.*gone"),
        (Odd, "event 0: 5 has no event_number"),
        (Empty, "returned no generator"),
        (int, "has no method get_source_generators"),
        ("tests.analysis.streams.test_sources:Tow", "did you mean 'Two'"),
    ],
)
def test_a_source_class_that_fails_is_named(of: type | str, message: str):
    with pytest.raises(AnalysisError, match=message):
        read_all(open_source(source=of))


def test_pickles_are_read_only_if_they_are_trusted(tmp_path: Path):
    path = tmp_path / "a.pkls"
    path.write_bytes(
        b"".join(
            pickle.dumps(event(n, one), protocol)
            for n, (one, protocol) in enumerate(zip(A[:3], (2, 3, 5), strict=True))
        )
    )
    with pytest.raises(CaptureError, match=r"can execute any code.*--trust-pickles"):
        open_source(path)
    assert contents(read_all(open_source(path, trust_pickles=True))) == expected(A[:3])
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CaptureError, match="record 2 at byte"):
        read_all(open_source(path, trust_pickles=True))
    path.write_bytes(pickle.dumps([b"frame"]))
    with pytest.raises(CaptureError, match="raw capture"):
        read_all(open_source(path, trust_pickles=True))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ArgumentError, "got neither"),
        ({"files": ["a.cbors"], "source": Two}, ArgumentError, "and not both"),
        ({"files": ["none.cbors"]}, FileError, "none.cbors does not exist"),
        ({"files": ["a.cbors", "cubes"]}, ArgumentError, "a.cbors is a capture, .* is not"),
        ({"files": ["a.cbors"], "processing_lvl": 4}, ArgumentError, "processing_lvl is for cubes"),
        ({"files": ["a.cbors"], "stream": "xrd"}, ArgumentError, "stream is for cubes"),
        ({"files": ["a.cbors"], "per": "cube"}, ArgumentError, "per='cube' is for cubes"),
        ({"files": ["a.cbors", "b.cbors"], "per": "run"}, ArgumentError, "one uncompressed capture"),
        ({"files": ["a.cbors"], "per": "line"}, ArgumentError, "per is 'cube', 'run' or None"),
        ({"files": ["a.cbors"], "only": 3, "first": 2}, ArgumentError, "only=3 excludes"),
        ({"files": ["a.cbors"], "first": 3, "until": 2}, ArgumentError, "first <= until"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    captures, monkeypatch, options: dict, error: type[Exception], message: str
):
    monkeypatch.chdir(captures[0].parent)
    Path("cubes").mkdir()
    with pytest.raises(error, match=message):
        open_sources(**options)
