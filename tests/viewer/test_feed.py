"""The data that browsers share is filled by two threads; the page reports it if one fails."""

import sys
import time

import pytest

from openhsi_shared import SharedSimulatedCamera
from openhsi_shared.viewer.feed import Feed
from openhsi_shared.viewer.tiles import head
from tests.support.flow import COUNTING
from tests.support.helpers import wait_for

pytestmark = [
    pytest.mark.usefixtures("runtime"),
    pytest.mark.skipif(sys.platform != "linux", reason="slots are handed out on Linux only"),
]


@pytest.mark.parametrize("name", ["_read_lines", "_request_glance"])
def test_a_thread_that_fails_ends_the_feed_and_the_page_says_so(monkeypatch, caplog, name):
    with SharedSimulatedCamera(**{**COUNTING, "n_lines": 8}) as cam, cam.view(open_browser=False):
        with Feed(cam._engine.control_socket) as feed:
            cam.collect()
            wait_for(lambda: feed.newest is not None)
            assert feed.state == "running"
            monkeypatch.setattr(Feed, name, lambda _: 1 / 0)
            wait_for(lambda: feed.is_over)
            assert feed.state == "failed"
            assert "PAGE FAILED" in head(feed.state, feed.about, feed.glance)
        assert "the live page is no longer updated: ZeroDivisionError" in caplog.text


def test_the_age_of_a_line_is_right_after_the_clock_was_set(tmp_path):
    cam = SharedSimulatedCamera(**{**COUNTING, "n_lines": 8})
    with cam, cam.view(open_browser=False), Feed(cam._engine.control_socket) as feed:
        cam.collect()
        cam.save(tmp_path).result(60)
        clock = cam._engine.filler.clock
        clock.anchor = clock.anchor._replace(wall_ns=clock.anchor.wall_ns - 10**13)  # as if the clock were set
        cam.collect()
        wait_for(lambda: feed.newest == (2, 7))
        wait_for(lambda: 0 <= time.monotonic_ns() - feed.newest_monotonic_ns < 60 * 10**9)
