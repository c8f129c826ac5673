"""The live page as its owner has it: a handle to the process that serves it."""

import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, Self

from openhsi_shared.errors import OpenHSIError, ViewerError
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.logs import forward_logs, safe_logger
from openhsi_shared.processes.spawning import become_service
from openhsi_shared.processes.supervision import GuardedThread
from openhsi_shared.viewer.server import PageSocket, serve

__all__ = ["LivePage"]

logger = safe_logger(__name__)

CLOSE_S = 2.0
LAST_WORDS_S = 0.6
"""Browsers get what came last before the page is closed."""
LEFT_S = 4.0
"""A page whose browser left is loaded anew, perhaps."""
NEVER_CAME_S = 20.0
NICENESS = 5


# ---- in the owner's process ----------------------------------------------------------


class LivePage:
    """A page that shows what a camera records, served by a process of its own.

    It ends when it is closed, when its owner's process is gone, or when the recording has ended and nobody looks any
    more; it need not be kept. Whatever becomes of it, the recording does not notice.
    """

    def __init__(self, path: Path, *, open_browser: bool = True, port: int = 0) -> None:
        """Start it, and return at once: the page is there about a second later, and a browser waits for it.

        `path` is that of the control socket. `open_browser`: if there is a screen, and this is no notebook. `port` 0
        is any that is free. ArgumentError if `port` is taken. What goes wrong later is logged.
        """
        with PageSocket(port) as listening:
            self.url = listening.url
            """What to open in a browser on this machine; nobody else can guess it."""
            # a daemon: the interpreter does not wait for those who look
            self._child = Child(_serve_page, (path, listening), name="live page", logger=logger, daemon=True)
        self.process_id = self._child.pid
        self._closing, self._is_closed = threading.Lock(), False
        GuardedThread(_hear, self._child, name="live page", failure="the live page is not heard any more").start()
        if open_browser and _has_screen() and not _is_notebook():
            GuardedThread(
                _open_browser, self.url, name="browser", failure=f"no browser can be opened for {self.url}"
            ).start()

    @property
    def is_open(self) -> bool:
        """Whether it can be looked at."""
        return self._child.exit_code is None

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it has ended, which it does by itself; False after `timeout` seconds.

        Raises ViewerError if its process was killed, or died. What is recorded goes on.
        """
        self._child.join(timeout)
        code = self._child.exit_code
        if code and not self._is_closed:
            raise ViewerError(f"the live page {self.url} died with exit code {code}; open another one: view()")
        return code is not None

    def close(self) -> None:
        """End it; blocks for less than a second. Twice is once."""
        with self._closing:
            self._is_closed = True
            self._child.terminate()
            self._child.end(CLOSE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<live page {self.url}{'' if self.is_open else ', closed'}>"

    def _repr_html_(self) -> str:
        link = f'<a href="{self.url}" target="_blank">{self.url}</a>'
        return f'<iframe src="{self.url}" width="100%" height="820" style="border:0"></iframe><br>{link}'


def _hear(child: Child) -> None:
    """Log what it logs, until it has ended."""
    while child.receive() is not GONE:
        continue
    child.join()
    child.close()


def _open_browser(url: str) -> None:
    import webbrowser

    if not webbrowser.open(url):
        logger.warning("no browser was found: open %s", url)


def _has_screen() -> bool:
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _is_notebook() -> bool:
    return "ipykernel" in sys.modules


# ---- in the page's own ---------------------------------------------------------------


def _serve_page(parent: Parent, path: Path, listening: PageSocket) -> None:
    """Serve until it is time to end: a child's life."""
    become_service(NICENESS, in_background=True)
    forward_logs(parent)
    from openhsi_shared.viewer.feed import Feed
    from openhsi_shared.viewer.page import Page

    try:
        with Feed(path) as feed:
            end = _End(feed, parent)
            signal.signal(signal.SIGTERM, end.ask)
            serve(partial(Page, feed, url=listening.url), listening, is_over=end.has_come)
    except OpenHSIError as error:
        logger.warning("%s", error)


class _End:
    """Knows when a page has to end."""

    def __init__(self, feed: Any, parent: Parent) -> None:
        self._feed, self._parent = feed, parent
        self._asked_at: float | None = None
        self._nobody_since: float | None = None
        self._somebody_came = False

    def ask(self, *_: object) -> None:
        """Somebody wants it to end."""
        self._asked_at = self._asked_at or time.monotonic()

    def has_come(self, n_browsers: int) -> bool:
        """Asked five times a second, with how many look."""
        now = time.monotonic()
        if self._parent.receive(0) is GONE:
            return True
        if self._asked_at is not None:
            return not n_browsers or now - self._asked_at > LAST_WORDS_S
        if n_browsers or not self._feed.is_over:
            self._somebody_came |= n_browsers > 0
            self._nobody_since = None
            return False
        if self._nobody_since is None:
            self._nobody_since = now
        return now - self._nobody_since > (LEFT_S if self._somebody_came else NEVER_CAME_S)
