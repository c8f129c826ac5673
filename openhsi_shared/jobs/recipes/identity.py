"""Ids of what jobs compute: readable, invertible, and of the content, not of paths.

    gen|dat|cal|lvl|stage|...|err          each part: code:key=value^key=value

`gen` is the generation of our arithmetic, `dat` the input, `cal` calibration and settings, `lvl` the level, `err` what
else decides the result. The idea and the separators are those of dcnum.
"""

from collections.abc import Iterable
from typing import Any

from openhsi_shared.errors import ArgumentError
from openhsi_shared.files.source_cube import SourceCube
from openhsi_shared.jobs.recipes.arguments import JobArguments
from openhsi_shared.jobs.recipes.contents import calibration_hash, content_of_cube, content_of_file
from openhsi_shared.jobs.recipes.file_paths import is_path
from openhsi_shared.jobs.recipes.serial import is_registered, stage_parameters
from openhsi_shared.jobs.recipes.value_texts import hash_of, text_of, value_of
from openhsi_shared.jobs.stages.stage import Stage

__all__ = ["GENERATION", "parts_of", "ppid_of", "values_of"]

GENERATION = 1
"""Of the arithmetic: raised when any level or stage computes other numbers than before."""
SETTINGS = ("exposure_ms", "fwhm_nm", "luminance", "row_slice", "resolution", "pixel_format")
"""Settings of the camera that decide how levels are computed."""
_FIRST, _LAST = ("gen", "dat", "cal", "lvl"), "err"
_CODES = {"gen": "jobs", "cal": "calibration", "lvl": "level", "err": "result"}


def ppid_of(job: JobArguments, source: SourceCube) -> tuple[str, str, dict[str, str]]:
    """Text, hash and parts of the id of a job of one cube; see `parts_of`."""
    parts = parts_of(job, source)
    text = "|".join(parts.values())
    return text, hash_of(text), parts


def parts_of(job: JobArguments, source: SourceCube) -> dict[str, str]:
    """The parts of the id of a job of one cube, in order: gen, dat, cal, lvl, stage_1, ..., err.

    Reads the checksums of the lines of a cube of this library, or the pixels of another one, once in a process.
    """
    kind, content = content_of_cube(source.path)
    settings = source.settings.model_dump()
    parts = {
        "gen": _part(_CODES["gen"], {"generation": GENERATION}),
        "dat": _part(kind, {**content, "lines": job.lines}),
        "cal": _part(
            _CODES["cal"],
            {"values": calibration_hash(source.calibration), **{name: settings[name] for name in SETTINGS}},
        ),
        "lvl": _part(_CODES["lvl"], {"level": job.processing_lvl, "compat": job.compat, "rows": job.rows}),
    }
    for number, stage in enumerate(job.stages, 1):
        parts[f"stage_{number}"] = _stage_part(stage)
    is_table = job.output == "table"
    result = {"on_error": job.on_error, "significant_bits": job.significant_bits, "table": is_table}
    return {**parts, _LAST: _part(_CODES["err"], result)}


def _part(code: str, values: dict[str, Any]) -> str:
    return f"{code}:{'^'.join(f'{name}={text_of(value)}' for name, value in values.items())}"


def _stage_part(stage: Stage) -> str:
    values = {name: _as_content(name, value) for name, value in stage_parameters(stage).items()}
    if not type(stage).__module__.startswith("openhsi_shared."):
        values["class"] = type(stage)
    return _part(stage.code, values)


def _as_content(name: str, value: Any) -> Any:
    """A parameter that is the path of a file, as that: it is known by its content."""
    return content_of_file(value) if is_path(name, value) else value


# ---- the way back --------------------------------------------------------------------------------


def values_of(ppid: str, known: Iterable[Any] = ()) -> dict[str, Any]:
    """The arguments of a job that its id contains; `known`: functions, stages and paths of files that it may use.

    ArgumentError if the text is no id, is of another generation, or uses what is not known.
    """
    if not isinstance(ppid, str) or ppid.count("|") < len(_FIRST):
        raise ArgumentError(f"a job's id has at least {len(_FIRST) + 1} parts between '|', got {ppid!r}")
    by_text = {text_of(_known(one)): one for one in known}
    first, *rest = (_values(part, by_text) for part in ppid.split("|"))
    data, calibration, level, *stages, result = rest
    for name, (code, _) in zip(("gen", "cal", "lvl", "err"), (first, calibration, level, result), strict=True):
        if code != _CODES[name]:
            raise ArgumentError(
                f"the part {name} of a job's id begins with {code!r}, expected {_CODES[name]!r}: {ppid}"
            )
    generation = first[1].get("generation")
    if generation != GENERATION:
        raise ArgumentError(
            f"the id is of generation {generation!r} of the arithmetic, this is {GENERATION}: use the version of "
            f"openhsi_shared that made it"
        )
    try:
        found = {
            "lines": data[1]["lines"],
            "processing_lvl": level[1]["level"],
            "compat": level[1]["compat"],
            "rows": level[1]["rows"],
            "on_error": result[1]["on_error"],
            "significant_bits": result[1]["significant_bits"],
            "stages": tuple(_stage(code, values) for code, values in stages),
        }
        return {**found, "output": "table"} if result[1]["table"] else found
    except KeyError as error:
        raise ArgumentError(f"a job's id lacks {error}: {ppid}") from error


def _known(thing: Any) -> Any:
    return content_of_file(thing) if isinstance(thing, str) else type(thing) if isinstance(thing, Stage) else thing


def _values(part: str, known: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    code, colon, rest = part.partition(":")
    if not code or not colon:
        raise ArgumentError(f"a part of a job's id is code:key=value^key=value, got {part!r}")
    pairs = [pair.partition("=") for pair in rest.split("^")] if rest else []
    if any(not equals for _, equals, _ in pairs):
        raise ArgumentError(f"a part of a job's id is code:key=value^key=value, got {part!r}")
    return code, {name: value_of(text, known) for name, _, text in pairs}


def _stage(code: str, values: dict[str, Any]) -> Stage:
    from openhsi_shared.jobs.stages.registry import stage_named

    kind = values.pop("class", None)
    if kind is None:
        return stage_named(code, **values)
    if isinstance(kind, Stage):
        kind = type(kind)
    stage: Stage = kind(**values)
    return stage if not is_registered(stage) else stage_named(code, **values)
