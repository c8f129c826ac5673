"""Jobs: saved cubes processed by a recipe with an id, as fast as the disk.

`recipe` says what is to be done, `planning` checks it against each cube, `runner` lets `running` do it by `workers`,
which pass lines through `stages` into `outputs`. Names are imported on first access (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openhsi_shared.errors import JobError, StageNotApplicable
    from openhsi_shared.jobs.recipe import PipelineJob
    from openhsi_shared.jobs.result import JobResult
    from openhsi_shared.jobs.runner import JobRunner
    from openhsi_shared.jobs.stages.function import FunctionStage
    from openhsi_shared.jobs.stages.registry import stage_from_text, stage_named, stages
    from openhsi_shared.jobs.stages.stage import LineFormat, Stage

__all__ = [
    "FunctionStage",
    "JobError",
    "JobResult",
    "JobRunner",
    "LineFormat",
    "PipelineJob",
    "Stage",
    "StageNotApplicable",
    "stage_from_text",
    "stage_named",
    "stages",
]

_MODULES = {
    "FunctionStage": "jobs.stages.function",
    "JobError": "errors",
    "JobResult": "jobs.result",
    "JobRunner": "jobs.runner",
    "LineFormat": "jobs.stages.stage",
    "PipelineJob": "jobs.recipe",
    "Stage": "jobs.stages.stage",
    "StageNotApplicable": "errors",
    "stage_from_text": "jobs.stages.registry",
    "stage_named": "jobs.stages.registry",
    "stages": "jobs.stages.registry",
}


def __getattr__(name: str) -> Any:
    """Import a name on first access (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"openhsi_shared.{_MODULES[name]}"), name)
