"""Plans of jobs: what each cube becomes, and all checks before anything is touched."""

import copy
import dataclasses
import errno
import math
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, JobError, OpenHSIError, SaveError, StageNotApplicable
from openhsi_shared.files.reading import open_cube
from openhsi_shared.files.source_cube import SourceCube
from openhsi_shared.jobs.line_flag import LineFlag
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.planning.block_size import free_bytes, sized
from openhsi_shared.jobs.planning.declared import check_declared, checked_format
from openhsi_shared.jobs.planning.existing import existing_result
from openhsi_shared.jobs.planning.targets import cubes_of
from openhsi_shared.jobs.recipes.arguments import JobArguments
from openhsi_shared.jobs.recipes.contents import calibration_of
from openhsi_shared.jobs.recipes.identity import ppid_of
from openhsi_shared.jobs.stages.registry import stage_named
from openhsi_shared.jobs.stages.stage import LineFormat, Stage
from openhsi_shared.jobs.workers.chain import Chain

__all__ = ["check_kinds", "check_room", "plan_of", "plans_of", "source_of"]

RESERVE_BYTES = 1 << 20
"""Of a file besides its lines: columns, attributes, preview."""
COMPRESSED = 0.25
"""A compressed result is expected to need at least this part of its bytes."""


def plans_of(job: JobArguments) -> list[CubePlan]:
    """Plans of all cubes. Raises as `PipelineJob.validate`."""
    plans = [plan_of(one) for one in cubes_of(job)]
    check_kinds([plan.source for plan in plans])
    check_room(plans)
    for plan in plans:
        existing_result(plan)
    return plans


def source_of(job: JobArguments) -> SourceCube:
    """What is known of the one cube of a job. FileError, SettingsError, CalibrationError."""
    path = Path(os.path.abspath(job.cube))  # noqa: PTH100 - as in targets
    source = SourceCube.look_at(path, json_path=job.json_path)
    return source.with_settings(source.settings, calibration_of(job.cal_path))


def plan_of(job: JobArguments) -> CubePlan:
    """Plan of a job of one cube, made by `PipelineJob.cubes`. Reads the file, and up to 3 lines for some stages.

    FileError, SettingsError, CalibrationError, LevelError, StageNotApplicable, ArgumentError, SaveError for a place
    where nothing can be written, MemoryShortage.
    """
    source = source_of(job)
    target = job.path_out
    if target is None:
        raise ArgumentError("the job has no path_out: make its plan by plan(), or of one of its cubes()")
    lines = _lines_of(job, source)
    ppid, ppid_hash, _ = ppid_of(job, source)
    start = LineFormat(
        n_lines=len(lines),
        line_shape=source.line_shape,
        dtype=source.dtype,
        wavelengths_nm=source.wavelengths_nm,
        level=source.level,
        quantity=source.quantity,
        labels=source.labels,
        source=source,
    )
    plan = CubePlan(
        job=job,
        source=source,
        lines=lines,
        stages=(),
        formats=(start,),
        block_lines=1,
        n_blocks=1,
        target=target,
        ppid=ppid,
        ppid_hash=ppid_hash,
    )
    for stage in _stages_of(job):
        plan = _with_stage(plan, stage)
    _check_result(plan)
    _check_target(plan)
    return sized(plan, *free_bytes(plan))


def _lines_of(job: JobArguments, source: SourceCube) -> range:
    found = range(source.n_lines)[job.lines or slice(None)]
    if not found:
        raise ArgumentError(f"lines={job.lines!r} selects none of the {source.n_lines} lines of {source.path}")
    return found


def _stages_of(job: JobArguments) -> list[Stage]:
    """Copies of the stages, after the level, and what `rows` cuts out."""
    first = [] if job.processing_lvl is None else [stage_named("level", level=job.processing_lvl, compat=job.compat)]
    cropped = [] if job.rows is None else [stage_named("crop", rows=job.rows)]
    return [*first, *cropped, *copy.deepcopy(job.stages)]


def _with_stage(plan: CubePlan, stage: Stage) -> CubePlan:
    """The plan with one more stage, which is checked. Errors name the cube."""
    before = plan.result
    if plan.row_dtype is not None:
        raise ArgumentError(f"stage {plan.stages[-1].code!r} gives rows of a table, so it must be the last one")
    _called(plan, stage, lambda: stage.check(before))
    if stage.is_tried:
        lines = _tried_lines(plan)
        _called(plan, stage, lambda: stage.try_on(lines, before))
    _called(plan, stage, lambda: check_declared(stage, before))
    found = _called(plan, stage, lambda: stage.out_format(before))
    after: LineFormat = _called(plan, stage, lambda: checked_format(stage, before, found))
    if stage.row_dtype is None and (min(after.line_shape) < 1 or after.n_lines < 1):
        raise StageNotApplicable(
            f"{plan.source.path}: stage {stage.code!r} gives {after.n_lines} lines of {after.line_shape} of "
            f"{before.n_lines} of {before.line_shape}: nothing is left"
        )
    return dataclasses.replace(plan, stages=(*plan.stages, stage), formats=(*plan.formats, after))


def _called(plan: CubePlan, stage: Stage, call: Callable[[], Any]) -> Any:
    """What a method of a stage returns. Our errors are raised as they are, others as JobError."""
    try:
        return call()
    except StageNotApplicable as error:
        if str(plan.source.path) in str(error):
            raise
        raise StageNotApplicable(f"{plan.source.path}: {error}") from error
    except OpenHSIError:
        raise
    except (Exception, SystemExit) as error:
        raise JobError(
            f"{plan.source.path}: stage {stage.code!r} failed while it was checked: {type(error).__name__}: {error}",
            path=str(plan.source.path),
            stage=stage.code,
        ) from error


# ---- lines that stages are tried on --------------------------------------------------------------


def _tried_lines(plan: CubePlan) -> NDArray[Any]:
    """Up to 3 good lines, the first, the middle and the last one, as they are after the stages of the plan.

    Ones in the right shape and type if a stage needs a survey, or no line is good.
    """
    n = plan.result.n_lines
    shape, dtype = plan.result.line_shape, plan.result.dtype
    ones = np.ones((min(3, n), *shape), dtype)
    if any(stage.survey_lines(one) is not None for stage, one in zip(plan.stages, plan.formats, strict=False)):
        return ones
    chain = Chain(plan)
    found = []
    with open_cube(plan.source.path) as cube:
        for number in sorted({0, n // 2, n - 1}):
            first, stop = plan.needed(number, number + 1)[0]
            lines = np.empty((stop - first, *plan.source.line_shape), plan.source.dtype)
            good = cube.lines.read_into(plan.lines.start + first, plan.lines.start + stop, lines)
            if plan.source.line_flags is not None:
                good &= plan.source.line_flags[plan.lines.start + first : plan.lines.start + stop] == LineFlag.GOOD
            made = np.empty((1, *shape), dtype)
            if chain.run(lines, good, number, number + 1, made).flags[0] == LineFlag.GOOD:
                found.append(made)
    return np.concatenate(found) if found else ones


# ---- results -------------------------------------------------------------------------------------


def _check_result(plan: CubePlan) -> None:
    job, result = plan.job, plan.result
    if job.output == "table" and plan.row_dtype is None:
        raise ArgumentError(
            "output='table' needs a last stage that gives rows, such as a function from a line to rows; "
            f"{[stage.code for stage in plan.stages]} give lines: use output='netcdf'"
        )
    if job.significant_bits is not None and job.output != "table":
        if result.dtype.kind != "f":
            raise ArgumentError(
                f"significant_bits={job.significant_bits} is for floats, the result has {result.dtype}: leave it out"
            )
        most = np.finfo(result.dtype).nmant
        if job.significant_bits > most:
            raise ArgumentError(
                f"significant_bits={job.significant_bits}, but {result.dtype} has {most}: give fewer, or None for all"
            )


def _check_target(plan: CubePlan) -> None:
    """ArgumentError, SaveError if nothing can be written there."""
    target = plan.target
    if target.exists() and target.samefile(plan.source.path):
        raise ArgumentError(
            f"the result of {plan.source.path} would be the input itself, {target}: give another path_out"
        )
    folder = _existing_folder(target)
    if not folder.is_dir():
        raise SaveError(errno.ENOTDIR, f"{folder} is a file, not a folder; give another path_out for", str(target))
    if not os.access(folder, os.W_OK | os.X_OK):
        is_read_only = bool(os.statvfs(folder).f_flag & os.ST_RDONLY) if hasattr(os, "statvfs") else False
        code, why = (errno.EROFS, "is read-only") if is_read_only else (errno.EACCES, "cannot be written to")
        raise SaveError(code, f"the folder {folder} {why}; give another path_out for", str(target))


def _existing_folder(target: Path) -> Path:
    """The folder of the target, or the nearest one above it that exists."""
    return next(folder for folder in target.parents if folder.exists())


def expected_bytes(plan: CubePlan) -> int:
    """Least room that the result of a cube is expected to need."""
    if plan.job.output == "table":
        return RESERVE_BYTES
    lines = plan.result.n_lines * plan.result.line_bytes
    is_smaller = plan.job.compression is not None
    return RESERVE_BYTES + (math.ceil(lines * COMPRESSED) if is_smaller else lines)


def check_room(plans: Iterable[CubePlan]) -> None:
    """SaveError (ENOSPC) if the results that do not exist yet do not fit onto their disks."""
    needed: dict[int, int] = defaultdict(int)
    folders: dict[int, Path] = {}
    for plan in plans:
        if not plan.target.exists():
            folder = _existing_folder(plan.target)
            device = folder.stat().st_dev
            folders.setdefault(device, folder)
            needed[device] += expected_bytes(plan)
    for device, n_bytes in needed.items():
        free = shutil.disk_usage(folders[device]).free
        if n_bytes > free:
            raise SaveError(
                errno.ENOSPC,
                f"the results need {n_bytes / 1e6:,.1f} MB, but {free / 1e6:,.1f} MB are free; free some, give another "
                f"path_out, or a compression, for",
                str(folders[device]),
            )


def check_kinds(sources: Sequence[SourceCube]) -> None:
    """ArgumentError if cubes of one job differ in shape, type or level of their lines."""
    by_kind: dict[Any, SourceCube] = {}
    for source in sources:
        by_kind.setdefault((source.line_shape, source.dtype, source.level), source)
    if len(by_kind) > 1:
        first, second, *_ = by_kind.values()
        raise ArgumentError(
            f"the cubes are of {len(by_kind)} kinds, expected one: {first.path} has {first.describe_lines()} of level "
            f"{first.level}, {second.path} has {second.describe_lines()} of level {second.level}: process each kind by "
            f"a job of its own, with a list of paths"
        )
