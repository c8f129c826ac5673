"""What else a machine does while it records: each load is a context, and ends all its processes at its end."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["CHROMIUM", "HAS_BROWSER", "LOADS", "load"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HAS_BROWSER = CHROMIUM is not None and find_spec("playwright") is not None
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
START_TIMEOUT_S = 60

BUSY = "print('up', flush=True)\nwhile True: pass"
COPY = """
import shutil, sys
source, target, n_bytes = sys.argv[1], sys.argv[2], int(sys.argv[3])
block = bytes(range(256)) * 4096
with open(source, "wb") as file:
    for _ in range(n_bytes // len(block)):
        file.write(block)
print("up", flush=True)
while True:
    shutil.copyfile(source, target)
"""
MEMORY = """
import sys
n_bytes = int(sys.argv[1])
print("up", flush=True)
while True:
    touched = bytearray(n_bytes)
    touched[::4096] = b"1" * len(touched[::4096])
    del touched
"""
PAGE = """
import sys
from playwright.sync_api import sync_playwright
with sync_playwright() as driver:
    browser = driver.chromium.launch(executable_path=sys.argv[2], headless=True, args=sys.argv[3:])
    tab = browser.new_page(viewport={"width": 1366, "height": 768})
    tab.goto(sys.argv[1])
    tab.locator(".tile.age .value").wait_for(timeout=30_000)  # there may be no line yet
    print("up", flush=True)
    while True:
        tab.wait_for_timeout(1000)
"""


@contextmanager
def load(names: str, folder: Path, copy_bytes: int, camera: Any) -> Iterator[None]:
    """Run the loads of these names, joined by "+", beside the block; empty: none. Blocks until all of them are up."""
    with ExitStack() as stack:
        for name in filter(None, names.split("+")):
            for arguments in LOADS[name](folder, copy_bytes, camera, stack):
                stack.enter_context(_program(*arguments))
        yield


@contextmanager
def _program(text: str, *arguments: object) -> Iterator[None]:
    command = [sys.executable, "-c", text, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        if process.stdout is None or process.stdout.readline() != b"up\n":
            raise RuntimeError(f"a load has ended with {process.wait(START_TIMEOUT_S)}: {text.strip()[:60]}")
        yield
    finally:
        with suppress(ProcessLookupError):  # it may have failed
            os.killpg(process.pid, signal.SIGKILL)  # a browser has processes of its own
        process.communicate()


def _busy(n: int) -> Callable[..., list[tuple[object, ...]]]:
    return lambda *_: [(BUSY,)] * n


def _copy(folder: Path, copy_bytes: int, *_: Any) -> list[tuple[object, ...]]:
    return [(COPY, folder / "copied-from", folder / "copied-to", copy_bytes)]


def _memory(*_: Any) -> list[tuple[object, ...]]:
    words = Path("/proc/meminfo").read_text().split()
    return [(MEMORY, int(words[words.index("MemAvailable:") + 1]) * 1024 // 4)]


def _page(_folder: Path, _bytes: int, camera: Any, stack: ExitStack) -> list[tuple[object, ...]]:
    """The live page of the camera or recording, in a browser if there is one."""
    page = camera.view(open_browser=False)
    stack.callback(page.close)
    return [(PAGE, page.url, CHROMIUM, *FLAGS)] if HAS_BROWSER else []


LOADS: dict[str, Callable[..., list[tuple[object, ...]]]] = {
    "busy2": _busy(2),
    "busy4": _busy(4),
    "copy": _copy,
    "memory": _memory,
    "page": _page,
}
"""Two and four busy loops; a copy of a large file on that disk; a process that touches memory; a page in Chromium."""
