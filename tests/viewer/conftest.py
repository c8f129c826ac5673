"""A real browser for tests of pages, which are skipped with a reason where there is none.

One for all tests of a worker, because to start and to end it takes a second; each test has windows of its own in it.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support import leaks

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-features=SpareRendererForSitePerProcess",
]
TIMEOUT_MS = 60_000
POLL_MS = 100
"""Between two looks at a page, each of which goes through four processes."""


@pytest.fixture(scope="session")
def shared_browser() -> Iterator[Any]:
    """Start Debian's chromium, driven by playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("chromium is missing: apt-get install chromium")
    with ExitStack() as stack:
        with leaks.what_starts_is_kept():
            driver = stack.enter_context(playwright.sync_playwright())
            browser = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        loop = asyncio.get_running_loop()  # playwright leaves it so, and no other loop could run in this thread
        asyncio._set_running_loop(None)
        yield browser, loop
        asyncio._set_running_loop(loop)
        browser.close()


@pytest.fixture
def browser(shared_browser: tuple[Any, asyncio.AbstractEventLoop]) -> Iterator[Any]:
    """Give the browser, without windows."""
    browser, loop = shared_browser
    asyncio._set_running_loop(loop)
    yield browser
    browser.new_context()  # playwright keeps the frame of its last caller, with all that it knows
    for context in browser.contexts:
        context.close()
    asyncio._set_running_loop(None)


class Tab:
    """A page in the browser, with all its requests and errors."""

    def __init__(self, browser: Any, url: str, width: int = 1366, height: int = 768) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": height})
        self.page.set_default_timeout(TIMEOUT_MS)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.goto(url, timeout=TIMEOUT_MS)

    @property
    def hosts(self) -> set[str | None]:
        """Hosts to which it sent requests, except for data URLs."""
        return {
            urlsplit(url).hostname for url in self.requests if urlsplit(url).scheme in ("http", "https", "ws", "wss")
        }

    def text(self, selector: str) -> str:
        """Text of the first element that matches, once it exists."""
        return str(self.page.locator(selector).first.inner_text())

    def await_text(self, selector: str, text: str) -> None:
        """Wait until an element that matches contains `text`."""
        self.page.locator(selector, has_text=text).first.wait_for()

    def wait(self, what: Callable[[], object]) -> None:
        """Wait until `what()` is true; the browser keeps running."""
        for _ in range(TIMEOUT_MS // POLL_MS):
            if what():
                return
            self.page.wait_for_timeout(POLL_MS)
        raise AssertionError(f"{what} did not come true in {TIMEOUT_MS} ms")

    def click(self, name: str) -> None:
        """Press a button."""
        self.page.get_by_role("button", name=name).click()

    def picture(self, name: str) -> bytes:
        """Take a screenshot, kept if OPENHSI_SHARED_SCREENSHOTS is set."""
        png: bytes = self.page.screenshot()
        folder = os.environ.get("OPENHSI_SHARED_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / f"{name}.png").write_bytes(png)
        return png


@pytest.fixture
def look(browser: Any) -> Callable[..., Tab]:
    """Open an address in a tab."""
    return lambda url, **how: Tab(browser, url, **how)
