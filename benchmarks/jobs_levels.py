"""Jobs to several levels, compared with the disk, a plain loop, and `ProcessRawDatacube`."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.jobs_before import Before, row_of
from benchmarks.jobs_cubes import files_of, job_of, n_lines_of, remove
from benchmarks.levels import Camera
from benchmarks.measuring import Plan, Row
from benchmarks.raw_disk import RawBytes
from benchmarks.sides import Sides
from openhsi_shared import ProcessRawDatacube, open_cube
from openhsi_shared.jobs import JobRunner
from openhsi_shared.levels import LevelPlan

__all__ = ["plan_of", "rows_of"]


def rows_of(plan: Plan, camera: Camera, folder: Path, path: Path, level: int) -> list[Row]:
    """A job compared with the library as it is now and, if there is one, with an earlier state of it."""
    kernels = plan_of(camera, path, level)
    n_bytes = n_lines_of(path) * int(np.prod(kernels.line_shape)) * kernels.line_dtype.itemsize
    raw, sides, n_rounds = RawBytes(n_bytes), Sides(), plan.pick(5, 2, 1)
    is_direct = raw.can_be_direct(folder)
    out = folder / f"job-{level}.nc"
    with ExitStack() as stack:
        before = None
        if plan.before is not None:
            before = stack.enter_context(Before(plan, path, level, files_of(camera)))
        for number in range(plan.pick(-1, -1, 0), n_rounds):  # one more, that warms up, where time is measured
            now = Sides() if number < 0 else sides
            now.measure("job", lambda: JobRunner(job_of(camera, path, out, level)).run())
            now.measure("bound", lambda: (_read(path), raw.write(folder / "raw", is_direct)))
            now.measure("loop", lambda: _plain_loop(path, kernels, folder / "loop"))
            cubes = [out, now.measure("camera", lambda: _whole_cube(camera, path, level, folder / "camera"))]
            if before is not None:
                before.measure(now, "loop before", "loop", folder / "loop-before")
                cubes.append(before.measure(now, "camera before", "camera", folder / "camera-before"))
            _check(cubes, [folder / "loop", *folder.glob("loop-before")], path, kernels)
            remove(folder, "raw", "loop", "loop-before", "camera", "camera-before", out.name, f"{out.stem}.png")
    what = f"{n_lines_of(path)} lines of {plan.frame_shape} uint16 to level {level}, with checksums and picture, warm"
    rows = [_row(sides, what, is_direct)]
    return rows if before is None else [*rows, row_of(sides, what)]


def _row(sides: Sides, what: str, is_direct: bool) -> Row:
    to_bound, to_loop = sides.ratio("job", "bound"), sides.ratio("loop", "job")
    to_camera, cpu = sides.ratio("camera", "job"), sides.ratio("job", "loop", cpu=True)
    return Row(
        benchmark="jobs",
        what=what,
        ours=f"{sides.text('job')}; {to_loop:.2f} x as fast as the loop at {cpu:.2f} of its CPU, {to_camera:.1f} x as "
        f"fast as ProcessRawDatacube",
        against=f"read + {'direct' if is_direct else 'buffered'} write + fsync: {sides.text('bound')}; plain loop: "
        f"{sides.text('loop')}; ProcessRawDatacube: {sides.text('camera')}",
        ratio=to_bound,
        target="<= 1.5 x the bound, >= 1.5 x the loop at <= 0.7 of its CPU, >= 3 x ProcessRawDatacube",
        is_reached=to_bound <= 1.5 and to_loop >= 1.5 and cpu <= 0.7 and to_camera >= 3,
        verified="every line of each result, computed again",
        figures={"wall_s": sides.wall, "cpu_s": sides.cpu},
    )


def plan_of(camera: Camera, path: Path, level: int) -> LevelPlan:
    with open_cube(path) as cube:
        shape = cube.lines.shape[1:]
    if shape != camera.shape:
        raise AssertionError(f"lines of {shape}, not of {camera.shape}")
    found = camera.plan(level)
    found.warm()
    return found


def _read(path: Path) -> None:
    """Read the file, as `pread` does, into the same memory."""
    block = bytearray(8 << 20)
    with path.open("rb", buffering=0) as file:
        while file.readinto(block):
            pass


def _plain_loop(path: Path, plan: LevelPlan, out: Path) -> None:
    """What one writes without this module: read some lines, compute them, write them; fsync at the end."""
    with open_cube(path) as cube, out.open("wb", buffering=0) as file:
        for first in range(0, len(cube.lines), 32):
            frames = cube.lines[first : first + 32]
            lines = np.empty((len(frames), *plan.line_shape), plan.line_dtype)
            for frame, line in zip(frames, lines, strict=True):
                plan.apply(frame, line)
            file.write(lines.data.cast("B"))
        os.fsync(file.fileno())


def _whole_cube(camera: Camera, path: Path, level: int, out: Path) -> Path:
    out.mkdir()
    with ProcessRawDatacube(path, level, **files_of(camera)) as cube:
        cube.collect(progress=False)
        found = cube.save(out).result().path
    if found is None:
        raise AssertionError("there is no file")
    return found


def _check(cubes: Sequence[Path], raw: Sequence[Path], source: Path, plan: LevelPlan) -> None:
    """Compute each line of the source again, and compare it with that of files and of raw bytes."""
    expected = np.empty(plan.line_shape, plan.line_dtype)
    with ExitStack() as stack:
        frames = stack.enter_context(open_cube(source)).lines
        made: list[tuple[Path, Any]] = [(path, stack.enter_context(open_cube(path)).lines) for path in cubes]
        shape = (len(frames), *plan.line_shape)
        made += [(path, np.memmap(path, plan.line_dtype, "r", shape=shape)) for path in raw]
        for number in range(len(frames)):
            plan.apply(frames[number], expected)
            for path, lines in made:
                if not np.array_equal(lines[number], expected, equal_nan=True):
                    raise AssertionError(f"line {number} of {path} is wrong")
    for path in raw:
        if path.stat().st_size != np.prod(shape) * plan.line_dtype.itemsize:
            raise AssertionError(f"{path} has {path.stat().st_size} bytes")
