"""Opens a page in the user's browser, without its secret address on a command line, which every user can read.

The browser is given a file that only this user can read, and which leads to the page.
"""

import atexit
import html
import os
import sys
import time
import webbrowser
from contextlib import suppress
from functools import partial
from pathlib import Path

from openhsi_shared.control.control_socket import runtime_directory
from openhsi_shared.errors import RecordingError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["can_open_browser", "open_in_browser"]

logger = safe_logger(__name__)

LIFETIME_S = 30.0
"""After this time the browser has read the file; it is removed then, or when the program ends."""


def can_open_browser() -> bool:
    """Whether there is a screen; False in a notebook, which shows the page in place."""
    is_there = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(is_there) and "ipykernel" not in sys.modules


def open_in_browser(url: str) -> None:
    """Open it in a thread; a failure is logged, with the address to open by hand."""
    GuardedThread(_open, url, name="browser", failure=f"cannot open a browser for {url}").start()


def _open(url: str) -> None:
    if sys.platform == "win32":  # other users cannot see the arguments of a program
        _require(webbrowser.open(url), url)
        return
    try:
        link = _link_to(url)
    except (OSError, RecordingError) as error:
        logger.warning("no browser is opened, the file for it cannot be written: open %s (%s)", url, error)
        return
    remove = atexit.register(partial(_remove, link))
    try:
        _require(webbrowser.open(link.as_uri()), url)
        time.sleep(LIFETIME_S)
    finally:
        remove()
        atexit.unregister(remove)


def _require(is_opened: bool, url: str) -> None:
    if not is_opened:
        logger.warning("no browser found: open %s", url)


def _link_to(url: str) -> Path:
    """Write the file, with mode 0600 in a directory of mode 0700. Files that killed programs left are removed."""
    directory = runtime_directory()
    for old in directory.glob("page-*.html"):
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > 2 * LIFETIME_S:
                old.unlink()
    link = directory / f"page-{os.getpid()}-{time.monotonic_ns()}.html"
    shown = html.escape(url, quote=True)
    content = f'<!DOCTYPE html><meta http-equiv="refresh" content="0; url={shown}"><a href="{shown}">live page</a>\n'
    with open(os.open(link, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(content)
    return link


def _remove(link: Path) -> None:
    with suppress(OSError):
        link.unlink()
