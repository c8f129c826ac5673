"""Frames of a ring as they are shown: limits, greys, saved files, and caption."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from openhsi_shared import SharedRing
from openhsi_shared.errors import SaveError
from openhsi_shared.viewer.ring_frames import Frame, FrameReader, Limits, frame_name, save_frame, to_grey
from openhsi_shared.viewer.ring_messages import DataIndexes, Initialize, Saved
from tests.support.helpers import wait_for

FRAME = Frame(7, 1_700_000_000_000_001_999, 0, 6, np.array([[0, 100, 200], [300, 400, 500]], np.uint16))


@pytest.mark.parametrize(
    ("vmin", "vmax", "pixels", "expected"),
    [
        (None, None, [3, 1, 2], (1, 3)),
        (0, None, [3, 1, 2], (0, 3)),
        (None, 9, [3, 1, 2], (1, 9)),
        (0, 9, [3, 1, 2], (0, 9)),
        (None, None, [5, 5], (0, 5)),
        (None, None, [0, 0], (0, 1)),
        (None, None, [-5, -5], (-5, -4)),
        (7, None, [5, 5], (7, 8)),
        (None, 4, [5, 5], (3, 4)),
        (None, None, [np.nan, 1.0, np.inf, 2.0], (1, 2)),
        (None, None, [np.nan], (0, 1)),
        (None, None, [False, True], (0, 1)),
        (0, 1, [], (0, 1)),
    ],
)
def test_limits_are_as_given_or_those_of_the_frame(vmin, vmax, pixels, expected):
    assert Limits(vmin, vmax).of(np.array(pixels)) == expected


def test_automatic_limits_do_not_flicker_and_follow_what_changes():
    limits = Limits(None, None)
    assert limits.of(np.array([100, 1100])) == (100, 1100)
    assert limits.of(np.array([110, 1060])) == (100, 1100)
    assert limits.of(np.array([110, 1300])) == (110, 1300)
    assert limits.of(np.array([110, 700])) == (110, 700)


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "uint16", "int32", "uint64", "float16", "float32", "float64"]
)
def test_greys_go_from_low_to_high_for_every_type(dtype):
    values = np.array([[0, 1]], dtype)
    assert to_grey(values, 0, 1).tolist() == [[0, 255]]
    assert to_grey(values, 0, 2).tolist() == [[0, 127]]
    assert to_grey(values, 0.5, 0.75).tolist() == [[0, 255]]


def test_what_is_no_number_is_black():
    assert to_grey(np.array([[np.nan, np.inf, -np.inf, 1.0]]), 0, 1).tolist() == [[0, 255, 0, 255]]


def test_a_frame_is_saved_as_it_was_measured_and_as_it_was_seen(tmp_path):
    path = save_frame(FRAME, (0, 500), tmp_path / "new")
    assert path == tmp_path / "new" / "frame_00000007_2023_11_14-22_13_20_000001.npy"
    assert path.stem == frame_name(7, FRAME.time_ns)
    saved = np.load(path)
    assert (saved.dtype, saved.tolist()) == (np.dtype("u2"), FRAME.pixels.tolist())
    with Image.open(path.with_suffix(".png")) as picture:
        assert np.asarray(picture).tolist() == to_grey(FRAME.pixels, 0, 500).tolist()


def test_nothing_is_overwritten_and_nothing_else_is_left(tmp_path):
    for _ in range(2):
        save_frame(FRAME, (0, 500), tmp_path)
    name = frame_name(7, FRAME.time_ns)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{name}{again}{ending}" for again in ("", "-1") for ending in (".npy", ".png")
    )


def reader_of(ring, shape, save_dir=Path()):
    told = []
    return FrameReader(ring, Initialize(ring.name, ring.nbytes, *shape, None, None, save_dir), told.append), told


def test_a_directory_that_cannot_be_made_is_told_and_nothing_ends(tmp_path, caplog):
    (tmp_path / "file").touch()
    with pytest.raises(SaveError):
        save_frame(FRAME, (0, 1), tmp_path / "file")
    with SharedRing(64, create=True) as ring:
        reader, told = reader_of(ring, (2, 3), tmp_path / "file")
        reader.save(FRAME)
        assert reader.caption(FRAME).startswith("NOT SAVED: ")
        assert told == []
    assert "frame 7 not saved" in caplog.text


def test_only_the_newest_frame_is_found_and_what_is_shown_is_told(tmp_path):
    with SharedRing(128, create=True) as ring:
        reader, told = reader_of(ring, (2, 3), tmp_path)
        assert reader.newest() is None
        assert reader.caption(None) == "waiting for the first frame"
        for number in range(4):
            ring.put(np.full((2, 3), number, np.uint16))
        frame = reader.newest()
        assert (frame.number, frame.pixels.tolist()) == (3, [[3] * 3] * 2)
        assert reader.newest() is frame
        reader.note_shown(frame)
        reader.note_shown(frame)  # by another screen
        assert told == [DataIndexes(18, 24, 3, 1)]
        assert reader.caption(frame).startswith("frame 3 of ")
        assert reader.caption(frame).endswith(" shown, 0 to 3")
        reader.save(frame)
        assert told[-1] == Saved(tmp_path / f"{frame_name(3, frame.time_ns)}.npy")
        assert reader.caption(frame) == f"saved {frame_name(3, frame.time_ns)}.npy"
        ring.put(np.zeros((2, 3), np.uint16))
        reader.note_shown(reader.newest())
        wait_for(lambda: reader.newest() and told[-1] == DataIndexes(24, 30, 4, 2))
        ring.put(np.zeros((2, 3), np.uint16))
        reader.note_shown(reader.newest())
        reader.report_last()
        assert told[-1] == DataIndexes(30, 36, 5, 3)


def test_items_of_another_size_are_not_shown_and_said_once(caplog):
    with SharedRing(64, create=True) as ring, caplog.at_level(logging.WARNING):
        reader, _ = reader_of(ring, (2, 3))
        ring.put(np.full(6, 1, np.uint16))
        frame = reader.newest()
        for _ in range(2):
            ring.put(np.full(5, 2, np.uint16))
            assert reader.newest() is frame
        assert caplog.text.count("has 5 pixels: only frames of shape (2, 3) are shown") == 1


def test_a_frame_that_is_just_overwritten_is_not_waited_for():
    with SharedRing(16, create=True) as ring:
        reader, _ = reader_of(ring, (2, 3))
        ring.put(np.full(6, 1, np.uint16))
        frame = reader.newest()
        ring.put(np.full(6, 2, np.uint16))
        words = ring._memory.words
        words[16] += 6  # BEGUN: as in the middle of the next put
        assert reader.newest() is frame
