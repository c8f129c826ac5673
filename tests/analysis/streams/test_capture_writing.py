import errno
import gzip
from pathlib import Path

import numpy as np
import pytest

from openhsi_shared.analysis.events import Event, Line
from openhsi_shared.analysis.streams.capture_writing import CaptureWriter
from openhsi_shared.analysis.streams.sources import open_source
from openhsi_shared.errors import ArgumentError, NothingToSave, SaveError
from tests.support.captures import contents, event, expected, pixels, read_all, record, stins_streams, write_capture
from tests.support.disks import mounted


def test_records_are_the_bytes_that_cbor2_writes(tmp_path: Path):
    numbers = [0, 23, 24, 255, 256, 65536, 2**32]
    streams = stins_streams("x", 5, (300, 400))
    with CaptureWriter(tmp_path / "a.cbors") as writer:
        for number, one in zip(numbers, streams, strict=True):
            writer.write(event(number, one))
        assert not writer.path.exists()
    assert writer.path.read_bytes() == write_capture(tmp_path / "b.cbors", streams, numbers).read_bytes()
    with CaptureWriter(tmp_path / "a.cbors.gz") as writer:
        for number, one in zip(numbers, streams, strict=True):
            writer.write(event(number, one))
    assert gzip.decompress(writer.path.read_bytes()) == (tmp_path / "a.cbors").read_bytes()
    assert contents(read_all(open_source(writer.path))) == expected(streams, numbers)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.cbors", "a.cbors.gz", "b.cbors"]


def test_the_time_of_a_line_is_that_of_its_record(tmp_path: Path):
    streams = stins_streams("x", 2)
    with CaptureWriter(tmp_path / "a.cbors") as writer:
        for number, time in enumerate(["NaT", "2026-05-01T12:00:00.123456789", "2026-05-01T12:00:01"]):
            one = event(number, streams[number])
            line = Line(
                data=pixels(0), cube=1, y=number, frame_id=number, time=np.datetime64(time, "ns"), temperature=np.nan
            )
            writer.write(Event(number, one.streams, line))
    ranges = open_source(writer.path).ranges()
    ranges.next(1)
    part = ranges.next(5)
    assert part is not None
    assert part.times_ns is not None
    times = part.times_ns.astype("datetime64[ns]").astype(str).tolist()
    assert times == ["2026-05-01T12:00:00.123456000", "2026-05-01T12:00:01.000000000"]


def test_no_file_is_overwritten_or_left_half_written(tmp_path: Path):
    path = tmp_path / "a.cbors"
    path.write_bytes(record(0, stins_streams("x", 1)[0]))
    before = path.read_bytes()
    with pytest.raises(SaveError) as caught:
        CaptureWriter(path)
    assert caught.value.errno == errno.EEXIST

    one = event(3, stins_streams("x", 1)[0])
    with pytest.raises(ArgumentError, match="event number 3 after 3"):
        _write_twice(tmp_path / "b.cbors", one)
    with pytest.raises(NothingToSave, match=r"c.cbors"), CaptureWriter(tmp_path / "c.cbors"):
        pass
    with pytest.raises(ArgumentError, match=r"named \.cbors or \.cbors\.gz"):
        CaptureWriter(tmp_path / "c.h5")
    writer = CaptureWriter(tmp_path / "d.cbors")
    writer.write(one)
    (tmp_path / "d.cbors").write_bytes(b"of another program")
    with pytest.raises(SaveError) as caught:
        writer.close()
    assert caught.value.errno == errno.EEXIST
    writer.close()
    assert (tmp_path / "d.cbors").read_bytes() == b"of another program"
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.cbors", "d.cbors"]


def test_a_full_disk_is_an_error_of_the_system_and_leaves_no_file(tmp_path: Path):
    one = stins_streams("x", 1, (1000, 1000))[1]
    with mounted("tmpfs", tmp_path / "small", "size=1m") as disk:
        with pytest.raises(SaveError) as caught:
            _write_twice(disk / "a.cbors", event(3, one))
        assert caught.value.errno == errno.ENOSPC
        assert not list(disk.iterdir())


def _write_twice(path: Path, one: Event) -> None:
    with CaptureWriter(path) as writer:
        writer.write(one)
        writer.write(one)
