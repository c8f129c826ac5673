"""`openhsi-shared process --dry-run`: what a job would make, and how long that would take."""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from openhsi_shared.cli.output import echo
from openhsi_shared.jobs.planning.plans import plans_of
from openhsi_shared.jobs.runner import JobRunner

if TYPE_CHECKING:
    from openhsi_shared.jobs.recipe import PipelineJob

__all__ = ["dry_run"]

MIN_LINES = 64
"""Of a picture that shows something."""


def dry_run(job: "PipelineJob") -> None:
    """Check all, process the first lines of the first cube into a temporary folder, and print what is expected."""
    plans = plans_of(job)
    plan = plans[0]
    n_lines = min(plan.result.n_lines, max(MIN_LINES, plan.block_lines))
    begin = plan.lines.start
    stop = begin + plan.needed(0, n_lines)[0][1]
    folder = Path(tempfile.mkdtemp(prefix="openhsi_shared-dry-run-"))
    try:
        trial = job.replace(path_in=plan.source.path, path_out=folder, lines=slice(begin, stop))
        (made,) = trial.cubes()
        result = JobRunner(made).run()
        assert not isinstance(result, list)
        shape, dtype = plan.result.line_shape, plan.result.dtype
        size = sum(one.stat().st_size for one in [result.path, *result.path.rglob("*")] if one.is_file())
        n_all = sum(one.result.n_lines for one in plans)
        echo(f"stages     {' -> '.join(stage.code for stage in plan.stages) or 'none: lines stay as they are'}")
        echo(f"lines      {n_all} of {shape[0]} x {shape[1]} {dtype}, in {len(plans)} cubes")
        echo(f"failed     {result.n_failed} of the first {result.n_lines}")
        echo(f"time       about {result.seconds * n_all / result.n_lines:.1f} s")
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
