"""A page whose update fails says so, and is not updated any more: it must not look alive."""

import sys
from contextlib import contextmanager

import pytest

from openhsi_shared import SharedRing, SharedSimulatedCamera
from openhsi_shared.channels import Recorder, SimulatedChannel
from openhsi_shared.viewer.analysis_feed import AnalysisFeed
from openhsi_shared.viewer.feed import Feed
from openhsi_shared.viewer.page import Page
from openhsi_shared.viewer.recorder_page import RecorderFeed, RecorderPage
from openhsi_shared.viewer.recorder_state import Host
from openhsi_shared.viewer.ring_frames import FrameReader
from openhsi_shared.viewer.ring_messages import Initialize
from openhsi_shared.viewer.ring_page import RingPage
from tests.support.flow import COUNTING
from tests.support.helpers import wait_for

pytestmark = [
    pytest.mark.usefixtures("runtime"),
    pytest.mark.skipif(sys.platform != "linux", reason="slots are handed out on Linux only"),
]


class Parent:
    """Of a page of a recorder, which says nothing."""

    def receive(self, _):
        return None

    def is_writable(self):
        return False


@contextmanager
def live_page(document, _):
    with (
        SharedSimulatedCamera(**{**COUNTING, "n_lines": 8}) as cam,
        cam.view(open_browser=False),
        Feed(cam._engine.control_socket) as feed,
    ):
        yield Page(feed, document, "http://127.0.0.1:1/x")


@contextmanager
def recorder_page(document, _):
    host = Host(Recorder({"position": SimulatedChannel("position")}))
    yield RecorderPage(RecorderFeed(Parent(), host.about), document)


@contextmanager
def ring_page(document, directory):
    with SharedRing(1 << 20, create=True) as ring:
        about = Initialize(ring.name, ring.nbytes, 64, 96, None, None, directory)
        page = RingPage(FrameReader(ring, about, lambda _: None), document)
        page.fill()
        yield page


NOT_UPDATED = "no longer updated (ZeroDivisionError: of &lt;the&gt; test): open another page"
PAGES = [
    (live_page, Page, "_update_numbers", "PAGE FAILED"),
    (recorder_page, RecorderFeed, "poll", NOT_UPDATED),
    (ring_page, RingPage, "_update_caption", NOT_UPDATED),
]


@pytest.mark.parametrize(("make", "owner", "method", "text"), PAGES, ids=[make.__name__ for make, *_ in PAGES])
def test_a_page_whose_update_fails_says_so_once_and_stops(tmp_path, monkeypatch, caplog, make, owner, method, text):
    from bokeh.document import Document
    from bokeh.models import Div

    def fail(*_, **__):
        raise ZeroDivisionError("of <the> test")

    document = Document()
    with make(document, tmp_path) as page:
        (periodic,) = document.session_callbacks
        monkeypatch.setattr(owner, method, fail)
        page._numbers_at = float("-inf")
        periodic.callback()
        assert document.session_callbacks == []
        shown = [div.text for div in document.select({"type": Div}) if div.visible]
        assert any(text in one for one in shown)
    assert caplog.text.count("a page is no longer updated: ZeroDivisionError: of <the> test") == 1


def test_the_panel_of_analyses_says_that_it_is_not_updated(monkeypatch, caplog):
    from bokeh.document import Document
    from bokeh.models import Div

    document = Document()
    with live_page(document, None) as page:
        monkeypatch.setattr(AnalysisFeed, "_update", lambda _: 1 / 0)
        wait_for(lambda: page._feed.analyses.failure)
        page._analyses._updated_at = float("-inf")
        (periodic,) = document.session_callbacks
        periodic.callback()
        shown = [div.text for div in document.select({"type": Div})]
        assert any("what analyses publish is no longer updated (ZeroDivisionError" in one for one in shown)
        assert page._analyses.root.visible
        assert page._feed.state == "running"
    assert "what analyses publish is no longer updated: ZeroDivisionError" in caplog.text
