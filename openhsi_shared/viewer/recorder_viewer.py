"""The page of a recorder: a handle to the process that serves it, and that process."""

import signal
import time
from functools import partial

from openhsi_shared.channels.recorder import Recorder
from openhsi_shared.errors import ArgumentError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.liveness import Parent
from openhsi_shared.processes.logs import forward_logs
from openhsi_shared.processes.spawning import become_service
from openhsi_shared.viewer.recorder_messages import About
from openhsi_shared.viewer.recorder_state import Host
from openhsi_shared.viewer.served_page import ServedPage
from openhsi_shared.viewer.server import PageSocket, serve

__all__ = ["RecorderViewer", "view_recorder"]

logger = safe_logger(__name__)

NICENESS = 5
FINAL_UPDATE_S = 0.6
"""Browsers receive the last update before the page is closed."""


# ---- in the recorder's process -------------------------------------------------------


class RecorderViewer(ServedPage):
    """A page that shows a recorder and operates it, served by its own process; see `view_recorder`."""

    KIND = "recorder page"

    def __init__(self, recorder: Recorder, *, open_browser: bool = True, port: int = 0) -> None:
        if not isinstance(recorder, Recorder):
            raise ArgumentError(f"view_recorder needs a Recorder, got {recorder!r:.80}")
        host = Host(recorder)
        super().__init__(_serve, (host.about,), logger, open_browser=open_browser, port=port, answer=host.answer)


def view_recorder(recorder: Recorder, *, open_browser: bool = True, port: int = 0) -> RecorderViewer:
    """Show a recorder on a page in the browser: its newest regions, rows, rates, and buttons. Returns at once.

    The page has a process of its own, and ends with `close()` or with this program. While a browser is connected it
    asks for the newest state, ten times a second at most; the recorder never waits for it, and goes on when the page
    is closed or dies. `open_browser` has no effect without a screen or in a notebook; `port` 0 is any free port.
    ArgumentError for anything but a recorder, and if `port` is in use.
    """
    return RecorderViewer(recorder, open_browser=open_browser, port=port)


# ---- in the page's process -----------------------------------------------------------


def _serve(parent: Parent, about: About, listening: PageSocket) -> None:
    """Serve until it must end: the target of the child process."""
    become_service(NICENESS, in_background=True)
    forward_logs(parent)
    from openhsi_shared.viewer.recorder_page import RecorderFeed, RecorderPage

    feed = RecorderFeed(parent, about)
    requested: list[float] = []
    signal.signal(signal.SIGTERM, lambda *_: requested.append(time.monotonic()))

    def is_over(n_browsers: int) -> bool:
        feed.poll(asks=False)
        return feed.is_over or (
            bool(requested) and (not n_browsers or time.monotonic() - requested[0] > FINAL_UPDATE_S)
        )

    serve(partial(RecorderPage, feed), listening, is_over=is_over)
