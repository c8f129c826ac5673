"""Saturated pixels: what counting them costs, while a cube is saved and in the loop of the next one."""

import contextlib
import mmap
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frames import frames_of_scene
from benchmarks.measuring import Plan, Row, Spread
from openhsi_shared import SharedDataCube, open_cube
from openhsi_shared.columns import COLUMNS, Saturation
from openhsi_shared.dataset import Cube
from openhsi_shared.durable import PAGE
from openhsi_shared.files.writing import CubeWriter

__all__ = ["lines_in_slots", "saturation_in_the_loop", "saturation_saved"]

FULL_SCALE = 4095
BEYOND = (10_000, 10_001)
"""Rows that no frame has: a raw cube with this `row_slice` is the same, but its saturated pixels are not counted."""


def saturation_saved(plan: Plan) -> Row:
    """Saving a cube whose saturated pixels are counted, beside the same without, in turns."""
    n_lines, n_rounds = plan.pick((1024, 15), (512, 7), (16, 2))
    with plan.folder("flight-day") as folder, CubeWriter(n_lines, plan.frame_shape, np.uint16) as writer:
        cubes = _cubes(plan, n_lines)
        seconds: dict[str, list[float]] = {name: [] for name in cubes}
        for _ in range(n_rounds + 1):
            for name, cube in cubes.items():
                seconds[name].append(_save_once(writer, cube, folder))
    spreads = {name: Spread([1e3 * one for one in values[1:]]) for name, values in seconds.items()}  # one to warm up
    without = np.array(seconds["without"][1:])
    ratios = {name: float(np.median(np.array(seconds[name][1:]) / without)) for name in ("none", "a tenth")}
    return Row(
        benchmark="flight_day",
        what=f"saving {n_lines * plan.line_bytes / 1e9:.2f} GB, saturated pixels counted, until the file is there",
        ours=", ".join(f"{spreads[name].text('ms')} with {name} saturated ({ratios[name]:.3f} x)" for name in ratios),
        against=f"the same without: {spreads['without'].text('ms')}",
        ratio=max(ratios.values()),
        target="<= 1.05 x",
        is_reached=max(ratios.values()) <= 1.05,
        verified=f"the share of every line of {2 * (n_rounds + 1)} files; {n_rounds + 1} without",
        figures={"seconds": seconds, "ratios": ratios},
    )


def _cubes(plan: Plan, n_lines: int) -> dict[str, Cube]:
    """The same lines without counting and with, and lines of which a tenth is saturated."""
    frames = frames_of_scene(plan.frame_shape, 8)
    np.minimum(frames, FULL_SCALE - 1, out=frames)
    cube = _cube(lines_in_slots(plan, n_lines, frames))
    frames[:, ::10] = FULL_SCALE
    counted = Saturation(FULL_SCALE, 0, plan.frame_shape[0])
    bright = replace(_cube(lines_in_slots(plan, n_lines, frames)), saturation=counted)
    return {"without": cube, "none": replace(cube, saturation=counted), "a tenth": bright}


def lines_in_slots(plan: Plan, n_lines: int, frames: NDArray[Any]) -> NDArray[Any]:
    """Lines as they are in slots: each begins at a page."""
    stride = -(-plan.line_bytes // PAGE) * PAGE
    strides = (stride, plan.frame_shape[1] * 2, 2)
    memory = mmap.mmap(-1, n_lines * stride)
    lines: NDArray[Any] = np.ndarray((n_lines, *plan.frame_shape), np.uint16, memory, 0, strides)
    for number, line in enumerate(lines):
        np.copyto(line, frames[number % len(frames)])
    return lines


def _cube(lines: NDArray[Any]) -> Cube:
    columns = {column.name: np.zeros(len(lines), column.dtype) for column in COLUMNS}
    columns["time_ns"] = time.time_ns() + 1_000_000 * np.arange(len(lines), dtype=np.int64)
    return Cube(memory=lines, n_lines=len(lines), columns=columns, uuid=str(uuid.uuid4()))


def _save_once(writer: CubeWriter, cube: Cube, folder: Path) -> float:
    """Seconds until the file is durable. AssertionError if a share is wrong."""
    begun = time.perf_counter()
    path = writer.write(cube, [folder]).path
    seconds = time.perf_counter() - begun
    _check_shares(path, None if cube.saturation is None else cube.memory[:8])
    path.unlink()
    return seconds


def _check_shares(path: Path, frames: NDArray[Any] | None) -> None:
    """AssertionError unless `saturated` is the share of these frames again and again; None: it is not in the file."""
    with open_cube(path) as cube:
        shares = cube.saturated
    expected = None if frames is None else np.mean(frames >= FULL_SCALE, axis=(1, 2)).astype(np.float32)
    if shares is None or expected is None:
        is_right = shares is expected
    else:
        is_right = np.array_equal(shares, np.resize(expected, len(shares)))
    if not is_right:
        raise AssertionError(f"{path}: saturated is {shares}, expected {expected}")


def saturation_in_the_loop(plan: Plan) -> Row:
    """Lines of a cube while the one before is saved, and its saturated pixels are counted; and without, in turns."""
    n_lines, n_rounds = plan.pick((256, 31), (128, 11), (16, 2))
    frames = frames_of_scene(plan.frame_shape, 8)
    frames[:, ::10] = FULL_SCALE
    keywords: dict[str, Any] = {"resolution": plan.frame_shape, "pixel_format": "Mono12"}
    times: dict[str, list[float]] = {"counted": [], "without": []}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(plan.folder("flight-day"))
        cubes = {
            name: stack.enter_context(SharedDataCube(n_lines, row_slice=rows, **keywords))
            for name, rows in (("counted", (0, -1)), ("without", BEYOND))
        }
        for _ in range(n_rounds + 1):
            for name, cube in cubes.items():
                times[name].append(_put_while_saving(cube, frames, folder, has_shares=name == "counted"))
    counted, without = (Spread(times[name][1:]) for name in ("counted", "without"))
    ratio = float(np.median(np.divide(times["counted"][1:], times["without"][1:])))
    return Row(
        benchmark="flight_day",
        what=f"processor time of put of a line {plan.frame_shape} uint16, while saturated pixels of a cube are counted",
        ours=counted.text("us", 1),
        against=f"the same without: {without.text('us', 1)}",
        ratio=ratio,
        target="unchanged: <= 1.02 x",
        is_reached=ratio <= 1.02,
        verified=f"the share of every line of {n_rounds + 1} cubes",
        figures={"put_us": times},
    )


def _put_while_saving(cube: SharedDataCube, frames: NDArray[Any], folder: Path, *, has_shares: bool) -> float:
    """Fill a cube and save it; processor time of a line of the next one meanwhile, in us."""
    for number in range(cube.n_lines):
        cube.put(frames[number % len(frames)])
    handle = cube.save(folder, savefig=False)
    n_put, begun = 0, time.thread_time()
    while (handle.is_alive() and n_put < cube.n_lines) or not n_put:
        cube.put(frames[n_put % len(frames)])
        n_put += 1
    seconds = time.thread_time() - begun
    path = handle.result().path
    rest = cube.save(folder, savefig=False).result().path
    if path is None or rest is None:
        raise AssertionError("a cube has no file")
    _check_shares(path, frames if has_shares else None)
    path.unlink()
    rest.unlink()
    return 1e6 * seconds / n_put
