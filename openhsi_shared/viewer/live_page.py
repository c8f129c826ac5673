"""The live page: a handle to the process that serves it, and that process."""

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from openhsi_shared.errors import OpenHSIError, RecordingError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.logs import forward_logs
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

    def __init__(self, path: Path | Mapping[str, Path], *, open_browser: bool = True, port: int = 0) -> None:
        """Start it, and return at once: the page is up about a second later, and a browser waits for it.

        `path` is that of the control socket; those of several cameras, by name, are shown side by side. `open_browser`
        has no effect without a screen or in a notebook. `port` 0 is any free port. ArgumentError if `port` is in use,
        PackageMissing without bokeh. Later failures are logged.
        """
        super().__init__(_serve_page, (path,), logger, open_browser=open_browser, port=port)


# ---- in the page's process -----------------------------------------------------------


def _serve_page(parent: Parent, path: Path | Mapping[str, Path], listening: PageSocket) -> None:
    """Serve until it must end: the target of the child process."""
    become_service(NICENESS, in_background=True)
    forward_logs(parent)
    try:
        if isinstance(path, Path):
            _serve_one(parent, path, listening)
        else:
            _serve_several(parent, path, listening)
    except OpenHSIError as error:
        logger.warning("%s", error)


def _serve_one(parent: Parent, path: Path, listening: PageSocket) -> None:
    from openhsi_shared.viewer.feed import Feed
    from openhsi_shared.viewer.page import Page

    with Feed(path) as feed:
        end = _EndCondition(lambda: feed.is_over, parent)
        serve(partial(Page, feed, url=listening.url), listening, is_over=end.is_met)


def _serve_several(parent: Parent, paths: Mapping[str, Path], listening: PageSocket) -> None:
    """A page for each camera, and one that shows them all."""
    from openhsi_shared.viewer.feed import Feed
    from openhsi_shared.viewer.page import Page
    from openhsi_shared.viewer.side_by_side import page_of_pages

    feeds: dict[str, Feed] = {}
    with ExitStack() as stack:
        for name, path in paths.items():
            try:
                feeds[name] = stack.enter_context(Feed(path))
            except RecordingError as error:
                logger.warning("%s: %s", name, error)
        end = _EndCondition(lambda: all(feed.is_over for feed in feeds.values()), parent)
        pages = {f"/{name}": partial(Page, feed, url=listening.url) for name, feed in feeds.items()}
        index = page_of_pages(((name, f"{listening.path}/{name}") for name in feeds), paths.keys() - feeds.keys())
        serve(pages, listening, is_over=end.is_met, index=index)


class _EndCondition:
    """When a page must end."""

    def __init__(self, has_ended: Callable[[], bool], parent: Parent) -> None:
        """`has_ended()`: no more lines come. A request is a SIGTERM."""
        self._has_ended, self._parent = has_ended, parent
        self._requested_at: float | None = None
        self._idle_since: float | None = None
        self._had_browsers = False
        signal.signal(signal.SIGTERM, self.request)

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
        if n_browsers or not self._has_ended():
            self._had_browsers |= n_browsers > 0
            self._idle_since = None
            return False
        if self._idle_since is None:
            self._idle_since = now
        return now - self._idle_since > (IDLE_TIMEOUT_S if self._had_browsers else FIRST_BROWSER_TIMEOUT_S)
