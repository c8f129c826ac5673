"""Jobs: saved cubes processed by a recipe with an id, as fast as the disk.

`recipe` says what is to be done, `planning` checks it against each cube, `runner` lets `running` do it by `workers`,
which pass lines through `stages` into `outputs`. Names are imported on first access (PEP 562).
"""

from typing import TYPE_CHECKING

from openhsi_shared.lazy_names import lazy_names

if TYPE_CHECKING:
    from openhsi_shared.errors import JobError, StageNotApplicable
    from openhsi_shared.jobs.recipe import PipelineJob
    from openhsi_shared.jobs.result import JobResult
    from openhsi_shared.jobs.runner import JobRunner
    from openhsi_shared.jobs.stages.function import FunctionStage
    from openhsi_shared.jobs.stages.registry import all_stages, stage_from_text, stage_named
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
    "all_stages",
    "stage_from_text",
    "stage_named",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "errors": "JobError StageNotApplicable",
        "jobs.recipe": "PipelineJob",
        "jobs.result": "JobResult",
        "jobs.runner": "JobRunner",
        "jobs.stages.function": "FunctionStage",
        "jobs.stages.registry": "all_stages stage_from_text stage_named",
        "jobs.stages.stage": "LineFormat Stage",
    },
)
