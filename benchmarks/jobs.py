"""Jobs on one cube of about 1 GB, compared with the disk, a plain loop, `ProcessRawDatacube` and bare work."""

import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from numpy.typing import NDArray

from benchmarks.jobs_cluster import cluster, first_line
from benchmarks.jobs_cubes import files_of, job_of, make_cube, n_lines_of, remove
from benchmarks.jobs_levels import plan_of, rows_of
from benchmarks.jobs_workers import deflate, python_stage
from benchmarks.levels import Camera
from benchmarks.measuring import MB, Plan, Row, Spread
from benchmarks.sides import Sides
from openhsi_shared import open_cube
from openhsi_shared.errors import JobError
from openhsi_shared.jobs import JobRunner, PipelineJob

__all__ = ["run"]

LEVELS = (2, 4, 8)


def run(plan: Plan) -> list[Row]:
    n_lines = plan.pick(1024, 256, 24)
    with plan.folder("jobs") as folder:
        camera = Camera(plan, folder)
        path = make_cube(plan, folder, n_lines)
        rows = [row for level in LEVELS for row in rows_of(plan, camera, folder, path, level)]
        rows += [_memory(plan, camera, folder), python_stage(plan, folder, path), deflate(plan, camera, folder, path)]
        rows += [_many(plan, camera, folder, path), _failing(plan, folder, path)]
        rows.append(first_line(plan, folder, path, files_of(camera)))
        return [*rows, cluster(plan, folder, path, files_of(camera), plan_of(camera, path, 4))]


# ---- memory --------------------------------------------------------------------------------------

MEMORY = """
import sys
from openhsi_shared.jobs import JobRunner, PipelineJob
from benchmarks.jobs import peak_bytes, reset_peak
import openhsi_shared.jobs.runner
small, path, out, settings, calibration = sys.argv[1:]
def run(path, out): JobRunner(PipelineJob(path, out, processing_lvl=4, json_path=settings, cal_path=calibration)).run()
run(small, out + "-small.nc")
before = reset_peak()
run(path, out)
print(peak_bytes() - before)
"""


def peak_bytes() -> int:
    """Most memory that this process has had since `reset_peak`."""
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM"))


def reset_peak() -> int:
    """Forget the peak; returns what the process has now."""
    Path("/proc/self/clear_refs").write_text("5")
    return psutil.Process().memory_info().rss


def _memory(plan: Plan, camera: Camera, folder: Path) -> Row:
    small = make_cube(plan, folder, 2, "small")
    found = {}
    for n_lines in plan.pick((512, 1024, 4096), (128, 256), (16,)):
        path = make_cube(plan, folder, n_lines, "memory")
        out = folder / f"memory-{n_lines}.nc"
        files = [str(camera.folder / name) for name in ("settings.json", "calibration.nc")]
        command = [sys.executable, "-c", MEMORY, str(small), str(path), str(out), *files]
        root = Path(__file__).parent.parent
        answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        found[n_lines] = int(answer.stdout) / MB
        if n_lines_of(out) != n_lines:
            raise AssertionError(f"{out} has not {n_lines} lines")
        remove(folder, "inmemory", out.name, f"{out.name}-small.nc", out.with_suffix(".png").name)
    most = max(found.values())
    return Row(
        benchmark="jobs",
        what="memory of a job to level 4 above that of a process that has run a small one, by the lines of the cube",
        ours=", ".join(f"{n}: {mb:.0f} MB" for n, mb in found.items()),
        target="<= 150 MB, flat",
        is_reached=most <= 150 and most <= 1.25 * min(found.values()) + 10,
        verified="the number of lines",
        figures={"mb": found},
    )


def _many(plan: Plan, camera: Camera, folder: Path, path: Path) -> Row:
    """Ten cubes in one run, compared with one, each in a process that has run a job before."""
    inputs = folder / "many"
    inputs.mkdir()
    n = plan.pick(10, 4, 3)
    for number in range(n):
        os.link(path, inputs / f"{number}.nc")
    sides = Sides()
    for number in range(plan.pick(-1, -1, 0), plan.pick(3, 1, 1)):
        now = Sides() if number < 0 else sides
        now.measure("one", lambda: JobRunner(job_of(camera, inputs / "0.nc", folder / "one.nc", 4)).run())
        results = now.measure("many", lambda: JobRunner(job_of(camera, inputs, folder / "all", 4)).run())
        if len(results) != n:
            raise AssertionError(f"{len(results)} results of {n} cubes")
        remove(folder, "one.nc", "one.png", "all")
    remove(folder, "many")
    ratio = sides.ratio("many", "one") / n
    return Row(
        benchmark="jobs",
        what=f"{n} cubes in one run to level 4, each compared with a run of its own",
        ours=f"{sides.text('many')}",
        against=f"one cube: {sides.text('one')}",
        ratio=ratio,
        target=f"<= 1.1 x {n} times one",
        is_reached=ratio <= 1.1,
        verified="the number of results",
        figures={"wall_s": sides.wall},
    )


def _failing(plan: Plan, folder: Path, path: Path) -> Row:
    """Seconds from the failure of a line until `run` raises."""
    found = []
    for kind in ("threads", "processes"):
        for _ in range(plan.pick(3, 2, 1)):
            job = PipelineJob(path, folder / "failing.nc", stages=[_failing_at(path, 5)], workers=kind)
            try:
                JobRunner(job).run()
            except JobError as error:
                failed_at = float(str(error).split("failed at ")[1].split()[0].rstrip(";:,"))
                found.append(time.time() - failed_at)
            else:
                raise AssertionError("a line that fails does not end the run")
    left = sorted(path.name for path in folder.glob("*failing*"))
    return Row(
        benchmark="jobs",
        what="from a line that fails until the run raises",
        ours=Spread(found).text("s", 2),
        target="<= 2 s",
        is_reached=max(found) <= 2,
        is_right=not left,
        verified=f"JobError in {len(found)} runs; {', '.join(left) or 'nothing'} is left in the folder",
        figures={"s": found},
    )


def _failing_at(path: Path, number: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """A stage that fails at one line."""
    with open_cube(path) as cube:
        checksum = int(cube.column("line_crc32")[number])

    def fail(line: NDArray[Any]) -> NDArray[Any]:
        if zlib.crc32(line) == checksum:
            raise ValueError(f"failed at {time.time()} on purpose")
        return line

    return fail
