"""The page of a ring, without a browser: at most two frames are in flight until one is painted."""

from pathlib import Path

import pytest

from openhsi_shared import SharedRing
from openhsi_shared.viewer.ring_frames import FrameReader
from openhsi_shared.viewer.ring_messages import Initialize, Saved
from openhsi_shared.viewer.ring_page import RingPage
from tests.support.rings import quadrants


@pytest.fixture
def ring():
    with SharedRing(1 << 20, create=True) as made:
        yield made


@pytest.fixture
def told():
    return []


@pytest.fixture
def document(ring, told, tmp_path):
    from bokeh.document import Document

    made = Document()
    reader = FrameReader(ring, Initialize(ring.name, ring.nbytes, 64, 96, None, None, Path(tmp_path)), told.append)
    RingPage(reader, made).fill()
    return made


def look(document):
    (periodic,) = document.session_callbacks
    periodic.callback()


def sent(document):
    return document.get_model_by_name("frame").data["number"][0]


def painted(document, number):
    document.select_one({"name": "painted"}).value = number


def test_a_browser_that_does_not_paint_gets_two_frames_and_then_the_newest(ring, document):
    seen = []
    for _ in range(10):
        ring.put(quadrants())
        look(document)
        seen.append(sent(document))
    assert seen == [0, 1] + [1] * 8
    painted(document, 1)  # both
    assert sent(document) == 9
    painted(document, 9)
    look(document)
    assert sent(document) == 9


def test_a_late_word_of_an_older_frame_changes_nothing(ring, document):
    for _ in range(2):
        ring.put(quadrants())
        look(document)
    painted(document, 1)
    painted(document, 0)
    ring.put(quadrants())
    look(document)
    assert sent(document) == 2


def test_the_frame_that_the_browser_has_is_saved(ring, document, told):
    for _ in range(3):
        ring.put(quadrants())
        look(document)
    for wanted, saved in (("1 100", 1), ("0 101", 2), ("7 102", 2)):  # the last one was never sent
        document.select_one({"name": "wanted"}).value = wanted
        assert sum(isinstance(message, Saved) for message in told) == saved
    painted(document, 0)
    document.select_one({"name": "wanted"}).value = "0 103"
    assert [message.path.name[:14] for message in told if isinstance(message, Saved)] == [
        "frame_00000001",
        "frame_00000000",
        "frame_00000000",
    ]


def test_limits_of_the_page_are_those_of_the_frames(ring, document):
    ring.put(quadrants())
    look(document)
    colours = document.get_model_by_name("picture").renderers[0].glyph.color_mapper
    assert (colours.low, colours.high) == (0, 4000)
