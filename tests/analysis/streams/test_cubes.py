"""Lines of saved cubes are events of a STINS stream."""

import json

import numpy as np
import pytest

from openhsi_shared import SharedSimulatedCamera, open_cube
from openhsi_shared.analysis.events import Event
from openhsi_shared.analysis.streams.cubes import CubeSource
from openhsi_shared.analysis.streams.source import Unreadable
from openhsi_shared.errors import AnalysisError, FileError, LevelError
from tests.files.test_flight import write
from tests.files.test_reading import flip, offset_of_line
from tests.support.foreign import openhsi_cube, put, scene


def parts_of(source, at_most=4):
    ranges = source.ranges()
    found = []
    while (part := ranges.next(at_most)) is not None:
        found.append(part)
    assert ranges.is_ended
    assert sum(map(len, found)) == ranges.n_events
    ranges.close()
    return found


def events_of(source, copy=lambda event: event, parts=None):
    reader = source.reader()
    try:
        return [copy(event) for part in parts or parts_of(source) for event in reader.events(part)]
    finally:
        reader.close()


def header_of(event, stream="lines"):
    return json.loads(bytes(event.streams[stream].frames[0]))


def pixels_of(event):
    """A copy of the pixels, which agree in frame and line."""
    if event.line is None:
        return None
    data, (_, frame) = event.line.data, event.streams["lines"].frames
    assert not data.flags.writeable
    assert frame.readonly
    assert np.shares_memory(np.frombuffer(frame, np.uint8), data)
    assert bytes(frame) == data.tobytes()
    return data.copy()


def frames_of(event):
    return event.event_number, [bytes(frame) for frame in event.streams["xrd"].frames]


@pytest.fixture
def folder(tmp_path):
    """Three cubes of one run: two frames are lost between the first two, one within the third."""
    for number, ids in enumerate((range(10, 15), range(17, 22), (22, 24)), 1):
        lost = {"cube_number": number, "lines_lost_before": 2 if number == 2 else 0, "exposure_ms": 2.5}
        write(tmp_path, ids, attributes=lost)
    return tmp_path


def test_the_lines_of_a_folder_are_events_between_a_header_and_an_end(folder):
    source = CubeSource([folder])
    events = events_of(source, lambda event: (event, pixels_of(event)))
    assert [event.event_number for event, _ in events] == list(range(14))
    paths = sorted(folder.rglob("*.nc"))
    assert header_of(events[0][0]) == {"htype": "header", "filename": str(paths[0]), "msg_number": 0}
    assert header_of(events[-1][0]) == {"htype": "series_end", "msg_number": 13}
    image = {"htype": "image", "frame": 6, "msg_number": 7, "shape": [4, 6], "type": "uint16", "compression": "none"}
    assert header_of(events[7][0]) == image
    lines = [event.line for event, _ in events[1:-1]]
    ids = [*range(10, 15), *range(17, 22), 22, 24]
    assert [line.frame_id for line in lines] == ids == [pixels[0, 0] for _, pixels in events[1:-1]]
    assert [line.cube for line in lines] == [1] * 5 + [2] * 5 + [3] * 2
    assert [line.y for line in lines] == [*range(5), *range(5), 0, 1]
    assert [line.lost_before for line in lines] == [0] * 5 + [2] + [0] * 5 + [1]
    assert [line.channels for line in lines] == [{"altitude": one / 2} for one in ids]
    with open_cube(paths[1]) as cube:
        assert np.array_equal([line.time for line in lines[5:10]], cube.times_ns.view("datetime64[ns]"))
    assert {line.temperature for line in lines} == {20.0}
    assert events[0][0].about.exposure_ms == events[3][0].about.exposure_ms == 2.5
    parts = parts_of(source)
    assert [part.is_for_all for part in parts] == [True] + [False] * (len(parts) - 1)
    assert parts[1].times_ns.tolist() == [line.time.astype(int) for line in lines[:4]]


def test_numbers_and_lines_do_not_depend_on_the_size_of_ranges_or_on_who_reads(folder):
    source = CubeSource([folder], stream="xrd")
    found = []
    for at_most in (1, 3, 100):
        parts = parts_of(source, at_most)
        in_order, backwards = (events_of(source, frames_of, some) for some in (parts, parts[::-1]))
        assert sorted(backwards) == in_order
        found.append(in_order)
    assert found[0] == found[1] == found[2]


def test_a_missing_cube_of_a_run_leaves_its_numbers_out_and_each_cube_alone_begins_at_0(folder):
    paths = sorted(folder.rglob("*.nc"))
    numbers = [event.event_number for event in events_of(CubeSource([paths[2], paths[0]]))]
    assert numbers == [0, 1, 2, 3, 4, 5, 11, 12, 13]
    alone = [[event.event_number for event in events_of(source)] for source in CubeSource([folder]).each()]
    assert alone == [list(range(7)), list(range(7)), list(range(4))]


def test_a_damaged_line_fails_alone_and_is_named(folder):
    path = sorted(folder.rglob("*.nc"))[1]
    flip(path, offset_of_line(path, 2))
    found = events_of(CubeSource([folder]))
    bad = found[8]
    assert isinstance(bad, Unreadable)
    assert bad.event_number == 8
    with pytest.raises(AnalysisError, match=r"\.nc: line 2 is damaged"):
        raise bad.error
    assert all(isinstance(event, Event) for event in found[:8] + found[9:])


def test_a_file_that_is_gone_or_replaced_fails_its_events_only(folder):
    source = CubeSource([folder])
    parts = parts_of(source)
    paths = sorted(folder.rglob("*.nc"))
    paths[1].unlink()
    paths[0].replace(paths[2])
    found = events_of(source, parts=parts)
    bad = {event.event_number: str(event.error) for event in found if isinstance(event, Unreadable)}
    assert bad.keys() == set(range(14))
    assert "was replaced" in bad[11]
    assert str(paths[1]) in bad[7]


def test_cubes_of_openhsi_are_events_too(tmp_path):
    path = put(openhsi_cube(n_lines=5), tmp_path / "theirs.nc")
    events = events_of(CubeSource([path]), lambda event: (event, pixels_of(event)))
    assert np.array_equal([pixels for _, pixels in events[1:-1]], scene(5).transpose(1, 0, 2))
    line, about = events[2][0].line, events[2][0].about
    assert (line.cube, line.y, line.frame_id, line.lost_before, line.channels) == (1, 1, -1, 0, {})
    assert (about.level, about.exposure_ms, about.full_scale, about.settings) == (None, None, None, {})


def test_lines_are_processed_to_a_level_by_the_process_that_reads(tmp_path):
    with SharedSimulatedCamera(n_lines=3, n_buffers=2) as camera:
        camera.collect()
        path = camera.save(tmp_path, savefig=False).result().path
    with pytest.raises(LevelError, match="processing_lvl must be one of"):
        CubeSource([path], processing_lvl=9).ranges()
    raw, cropped = CubeSource([path]), CubeSource([path], processing_lvl=0)
    whole, rows = events_of(raw, pixels_of)[1:-1], events_of(cropped, pixels_of)[1:-1]
    begin, end = camera.settings["row_slice"]
    assert np.array_equal(rows, np.array(whole)[:, begin:end])
    assert events_of(cropped)[0].about.level == 0


@pytest.mark.parametrize(
    ("given", "why"),
    [("empty", "contains no cube"), ("text.nc", "text.nc"), ("nowhere.nc", "nowhere.nc")],
)
def test_what_is_no_cube_is_refused_before_the_first_event(tmp_path, given, why):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.nc").write_text("no cube")
    with pytest.raises(FileError, match=why):
        CubeSource([tmp_path / given]).ranges()


def test_cubes_of_different_kinds_are_refused(folder):
    write(folder, range(5), "b", 30, bands=7)
    with pytest.raises(FileError, match="the cubes of a flight are of one kind"):
        CubeSource([folder]).ranges()
