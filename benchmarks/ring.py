"""Frames of 512 x 512 uint16 through a ring into a viewer: how many are shown, and the time of a `put`."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import MB, Plan, Row, Spread
from openhsi_shared import SharedRing, Viewer
from openhsi_shared.buffers.memory import PAGE
from openhsi_shared.processes.spawning import SPAWN, spawn
from openhsi_shared.viewer.demo import simulated_frames

__all__ = ["run"]

Shown = list[tuple[float, float]]
"""For each of the rates: frames shown per second, and the share of frames that were dropped."""

RATES = (100, 25)
"""Frames put per second: more than a screen shows, and about as many as the target."""
TARGET = 20
IN_RING = 16
TIMEOUT_S = 60
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def run(plan: Plan) -> list[Row]:
    """Measure `put`, then each viewer for some seconds, and the straightforward one."""
    side, seconds = plan.pick((512, 8.0), (512, 3.0), (64, 0.5))
    frames = simulated_frames(side)
    rows = [_put_row(plan, frames)]
    with plan.folder("ring") as folder, _screen() as screen:
        peer = _rate_of_peer(frames, seconds)
        window = _rate_of(frames, seconds, "matplotlib", folder)
        page = _rate_of(frames, seconds, "browser", folder)
    against = f"imshow, set_data and pause in a process of its own: {_text(peer)}"
    for backend, place, found in (("matplotlib", screen, window), ("browser", "headless chromium", page)):
        rows.append(_viewer_row(side, backend, place, found, against, peer))
    return rows


# ---- put ----


def _put_row(plan: Plan, frames: NDArray[np.uint16]) -> Row:
    n_in_ring, n_rounds = plan.pick((128, 21), (128, 7), (8, 3))
    frame_bytes = frames[0].nbytes
    frames, private = _at_pages(frames), _at_pages(np.ones((n_in_ring, *frames[0].shape), np.uint16))
    puts, copies = [], []
    with SharedRing(n_in_ring * frame_bytes, create=True) as ring:
        for _ in range(n_rounds + 1):
            puts.append(_time(lambda line: ring.put(frames[line % len(frames)]), n_in_ring))
            copies.append(_time(lambda line: np.copyto(private[line], frames[line % len(frames)]), n_in_ring))
            for line, (item, copy) in enumerate(zip(np.asarray(ring).reshape(private.shape), private, strict=True)):
                if not np.array_equal(item, copy):
                    raise AssertionError(f"frame {line} of the ring is not the one that was put")
    del puts[0], copies[0]  # the first round allocates pages
    put, copy = Spread(puts), Spread(copies)
    ratio = float(np.median(np.divide(puts, copies)))  # of consecutive measurements
    return Row(
        benchmark="ring",
        what=f"put of one frame {frames[0].shape} uint16",
        ours=f"{put.text('us', 1)}, {frame_bytes / put.median / MB * 1e6:,.0f} MB/s",
        against=f"np.copyto into memory: {copy.text('us', 1)}",
        ratio=ratio,
        target="<= 1.3 x",
        is_reached=ratio <= 1.3,
        verified=f"all {n_in_ring} frames of the ring, in each of {n_rounds} rounds",
        figures={"put_us": puts, "copyto_us": copies},
    )


def _at_pages(array: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Copy it to the beginning of a page, as drivers' frames: else a copy may take up to twice as long."""
    memory = np.empty(array.nbytes + PAGE, np.uint8)
    begin = -memory.ctypes.data % PAGE
    placed = memory[begin : begin + array.nbytes].view(np.uint16).reshape(array.shape)
    placed[:] = array
    return placed


def _time(do: Callable[[int], Any], n: int) -> float:
    begun = time.perf_counter()
    for line in range(n):
        do(line)
    return 1e6 * (time.perf_counter() - begun) / n


# ---- viewers ----


def _text(found: Shown) -> str:
    (fast, lost_of_many), (slow, lost_of_few) = found
    return (
        f"{fast:.0f} frames/s shown of {RATES[0]}, {lost_of_many:.0%} dropped; {slow:.0f} of {RATES[1]}, "
        f"{lost_of_few:.0%} dropped"
    )


def _viewer_row(side: int, backend: str, place: str, found: Shown | str, against: str, peer: Shown) -> Row:
    what = f"{side} x {side} uint16 in a viewer ({backend}, {place})"
    target = f">= {TARGET} frames/s shown"
    if isinstance(found, str):
        return Row(benchmark="ring", what=what, ours=found, against=against, target=target, verified="nothing")
    return Row(
        benchmark="ring",
        what=what,
        ours=_text(found),
        against=against,
        ratio=found[0][0] / peer[0][0],
        target=target,
        is_reached=found[0][0] >= TARGET,
        verified="numbers of the frames on the screen" + (", a frame saved from it" if backend == "browser" else ""),
        figures={"frames_put_per_s": RATES, "shown_per_s_and_dropped": found, "of_peer": peer},
    )


def _rate_of(frames: NDArray[np.uint16], seconds: float, backend: Any, folder: Path) -> Shown | str:
    """Frames shown, or why they could not be measured."""
    with ExitStack() as stack:
        ring = stack.enter_context(SharedRing(IN_RING * frames[0].nbytes, create=True))
        viewer = Viewer(ring, frames[0].shape, backend=backend, save_dir=folder, open_browser=False)
        stack.enter_context(viewer).wait_ready(TIMEOUT_S)
        page = None
        if viewer.url is not None:
            page = stack.enter_context(_browser(viewer.url))
            if isinstance(page, str):
                return page
        result = _measure(ring, frames, seconds, lambda: viewer.shown and (viewer.shown.n_shown, viewer.shown.number))
        if page is not None:
            _verify_saved(page, viewer, frames)
    return result


def _measure(
    ring: SharedRing, frames: NDArray[np.uint16], seconds: float, shown: Callable[[], tuple[int, int] | None]
) -> Shown:
    return [_measure_at(rate, ring, frames, seconds, shown) for rate in RATES]


def _measure_at(
    rate: int,
    ring: SharedRing,
    frames: NDArray[np.uint16],
    seconds: float,
    shown: Callable[[], tuple[int, int] | None],
) -> tuple[float, float]:
    """Put at the rate, and count shown frames for some seconds."""
    begun, begun_at = time.monotonic(), ring.n_put
    first: tuple[float, int, int] | None = None
    last = 0.0, 0, begun_at + 5
    while first is None or last[0] < first[0] + seconds:
        ring.put(frames[ring.n_put % len(frames)])
        now = time.monotonic()
        count = shown()
        if count is not None and count[1] > last[2]:
            last = now, *count
            first = first or last
        if now > begun + seconds + TIMEOUT_S:
            raise AssertionError(f"nothing was shown for {TIMEOUT_S} s")
        time.sleep(max(0.0, begun + (ring.n_put - begun_at) / rate - time.monotonic()))
    n_shown, n_passed = last[1] - first[1], last[2] - first[2]
    if not 0 < n_shown <= n_passed:
        raise AssertionError(f"{n_shown} frames were shown of {n_passed}")
    return n_shown / (last[0] - first[0]), 1 - n_shown / n_passed


def _verify_saved(page: Any, viewer: Viewer, frames: NDArray[np.uint16]) -> None:
    page.keyboard.press("s")
    for _ in range(TIMEOUT_S * 20):
        if viewer.saved:
            break
        page.wait_for_timeout(50)
    number = int(viewer.saved[0].name.split("_")[1])
    if not np.array_equal(np.load(viewer.saved[0]), frames[number % len(frames)]):
        raise AssertionError(f"frame {number}, saved from the screen, is not the one that was put")


# ---- the straightforward viewer ----


def _rate_of_peer(frames: NDArray[np.uint16], seconds: float) -> Shown:
    ours, theirs = SPAWN.Pipe()
    newest: list[tuple[int, int]] = []

    def shown() -> tuple[int, int] | None:
        while ours.poll():
            newest[:] = [ours.recv()]
        return newest[0] if newest else None

    with SharedRing(IN_RING * frames[0].nbytes, create=True) as ring:
        process = SPAWN.Process(target=_straightforward, args=(ring, frames[0].shape, theirs), daemon=True)
        spawn(process)
        try:
            return _measure(ring, frames, seconds, shown)
        finally:
            process.terminate()
            process.join()
            ours.close()
            theirs.close()


def _straightforward(ring: SharedRing, shape: tuple[int, int], connection: Any) -> None:
    """Show the newest frame with imshow, set_data and pause; main function of a child."""
    import matplotlib.pyplot as plt

    image = plt.imshow(np.zeros(shape, np.uint16), cmap="gray", vmin=0, vmax=4095)
    number, n_shown, sent_at = -1, 0, 0.0
    while True:
        item = ring.latest(number)
        if item is not None:
            image.set_data(item.data.reshape(shape))
            number, n_shown = item.number, n_shown + 1
        plt.pause(0.001)
        if n_shown and time.monotonic() - sent_at > 0.25:
            sent_at = time.monotonic()
            connection.send((n_shown, number))


# ---- screens ----


@contextmanager
def _screen() -> Iterator[str]:
    """Let windows be opened: on the real screen, on a virtual one, or only in memory."""
    before = {name: os.environ.get(name) for name in ("DISPLAY", "MPLBACKEND")}
    if before["DISPLAY"]:
        yield "a window"
        return
    program = shutil.which("Xvfb")
    try:
        if program is None:
            os.environ["MPLBACKEND"] = "agg"
            yield "no window, in memory"
            return
        reading, writing = os.pipe()
        command = [program, "-displayfd", str(writing), "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]
        with subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
            os.close(writing)
            with os.fdopen(reading) as answer:
                os.environ["DISPLAY"] = f":{answer.readline().strip()}"
            try:
                yield "a window on Xvfb"
            finally:
                server.terminate()
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _browser(url: str) -> Iterator[Any]:
    """Open the page in headless chromium; yields the reason if that is not installed."""
    program = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        yield "not measured: playwright is missing"
        return
    if program is None:
        yield "not measured: chromium is missing"
        return
    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, headless=True, args=flags)
        page = browser.new_page(viewport={"width": 1100, "height": 850})
        page.goto(url, timeout=TIMEOUT_S * 1000)
        yield page
        browser.close()
