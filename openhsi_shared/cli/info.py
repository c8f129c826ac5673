"""`openhsi-shared info`: show the contents of a cube."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openhsi_shared.cli import in_one_line
from openhsi_shared.cli.arguments import GivenPath, cubes_in
from openhsi_shared.cli.output import NO_CUBES, echo, echo_saved_more_than_once
from openhsi_shared.errors import FileError, OpenHSIError
from openhsi_shared.loggers import safe_logger

if TYPE_CHECKING:
    from openhsi_shared.files.open_group import OpenGroup
    from openhsi_shared.files.reading import OpenCube

__all__ = ["info"]

logger = safe_logger(__name__)

SHOWN_SEPARATELY = {
    "lines_lost",
    "lines_lost_before",
    "lines_lost_within",
    "lost_frame_ids",
    "lines_overwritten",
    "settings",
    "processing_level",
}
"""Attributes that have their own row, or are part of one."""
MAX_CHARACTERS = 100


@click.command()
@click.argument("paths", metavar="FILE_OR_DIR...", nargs=-1, required=True, type=GivenPath())
@click.pass_context
def info(context: click.Context, /, paths: tuple[Path, ...]) -> None:
    """Show the contents of cubes, written by this library or by openhsi: size, time, losses, settings, attributes.

    Of a directory, all cubes in it and below. The lines are not read; use `verify` for that.
    A file that cannot be read is reported, and does not stop the others; the exit code is then 1.
    Several files of one cube are named on standard error.
    """
    files, empty = cubes_in(paths)
    for directory in empty:
        echo(f"Error: {directory}: {NO_CUBES}", err=True)
    n_failed = len(empty)
    for file in files:
        try:
            rows = _rows(file)
        except (OpenHSIError, OSError) as error:
            logger.info("%s cannot be shown", file, exc_info=True)
            echo(f"Error: {in_one_line(error)}", err=True)
            n_failed += 1
            continue
        echo(file)
        for name, text in rows:
            echo(f"{name:27} {text}")
    echo_saved_more_than_once(files, err=True)
    if n_failed:
        context.exit(1)


def _rows(file: Path) -> list[tuple[str, str]]:
    from openhsi_shared.files.reading import open_cube

    with open_cube(file, check=False) as cube:
        rows = [*_about_lines(cube), *_about_loss(cube.attributes), *_about_settings(cube.attributes)]
        rows += [(key, _short(value)) for key, value in cube.attributes.items() if key not in SHOWN_SEPARATELY]
        rows += _about_groups(cube.groups)
    return rows


def _about_lines(cube: "OpenCube") -> Iterator[tuple[str, str]]:
    from openhsi_shared.line_times import known_times

    lines: Any = cube.lines
    n_lines, n_pixels, n_bands = lines.shape
    n_bytes = n_lines * n_pixels * n_bands * lines.dtype.itemsize
    if 0 in lines.shape:
        yield "empty", "no pixels"
    yield "along-track", f"{n_lines} lines"
    yield "cross-track", f"{n_pixels} pixels"
    wavelengths_nm = cube.wavelengths_nm
    yield (
        "wavelength",
        f"{n_bands} bands"
        + (
            ", wavelengths unknown"
            if wavelengths_nm is None or not n_bands
            else f", {min(wavelengths_nm):.1f} to {max(wavelengths_nm):.1f} nm"
        ),
    )
    yield "pixel", f"{lines.dtype}, {n_bytes / 1e6:,.1f} MB in all"
    yield "level", f"{cube.level}"
    times_ns = known_times([] if cube.times_ns is None else cube.times_ns)
    if len(times_ns):
        seconds = (int(times_ns[-1]) - int(times_ns[0])) / 1e9
        rate = f", {(len(times_ns) - 1) / seconds:.1f} lines/s" if seconds > 0 else ""
        yield "time", f"{_utc(times_ns[0])} to {_utc(times_ns[-1])}{rate}"
    frame_ids = cube.frame_ids
    if frame_ids is not None and len(frame_ids):
        yield "frame ids", f"{int(frame_ids[0])} to {int(frame_ids[-1])}"
    temperatures = [float(value) for value in (() if cube.temperatures is None else cube.temperatures)]
    known = [value for value in temperatures if value == value]  # noqa: PLR0124 - NaN means unknown
    if known:
        yield "temperature", f"{min(known):.1f} to {max(known):.1f} degrees Celsius"


def _about_loss(attributes: Any) -> Iterator[tuple[str, str]]:
    if "lines_lost" not in attributes:
        yield "lost", "unknown: not recorded in the file"
        return
    n_lost, ids = int(attributes["lines_lost"]), attributes.get("lost_frame_ids")
    yield "lost", f"{n_lost} lines before or within" + (f" (frame ids {_short(ids)})" if n_lost and ids else "")
    if int(attributes.get("lines_overwritten", 0)):
        yield "overwritten", f"{attributes['lines_overwritten']} lines, by later ones"


def _about_settings(attributes: Any) -> Iterator[tuple[str, str]]:
    try:
        settings = json.loads(attributes.get("settings", "{}"))
    except (TypeError, ValueError):
        settings = {}
    if isinstance(settings, dict):
        for key, value in settings.items():
            if value not in (None, {}):
                yield f"settings {key}", _short(value)


def _about_groups(groups: "Mapping[str, OpenGroup]") -> Iterator[tuple[str, str]]:
    """Rows for each group, its variables and its attributes. A damaged one is reported in its place."""
    from openhsi_shared.files.axes import NOT_A_COORDINATE

    for group in groups.values():
        try:
            counts = [f"{len(names)} {what}" for names, what in _parts_of(group) if names]
            yield f"group {group.path}", ", ".join(counts) or "empty"
            yield from ((f"{group.path}:{key}", _short(value)) for key, value in group.attributes.items())
            for name in group.variables:
                yield f"{group.path}/{name.removeprefix(NOT_A_COORDINATE)}", _about_variable(group, name)
            yield from _about_groups(group.groups)
        except FileError as error:
            yield f"group {group.path}", str(error)


def _parts_of(group: "OpenGroup") -> list[tuple[Any, str]]:
    return [(group.variables, "variables"), (group.groups, "groups"), (group.attributes, "attributes")]


def _about_variable(group: "OpenGroup", name: str) -> str:
    try:
        variable = group.variables[name]
    except FileError as error:
        return str(error)
    sizes = ", ".join(f"{dim}: {size}" for dim, size in zip(variable.dims, variable.data.shape, strict=True))
    kind = "text" if variable.data.dtype.kind == "U" else str(variable.data.dtype)
    units = f", {variable.attributes['units']}" if "units" in variable.attributes else ""
    return f"{kind} ({sizes}){units}"


def _utc(time_ns: Any) -> str:
    from openhsi_shared.line_times import utc_of

    return utc_of(time_ns).strftime("%Y-%m-%d %H:%M:%S.%f UTC")


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 3]}..."
