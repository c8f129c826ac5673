"""Cost of an attached live page: lines lost by the recording, traffic, processor time, delay from capture to screen."""

import shutil
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.measuring import Plan, Row, Spread
from openhsi_shared import SharedSimulatedCamera, open_cube, record
from openhsi_shared.drivers.simulated import check_frame, frame_number

__all__ = ["run"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HAS_BROWSER = CHROMIUM is not None and find_spec("playwright") is not None
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
WARM_S = 2.0
N_LINES = 128


@dataclass
class Seen:
    """Measurements in the browser."""

    seconds: float = 0.0
    bytes_received: int = 0
    lines_shown: int = 0
    cpu_s: float = 0.0
    ages_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Recorded:
    """Result of a recording."""

    rate: float
    lines: int
    lost: int
    cpu_share: float
    """Of one processor, of the recording's process."""
    is_whole: bool


def run(plan: Plan) -> list[Row]:
    seconds = plan.pick(12.0, 6.0, 1.5)
    rates = plan.pick((500.0, 1000.0), (500.0,), (200.0,))
    return [row for rate in rates for row in _compare(plan, rate, seconds)]


def _compare(plan: Plan, rate: float, seconds: float) -> list[Row]:
    alone, _ = _record(plan, rate, seconds, "alone")
    unseen, _ = _record(plan, rate, seconds, "page")
    watched, seen = _record(plan, rate, seconds, "browser")
    again, _ = _record(plan, rate, seconds, "alone")
    is_right = _all_whole(alone, unseen, watched, again)
    verified = "every byte of every line, its position, and every line declared lost" if is_right else "MISSING LINES"
    with_browser = "chromium" if HAS_BROWSER else "no browser: a page without viewers"
    rows = [
        Row(
            benchmark="live_page",
            what=f"a recording at {rate:.0f} lines/s, with a page in a browser and without ({with_browser})",
            ours=f"{_in_words(watched)}; a page without viewers: {_in_words(unseen)}",
            against=f"{_in_words(alone)}; {_in_words(again)}",
            ratio=watched.rate / alone.rate,
            target="0 lost",
            is_reached=watched.lost + unseen.lost == 0,
            is_right=is_right,
            verified=verified,
            figures={"with": vars(watched), "unseen": vars(unseen), "without": [vars(alone), vars(again)]},
        )
    ]
    if seen.seconds:
        rows.append(_of_the_page(rate, seen, verified, is_right=is_right))
    return rows


def _all_whole(*recorded: Recorded) -> bool:
    return all(one.is_whole for one in recorded)


def _in_words(recorded: Recorded) -> str:
    return (
        f"{recorded.rate:.1f} lines/s, {recorded.lost} of {recorded.lines + recorded.lost} lost, "
        f"{100 * recorded.cpu_share:.0f} % of a core"
    )


def _of_the_page(rate: float, seen: Seen, verified: str, *, is_right: bool) -> Row:
    ages = Spread(seen.ages_ms or [float("nan")])
    mb_per_s = seen.bytes_received / seen.seconds / 1e6
    cpu = 100 * seen.cpu_s / seen.seconds
    return Row(
        benchmark="live_page",
        what=f"the page meanwhile, at 10 Hz, of {rate:.0f} lines/s",
        ours=f"{mb_per_s:.2f} MB/s to the browser, {cpu:.0f} % of a core, capture to screen {ages.text('ms')}, "
        f"{seen.lines_shown / seen.seconds:.0f} lines/s shown",
        is_right=is_right and not seen.errors,
        verified=f"{verified}; {len(seen.errors)} errors in the browser {seen.errors[:2] or ''}".strip(),
        figures={"mb_per_s": mb_per_s, "cpu_percent": cpu, "ages_ms": seen.ages_ms},
    )


def _record(plan: Plan, rate: float, seconds: float, how: str) -> tuple[Recorded, Seen]:
    keywords: dict[str, Any] = {"resolution": plan.frame_shape, "row_slice": None, "cal_path": "", "mode": "counting"}
    keywords |= {"n_lines": N_LINES, "rate": rate, "progress": False}
    seen = Seen()
    with plan.folder("live_page") as folder:
        with record(SharedSimulatedCamera, folder, **keywords) as run:
            with run.view(open_browser=False) if how != "alone" else nullcontext() as page:
                if page is not None and how == "browser" and HAS_BROWSER:
                    _look(page, seconds, seen)
                else:
                    with suppress(TimeoutError):
                        run.wait(seconds + WARM_S)
                cpu_share = sum(psutil.Process(run.process_id).cpu_times()[:2]) / run.status().seconds
            run.stop()
            summary = run.wait()
        lost = {frame for first, last in summary.lost_ids for frame in range(first, last + 1)}
        offered = range(summary.lines + summary.lines_lost)
        is_whole = _numbers(folder) == [frame for frame in offered if frame not in lost]
    return Recorded(summary.rate, summary.lines, summary.lines_lost, cpu_share, is_whole), seen


def _numbers(folder: Path) -> list[int]:
    numbers = []
    for path in sorted(folder.rglob("*.nc")):
        with open_cube(path) as cube:
            lines = np.asarray(cube.lines[:])
        numbers += [frame_number(line) if check_frame(line) else -1 for line in lines]
    return numbers


# ---- a browser ----


def _look(page: Any, seconds: float, seen: Seen) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1366, "height": 768})
        tab.on("pageerror", lambda error: seen.errors.append(str(error)))
        n_bytes = [0]
        tab.on("websocket", lambda socket: socket.on("framereceived", lambda data: _add(n_bytes, data)))
        tab.goto(page.url)
        tab.locator(".tile.age .value", has_text="ms").wait_for(timeout=30_000)
        process = psutil.Process(page.process_id)
        before, cpu, n_steps = n_bytes[0], sum(process.cpu_times()[:2]), max(1, int((seconds - 1.0) / 0.25))
        shown = []
        for _ in range(n_steps):
            tab.wait_for_timeout(250)
            age = tab.locator(".tile.age .value").inner_text()
            if age.endswith("ms"):
                seen.ages_ms.append(float(age.split()[0]))
            shown.append(float(tab.locator(".tile.captured .under").inner_text().split()[0]))
            seen.seconds += 0.25
        seen.bytes_received = n_bytes[0] - before
        seen.lines_shown = int(np.median(shown) * seen.seconds)
        seen.cpu_s = sum(process.cpu_times()[:2]) - cpu
        browser.close()


def _add(total: list[int], data: Any) -> None:
    total[0] += len(data)
