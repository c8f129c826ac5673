"""Is what is in a file what was written into it? Every checksum is computed again."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import h5py

from openhsi_shared.errors import FileError
from openhsi_shared.files.image import COLUMN_CHECKSUM
from openhsi_shared.files.lines import CheckedLines
from openhsi_shared.files.reading import OpenCube, broken_file, open_cube, path_of
from openhsi_shared.hdf5_guard import refuse_endless_heaps

__all__ = ["Report", "verify"]


@dataclass(frozen=True)
class Report:
    """What `verify` found."""

    path: Path
    problems: tuple[str, ...]
    """One sentence each; empty if all is well."""
    n_lines: int = 0
    """Lines of the cube."""
    damaged_lines: tuple[int, ...] = ()
    """Numbers of those lines that are not what was written."""
    n_bytes: int = 0
    """Length of the file."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.ok


def verify(path: str | os.PathLike[str]) -> Report:
    """Read a file of ours from end to end and compare everything with its checksums. Never raises for a bad file.

    A file of openhsi's has no checksums: that is a problem, too.
    """
    path = path_of(path)
    try:
        n_bytes = path.stat().st_size
        with open_cube(path) as cube:
            problems = _problems_of_variables(cube)
            damaged: tuple[int, ...] = ()
            if isinstance(cube.lines, CheckedLines):
                damaged, of_lines = _problems_of_lines(cube, cube.lines)
                problems += of_lines
            if not problems:  # of what is damaged, others' libraries may make an end of the process
                problems += _problems_of_other_readers(path)
            return Report(path, tuple(problems), len(cube.lines), damaged, n_bytes)
    except (OSError, ValueError) as error:
        return Report(path, (str(error),))


def _problems_of_other_readers(path: Path) -> list[str]:
    """What others need and we do not: labels, and which dimension belongs to which axis."""
    try:
        with path.open("rb") as content:
            refuse_endless_heaps(content)
        with h5py.File(path, "r", locking="best-effort") as file:
            for name, variable in file.items():
                dict(variable.attrs)
                for axis in variable.dims:
                    axis.values()
                if name != "datacube":
                    variable[...]
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        return [f"{path} cannot be read by other readers of netCDF: {error}"]
    return []


def _problems_of_variables(cube: OpenCube) -> list[str]:
    if not cube.is_ours:
        return [f"{cube.path} has no checksums of its lines: it was written, or rewritten, by another program"]
    problems: list[str] = []
    try:
        said = cube.attributes.get("n_lines", len(cube.lines))
        if said != len(cube.lines):
            problems.append(f"{cube.path} says it has {said} lines, but has {len(cube.lines)}")
    except FileError as error:
        problems.append(str(error))
    with broken_file(cube.path), h5py.File(cube.path, "r", locking="best-effort") as file:
        for name, variable in file.items():
            if name == "datacube" or (variable.chunks is None and variable.id.get_storage_size() == 0):
                continue  # the lines have their own checksums; a dimension without a variable has no values
            if COLUMN_CHECKSUM not in variable.attrs:
                problems.append(f"{cube.path}: the variable {name} has no checksum")
                continue
            try:
                cube.column(name)
            except FileError as error:
                problems.append(str(error))
    return problems


def _problems_of_lines(cube: OpenCube, lines: CheckedLines) -> tuple[tuple[int, ...], list[str]]:
    written = cube.column("line_crc32")

    def look(index: int) -> str:
        try:
            found = lines.crc32_in_file(index)
        except FileError as error:
            return str(error)
        same = found == written[index]
        return (
            "" if same else f"{cube.path}: line {index} is damaged: checksum {found:#010x}, not {written[index]:#010x}"
        )

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(look, range(len(lines))))
    damaged = tuple(index for index, problem in enumerate(found) if problem)
    return damaged, [found[index] for index in damaged]
