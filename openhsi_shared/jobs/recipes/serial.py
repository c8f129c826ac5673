"""Recipes as JSON and back: paths, slices, numbers and arrays of numpy, dates, stages and functions.

What JSON does not have is an object with one key, such as `{"$slice": [null, -5, null]}`. Functions, and stages that
have no code in the registry, are a pickle in base64, which is loaded on request only, since that executes code.
"""

import base64
import binascii
import dataclasses
import datetime
import functools
import importlib
import inspect
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from openhsi_shared.errors import ArgumentError, FileError
from openhsi_shared.jobs.stages import function_sources
from openhsi_shared.jobs.stages.stage import Stage
from openhsi_shared.paths import given_path

__all__ = ["VERSION", "from_jsonable", "job_from_json", "job_to_json", "pack", "to_jsonable", "unpack"]

VERSION = 1
"""Of the layout of recipes."""
FORMAT = "openhsi_shared job"


# ---- a job ---------------------------------------------------------------------------------------


def job_to_json(values: Mapping[str, Any], indent: int | None = None) -> str:
    """The arguments of a job as a JSON text."""
    job = {name: to_jsonable(value, name) for name, value in values.items()}
    return json.dumps({"format": FORMAT, "version": VERSION, "job": job}, indent=indent, allow_nan=False)


def job_from_json(source: str | os.PathLike[str], *, allow_functions: bool = False) -> dict[str, Any]:
    """The arguments of a job in a JSON text, or in a file. ArgumentError, FileError."""
    text, origin = _text_of(source)
    try:
        recipe = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{origin} is no JSON: {error}; expected what PipelineJob.to_json gives") from error
    if not isinstance(recipe, dict) or recipe.get("format") != FORMAT:
        keys = f"an object with {sorted(recipe)[:9]}" if isinstance(recipe, dict) else f"a {type(recipe).__name__}"
        raise ArgumentError(f"{origin} is not a recipe: {keys}, expected what PipelineJob.to_json gives")
    version = recipe.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ArgumentError(f"{origin} has version {version!r}, expected a whole number from 1 to {VERSION}")
    if version > VERSION:
        raise ArgumentError(
            f"{origin} has version {version}, this openhsi_shared knows those up to {VERSION}: install a newer one"
        )
    job = recipe.get("job")
    if not isinstance(job, dict) or set(recipe) != {"format", "version", "job"}:
        raise ArgumentError(f"{origin} has the keys {sorted(recipe)}, expected format, version and job (an object)")
    return {name: from_jsonable(value, name, allow_functions=allow_functions) for name, value in job.items()}


def _text_of(source: str | os.PathLike[str]) -> tuple[str, str]:
    if isinstance(source, str) and source.lstrip().startswith(("{", "[")):
        return source, "the recipe"
    path = given_path(source, "recipe", "a JSON text, or the path of a file with one")
    try:
        return path.read_text(encoding="utf-8-sig"), f"the recipe {path}"
    except (OSError, ValueError) as error:
        raise FileError(f"the recipe {path} cannot be read: {error}") from error


# ---- values --------------------------------------------------------------------------------------


def to_jsonable(value: Any, what: str = "value") -> Any:  # noqa: PLR0911 - one for each kind of value
    """A value as what `json.dumps` takes. ArgumentError, naming `what`, for one that no recipe can contain."""
    if value is None or isinstance(value, str | bool) or type(value) is int:
        return str(value) if isinstance(value, str) else value
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, Mapping):
        return _mapping_to_jsonable(value, what)
    if type(value) is list:
        return [to_jsonable(one, what) for one in value]
    for name, kind, to, _ in _KINDS:
        if isinstance(value, kind):
            return {f"${name}": to(value)}
    if isinstance(value, Stage):
        return _stage_to_jsonable(value, what)
    if callable(value):
        return {"$function": _pickled(value, what)}
    raise ArgumentError(
        f"{what}: {value!r}, a {type(value).__name__}, cannot be part of a recipe: expected numbers, texts, paths, "
        f"slices, dates, arrays, lists and dictionaries of these, or functions"
    )


def from_jsonable(value: Any, what: str = "value", *, allow_functions: bool = False) -> Any:  # noqa: PLR0911 - one for each kind
    """What `to_jsonable` was given. ArgumentError, naming `what`, for anything else."""
    again = functools.partial(from_jsonable, what=what, allow_functions=allow_functions)
    if isinstance(value, list):
        return [again(one) for one in value]
    if not isinstance(value, dict):
        return value
    marks = [key for key in value if key.startswith("$")]
    if not marks:
        return {key: again(one) for key, one in value.items()}
    if len(value) != 1:
        raise ArgumentError(f"{what}: an object with {marks[0]!r} must have no other key, got {sorted(value)}")
    mark, content = marks[0], value[marks[0]]
    try:
        if mark == "$dict":
            return {again(key): again(one) for key, one in content}
        if mark == "$tuple":
            return tuple(again(content))
        if mark == "$stage":
            return _stage_from_jsonable(content, again)
        if mark == "$function":
            return _unpickled(content, what, allow_functions)
        decode = _DECODERS[mark]
    except KeyError:
        raise ArgumentError(f"{what}: unknown kind of value {mark!r}: the recipe is damaged, or newer") from None
    except (TypeError, ValueError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(f"{what}: {content!r} is not valid as {mark}: {error}") from error
    try:
        return decode(content)
    except (TypeError, ValueError, KeyError, AttributeError, binascii.Error) as error:
        raise ArgumentError(f"{what}: {content!r} is not valid as {mark}: {error}") from error


def _mapping_to_jsonable(value: Mapping[Any, Any], what: str) -> Any:
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {str(key): to_jsonable(one, what) for key, one in value.items()}
    return {"$dict": [[to_jsonable(key, what), to_jsonable(one, what)] for key, one in value.items()]}


def _array(value: Any) -> dict[str, Any]:
    if isinstance(value, np.ma.MaskedArray):
        raise ArgumentError("a masked array cannot be part of a recipe: give its numbers, with NaN where it is masked")
    if value.dtype.hasobject:
        raise ArgumentError(f"an array of {value.dtype} cannot be part of a recipe: expected numbers or texts")
    data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
    return {"dtype": _dtype(value.dtype), "shape": list(value.shape), "data": data}


def _array_back(content: Any) -> Any:
    data = base64.b64decode(content["data"], validate=True)
    return np.frombuffer(data, _dtype_back(content["dtype"])).reshape(content["shape"]).copy()


def _dtype(value: Any) -> Any:
    return value.str if value.names is None else [list(one) for one in value.descr]


def _dtype_back(content: Any) -> Any:
    return np.dtype(content if isinstance(content, str) else [_field(one) for one in content])


def _field(content: Any) -> tuple[Any, ...]:
    name, kind, *shape = content
    return (name, kind, *(tuple(one) for one in shape))


def _parts(*names: str) -> Callable[[Any], list[Any]]:
    return lambda value: [None if (one := getattr(value, name)) is None else int(one) for name in names]


def _seconds_back(content: Any) -> datetime.timedelta:
    return datetime.timedelta(*content)


_KINDS: tuple[tuple[str, Any, Callable[[Any], Any], Callable[[Any], Any]], ...] = (
    ("path", Path, str, Path),
    ("slice", slice, _parts("start", "stop", "step"), lambda content: slice(*content)),
    ("range", range, _parts("start", "stop", "step"), lambda content: range(*content)),
    ("array", np.ndarray, _array, _array_back),
    ("number", np.generic, lambda value: _array(np.asarray(value)), lambda content: _array_back(content)[()]),
    ("dtype", np.dtype, _dtype, _dtype_back),
    ("datetime", datetime.datetime, datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    ("date", datetime.date, datetime.date.isoformat, datetime.date.fromisoformat),
    ("time", datetime.time, datetime.time.isoformat, datetime.time.fromisoformat),
    ("timedelta", datetime.timedelta, _parts("days", "seconds", "microseconds"), _seconds_back),
    ("complex", complex, repr, complex),
    ("bytes", bytes, lambda value: base64.b64encode(value).decode(), base64.b64decode),
    ("tuple", tuple, lambda value: [to_jsonable(one) for one in value], tuple),
    ("float", float, lambda value: repr(float(value)), float),
)
"""Name, type, and the way there and back."""
_DECODERS = {f"${name}": back for name, _, _, back in _KINDS}


# ---- stages and functions ------------------------------------------------------------------------


def stage_parameters(stage: Stage) -> dict[str, Any]:
    """The parameters of a stage: the fields of its dataclass.

    ArgumentError for a class with others that is no dataclass: these would be missing in recipes and ids.
    """
    kind: Any = type(stage)
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    own = {name for name, note in inspect.get_annotations(kind).items() if "ClassVar" not in str(note)}
    if own - {field.name for field in fields} or (
        "__init__" in vars(kind) and "__dataclass_fields__" not in vars(kind)
    ):
        raise ArgumentError(
            f"stage {stage.code!r}: its class {kind.__qualname__} is no dataclass: write @dataclass before it, and its "
            f"parameters as fields with defaults, so that they are part of recipes and ids"
        )
    return {field.name: getattr(stage, field.name) for field in fields if field.init}


def is_registered(stage: Stage) -> bool:
    """Whether the registry has the class of the stage, so that its code and parameters make it again."""
    from openhsi_shared.jobs.stages.registry import STAGES, all_stages, stage_codes

    kind = type(stage)
    if stage.code in STAGES:  # without an import of all
        return STAGES[stage.code] == f"{kind.__module__}:{kind.__qualname__}"
    return stage.code in stage_codes() and all_stages().get(stage.code) is kind


def _stage_to_jsonable(stage: Stage, what: str) -> Any:
    if not is_registered(stage):
        return {"$function": _pickled(stage, f"{what}, stage {stage.code!r}")}
    parameters = {
        name: to_jsonable(value, f"{what}, {name} of stage {stage.code!r}")
        for name, value in stage_parameters(stage).items()
    }
    return {"$stage": {"code": stage.code, "parameters": parameters}}


def _stage_from_jsonable(content: Any, again: Callable[[Any], Any]) -> Stage:
    from openhsi_shared.jobs.stages.registry import stage_named

    if not isinstance(content, dict) or set(content) != {"code", "parameters"}:
        raise ArgumentError(f"a stage of the recipe is {content!r}, expected an object with code and parameters")
    return stage_named(content["code"], **again(content["parameters"]))


def _pickled(thing: Any, what: str) -> dict[str, Any]:
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    found = function_sources.sources_of(thing)
    data = base64.b64encode(_cloudpickled(thing, f"{what}, {thing!r},")).decode()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"name": name, "sources": found, "python": python, "cloudpickle": data}


def _unpickled(content: Any, what: str, allowed: bool) -> Any:
    import cloudpickle

    if not isinstance(content, dict) or not {"name", "sources", "cloudpickle"} <= set(content):
        raise ArgumentError(f"{what}: a function of the recipe is incomplete: {content!r}")
    if not allowed:
        raise ArgumentError(
            f"{what}: the recipe contains the function {content['name']!r}, and loading it executes code: look at it "
            f"(`sources` in the recipe), and call with allow_functions=True if its origin can be trusted"
        )
    try:
        thing = cloudpickle.loads(base64.b64decode(content["cloudpickle"]))
    except Exception as error:  # whatever a pickle raises
        raise ArgumentError(
            f"{what}: the function {content['name']!r} cannot be loaded: {error!r}; it was made by Python "
            f"{content.get('python', 'unknown')}, here is {sys.version_info.major}.{sys.version_info.minor}"
        ) from error
    if changed := function_sources.changed_since(thing, content["sources"]):
        raise ArgumentError(
            f"{what}: {', '.join(changed)} has changed since the recipe was made: restore its module, as `sources` "
            f"in the recipe has it, or make the job of the present function"
        )
    function_sources.remember(thing, content["sources"])
    return thing


def _cloudpickled(thing: Any, what: str) -> bytes:
    cloudpickle = importlib.import_module("cloudpickle")
    try:
        data: bytes = cloudpickle.dumps(thing)
    except Exception as error:  # whatever a part of it raises
        raise ArgumentError(
            f"{what} cannot travel to other processes: {error}; open files, locks and connections inside of "
            f"the function, not beside it"
        ) from error
    return data


# ---- pickles -------------------------------------------------------------------------------------


def pack(values: Mapping[str, Any]) -> bytes:
    """The arguments of a job as bytes, with functions, for another process. ArgumentError for what cannot travel."""
    sources = [function_sources.sources_of(stage) for stage in values["stages"]]
    codes = ", ".join(repr(stage.code) for stage in values["stages"])
    return _cloudpickled((dict(values), sources), f"the stages {codes}")


def unpack(packed: bytes) -> dict[str, Any]:
    """What `pack` was given."""
    values: dict[str, Any]
    values, sources = importlib.import_module("cloudpickle").loads(packed)
    for stage, found in zip(values["stages"], sources, strict=True):
        function_sources.remember(stage, found)
    return values
