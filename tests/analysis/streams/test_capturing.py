"""Captures of saved cubes, of a recording that runs, and beside a recording."""

import errno

import pytest
from click.testing import CliRunner

from openhsi_shared import SharedSimulatedCamera, record
from openhsi_shared.analysis.streams.sources import open_source
from openhsi_shared.cli import main
from openhsi_shared.errors import ArgumentError, SaveError
from tests.files.test_flight import write
from tests.files.test_reading import flip, offset_of_line
from tests.support.disks import mounted, needs_disks
from tests.support.flow import COUNTING, account
from tests.support.helpers import wait_for

pytestmark = pytest.mark.usefixtures("runtime")

KEYWORDS = {**COUNTING, "n_lines": 20, "n_buffers": 4, "rate": 400, "queue": 9999, "progress": False, "savefig": False}


def events_in(*paths):
    """Event numbers and all frames of a capture, or of cubes."""
    source = open_source(paths)
    ranges, reader = source.ranges(), source.reader()
    found = []
    while (part := ranges.next(16)) is not None:
        found += [(e.event_number, [bytes(frame) for frame in e.streams["lines"].frames]) for e in reader.events(part)]
    reader.close()
    ranges.close()
    return found


def capture(*arguments):
    ended = CliRunner().invoke(main, ["capture", *map(str, arguments)])
    return ended.exit_code, ended.output


@pytest.fixture(scope="module")
def flight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flight")
    for number in (1, 2):
        write(folder, range(10 * number, 10 * number + 10), attributes={"cube_number": number})
    return folder


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ((), range(1, 21)),
        (("--lines", "3:16", "--every", "5"), (4, 9, 14)),
        (("--lines", "18:"), (19, 20)),
    ],
)
def test_a_capture_contains_the_events_of_the_cubes_with_their_numbers(flight, tmp_path, options, numbers):
    out = tmp_path / "out.cbors.gz"
    assert capture(flight, "--out", out, *options) == (0, f"{len(numbers)} lines in {out}\n")
    whole = dict(events_in(flight))
    assert events_in(out) == [(number, whole[number]) for number in (0, *numbers, 21)]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--lines", "5"), "'5' is not A:B"),
        (("--lines", "9:9"), "lines 9:9 to capture are none"),
        (("--lines", "99:"), "no line to capture"),
        (("--out", "x.h5"), "a capture must be named .cbors"),
        (("--recording", "a"), "--recording is for a recording that runs"),
    ],
)
def test_what_cannot_be_captured_is_said_and_leaves_no_file(flight, tmp_path, options, why):
    code, output = capture(flight, "--out", tmp_path / "out.cbors", *options)
    assert code != 0
    assert why in output
    assert not list(tmp_path.iterdir())


def test_a_damaged_line_ends_the_capture(flight, tmp_path):
    path = write(tmp_path / "cubes", range(5))
    flip(path, offset_of_line(path, 3))
    code, output = capture(path, "--out", tmp_path / "out.cbors")
    assert (code, "line 3 is damaged" in output) == (1, True)
    assert [each.name for each in tmp_path.iterdir()] == ["cubes"]


def test_a_capture_beside_a_recording_equals_that_of_its_cubes(tmp_path):
    live, every = tmp_path / "live.cbors", tmp_path / "every.cbors"
    with record(SharedSimulatedCamera, tmp_path / "out", n_cubes=3, capture=live, capture_every=7, **KEYWORDS) as run:
        run.wait()
    assert capture(tmp_path / "out", "--out", every, "--every", "7")[0] == 0
    (status,) = run.status().analyses.values()
    assert (status.state, status.events, status.skipped) == ("ended", 9, 0)
    assert events_in(live) == events_in(every)
    assert account(tmp_path / "out") == (list(range(60)), [])


def test_a_capture_that_cannot_be_made_is_refused_before_the_camera_starts(tmp_path):
    taken = tmp_path / "taken.cbors"
    taken.write_bytes(b"kept")
    with pytest.raises(SaveError) as refused:
        record(SharedSimulatedCamera, tmp_path / "out", capture=taken, **KEYWORDS)
    assert refused.value.errno == errno.EEXIST
    for keywords in ({"capture": tmp_path / "x.h5"}, {"capture": tmp_path / "x.cbors", "capture_every": 0}):
        with pytest.raises(ArgumentError, match="capture"):
            record(SharedSimulatedCamera, tmp_path / "out", **keywords, **KEYWORDS)
    assert taken.read_bytes() == b"kept"
    assert not (tmp_path / "out").exists()


@needs_disks
def test_a_full_disk_ends_the_capture_with_one_warning_and_not_the_recording(tmp_path, caplog):
    keywords = {**KEYWORDS, "n_cubes": 3, "resolution": (128, 256)}
    with mounted("tmpfs", tmp_path / "small", "size=2m") as small:
        with record(SharedSimulatedCamera, tmp_path / "out", capture=small / "full.cbors", **keywords) as run:
            run.wait()
        assert not list(small.iterdir())
    (status,) = run.status().analyses.values()
    assert status.state == "failed"
    warnings = [message for message in caplog.messages if "full.cbors" in message]
    assert len(warnings) == 1
    assert "No space left on device" in warnings[0]
    assert account(tmp_path / "out") == (list(range(60)), [])


def test_a_recording_that_runs_is_captured_from_its_newest_line_on(tmp_path):
    out = tmp_path / "out.cbors"
    keywords = KEYWORDS | {"n_lines": 4000}  # none is overwritten before it is captured
    with record(SharedSimulatedCamera, tmp_path / "cubes", **keywords) as run:
        wait_for(lambda: run.status().lines > 30)
        assert capture("--out", out, "--lines", "5:25")[0] == 0
        run.stop()
        run.wait()
    captured, cubes = events_in(out), dict(events_in(tmp_path / "cubes"))
    numbers = [number for number, _ in captured[1:-1]]
    assert numbers == list(range(numbers[0], numbers[0] + 20))
    assert numbers[0] > 30
    assert all(frames == cubes[number] for number, frames in captured[1:-1])
