"""`openhsi-shared process --dry-run`: what a job would make, and how long that would take."""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from openhsi_shared.cli.output import echo
from openhsi_shared.jobs.planning.plans import plans_of
from openhsi_shared.jobs.recipe import PipelineJob
from openhsi_shared.jobs.recipes.arguments import ARGUMENTS
from openhsi_shared.jobs.runner import JobRunner

if TYPE_CHECKING:
    from openhsi_shared.jobs.plan import CubePlan

__all__ = ["dry_run"]

MIN_LINES = 64
"""Of a picture that shows something."""


class _Trial(PipelineJob):
    """A job that makes only the first lines of its result: as the whole job does, which may survey other lines."""

    def plan(self) -> "CubePlan":
        plan = PipelineJob(**{name: self[name] for name in ARGUMENTS}).plan()
        return plan.of_first_lines(max(MIN_LINES, plan.block_lines))


def dry_run(job: PipelineJob) -> None:
    """Check all, make the first lines of the first result in a temporary folder, and print what is expected."""
    plans = plans_of(job)
    plan = plans[0]
    folder = Path(tempfile.mkdtemp(prefix="openhsi_shared-dry-run-"))
    try:
        values = {name: job[name] for name in ARGUMENTS}
        trial = _Trial(**values | {"path_in": plan.source.path, "path_out": folder})
        (made,) = trial.cubes()
        result = JobRunner(made).run()
        assert not isinstance(result, list)
        shape, dtype = plan.result.line_shape, plan.result.dtype
        size = sum(one.stat().st_size for one in [result.path, *result.path.rglob("*")] if one.is_file())
        n_all = sum(one.result.n_lines for one in plans)
        survey_s = result.get_time("survey") / job.n_workers  # of a whole cube
        seconds = (result.seconds - survey_s) * n_all / result.n_lines + survey_s * len(plans)
        echo(f"stages     {' -> '.join(stage.code for stage in plan.stages) or 'none: lines stay as they are'}")
        echo(f"lines      {n_all} of {shape[0]} x {shape[1]} {dtype}, in {len(plans)} cubes")
        echo(f"failed     {result.n_failed} of the first {result.n_lines}")
        echo(f"time       about {seconds:.1f} s")
        echo(f"size       about {size * n_all / result.n_lines / 1e6:,.1f} MB")
        free = shutil.disk_usage(next(one for one in plan.target.parents if one.exists())).free
        echo(f"free       {free / 1e6:,.1f} MB in {plan.target.parent}")
        echo(f"id         {plan.ppid_hash}")
        if result.preview_path is not None:
            picture = Path(tempfile.gettempdir()) / f"{folder.name}.png"
            shutil.move(result.preview_path, picture)
            echo(f"picture    {picture}")
    finally:
        shutil.rmtree(folder)
