"""Cubes, jobs and files that the rows of `jobs` have in common."""

from pathlib import Path
from typing import Any

from benchmarks.frames import frames_of_scene
from benchmarks.levels import Camera
from benchmarks.measuring import Plan
from openhsi_shared import SharedDataCube, open_cube
from openhsi_shared.jobs import PipelineJob

__all__ = ["files_of", "job_of", "make_cube", "n_lines_of", "remove"]


def make_cube(plan: Plan, folder: Path, n_lines: int, name: str = "") -> Path:
    """Save a raw cube of the scene."""
    frames = frames_of_scene(plan.frame_shape, min(n_lines, 64))
    settings = {"resolution": plan.frame_shape, "pixel_format": "Mono12", "exposure_ms": 2.0}
    (folder / f"in{name}").mkdir(exist_ok=True)
    with SharedDataCube(n_lines, **settings) as cube:
        for number in range(n_lines):
            cube.put(frames[number % len(frames)])
        found = cube.save(folder / f"in{name}", suffix=f"_{n_lines}", savefig=False).result().path
    if found is None:
        raise AssertionError("there is no file")
    return found


def job_of(camera: Camera, path: Any, out: Path, level: int | None, **more: Any) -> PipelineJob:
    return PipelineJob(path, out, processing_lvl=level, **files_of(camera), **more)


def files_of(camera: Camera) -> dict[str, Path]:
    return {"json_path": camera.folder / "settings.json", "cal_path": camera.folder / "calibration.nc"}


def n_lines_of(path: Path) -> int:
    with open_cube(path) as cube:
        return len(cube.lines)


def remove(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        for one in sorted(path.rglob("*"), reverse=True) if path.is_dir() else []:
            one.rmdir() if one.is_dir() else one.unlink()
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
