"""Duration of the call of `save()`, compared with openhsi's.

Lines come at the camera's rate. A loop that computes without a pause has used up its time slice when it wakes the
writer, which then runs first for up to 2 ms now and then: that would measure the system's scheduler.
"""

import time
from pathlib import Path
from typing import Any

from benchmarks.frames import Checked, CountedFrames, check_cube, check_openhsi_cube
from benchmarks.measuring import Plan, Row, Spread
from benchmarks.openhsi_process import OpenHSIProcess
from openhsi_shared import SharedDataCube

__all__ = ["run"]

LINE_PERIOD_MS = 2.0
"""At 500 lines/s."""


def run(plan: Plan) -> list[Row]:
    n_lines, n_saves, n_openhsi = plan.pick((970, 20, 10), (970, 5, 3), (8, 3, 1))
    source, ours, theirs = CountedFrames(plan.frame_shape), [], []
    with plan.folder("swap") as folder, plan.folder("swap-openhsi") as other:
        openhsi = _openhsi(plan, other, n_lines)
        with SharedDataCube(n_lines, resolution=plan.frame_shape, pixel_format="Mono12") as cube:
            for n in range(n_saves):
                ours.append(_save_once(cube, folder, source, n * n_lines))
                if openhsi is not None and n < n_openhsi:
                    theirs.append(_openhsi_once(openhsi, source, n * n_lines, n_lines))
        if openhsi is not None:
            openhsi.__exit__()
    call, reference = Spread(ours), Spread(theirs)
    return [
        Row(
            benchmark="swap",
            what=f"call of save() at 500 lines/s with slots of {n_lines * plan.line_bytes / 1e9:.2f} GB",
            ours=call.text("ms", 3),
            against=f"openhsi: {reference.text('ms', 3)}" if theirs else "openhsi is not installed",
            ratio=call.median / reference.median if theirs else None,
            target=f"median <= 0.5 ms, max <= {LINE_PERIOD_MS} ms",
            is_reached=call.median <= 0.5 and call.highest <= LINE_PERIOD_MS,
            verified=f"every line of {n_saves} files" + (f", {len(theirs)} of openhsi's" if theirs else ""),
            figures={"ours_ms": ours, "openhsi_ms": theirs},
        )
    ]


def _save_once(cube: SharedDataCube, folder: Path, source: CountedFrames, first: int) -> float:
    start = time.perf_counter()
    for n in range(cube.n_lines):
        cube.put(source.frame(first + n))
        time.sleep(max(0.0, start + (n + 1) * LINE_PERIOD_MS / 1e3 - time.perf_counter()))
    begun = time.perf_counter()
    handle = cube.save(folder)
    seconds = time.perf_counter() - begun
    path = handle.result().path
    if path is None:
        raise AssertionError("there is no file")
    _require(check_cube(path, source), first, cube.n_lines)
    return 1e3 * seconds


def _openhsi(plan: Plan, folder: Path, n_lines: int) -> OpenHSIProcess | None:
    if plan.openhsi_python is None:
        return None
    process = OpenHSIProcess(plan, folder)
    process.ask("make", n_lines=n_lines)
    return process


def _openhsi_once(openhsi: OpenHSIProcess, source: CountedFrames, first: int, n_lines: int) -> float:
    answer: dict[str, Any] = openhsi.ask("save")
    _require(check_openhsi_cube(Path(answer["path"]), source), first, n_lines)
    return float(answer["call_ms"])


def _require(file: Checked, first: int, n_lines: int) -> None:
    """Check that the file contains these lines, and delete it. Lines of `put` have no ids: they are counted."""
    if file.ids != tuple(range(first, first + n_lines)) or file.n_wrong:
        raise AssertionError(f"{file.path} does not contain lines {first} to {first + n_lines - 1}: {file}")
    file.path.unlink()
