"""Gaps between two frames, what they are due to, and lines lost, beside programs that the benchmark runs itself."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from benchmarks.frames import Checker, are_accounted
from benchmarks.gaps import Gaps, TimedCamera
from benchmarks.loads import HAS_BROWSER, load
from benchmarks.measuring import Plan, Row
from openhsi_shared import record
from openhsi_shared.errors import RealTimeRefused
from openhsi_shared.processes.scheduling import CaptureScheduling

__all__ = ["CASES", "Case", "run"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is recorded, and beside what."""

    how: Literal["collect", "record"]
    load: str = ""
    """Names of `loads.LOADS`, joined by "+"; empty: nothing else runs."""
    rate: float = 1000.0
    n_lines: int = 128
    seconds: float = 12.8
    queue: int = 30
    shape: tuple[int, int] | None = None
    """None: that of the plan."""
    compression: str | None = None
    realtime: bool = False
    n_buffers: int | None = None
    """None: 2 with `collect`, the default there, and 3 with `record`."""
    niceness: int = 0
    """Of the recording; its writer's is one more."""
    longest_ms: float | None = None
    """The longest gap that reaches the target; None: the target is that no line is lost."""


_LOADS = ("", "busy2", "busy4", "copy", "memory", "page")
_SHORT = Case(how="record", load="busy2", rate=500.0, seconds=5.0, queue=2, shape=(200, 400))
_LONG = Case(how="record", n_lines=512, seconds=60.0, realtime=True)
CASES: dict[str, Case] = {
    **{f"collect-{name or 'quiet'}": Case(how="collect", load=name) for name in _LOADS},
    **{f"collect-{name}-16": Case(how="collect", load=name, n_buffers=16) for name in _LOADS if name},
    **{f"record-{name or 'quiet'}": Case(how="record", n_lines=512, load=name) for name in (*_LOADS, "busy4+page")},
    **{
        f"record-{name}-nice-realtime": Case(how="record", n_lines=512, load=name, realtime=True, niceness=-10)
        for name in ("copy", "page", "busy4+page")
    },
    "deflate-500-busy2": Case(how="record", load="busy2", rate=500.0, n_lines=512, seconds=20.0, compression="deflate"),
    "deflate-500-busy2-nice": Case(
        how="record", load="busy2", rate=500.0, n_lines=512, seconds=20.0, compression="deflate", niceness=-10
    ),
    "deflate-750-quiet": Case(how="record", rate=750.0, n_lines=512, seconds=20.0, compression="deflate"),
    "queue2-busy2": _SHORT,
    "queue2-busy2-realtime": Case(**{**vars(_SHORT), "realtime": True}),
    "longest-quiet-realtime": Case(**{**vars(_LONG), "longest_ms": 5.0}),
    "longest-busy4-realtime": Case(**{**vars(_LONG), "load": "busy4", "longest_ms": 10.0}),
}
"""By name: the cases that `--case` selects."""
IN_TINY = ("collect-quiet", "record-busy2", "queue2-busy2-realtime")


def run(plan: Plan) -> list[Row]:
    """Rows of the cases of the plan, in this order."""
    names = plan.cases or plan.pick(tuple(CASES), tuple(CASES), IN_TINY)
    return [_measure(plan, name, CASES[name]) for name in names]


def _measure(plan: Plan, name: str, case: Case) -> Row:
    is_realtime, refused = case.realtime, ""
    if case.realtime:
        try:
            CaptureScheduling(True)
        except RealTimeRefused:
            is_realtime, refused = False, " (REAL TIME REFUSED HERE: measured without)"
    shape = case.shape if case.shape is not None and plan.size != "tiny" else plan.frame_shape
    mode = None if case.compression else "counting"
    keywords: dict[str, Any] = {"resolution": shape, "row_slice": (0, -1), "mode": mode, "queue": case.queue}
    keywords |= {"rate": case.rate, "n_lines": plan.pick(case.n_lines, case.n_lines, 16), "realtime": is_realtime}
    if case.how == "record":
        keywords["niceness"] = case.niceness
    keywords |= {"compression": case.compression, "n_buffers": case.n_buffers or (3 if case.how == "record" else 2)}
    seconds = plan.pick(case.seconds, min(3.0, case.seconds), 0.3)
    copy_bytes = plan.pick(5 << 30, 1 << 30, 1 << 22)
    stolen = psutil.cpu_times().steal
    with plan.folder("stalls") as folder, Checker(shape, mode, every=1 if mode is None else 16) as checker:
        keywords["gaps"] = str(folder / "gaps.npy")
        offered, lost = (_collect if case.how == "collect" else _record)(
            keywords, folder, checker, case.load, copy_bytes, seconds
        )
        gaps = Gaps.read(folder / "gaps.npy", 1e3 / case.rate)
        files = checker.results()
    stolen = psutil.cpu_times().steal - stolen
    n_lost = sum(last - first + 1 for first, last in lost)
    is_whole = are_accounted(files, offered, lost)
    limit = case.longest_ms
    return Row(
        benchmark="stalls",
        what=f"{name}: {case.how} at {case.rate:.0f} lines/s for {seconds:.1f} s, queue of {case.queue}, {shape[0]} x "
        f"{shape[1]}, beside {_in_words(case.load)}{f', {case.n_buffers} slots' if case.n_buffers else ''}"
        f"{f', niceness {case.niceness}' if case.niceness else ''}{', real time' if is_realtime else ''}{refused}",
        ours=f"{n_lost} of {offered} lost; {gaps}; {stolen:.1f} s of processor time stolen by the hypervisor",
        target="0 lost" if limit is None else f"longest gap <= {limit:.0f} ms",
        is_reached=n_lost == 0 if limit is None else gaps.longest_ms <= limit,
        is_right=is_whole and gaps.n > 0,
        verified=f"each of {offered} frames is in one of {len(files)} files or declared lost"
        if is_whole
        else f"MISSING LINES among {offered} frames in {len(files)} files",
        figures={"lost": n_lost, "offered": offered, "gaps": vars(gaps), "stolen_s": stolen, "case": vars(case)},
    )


def _in_words(loads: str) -> str:
    is_unseen = "page" in loads.split("+") and not HAS_BROWSER
    return (loads or "nothing") + (" (NO BROWSER HERE: a page without viewers)" if is_unseen else "")


def _collect(
    keywords: dict[str, Any], folder: Path, checker: Checker, loads: str, copy_bytes: int, seconds: float
) -> tuple[int, Sequence[tuple[int, int]]]:
    """Collect cube after cube in this process; returns how many frames were offered, and the ids of lost ones."""
    n_cubes = max(3, round(seconds * keywords["rate"] / keywords["n_lines"]))
    handles: deque[Any] = deque()
    with TimedCamera(**keywords) as camera:
        with load(loads, folder, copy_bytes, camera):
            for _ in range(n_cubes):
                camera.collect(progress=False)
                handles.append(camera.save(folder))
                while len(handles) > 1 and handles[0].exitcode == 0:
                    checker.add(handles.popleft().result().path)
        camera.stop_cam()
    for handle in handles:
        checker.add(handle.result().path)
    status = camera.status()
    return status.lines + status.lines_lost, status.lost_ids


def _record(
    keywords: dict[str, Any], folder: Path, checker: Checker, loads: str, copy_bytes: int, seconds: float
) -> tuple[int, Sequence[tuple[int, int]]]:
    added: set[Path] = set()

    def add_new() -> None:
        found = set(folder.glob("*/[!.]*.nc")) - added
        for path in sorted(found):
            checker.add(path)
        added.update(found)

    with record(TimedCamera, folder, progress=False, savefig=False, **keywords) as recording:
        with load(loads, folder, copy_bytes, recording):
            until = time.monotonic() + seconds
            while recording.is_running and time.monotonic() < until:
                time.sleep(min(1.0, seconds / 4))
                add_new()
        recording.stop()
        summary = recording.wait()
    add_new()
    return summary.lines + summary.lines_lost, summary.lost_ids
