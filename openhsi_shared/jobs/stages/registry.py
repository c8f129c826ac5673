"""Stages by their codes: those of this library, and those of other packages."""

import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from openhsi_shared.errors import ArgumentError, JobError
from openhsi_shared.jobs.stages.stage import Stage
from openhsi_shared.loggers import safe_logger
from openhsi_shared.near_names import nearest_name

__all__ = ["STAGES", "all_stages", "class_of_stage", "parameters_of", "stage_codes", "stage_from_text", "stage_named"]

logger = safe_logger(__name__)

_PACKAGE = "openhsi_shared.jobs.stages"
STAGES = {
    "level": f"{_PACKAGE}.level:Level",
    "crop": f"{_PACKAGE}.crop:Crop",
    "select_bands": f"{_PACKAGE}.bands:SelectBands",
    "bin_bands": f"{_PACKAGE}.binning:BinBands",
    "bin_lines": f"{_PACKAGE}.binning:BinLines",
    "bin_pixels": f"{_PACKAGE}.binning:BinPixels",
    "dark": f"{_PACKAGE}.references:Dark",
    "white": f"{_PACKAGE}.references:White",
    "reflectance": f"{_PACKAGE}.references:Reflectance",
    "running_background": f"{_PACKAGE}.background:RunningBackground",
    "sparse_background": f"{_PACKAGE}.background:SparseBackground",
    "index": f"{_PACKAGE}.index:Index",
    "rx": f"{_PACKAGE}.anomaly:ReedXiaoli",
    "spectral_angle": f"{_PACKAGE}.angle:SpectralAngle",
    "function": f"{_PACKAGE}.function:FunctionStage",
}
"""Code to class of the built-in stages; a module is imported when its stage is used."""
ENTRY_POINT_GROUP = "openhsi_shared.stages"
"""Entry points of other packages: the name is the code, the object the class."""

_BEFORE_KEY = re.compile(r",(?=\s*[A-Za-z_]\w*\s*=)")
_SLICE = re.compile(r"(-?\d+)?-(-?\d+)?")


def stage_codes() -> list[str]:
    """Codes of all stages, built in or of other packages."""
    return sorted({*STAGES, *_entry_points()})


def all_stages() -> dict[str, type[Stage]]:
    """All stages by their codes. One of another package that cannot be imported is left out, with a warning."""
    found: dict[str, type[Stage]] = {}
    for code in stage_codes():
        try:
            found[code] = class_of_stage(code)
        except JobError as error:
            if code in STAGES:
                raise
            logger.warning("%s", error)
    return found


def parameters_of(stage: type[Stage]) -> dict[str, dataclasses.Field[Any]]:
    """The parameters of a stage, in order."""
    fields: Iterable[dataclasses.Field[Any]] = dataclasses.fields(stage)  # type: ignore[arg-type]
    return {field.name: field for field in fields if field.init}


def stage_named(code: str, **parameters: Any) -> Stage:
    """The stage `code` with these parameters; the others have their defaults.

    ArgumentError for an unknown code or parameter, with the nearest name, for an invalid value, or if one without
    default is missing. JobError if the package of the stage cannot be imported.
    """
    stage_class = class_of_stage(code)
    known = parameters_of(stage_class)
    for name in parameters:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise ArgumentError(f"stage {code!r} has no parameter {name!r}{nearest_name(name, known)}: {has}")
    nothing = dataclasses.MISSING
    needed = [name for name, one in known.items() if one.default is nothing and one.default_factory is nothing]
    if missing := [name for name in needed if name not in parameters]:
        raise ArgumentError(f"stage {code!r} needs {' and '.join(missing)}, such as '{code}:{missing[0]}=...'")
    try:
        return stage_class(**parameters)
    except (TypeError, ValueError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(f"stage {code!r} does not take {parameters!r}: {error}") from error


def stage_from_text(text: str) -> Stage:
    """The stage of a text `CODE[:key=value,...]`, such as `bin_bands:n=2,how=sum`.

    Raises as `stage_named`: ArgumentError, JobError.

    Values are JSON (numbers, true, null), `none`, numbers separated by commas, or else text. Where a parameter may be
    a slice, `5-20`, `5-` and `-20` are slices.
    """
    if not isinstance(text, str) or not text.strip():
        raise ArgumentError(f"a stage is given as a text such as 'bin_bands:n=2', got {text!r}")
    code, _, rest = text.partition(":")
    code = code.strip()
    known = parameters_of(class_of_stage(code))
    parameters: dict[str, Any] = {}
    for pair in _BEFORE_KEY.split(rest) if rest.strip() else ():
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise ArgumentError(f"stage {text!r}: expected key=value, got {pair.strip()!r}; it has {', '.join(known)}")
        if key in parameters:
            raise ArgumentError(f"stage {text!r}: {key} is given twice")
        parameters[key] = _value(value, known[key].type if key in known else Any)
    return stage_named(code, **parameters)


def _value(text: str, kind: Any) -> Any:
    """What a text means as a value of that type."""
    kinds = _kinds_in(kind)
    if text.lower() in ("none", "null"):
        return None
    if slice in kinds and (found := _SLICE.fullmatch(text)) and text != "-":
        return slice(*(None if part is None else int(part) for part in found.groups()))
    if kinds & {str, Path} and kinds <= {str, Path, type(None)}:
        return text
    parsers: list[Callable[[str], Any]] = [json.loads, *([float] if float in kinds else []), _row]  # float: .5
    for parse in parsers:
        with suppress(ValueError):
            return parse(text)
    return text


def _row(text: str) -> tuple[Any, ...]:
    """Of 1,5,7."""
    return tuple(json.loads(f"[{text}]"))


def _kinds_in(kind: Any) -> set[Any]:
    """The types of an annotation: {int, NoneType} of `int | None`; none if it says nothing."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return set().union(*(_kinds_in(one) for one in typing.get_args(kind)))
    if typing.get_origin(kind) is typing.Literal:
        return {type(value) for value in typing.get_args(kind)}
    return {kind} if isinstance(kind, type) else set()


def _entry_points() -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=ENTRY_POINT_GROUP)}


def class_of_stage(code: str) -> type[Stage]:
    """Import the stage `code`. ArgumentError if there is none, JobError if it cannot be imported or is no stage."""
    point = metadata.EntryPoint(code, STAGES[code], ENTRY_POINT_GROUP) if code in STAGES else _entry_points().get(code)
    if point is None:
        codes = stage_codes()
        raise ArgumentError(f"there is no stage {code!r}{nearest_name(str(code), codes)}; there are {', '.join(codes)}")
    try:
        found = point.load()
    except Exception as error:
        raise JobError(f"the stage {code!r} ({point.value}) cannot be imported: {error!r}", stage=code) from error
    is_stage = inspect.isclass(found) and issubclass(found, Stage) and dataclasses.is_dataclass(found)
    if not is_stage or found.code != code:
        has = f"one with the code {found.code!r}" if is_stage else repr(found)
        raise JobError(
            f"the stage {code!r} is {point.value}: expected a dataclass derived from Stage with that code, got {has}",
            stage=code,
        )
    stage: type[Stage] = found
    return stage
