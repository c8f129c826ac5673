"""Files that a job reads besides its cubes: settings, calibration, parameters of stages named `path`, `..._path`."""

import copy
import os
from pathlib import Path
from typing import Any, TypeVar

from openhsi_shared.jobs.recipes.arguments import JobArguments
from openhsi_shared.jobs.recipes.serial import stage_parameters
from openhsi_shared.jobs.stages.stage import Stage

__all__ = ["is_path", "with_absolute_paths"]

Job = TypeVar("Job", bound=JobArguments)


def is_path(name: str, value: Any) -> bool:
    """Whether a parameter of a stage is the path of a file."""
    return isinstance(value, str) and (name == "path" or name.endswith("_path"))


def with_absolute_paths(job: Job) -> Job:
    """The job with absolute paths of its files: a result says which these were, wherever its recipe is used."""
    return job.replace(
        json_path=job.json_path and Path(os.path.abspath(job.json_path)),  # noqa: PTH100 - as in targets
        cal_path=job.cal_path and Path(os.path.abspath(job.cal_path)),  # noqa: PTH100 - as above
        stages=[_with_absolute_paths(stage) for stage in job.stages],
    )


def _with_absolute_paths(stage: Stage) -> Stage:
    paths = {name: value for name, value in stage_parameters(stage).items() if is_path(name, value)}
    if not paths:
        return stage
    made = copy.copy(stage)
    for name, path in paths.items():
        object.__setattr__(made, name, os.path.abspath(path))  # noqa: PTH100 - as above; it may be frozen
    return made
