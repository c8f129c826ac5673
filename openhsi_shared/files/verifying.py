"""Verifies a file: every checksum is computed again."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from openhsi_shared.dataset import LINK_ATTRIBUTE
from openhsi_shared.errors import FileError
from openhsi_shared.files.additions import additions
from openhsi_shared.files.contents import Contents, display_name
from openhsi_shared.files.damage import broken_file
from openhsi_shared.files.journal import JOURNAL, journal_of, unfinished
from openhsi_shared.files.lines import CACHED_BYTES, CheckedLines
from openhsi_shared.files.reading import OpenCube, open_cube
from openhsi_shared.files.rewritten import rewritten_labels
from openhsi_shared.files.table_file import OpenTable, is_table
from openhsi_shared.files.threads import in_threads
from openhsi_shared.paths import given_path

__all__ = ["Report", "verify", "verify_and_read"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class Report:
    """Result of `verify`."""

    path: Path
    """The file."""
    problems: tuple[str, ...]
    """One sentence each; empty if the file is good."""
    n_lines: int = 0
    """Lines of the cube."""
    damaged_lines: tuple[int, ...] = ()
    """Numbers of the damaged lines."""
    n_bytes: int = 0
    """Length of the file."""
    covers: tuple[str, ...] = ()
    """Names of what was compared with its checksums: the datacube, variables, and those of groups ("/gps/lat")."""
    added: tuple[str, ...] = ()
    """Names of what another program added later ("lat", "gps", "/gps/lat"). It has no checksums: no problem."""

    @property
    def ok(self) -> bool:
        """Whether everything that this library wrote is intact."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.ok


def verify(path: str | os.PathLike[str]) -> Report:
    """Read a complete file of this library and compare everything with its checksum.

    Never raises for a bad file: a FileError becomes one of the problems. What another program added is not compared: it
    is reported in `added`. A file of openhsi has no checksums: that is also reported as a problem, and what is finished
    of the result of a job that was interrupted. So is a source that the file refers to and that is nowhere, or was
    replaced; its own lines are not compared.
    """
    return verify_and_read(path, lambda _: None)[0]


def verify_and_read(
    path: str | os.PathLike[str], read: Callable[[OpenCube], Value]
) -> tuple[Report, Value | None]:  # fmt: skip
    """`verify`, and what `read` finds in the cube, which is opened only once. None if it is not good, or no cube."""
    path = given_path(path, kind="the path of a file")
    journal = path if JOURNAL.fullmatch(path.name) else journal_of(path)
    try:
        if journal is not None:
            return Report(path, (str(unfinished(journal)),)), None
        if is_table(path) and not _is_linked(path):
            return _verify_table(path, path.stat().st_size), None
        with open_cube(path) as cube:
            report = _verify_cube(cube)
            return report, read(cube) if report.ok else None
    except (OSError, ValueError) as error:
        return Report(path, (str(error),)), None


def _verify_cube(cube: OpenCube) -> Report:
    n_bytes = cube.path.stat().st_size
    covers = _written(cube.contents) if cube.is_ours else []
    problems = _problems_of_contents(cube, covers)
    damaged: tuple[int, ...] = ()
    extents: list[tuple[int, int]] = []
    if isinstance(cube.raw_lines, CheckedLines):
        damaged, of_lines = _problems_of_lines(cube, cube.raw_lines)
        problems += of_lines
        extents = cube.raw_lines.extents
    problems += _problems_of_link(cube)
    if not problems:  # other libraries may crash the process on damaged contents
        problems += _problems_of_other_readers(cube.contents, covers, extents)
    added = _added(cube, problems)
    names = tuple(f"/{name}" if "/" in name else name for name in covers)
    return Report(cube.path, tuple(problems), len(cube.lines), damaged, n_bytes, names, added)


def _is_linked(path: Path) -> bool:
    with OpenTable(path) as table:
        return LINK_ATTRIBUTE in table.attributes


def _verify_table(path: Path, n_bytes: int) -> Report:
    with OpenTable(path) as table:
        covers = _written(table.contents)
        problems = list(_of_variables(table.contents, covers))
        try:
            n_lines = table.attributes.get("n_lines", 0)
        except FileError as error:
            problems, n_lines = [*problems, str(error)], 0
        problems += [] if problems else _problems_of_other_readers(table.contents, covers)
        names = tuple(f"/{name}" if "/" in name else name for name in covers)
        return Report(path, tuple(problems), n_lines, (), n_bytes, names)


def _added(cube: OpenCube, problems: list[str]) -> tuple[str, ...]:
    try:
        with broken_file(cube.path):
            return tuple(additions(cube.contents)) if cube.is_ours else ()
    except FileError as error:  # what this library wrote is damaged: what was added is not read
        problems += [] if problems else [str(error)]
        return ()


def _written(contents: Contents) -> list[str]:
    """Paths of all variables that this library wrote."""
    if contents.written is not None:
        lines = ["datacube"] if "datacube" in contents.file else []
        return [*lines, *(path for path in contents.written if not path.endswith("/"))]
    return [name for name in contents.members("")[0] if contents.is_written(name)]


def _problems_of_other_readers(
    contents: Contents, covers: list[str], lines: Sequence[tuple[int, int]] = ()
) -> list[str]:  # fmt: skip
    """Problems with what only other readers use: labels, the dimension of each axis, and where HDF5 looks for lines.

    `lines`: where good lines are in the file.
    """
    path, objects = contents.path, contents.objects
    try:
        objects.check_heap(lines)
        for name in covers:
            variable = objects[name]
            dict(objects.attributes(name))
            for axis in variable.dims:
                axis.values()
            if name != "datacube":
                variable[...]
            elif variable.chunks and (n_hidden := _hidden_chunks(variable)):
                return [f"{path}: other netCDF readers do not find {n_hidden} of its lines, and read zeros instead"]
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        return [f"{path} cannot be read by other netCDF readers: {error}"]
    return []


def _hidden_chunks(variable: Any) -> int:
    """How many chunks are missing from the index, as keys there are damaged."""
    known: set[tuple[int, ...]] = set()
    variable.id.chunk_iter(lambda chunk: known.add(chunk.chunk_offset))
    sizes = zip(variable.shape, variable.chunks, strict=True)
    return sum(place not in known for place in product(*(range(0, size, of_chunk) for size, of_chunk in sizes)))


def _problems_of_contents(cube: OpenCube, covers: list[str]) -> list[str]:
    if not cube.is_ours:
        with broken_file(cube.path):
            program = cube.contents.written_by
        return [
            f"{cube.path} has no checksums of its lines: it was written, or rewritten, by another program"
            + (f" ({program})" if program else "")
        ]
    return list(_of_contents(cube, covers))


def _of_contents(cube: OpenCube, covers: list[str]) -> Iterator[str]:
    contents = cube.contents
    try:
        stated = cube.attributes.get("n_lines", len(cube.lines))
        if stated != len(cube.lines):
            yield f"{cube.path}: n_lines is {stated}, but the file has {len(cube.lines)} lines"
    except FileError as error:
        yield str(error)
    try:
        yield from rewritten_labels(cube, covers)
    except FileError as error:  # reported with its variable, too, if this library wrote it
        yield str(error)
    yield from _of_variables(contents, covers)
    if contents.written is None:
        with broken_file(cube.path):
            n_dangling = contents.n_dangling_references()
        if n_dangling:
            yield f"{cube.path} is damaged: {n_dangling} variables that its dimensions refer to are missing"


def _of_variables(contents: Contents, covers: list[str]) -> Iterator[str]:
    groups = [path.removesuffix("/") for path in contents.written or () if path.endswith("/")]
    for name, is_group in [*((name, False) for name in covers), *((name, True) for name in groups)]:
        try:
            if is_group or name == "datacube":  # the lines have their own checksums
                contents.attributes(name, is_group)
            elif not contents.has_checksum(name):
                yield f"{contents.path}: {display_name(name)} has no checksum"
            else:
                contents.variable(name)
        except FileError as error:
            yield str(error)


def _problems_of_link(cube: OpenCube) -> list[str]:
    if cube.link is None or cube.source is None:
        return []
    difference = cube.link.difference(cube.source, thoroughly=True)
    return [f"{cube.path} was computed from another cube: {cube.source.path} {difference}"] if difference else []


def _problems_of_lines(cube: OpenCube, lines: CheckedLines) -> tuple[tuple[int, ...], list[str]]:
    written = cube.column("line_crc32")
    n_at_once = max(1, CACHED_BYTES // max(1, lines.dtype.itemsize * lines.shape[1] * lines.shape[2]))
    rooms: list[Any] = []

    def check(first: int) -> list[tuple[int, str]]:
        stop = min(first + n_at_once, len(lines))
        try:
            room = rooms.pop()
        except IndexError:  # one for each thread
            room = np.empty((n_at_once, *lines.shape[1:]), lines.dtype)
        good = lines.read_into(first, stop, room[: stop - first])
        rooms.append(room)
        bad = (int(index) for index in first + np.flatnonzero(~good))
        return [(index, problem) for index in bad if (problem := problem_of(index))]

    def problem_of(index: int) -> str:
        try:
            found = lines.crc32_in_file(index)
        except FileError as error:
            return str(error)
        same = found == written[index]
        return (
            "" if same else f"{cube.path}: line {index} is damaged: checksum {found:#010x}, not {written[index]:#010x}"
        )

    blocks = in_threads(4, check, range(0, len(lines), n_at_once))
    damaged = [one for block in blocks for one in block]
    return tuple(index for index, _ in damaged), [problem for _, problem in damaged]
