"""Write speed of deflated cubes, compared with netCDF4, and whether it is enough for a camera's rate on two cores."""

import os
import time
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray

from benchmarks.frames import frames_of_scene
from benchmarks.loop import cores_for_recording, run_loop
from benchmarks.measuring import MB, Plan, Row, Spread
from openhsi_shared import SharedDataCube

__all__ = ["run"]


def run(plan: Plan) -> list[Row]:
    return [_speed(plan), _nonstop(plan)]


# ---- write speed ----


def _speed(plan: Plan) -> Row:
    n_lines, n_rounds = plan.pick((1024, 5), (512, 1), (16, 1))
    frames = frames_of_scene(plan.frame_shape, n_lines)
    ours, theirs, sizes, their_sizes = [], [], [], []
    with (
        plan.folder("compression") as folder,
        SharedDataCube(n_lines, resolution=plan.frame_shape, pixel_format="Mono12", compression="deflate") as cube,
    ):
        for n in range(n_rounds):
            mb_per_s, size = _save_once(cube, folder, frames)
            ours.append(mb_per_s)
            sizes.append(size)
            mb_per_s, size = _netcdf_once(folder / f"{n}.nc", frames)
            theirs.append(mb_per_s)
            their_sizes.append(size)
    ratio = Spread(ours).median / Spread(theirs).median
    factor, their_factor = frames.nbytes / np.mean(sizes), frames.nbytes / np.mean(their_sizes)
    return Row(
        benchmark="compression",
        what=f"saving {frames.nbytes / 1e9:.2f} GB of the scene with compression='deflate'",
        ours=f"{Spread(ours).text('MB/s')}, {factor:.2f} times smaller",
        against=f"netCDF4, zlib 1 + shuffle: {Spread(theirs).text('MB/s')}, {their_factor:.2f} times smaller",
        ratio=ratio,
        target=">= 20 x its MB/s, <= 1.04 x its size",
        is_reached=ratio >= 20 and their_factor <= 1.04 * factor,
        verified=f"every line of {n_rounds} files of each",
        figures={"ours_mb_per_s": ours, "netcdf4_mb_per_s": theirs, "ours_bytes": sizes, "netcdf4_bytes": their_sizes},
    )


def _save_once(cube: SharedDataCube, folder: Path, frames: NDArray[Any]) -> tuple[float, int]:
    for frame in frames:
        cube.put(frame)
    begun = time.perf_counter()
    path = cube.save(folder).result().path
    seconds = time.perf_counter() - begun
    if path is None:
        raise AssertionError("there is no file")
    size = path.stat().st_size
    _require_equal(path, frames)
    return frames.nbytes / MB / seconds, size


def _netcdf_once(path: Path, frames: NDArray[Any]) -> tuple[float, int]:
    n_lines, rows, bands = frames.shape
    cube = frames.transpose(1, 0, 2)
    begun = time.perf_counter()
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("x", rows), ("y", n_lines), ("wavelength", bands)):
            file.createDimension(name, size)
        variable = file.createVariable(
            "datacube",
            "u2",
            ("x", "y", "wavelength"),
            zlib=True,
            complevel=1,
            shuffle=True,
            chunksizes=(rows, 1, bands),
        )
        for line in range(n_lines):
            variable[:, line, :] = cube[:, line]
    with path.open("rb") as written:
        os.fsync(written.fileno())
    seconds = time.perf_counter() - begun
    size = path.stat().st_size
    _require_equal(path, frames)
    return frames.nbytes / MB / seconds, size


def _require_equal(path: Path, frames: NDArray[Any]) -> None:
    with netCDF4.Dataset(path) as file:
        variable = file["datacube"]
        variable.set_auto_maskandscale(False)
        wrong = [line for line, frame in enumerate(frames) if not np.array_equal(variable[:, line, :], frame)]
    if wrong:
        raise AssertionError(f"{path}: {len(wrong)} lines are wrong, the first is {wrong[0]}")
    path.unlink()


# ---- nonstop ----


def _nonstop(plan: Plan) -> Row:
    n_lines, n_cubes, rate = plan.pick((512, 40, 500.0), (512, 8, 500.0), (8, 3, 500.0))
    cores = cores_for_recording(2)
    with plan.folder("deflate") as folder:
        loop = run_loop(
            plan,
            folder,
            n_lines=n_lines,
            n_cubes=n_cubes,
            rate=rate,
            mode=None,
            cores=cores,
            compression="deflate",
            n_buffers=3,  # as `record`: compressing takes most of a cube's time, a delay of the disk the rest
        )
    n_bytes = sum(file.n_bytes for file in loop.files)
    return Row(
        benchmark="compression",
        what=f"{n_cubes} cubes of {n_lines} lines nonstop at {rate:.0f} lines/s, compression='deflate', 3 slots, "
        + ("on 2 cores" if cores else "on all cores"),
        ours=f"{loop}, {n_lines * n_cubes * plan.line_bytes / max(n_bytes, 1):.2f} times smaller",
        target="0 lost",
        is_reached=loop.n_lost == 0,
        is_right=loop.is_right,
        verified=loop.verified,
        figures={"lost": loop.n_lost, "saves_ms": loop.saves_ms, "gaps_ms": loop.gaps_ms, "cores": sorted(cores or ())},
    )
