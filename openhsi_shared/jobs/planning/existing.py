"""What is where the result of a cube shall be: nothing, the same result already, or something else."""

import dataclasses
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from openhsi_shared.durable import make_folder
from openhsi_shared.errors import ArgumentError, FileError, PreviewError, SaveError
from openhsi_shared.files.preview import preview_of
from openhsi_shared.jobs.outputs import attributes_of, preview_of_result, problems_of
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.result import JobResult, stated_yield
from openhsi_shared.loggers import safe_logger

__all__ = ["existing_result", "folders_made", "is_result_of", "with_preview"]

logger = safe_logger(__name__)


def existing_result(plan: CubePlan) -> JobResult | None:
    """The result of this cube if it exists, whole: every checksum is computed. None if its name is free.

    SaveError (EEXIST) for anything else of that name, ArgumentError for the input itself: nothing is overwritten.
    """
    target = plan.target
    if not os.path.lexists(target):
        return None
    with suppress(OSError):
        if target.samefile(plan.source.path):
            raise ArgumentError(f"{target} is the input itself: give another path_out")
    try:
        attributes = attributes_of(target)
    except (FileError, OSError, ValueError) as error:
        raise _taken(target, f"it is no result of a job ({error}); this job is {_named(plan)}") from error
    if (found := attributes.get("pipeline_hash")) != plan.ppid_hash:
        other = f"it is of the job {attributes.get('pipeline_id')} ({found})" if found else "it is no result of a job"
        raise _taken(target, f"{other}; this job is {_named(plan)}")
    if problems := problems_of(target):
        raise _taken(target, f"it is the result of this job {_named(plan)}, but it is damaged: {problems[0]}")
    n_lines, n_failed, n_rows = stated_yield(attributes)
    return JobResult(
        path=target,
        preview_path=preview_of_result(target),
        n_lines=n_lines,
        n_rows=n_rows,
        n_failed=n_failed,
        ppid=plan.ppid,
        ppid_hash=plan.ppid_hash,
        skipped=True,
        seconds=0.0,
    )


def is_result_of(plan: CubePlan) -> bool:
    """Whether the target is a result of the same job; its lines are not compared with their checksums."""
    with suppress(FileError, OSError, ValueError):
        return bool(attributes_of(plan.target).get("pipeline_hash") == plan.ppid_hash)
    return False


def with_preview(found: JobResult, plan: CubePlan) -> JobResult:
    """The result with its preview, which is made if the run before ended after it had published the file."""
    if found.preview_path is not None or not plan.makes_lines or plan.job.output != "netcdf":
        return found
    try:
        return dataclasses.replace(found, preview_path=preview_of(found.path))
    except (FileError, PreviewError) as error:
        logger.warning("%s exists, but not its preview: %s", found.path, error)
        return found


def _named(plan: CubePlan) -> str:
    return f"{plan.ppid} ({plan.ppid_hash})"


def _taken(target: Path, why: str) -> SaveError:
    return SaveError(errno.EEXIST, f"the name is taken: {why}; move it away, or give another path_out", str(target))


@contextmanager
def folders_made(folder: Path) -> Iterator[None]:
    """Make a folder and those above it that are missing; if the body raises, those without contents are removed."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        for path in reversed(missing):
            make_folder(path.parent, path.name)
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):  # it does not exist, or has contents
                path.rmdir()
        raise
