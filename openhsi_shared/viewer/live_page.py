"""The live page: a handle to the process that serves it, and that process."""

import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, Self

from openhsi_shared.errors import OpenHSIError, ViewerError
from openhsi_shared.packages import require
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.logs import forward_logs, safe_logger
from openhsi_shared.processes.spawning import become_service
from openhsi_shared.processes.supervision import GuardedThread
from openhsi_shared.viewer.browser import can_open_browser, open_in_browser
from openhsi_shared.viewer.server import PageSocket, serve

__all__ = ["LivePage"]

logger = safe_logger(__name__)

CLOSE_TIMEOUT_S = 2.0
FINAL_UPDATE_S = 0.6
"""Browsers receive the last update before the page is closed."""
IDLE_TIMEOUT_S = 4.0
"""Allows for a reload of the page."""
FIRST_BROWSER_TIMEOUT_S = 20.0
NICENESS = 2


# ---- in the owner's process ----------------------------------------------------------


class LivePage:
    """A page that shows what a camera records, served by its own process.

    It ends when it is closed, when its owner's process has ended, or when the recording has ended and no browser is
    connected; no reference to it is needed. The recording is not affected, whatever happens to the page.
    """

    def __init__(self, path: Path, *, open_browser: bool = True, port: int = 0) -> None:
        """Start it, and return at once: the page is up about a second later, and a browser waits for it.

        `path` is that of the control socket. `open_browser` has no effect without a screen or in a notebook. `port` 0
        is any free port. ArgumentError if `port` is in use, PackageMissing without bokeh. Later failures are logged.
        """
        require("the live page", "bokeh", "tornado")
        with PageSocket(port) as listening:
            self.url = listening.url
            """Address for a browser on this machine; it cannot be guessed."""
            # a daemon: the interpreter does not wait for viewers at exit
            self._child = Child(_serve_page, (path, listening), name="live page", logger=logger, daemon=True)
        self.process_id = self._child.pid
        self._closing, self._is_closed = threading.Lock(), False
        GuardedThread(
            _receive, self._child, name="live page", failure="messages of the live page are no longer received"
        ).start()
        if open_browser and can_open_browser():
            open_in_browser(self.url)

    @property
    def is_open(self) -> bool:
        """Whether it is being served."""
        return self._child.exit_code is None

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it has ended; False after `timeout` seconds.

        Raises ViewerError if its process was killed, or died. The recording continues.
        """
        self._child.join(timeout)
        code = self._child.exit_code
        if code and not self._is_closed:
            raise ViewerError(f"the live page {self.url} died with exit code {code}; open another one: view()")
        return code is not None

    def close(self) -> None:
        """End it; blocks for less than a second. Idempotent."""
        with self._closing:
            self._is_closed = True
            self._child.terminate()
            self._child.end(CLOSE_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<live page {self.url}{'' if self.is_open else ', closed'}>"

    def _repr_html_(self) -> str:
        link = f'<a href="{self.url}" target="_blank">{self.url}</a>'
        return f'<iframe src="{self.url}" width="100%" height="820" style="border:0"></iframe><br>{link}'


def _receive(child: Child) -> None:
    """Forward its log messages until it has ended."""
    while child.receive() is not GONE:
        continue
    child.join()
    child.close()


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
