"""The live page: a handle to the process that serves it, and that process."""

import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

from openhsi_shared.errors import OpenHSIError
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.logs import forward_logs, safe_logger
from openhsi_shared.processes.spawning import become_service
from openhsi_shared.viewer.served_page import ServedPage
from openhsi_shared.viewer.server import PageSocket, serve

__all__ = ["LivePage"]

logger = safe_logger(__name__)

FINAL_UPDATE_S = 0.6
"""Browsers receive the last update before the page is closed."""
IDLE_TIMEOUT_S = 4.0
"""Allows for a reload of the page."""
FIRST_BROWSER_TIMEOUT_S = 20.0
NICENESS = 2


# ---- in the owner's process ----------------------------------------------------------


class LivePage(ServedPage):
    """A page that shows what a camera records, served by its own process.

    It ends when it is closed, when its owner's process has ended, or when the recording has ended and no browser is
    connected; no reference to it is needed. The recording is not affected, whatever happens to the page.
    """

    KIND = "live page"

    def __init__(self, path: Path, *, open_browser: bool = True, port: int = 0) -> None:
        """Start it, and return at once: the page is up about a second later, and a browser waits for it.

        `path` is that of the control socket. `open_browser` has no effect without a screen or in a notebook. `port` 0
        is any free port. ArgumentError if `port` is in use, PackageMissing without bokeh. Later failures are logged.
        """
        super().__init__(_serve_page, (path,), logger, open_browser=open_browser, port=port)


# ---- in the page's process -----------------------------------------------------------


def _serve_page(parent: Parent, path: Path, listening: PageSocket) -> None:
    """Serve until it must end: the target of the child process."""
    become_service(NICENESS, in_background=True)
    forward_logs(parent)
    from openhsi_shared.viewer.feed import Feed
    from openhsi_shared.viewer.page import Page

    try:
        with Feed(path) as feed:
            end = _EndCondition(feed, parent)
            signal.signal(signal.SIGTERM, end.request)
            serve(partial(Page, feed, url=listening.url), listening, is_over=end.is_met)
    except OpenHSIError as error:
        logger.warning("%s", error)


class _EndCondition:
    """When a page must end."""

    def __init__(self, feed: Any, parent: Parent) -> None:
        self._feed, self._parent = feed, parent
        self._requested_at: float | None = None
        self._idle_since: float | None = None
        self._had_browsers = False

    def request(self, *_: object) -> None:
        """Request the end; a signal handler."""
        self._requested_at = self._requested_at or time.monotonic()

    def is_met(self, n_browsers: int) -> bool:
        """Whether to end, with `n_browsers` connected; called five times a second."""
        now = time.monotonic()
        if self._parent.receive(0) is GONE:
            return True
        if self._requested_at is not None:
            return not n_browsers or now - self._requested_at > FINAL_UPDATE_S
        if n_browsers or not self._feed.is_over:
            self._had_browsers |= n_browsers > 0
            self._idle_since = None
            return False
        if self._idle_since is None:
            self._idle_since = now
        return now - self._idle_since > (IDLE_TIMEOUT_S if self._had_browsers else FIRST_BROWSER_TIMEOUT_S)
