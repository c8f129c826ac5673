"""Jobs whose work is done by other processes: blocks on a cluster of Dask, and the first line in a new process."""

import functools
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import Plan, Row, Spread
from benchmarks.sides import Sides
from openhsi_shared import open_cube
from openhsi_shared.calibration import read_calibration
from openhsi_shared.jobs import JobRunner, PipelineJob
from openhsi_shared.levels import LevelPlan

__all__ = ["cluster", "first_line"]

BLOCK_LINES = 16
"""Of a chunk, on all sides."""
FIRST = """
import sys, time
from openhsi_shared.jobs import JobRunner, PipelineJob
path, out, settings, calibration = sys.argv[1:]
runner = JobRunner(PipelineJob(path, out, processing_lvl=4, json_path=settings, cal_path=calibration))
runner.start()
while not runner.get_status().lines and runner.is_alive():
    time.sleep(0.002)
print(time.time())
runner.join()
"""


def first_line(plan: Plan, folder: Path, path: Path, files: dict[str, Path]) -> Row:
    """Seconds from the start of a new Python until the first block is written."""
    root, out, found = Path(__file__).parent.parent, folder / "first.nc", []
    for _ in range(plan.pick(5, 3, 1)):
        command = [sys.executable, "-c", FIRST, *map(str, (path, out, files["json_path"], files["cal_path"]))]
        begun = time.time()
        answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        found.append(float(answer.stdout) - begun)
        with open_cube(path) as source, open_cube(out) as made:
            if len(source.lines) != len(made.lines):
                raise AssertionError(f"{out} has {len(made.lines)} lines")
        out.unlink()
        out.with_suffix(".png").unlink()
    return Row(
        benchmark="jobs",
        what="the first block of a job to level 4 written, from the start of a new Python, with imports",
        ours=Spread(found).text("s", 2),
        target="<= 2 s",
        is_reached=Spread(found).median <= 2,
        verified="the number of lines",
        figures={"s": found},
    )


@functools.lru_cache(1)
def _kernels(calibration: str, about: tuple[tuple[str, Any], ...], rows: tuple[int, int]) -> LevelPlan:
    found = LevelPlan(calibration=read_calibration(calibration), rows=slice(*rows), **dict(about))
    found.warm()
    return found


def _lines_of(block: Any, *made_of: Any) -> Any:
    """What `xarray.map_blocks` calls: the lines of a block (y, x, wavelength)."""
    import xarray as xr

    plan = _kernels(*made_of)
    frames = np.ascontiguousarray(block.values)
    lines = np.empty((len(frames), *plan.line_shape), plan.line_dtype)
    for frame, line in zip(frames, lines, strict=True):
        plan.apply(frame, line)
    return xr.DataArray(lines, dims=("y", "x", "band"))


def _by_xarray(path: Path, kernels: LevelPlan, made_of: tuple[Any, ...], out: Path) -> None:
    import dask.array
    import xarray as xr

    with xr.open_dataset(path, chunks={"y": BLOCK_LINES}) as source:
        frames = source["datacube"].transpose("y", "x", "wavelength").drop_vars(list(source.coords), errors="ignore")
        shape = (frames.sizes["y"], *kernels.line_shape)
        empty = dask.array.empty(shape, kernels.line_dtype, chunks=(BLOCK_LINES, *kernels.line_shape))
        template = xr.DataArray(empty, dims=("y", "x", "band"))
        made = xr.map_blocks(_lines_of, frames, args=list(made_of), template=template)
        made.to_dataset(name="datacube").to_zarr(out, consolidated=False)


def cluster(plan: Plan, folder: Path, path: Path, files: dict[str, Path], kernels: LevelPlan) -> Row:
    """A job to Zarr on a cluster of two processes, the same job here, and xarray on the same cluster."""
    import distributed

    sides = Sides()
    rows = kernels.rows.start, kernels.rows.stop
    names = ("level", "frame_shape", "frame_dtype", "fwhm_nm", "exposure_ms", "luminance")
    made_of = str(files["cal_path"]), tuple((name, getattr(kernels, name)) for name in names), rows

    def job(name: str) -> PipelineJob:
        return PipelineJob(
            path, folder / name, processing_lvl=kernels.level, output="zarr", block_lines=BLOCK_LINES, **files
        )

    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as processes, distributed.Client(processes) as client:
        for number in range(-1, plan.pick(3, 1, 1)):  # the first one warms up
            now = Sides() if number < 0 else sides
            now.measure("cluster", lambda: JobRunner(job("there.zarr"), executor=client).run())
            now.measure("here", lambda: JobRunner(job("here.zarr")).run())
            now.measure("xarray", lambda: _by_xarray(path, kernels, made_of, folder / "xarray.zarr"))
            _check(*(folder / f"{name}.zarr" for name in ("here", "there", "xarray")))
            for made in folder.glob("*.zarr"):
                shutil.rmtree(made)
            for made in folder.glob("*.png"):
                made.unlink()
    to_here, to_xarray = sides.ratio("cluster", "here"), sides.ratio("xarray", "cluster")
    return Row(
        benchmark="jobs",
        what=f"to level {kernels.level} as Zarr on a LocalCluster of two processes, warm",
        ours=f"{sides.text('cluster')}; {to_xarray:.1f} x as fast as xarray",
        against=f"here: {sides.text('here')}; xarray map_blocks + to_zarr on that cluster: {sides.text('xarray')}",
        ratio=to_here,
        target="<= 6 x the job here, >= 3 x as fast as xarray",
        is_reached=to_here <= 6 and to_xarray >= 3,
        verified="every pixel of the three results",
        figures={"wall_s": sides.wall},
    )


def _check(*results: Path) -> None:
    """AssertionError unless all have the same pixels."""
    import zarr

    arrays = [zarr.open_group(one, mode="r")["datacube"] for one in results]
    for first in range(0, arrays[0].shape[0], BLOCK_LINES):
        blocks: list[NDArray[Any]] = [np.asarray(one[first : first + BLOCK_LINES]) for one in arrays]
        if not all(np.array_equal(blocks[0], other, equal_nan=True) for other in blocks[1:]):
            raise AssertionError(f"lines from {first} on of {results} differ")
