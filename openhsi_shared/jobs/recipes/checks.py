"""Checks of the arguments of a recipe: each returns the value in its type, or raises ArgumentError."""

import copy
import logging
import operator
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from openhsi_shared.errors import ArgumentError
from openhsi_shared.jobs.recipes.serial import stage_parameters
from openhsi_shared.jobs.stages.stage import Stage
from openhsi_shared.levels import check_level
from openhsi_shared.paths import given_path

__all__ = [
    "COMPRESSIONS",
    "as_bool",
    "as_choice",
    "as_compression",
    "as_level",
    "as_log_level",
    "as_path",
    "as_paths",
    "as_slice",
    "as_stages",
    "as_whole",
]

_CODE = re.compile(r"[a-z0-9][a-z0-9_.-]*")
COMPRESSIONS = (*(f"deflate-{level}" for level in range(4)), *(f"zstd-{level}" for level in range(1, 20)))


def as_path(value: Any, name: str) -> Path:
    """A path."""
    return given_path(value, name)


def as_paths(value: Any, name: str) -> Path | tuple[Path, ...]:
    """A path, or several."""
    if isinstance(value, str | os.PathLike):
        return given_path(value, name)
    if not isinstance(value, Sequence) or isinstance(value, bytes) or not value:
        raise ArgumentError(f"{name} must be the path of a cube or a folder, or a list of paths, got {value!r}")
    return tuple(given_path(one, name) for one in value)


def as_level(value: Any, name: str) -> int:
    """A processing level; LevelError for one that does not exist."""
    check_level(value)
    return as_whole(value, name)


def as_whole(value: Any, name: str, least: int | None = None, most: int | None = None) -> int:
    """A whole number, within limits."""
    try:
        found = None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        found = None
    if found is None or (least is not None and found < least) or (most is not None and found > most):
        limits = "" if least is None else f" >= {least}" if most is None else f" from {least} to {most}"
        raise ArgumentError(f"{name} must be a whole number{limits}, got {value!r}")
    return found


def as_bool(value: Any, name: str) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ArgumentError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def as_choice(value: Any, name: str, choices: Sequence[Any]) -> Any:
    """One of the choices."""
    if not isinstance(value, str | None) or value not in choices:
        raise ArgumentError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def as_slice(value: Any, name: str) -> slice:
    """A slice without gaps. A range, or a pair (first, stop), is one, too."""
    if isinstance(value, range):
        value = slice(value.start, value.stop, value.step)
    elif isinstance(value, list | tuple) and len(value) == 2:
        value = slice(*value)
    if not isinstance(value, slice):
        raise ArgumentError(f"{name} must be a slice, such as slice(100, 200), or None, got {value!r}")
    if value.step not in (None, 1) or isinstance(value.step, bool):
        raise ArgumentError(
            f"{name}={value!r} must be without gaps (step None or 1): bin lines or pixels by the stages bin_lines and "
            f"bin_pixels, or process a part and select of the result"
        )
    first, stop = (None if end is None else as_whole(end, f"{name}={value!r}") for end in (value.start, value.stop))
    if first is not None and stop is not None and (first < 0) == (stop < 0) and stop <= first:
        raise ArgumentError(f"{name}={value!r} selects nothing: its end must be larger than its beginning")
    return slice(first, stop)


def as_compression(value: Any, name: str) -> str | None:
    """One of `COMPRESSIONS`, or None."""
    if value is None or (isinstance(value, str) and value == "none"):
        return None
    if not isinstance(value, str) or value not in COMPRESSIONS:
        raise ArgumentError(f"{name} must be None, 'none', or one of {', '.join(COMPRESSIONS)}, got {value!r}")
    return value


def as_log_level(value: Any, name: str) -> int:
    """A level of Python's logging, also by its name."""
    if isinstance(value, str):
        levels = logging.getLevelNamesMapping()
        if value.upper() not in levels:
            raise ArgumentError(f"{name} must be one of {', '.join(levels)}, or a number, got {value!r}")
        return levels[value.upper()]
    return as_whole(value, name, 0)


def as_stages(value: Any, name: str) -> tuple[Stage, ...]:
    """Stages: copies of instances, functions as stages, and texts such as "bin_bands:n=2"."""
    if callable(value) or isinstance(value, str | Stage):
        raise ArgumentError(f"{name} must be a list, got {value!r}: write {name}=[...] around it")
    if not isinstance(value, Sequence):
        raise ArgumentError(
            f"{name} must be a list of stages, functions, or texts such as 'bin_bands:n=2', got {value!r}"
        )
    stages = tuple(_as_stage(one, f"{name}[{number}]") for number, one in enumerate(value))
    for number, stage in enumerate(stages[:-1]):
        if stage.row_dtype is not None:
            raise ArgumentError(
                f"{name}[{number}], {stage.code!r}, gives rows of a table, so it must be the last one: move "
                f"{stages[number + 1].code!r} before it"
            )
    return stages


def _check_code(stage: Stage, name: str) -> None:
    """ArgumentError for a code that no id, text or command could contain."""
    code = getattr(stage, "code", None)
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        raise ArgumentError(
            f"{name}: the code of the stage {type(stage).__qualname__} must be a name in lower case, such as "
            f"code = 'bright' in its class, got {code!r}"
        )


def _as_stage(value: Any, name: str) -> Stage:
    from openhsi_shared.jobs.stages.registry import stage_from_text

    if isinstance(value, Stage):
        _check_code(value, name)
        stage_parameters(value)  # raises
        try:
            return copy.deepcopy(value)  # a job does not change if its parts do
        except Exception as error:  # whatever a parameter raises
            raise ArgumentError(
                f"{name}, {value!r}, cannot be copied: {error!r}; its parameters must be values"
            ) from error
    if isinstance(value, str):
        return stage_from_text(value)
    if isinstance(value, type) and issubclass(value, Stage):
        raise ArgumentError(f"{name} is the class {value.__name__}, expected an instance: {value.__name__}(...)")
    if callable(value):
        from openhsi_shared.jobs.stages.function import FunctionStage

        return FunctionStage(value)
    raise ArgumentError(f"{name} must be a stage, a function, or a text such as 'bin_bands:n=2', got {value!r}")
