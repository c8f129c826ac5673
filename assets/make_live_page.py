"""Make `live_page.jpg`, the picture in the README: the live page while the simulated camera records.

    python assets/make_live_page.py        # needs Playwright, and Chromium at /usr/bin/chromium

It is a screenshot of a browser that shows a recording.
"""

import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from openhsi_shared import SharedSimulatedCamera, record

TARGET = Path(__file__).parent / "live_page.jpg"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def make() -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        record(SharedSimulatedCamera, directory, n_lines=256, rate=60, progress=False) as run,
        run.view(open_browser=False) as view,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS) as browser,
    ):
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.goto(view.url)
        page.wait_for_timeout(15_000)  # so that the waterfall is filled
        page.screenshot(path=TARGET, type="jpeg", quality=85)
        run.stop()
        run.wait()


if __name__ == "__main__":
    make()
