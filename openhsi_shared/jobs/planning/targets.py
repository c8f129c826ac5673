"""Which cubes a job takes, and where the result of each is stored."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from openhsi_shared.durable import save_error
from openhsi_shared.errors import ArgumentError, FileError
from openhsi_shared.jobs.recipes.arguments import JobArguments
from openhsi_shared.jobs.recipes.file_paths import with_absolute_paths
from openhsi_shared.paths import cubes_below, is_below

__all__ = ["ENDINGS", "cubes_of"]

ENDINGS = {"netcdf": ".nc", "zarr": ".zarr", "envi": ".raw", "table": ".nc"}
"""Ending of the name of a result, by the format."""
Job = TypeVar("Job", bound=JobArguments)
DETECTIONS = "_detections"
"""Ends the name, without `.nc`, of a table."""


def cubes_of(job: Job) -> list[Job]:
    """A job for each cube: its path, that of its result, and all others, are absolute. Opens no file.

    In folders, tables of detections, results of other cubes of the same job, and what is below `path_out`, are not
    taken. ArgumentError, FileError, SaveError, as `PipelineJob.cubes`.
    """
    found = list(_found(job))
    named = [(path, _target(job, path, folder)) for path, folder in found]
    ending = ENDINGS[job.output]
    if job.path_out is not None and job.path_out.suffix.lower() == ending and (len(found) > 1 or _is_folder(job)):
        cubes = f"{len(found)} cubes" if len(found) > 1 else f"the folder {job.path_in}"
        raise ArgumentError(
            f"path_out {job.path_out} is one file, but the job is of {cubes}: give a folder, whose name does not end "
            f"in {ending}"
        )
    results = {target for _, target in named}
    kept = [
        (path, target)
        for (path, target), (_, folder) in zip(named, found, strict=True)
        if folder is None or path not in results or path == target  # which is refused below
    ]
    if not kept:
        raise ArgumentError(f"{job.path_in} contains no cube (*.nc): expected a cube, or a folder with cubes")
    by_target: dict[Path, Path] = {}
    for path, target in kept:
        other = by_target.setdefault(target, path)
        if other != path:
            raise ArgumentError(
                f"{other} and {path} would both become {target}: give their common folder as path_in, or process them "
                f"into different folders"
            )
        if _is_same_file(path, target):
            raise ArgumentError(f"the result of {path} would be the input itself, {target}: give another path_out")
    job = with_absolute_paths(job)
    return [job.replace(path_in=path, path_out=target) for path, target in kept]


def _is_same_file(path: Path, target: Path) -> bool:
    try:
        return path == target or (target.exists() and path.exists() and target.samefile(path))
    except OSError as error:  # its name is too long, or its folder may not be read
        raise save_error(error, target) from error


def _is_folder(job: JobArguments) -> bool:
    return isinstance(job.path_in, Path) and job.path_in.is_dir()


def _found(job: JobArguments) -> Iterator[tuple[Path, Path | None]]:
    """Each path, and the given folder that it is in, or None; each path once."""
    given = job.path_in if isinstance(job.path_in, tuple) else (job.path_in,)
    known = set()
    for one in given:
        path = _absolute(one)
        if not os.path.lexists(path):
            raise FileError(f"{path} does not exist: expected a cube (.nc), or a folder with cubes")
        for cube in _cubes_below(path, job) if path.is_dir() else [path]:
            if cube not in known:
                known.add(cube)
                yield cube, path if path.is_dir() else None


def _cubes_below(folder: Path, job: JobArguments) -> list[Path]:
    try:
        found = [path for path in cubes_below(folder) if not path.stem.endswith(DETECTIONS)]
    except OSError as error:
        raise FileError(f"the folder {folder} cannot be read: {error}") from error
    out = None if job.path_out is None else _absolute(job.path_out)
    if out is not None and out.resolve() != folder.resolve() and is_below(out, folder):
        found = [path for path in found if not is_below(path, out)]
    if not found:
        raise ArgumentError(f"the folder {folder} contains no cube (*.nc): expected some in it, or in folders below it")
    return found


def _target(job: JobArguments, path: Path, folder: Path | None) -> Path:
    ending = ENDINGS[job.output]
    out = job.path_out
    if out is not None and out.suffix.lower() == ending:
        return _absolute(out)
    if job.output == "table":
        ending = f"{DETECTIONS}{ending}"
    stem = path.name.removesuffix(path.suffix) if path.suffix.lower() in (".nc", ".h5", ".hdf5") else path.name
    if out is not None:
        below = path.parent.relative_to(folder) if folder is not None else Path()
        return _absolute(out) / below / f"{stem}{ending}"
    if job.output != "table":
        stem += "_processed" if job.processing_lvl is None else f"_level_{job.processing_lvl}"
    return path.parent / f"{stem}{ending}"


def _absolute(path: Path) -> Path:
    """Absolute, without `..`, but with links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps `..`, resolve follows links
