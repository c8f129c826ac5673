"""Whether what is promised before a flight holds in it: plans, exposures, marks, and all of it at once."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.measuring import Plan, Row, Spread
from openhsi_shared import SharedSimulatedCamera, open_cube, record, verify
from openhsi_shared.capture.planning.plan import Plan as FlightPlan
from openhsi_shared.paths import cubes_below
from tests.support.commit_log import COUNTING_KEYWORDS
from tests.support.faulty_calls import FaultyCalls
from tests.support.helpers import wait_for

__all__ = ["all_of_it", "exposures", "marks", "plans"]

BENCHMARK = "flight_day"
SLOW = "slow_disk"
"""In the path of the directory whose disk is slowed."""
FULL_SCALE = 4095


# ---- plans ---------------------------------------------------------------------------


def plans(plan: Plan) -> list[Row]:
    """What a plan says of a fast disk, of one that is slowed, and of deflate; and what is lost then."""
    shape = plan.pick((322, 400), (322, 400), (64, 512))
    rate, seconds = plan.pick((300.0, 30.0), (200.0, 8.0), (100.0, 1.0))
    rows = []
    with plan.folder("flight-plan") as folder, _slowable(folder) as slow_disk:
        found = _planned(folder / "fast", shape, rate)
        rows.append(_plan_row("a fast disk", found, folder / "fast", shape, rate, seconds, "none"))
        rows.append(_plan_row("deflate", found, folder / "fast", shape, rate, seconds, "deflate"))
        if slow_disk is not None:
            rate = 1000.0
            slow_disk.inject(0, "write sync", delay_us=200_000)
            (place := folder / SLOW).mkdir()
            found = _planned(place, (64, 512), rate)
            rows.append(_plan_row("a slowed disk", found, place, (64, 512), rate, seconds, "none"))
            slow_disk.stop()
    return rows


@contextmanager
def _slowable(folder: Path) -> Iterator[FaultyCalls | None]:
    """Calls of new processes on paths with SLOW can be delayed; None where there is no compiler."""
    try:
        calls = FaultyCalls(folder, SLOW)
    except pytest.skip.Exception:
        yield None
        return
    before = dict(os.environ)
    os.environ.update(calls.environment)
    try:
        yield calls
    finally:
        os.environ.clear()
        os.environ.update(before)


def _camera(shape: tuple[int, int], rate: float) -> dict[str, Any]:
    return {**COUNTING_KEYWORDS, "resolution": shape, "rate": rate, "queue": int(rate)}


def _planned(place: Path, shape: tuple[int, int], rate: float) -> tuple[FlightPlan, float]:
    """The plan, and how long it took."""
    with SharedSimulatedCamera(n_lines=16, **_camera(shape, rate)) as camera:
        begun = time.perf_counter()
        found = camera.plan(place)
        return found, time.perf_counter() - begun


def _plan_row(
    what: str,
    planned: tuple[FlightPlan, float],
    place: Path,
    shape: tuple[int, int],
    rate: float,
    seconds: float,
    compression: str,
) -> Row:
    """Record as the plan says, with this compression, and compare."""
    found, plan_s = planned
    wanted = None if compression == "none" else compression
    choice = next(one for one in found.choices if one.compression == wanted)
    n_buffers = found.n_buffers if choice.holds else 3  # full slots are what a loss begins with
    keywords = {**_camera(shape, rate), "n_lines": found.n_lines, "n_buffers": n_buffers, "compression": wanted}
    checked: list[tuple[int, int]] = []
    with record(SharedSimulatedCamera, place, progress=False, **keywords) as run:
        if not choice.holds:
            with suppress(AssertionError):  # it loses nothing
                wait_for(lambda: run.status().lines_lost > 0, 20)
        before, begun = run.status().lines_lost, time.monotonic()
        while time.monotonic() < begun + seconds:
            time.sleep(0.25)
            checked.append(_remove_old(place))
        lost, lasted = run.status().lines_lost - before, time.monotonic() - begun
        run.stop()
        summary = run.wait()
    checked.append(_remove_old(place, 0))
    n_checked, n_wrong = (sum(numbers) for numbers in zip(*checked, strict=True))
    per_minute = 60 * lost / lasted
    factor = per_minute / choice.lines_lost_per_minute if choice.lines_lost_per_minute else None
    if choice.holds:
        is_reached = summary.lines_lost == 0
    else:
        is_reached = choice.lines_lost_per_minute == 0 or (factor is not None and 0.5 <= factor <= 2)
    said = "holds" if choice.holds else f"loses {choice.lines_lost_per_minute:.0f} lines/min"
    return Row(
        benchmark=BENCHMARK,
        what=f"plan, {what}: {shape} uint16 at {rate:.0f} lines/s",
        ours=f"plan took {plan_s:.1f} s; margin {choice.margin:.2f}: {said}; came: {per_minute:.0f} lost/min",
        ratio=factor,
        target="<= 20 s; 0 lost where it holds; else within a factor of 2",
        is_reached=bool(is_reached and plan_s <= 20),
        is_right=n_checked == summary.lines and not n_wrong,
        verified=f"every checksum of {n_checked} lines, of {summary.lines}; {n_wrong} files are damaged",
        figures={"plan_s": plan_s, "lost": lost, "seconds": lasted, "plan": str(found)},
    )


def _remove_old(folder: Path, keep: int = 2) -> tuple[int, int]:
    """Verify all but the newest cubes, and delete them; lines that they had, and how many of them were damaged."""
    n_lines = n_wrong = 0
    for path in _all_but(folder, keep):
        with open_cube(path) as cube:
            n_lines += len(cube.lines)
        n_wrong += not verify(path).ok
        _remove(path)
    return n_lines, n_wrong


def _all_but(folder: Path, keep: int) -> list[Path]:
    """All cubes but the newest."""
    paths = [path for path in sorted(cubes_below(folder)) if path.parent.name != "references"]
    return paths[: max(0, len(paths) - keep)]


def _remove(path: Path) -> None:
    path.unlink()
    path.with_suffix(".png").unlink(missing_ok=True)


# ---- exposures -----------------------------------------------------------------------


def exposures(plan: Plan) -> Row:
    """Ten scenes: bright and dark ones, with exposures to begin with that are far too long and far too short."""
    shape = plan.pick((161, 200), (161, 200), (32, 64))
    scenes = [(light, begin) for light in (40.0, 400.0, 4000.0, 40_000.0, 400_000.0) for begin in (0.01, 20.0)]
    frames, errors, seconds, n_saturated = [], [], [], 0
    for number, (light, begin) in enumerate(scenes):
        keywords: dict[str, Any] = {
            "light": light,
            "dark": (60.0, 0.5),
            "noise": 4.0,
            "mode": (None, "flat")[number % 2],
        }
        camera_keywords: dict[str, Any] = {
            "resolution": shape,
            "pixel_format": "Mono12",
            "exposure_ms": begin,
            "cal_path": "",
        }
        with SharedSimulatedCamera(n_lines=8, **camera_keywords, **keywords) as camera:
            begun = time.perf_counter()
            found = camera.auto_exposure(target=0.9)
            seconds.append(time.perf_counter() - begun)
            camera.start_cam()
            n_saturated += int(np.count_nonzero(camera.get_img() >= FULL_SCALE))
        frames.append(found.n_frames)
        errors.append(abs(found.brightest / 0.9 - 1))
    is_reached = max(frames) <= 20 and max(errors) <= 0.05 and not n_saturated
    return Row(
        benchmark=BENCHMARK,
        what="auto_exposure, ten scenes of 40 to 400,000 counts/ms, from 0.01 and 20 ms on",
        ours=f"{max(frames)} frames at most, {100 * max(errors):.1f} % from the target, {n_saturated} pixels saturated",
        target="<= 20 frames, within 5 %, nothing saturated",
        is_reached=is_reached,
        verified="a frame of each at the exposure that was found",
        figures={"frames": frames, "errors": errors, "seconds": seconds},
    )


# ---- marks ---------------------------------------------------------------------------


def marks(plan: Plan) -> Row:
    """Marks in a recording at 500 lines/s: their time in the files, beside the time of the call."""
    n_marks = plan.pick(200, 60, 5)
    shape, rate = plan.pick((322, 400), (322, 400), (32, 64)), 500.0
    calls: dict[str, tuple[int, int]] = {}
    with plan.folder("flight-marks") as folder:
        with record(
            SharedSimulatedCamera, folder, n_lines=256, n_buffers=8, progress=False, **_camera(shape, rate)
        ) as run:
            for number in range(n_marks):
                begun = time.time_ns()
                run.mark(f"mark {number}")
                calls[f"mark {number}"] = begun, time.time_ns()
                time.sleep(0.05)
            run.stop()
            summary = run.wait()
        found: list[dict[str, Any]] = []
        for path in cubes_below(folder):
            with open_cube(path) as cube:
                found += json.loads(cube.attributes.get("marks", "[]"))
    if sorted(mark["text"] for mark in found) != sorted(calls):
        raise AssertionError(f"{n_marks} marks were made, in the files are {[mark['text'] for mark in found]}")
    errors = [1e-6 * abs(_time_ns(mark["time"]) - calls[mark["text"]][0]) for mark in found]
    took = Spread([1e-6 * (ended - begun) for begun, ended in calls.values()])
    is_reached = max(errors) <= 2 and summary.lines_lost == 0
    return Row(
        benchmark=BENCHMARK,
        what=f"{n_marks} marks at 500 lines/s: time in the files against the call",
        ours=f"{Spread(errors).text('ms', 3)}; the call took {took.text('ms', 3)}; {summary.lines_lost} lines lost",
        target="<= 2 ms; 0 lost",
        is_reached=is_reached,
        verified="each mark is in one file",
        figures={"errors_ms": errors, "took_ms": took.values},
    )


def _time_ns(text: str) -> int:
    return int(np.datetime64(text.rstrip("Z"), "ns").astype(np.int64))


# ---- all of it -----------------------------------------------------------------------


def all_of_it(plan: Plan) -> Row:
    """Three channels at 100 Hz, references in every file, saturation, marks: at 500 lines/s, averaging off."""
    shape, seconds = plan.pick((644, 800), (322, 400), (32, 64)), plan.pick(60.0, 10.0, 1.0)
    keywords: dict[str, Any] = {"resolution": shape, "cal_path": "", "row_slice": None}
    keywords |= {"pixel_format": "Mono12", "exposure_ms": 1.0}
    channels = {name: f"sim:{kind}" for name, kind in (("lamp", "sine"), ("stage", "ramp"), ("wind", "walk"))}
    n_checked = n_wrong = 0
    with plan.folder("flight-all") as folder:
        own: dict[str, Any]
        for kind, own in (("dark", {"light": 0.001, "dark": 60.0}), ("white", {"light": 3000.0, "mode": "flat"})):
            with SharedSimulatedCamera(n_lines=8, **keywords, **own) as camera:
                camera.take_reference(kind, 20, folder)  # type: ignore[arg-type]
        camera_keywords = {**keywords, "mode": "counting", "rate": 500.0, "queue": 30}
        with record(
            SharedSimulatedCamera,
            folder,
            n_lines=128,
            n_buffers=16,
            channels=channels,
            progress=False,
            **camera_keywords,
        ) as run:
            begun = time.monotonic()
            while time.monotonic() < begun + seconds:
                run.mark(f"after {time.monotonic() - begun:.1f} s")
                time.sleep(0.25)
                checked, wrong = _check_all(folder, 4)
                n_checked, n_wrong = n_checked + checked, n_wrong + wrong
            run.stop()
            summary = run.wait()
        checked, wrong = _check_all(folder, 0)
    n_checked, n_wrong = n_checked + checked, n_wrong + wrong
    return Row(
        benchmark=BENCHMARK,
        what=f"channels, references, saturation, marks at 500 lines/s of {shape} uint16 for {seconds:.0f} s",
        ours=f"{summary.lines_lost} of {summary.lines + summary.lines_lost} lines lost, {summary.rate:.1f} lines/s",
        target="0 lost",
        is_reached=summary.lines_lost == 0,
        is_right=n_checked == summary.lines and not n_wrong,
        verified=f"{n_checked} lines have columns of all channels and saturation, and both references; {n_wrong} wrong",
        figures={"lost": summary.lines_lost, "lines": summary.lines, "rate": summary.rate},
    )


def _check_all(folder: Path, keep: int) -> tuple[int, int]:
    """Lines of all but the newest cubes, and how many cubes lack something; they are deleted."""
    n_lines = n_wrong = 0
    for path in _all_but(folder, keep):
        with open_cube(path) as cube:
            columns, groups = cube.contents.members("")[0], cube.groups
            is_whole = {"lamp", "stage", "wind", "saturated"} <= set(columns) and len(groups["references"].groups) == 2
            n_lines, n_wrong = n_lines + len(cube.lines), n_wrong + (not is_whole)
        _remove(path)
    return n_lines, n_wrong
