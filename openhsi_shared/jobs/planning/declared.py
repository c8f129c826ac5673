"""What a stage says of itself, checked before it is believed: else lines are lost, or mean nothing."""

import operator
from pathlib import Path
from typing import Any

import numpy as np

from openhsi_shared.errors import JobError
from openhsi_shared.jobs.stages.stage import LineFormat, Stage

__all__ = ["check_declared", "checked_format"]


def check_declared(stage: Stage, given: LineFormat) -> None:
    """JobError unless the attributes of a stage, and the lines of its survey, are what `Stage` says."""
    path, halo = given.source.path, stage.halo
    if not isinstance(halo, tuple | list) or len(halo) != 2 or not all(_is_whole(one, 0) for one in halo):
        raise _fault(path, stage, f"halo={halo!r}", "two numbers of lines from 0 on, before and behind, such as (1, 0)")
    for name in ("lines_per_result", "survey_size"):
        if not _is_whole(getattr(stage, name), 1):
            raise _fault(path, stage, f"{name}={getattr(stage, name)!r}", "a whole number from 1 on")
    rows = stage.row_dtype
    if rows is not None and not (isinstance(rows, np.dtype) and rows.names and "y" not in rows.names):
        raise _fault(path, stage, f"row_dtype={rows!r}", "a structured type whose fields are not y, which is the line")
    surveyed, there = stage.survey_lines(given), range(given.n_lines)
    is_there = isinstance(surveyed, range) and all(end in there for end in (*surveyed[:1], *surveyed[-1:]))
    if surveyed is not None and not (is_there and len(surveyed)):
        raise _fault(path, stage, f"survey_lines gives {surveyed!r:.60}", f"a range of some of the lines of {there}")


def checked_format(stage: Stage, given: LineFormat, found: Any) -> LineFormat:
    """The format that `out_format` gave, in native types. JobError for one that its lines cannot have."""
    path = given.source.path
    if not isinstance(found, LineFormat):
        raise _fault(path, stage, f"out_format gives {found!r:.60}", "a LineFormat")
    shape = found.line_shape
    if not isinstance(shape, tuple | list) or len(shape) != 2 or not all(_is_whole(one) for one in shape):
        raise _fault(path, stage, f"out_shape gives {shape!r:.60}", "two whole numbers (cross-track, wavelength)")
    made = found.replace(line_shape=(int(shape[0]), int(shape[1])), dtype=np.dtype(found.dtype).newbyteorder("="))
    fewest, most = given.n_lines // stage.lines_per_result, -(-given.n_lines // stage.lines_per_result)
    if stage.row_dtype is None and found.n_lines not in (fewest, most):
        expected = f"{most}, one for each {stage.lines_per_result} of {given.n_lines} lines (lines_per_result)"
        raise _fault(path, stage, f"out_format gives {found.n_lines!r} lines", expected)
    wavelengths = found.wavelengths_nm
    if wavelengths is not None and (np.shape(wavelengths) != made.line_shape[1:] or not np.isfinite(wavelengths).all()):
        what = f"out_format gives the wavelengths {wavelengths!r:.60}"
        raise _fault(path, stage, what, f"one for each of {made.line_shape[1]} bands, or None")
    return made


def _is_whole(value: Any, least: float = -np.inf) -> bool:
    try:
        return not isinstance(value, bool) and operator.index(value) >= least
    except TypeError:
        return False


def _fault(path: Path, stage: Stage, what: str, expected: str) -> JobError:
    return JobError(f"{path}: stage {stage.code!r}: {what}, expected {expected}", path=str(path), stage=stage.code)
