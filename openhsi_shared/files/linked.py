"""Files that refer to the cube that they were computed from, and contain only what is new.

The attribute `source_link` of such a file names its source: JSON with a relative and an absolute path, the uuid, and a
hash of the lines. What the file lacks is read from the source: columns of the lines; groups, if it has all lines of the
source one for one, except those along an axis of another size; and the lines themselves if it has no datacube.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.dataset import LINK_ATTRIBUTE
from openhsi_shared.errors import FileError
from openhsi_shared.files.checksums import crc32_of
from openhsi_shared.files.contents import Contents
from openhsi_shared.files.lines import FileLines
from openhsi_shared.files.packing import Packing
from openhsi_shared.groups import Variable

__all__ = ["Link", "LinkedContents", "lines_hash", "link_in", "open_source"]

NEVER_FOLLOWED = {"line_crc32", "y"}
_FOLLOWED: ContextVar[frozenset[Path]] = ContextVar("_FOLLOWED", default=frozenset())
"""Files whose sources are being opened: one that comes again refers to itself."""


class Source(Protocol):
    """What is needed of an open cube, see `reading.OpenCube`."""

    path: Path
    lines: FileLines
    raw_lines: FileLines
    is_ours: bool
    contents: Contents

    @property
    def attributes(self) -> dict[str, Any]: ...
    @property
    def times_are_uncertain(self) -> bool: ...
    @property
    def axes_of_lines(self) -> list[str]: ...
    def of_lines(self, values: NDArray[Any]) -> NDArray[Any]: ...
    def close(self) -> None: ...


Opened = TypeVar("Opened", bound=Source)


@dataclass(frozen=True, kw_only=True)
class Link:
    """How a file refers to its source."""

    relative_path: str
    """Of the source, from the folder of the file, with slashes; "" if there is none."""
    absolute_path: str
    uuid: str | None
    """Of the source; None if another program wrote it."""
    lines_hash: str
    """See `lines_hash`."""
    n_bytes: int
    mtime_ns: int
    """Size and time of the source, by which one without checksums is recognised without reading it."""
    first_line: int
    """Number of the line of the source that is line 0 of the file."""
    n_lines: int
    """Lines of the file, one for each line of the source from `first_line` on; 0 if lines of the file are made of
    several ones of the source: then nothing is read from it."""

    @classmethod
    def to(cls, cube: Source, file: Path, lines: range | None = None) -> "Link":
        """A link from `file`, which is to be written, to an open cube, of which it has `lines`; None: all.

        `range(0)`: its lines are not those of the cube one for one, as if they were binned.
        """
        lines = range(len(cube.lines)) if lines is None else lines
        stat, source = cube.path.stat(), cube.path.absolute()
        try:
            relative = PurePath(os.path.relpath(source, file.absolute().parent)).as_posix()
        except ValueError:  # on another drive of Windows
            relative = ""
        return cls(
            relative_path=relative,
            absolute_path=str(source),
            uuid=_uuid_of(cube),
            lines_hash=lines_hash(cube),
            n_bytes=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            first_line=lines.start,
            n_lines=len(lines),
        )

    @property
    def attributes(self) -> dict[str, str]:
        """The attribute of the file that refers to the source."""
        return {LINK_ATTRIBUTE: json.dumps(dataclasses.asdict(self))}

    @property
    def lines(self) -> slice:
        """The lines of the source that the file has."""
        return slice(self.first_line, self.first_line + self.n_lines)

    def candidates(self, file: Path) -> Iterator[Path]:
        """Where the source may be: by its relative path first, so that a pair can be moved."""
        folder = file.absolute().parent
        found = [folder / self.relative_path] if self.relative_path else []
        found += [Path(self.absolute_path), folder / PurePath(self.absolute_path).name]
        return iter(dict.fromkeys(Path(os.path.normpath(path)) for path in found))

    def difference(self, cube: Source, *, thoroughly: bool = False) -> str:
        """How an open cube differs from the source, in words; "" if it is the source.

        A cube of another program that has the same size and time is not read, unless `thoroughly`.
        """
        if _uuid_of(cube) != self.uuid:
            return f"has uuid {_uuid_of(cube)}, not {self.uuid}"
        stat = cube.path.stat()
        is_untouched = (stat.st_size, stat.st_mtime_ns) == (self.n_bytes, self.mtime_ns)
        if self.uuid is None and is_untouched and not thoroughly:
            return ""
        found = lines_hash(cube)
        return "" if found == self.lines_hash else f"has other lines: their hash is {found}, not {self.lines_hash}"


def lines_hash(cube: Source) -> str:
    """CRC-32 of the CRC-32 of all lines, as 8 hexadecimal digits; without checksums in the file, all lines are read."""
    if cube.is_ours and cube.contents.has("line_crc32"):
        checksums = cube.contents.values("line_crc32")
    else:
        checksums = np.array([crc32_of(line) for line in cube.raw_lines], np.uint32)
    return f"{crc32_of(checksums.astype('<u4')):08x}"


def _without_links(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _uuid_of(cube: Source) -> str | None:
    uuid = cube.attributes.get("uuid") if cube.is_ours else None
    return None if uuid is None else str(uuid)


def link_in(path: Path, attributes: Mapping[str, Any]) -> Link | None:
    """The link of a file; None if it has none. FileError for one that cannot be understood."""
    text = attributes.get(LINK_ATTRIBUTE)
    if text is None:
        return None
    try:
        found = json.loads(text)
        return Link(**{field.name: found[field.name] for field in dataclasses.fields(Link)})
    except (ValueError, TypeError, KeyError) as error:
        raise FileError(f"{path}: its attribute {LINK_ATTRIBUTE} is no link to a source: {text!r:.200}") from error


def open_source(path: Path, link: Link, open_cube: Callable[[Path], Opened]) -> Opened:
    """Open the source of a file. FileError if it is nowhere, or was replaced by another cube."""
    followed = _FOLLOWED.get() | {_without_links(path)}
    problems = []
    for candidate in link.candidates(path):
        if _without_links(candidate) in followed:
            problems.append(f"{candidate} is this file itself, or refers to it: it was replaced")
            continue
        token = _FOLLOWED.set(followed)
        try:
            cube = open_cube(candidate)
        except OSError as error:
            problems.append(str(error))
            continue
        finally:
            _FOLLOWED.reset(token)
        try:
            difference = link.difference(cube)
        except BaseException:
            cube.close()
            raise
        if not difference:
            return cube
        cube.close()
        problems.append(f"{candidate} {difference}: it was replaced")
    raise FileError(
        f"{path} refers to the cube that it was computed from, which is not there: {'; '.join(problems)}. Put that "
        f"cube back, or beside the file; with check=False what is in the file itself can be read"
    )


class LinkedContents(Contents):
    """What a file contains, and what it lacks and its source contains."""

    def __init__(self, path: Path, file: Any, is_ours: bool, version: int, check: bool) -> None:
        super().__init__(path, file, is_ours, version, check)
        self._source: Source | None = None

    def follow(self, source: Source, link: Link) -> None:
        """Read from the source what the file lacks."""
        variables, groups = source.contents.members("")
        self._of_lines = {name for name in variables if self._is_of_lines(source, name)} - NEVER_FOLLOWED
        followed = self._of_lines | ({"datacube", "wavelength", "x"} & set(variables)) if link.n_lines else set()
        if link.lines == slice(0, len(source.lines)):
            followed |= {name for name in groups if self._has_same_axes(source.contents, name)}
        self._followed = {name for name in followed if not super(LinkedContents, self).has(name)}
        self._source, self._link = source, link

    def _has_same_axes(self, contents: Contents, group: str) -> bool:
        """Whether no variable of a group lies along an axis that has another size in the file."""
        has_lines = super().has("datacube")
        axes = zip(super().dims("datacube"), super().shape("datacube"), strict=True) if has_lines else ()
        shape = dict(axes)
        variables, groups = contents.members(group)
        paths = [f"{group}/{name}" for name in variables]
        sizes = [item for path in paths for item in zip(contents.dims(path), contents.shape(path), strict=True)]
        return all(shape.get(axis, size) == size for axis, size in sizes) and all(
            self._has_same_axes(contents, f"{group}/{name}") for name in groups
        )

    def _is_of_lines(self, source: Source, name: str) -> bool:
        if name == "time" and source.times_are_uncertain:
            return False
        dims = source.contents.dims(name)
        return dims == ("y",) or (dims == (name,) and name in source.axes_of_lines)

    def _followed_in(self, path: str) -> Source | None:
        """The source, if this is read from it."""
        is_followed = self._source is not None and path.split("/", maxsplit=1)[0] in self._followed
        return self._source if is_followed else None

    def _cut(self, path: str, values: NDArray[Any]) -> NDArray[Any]:
        source = self._source
        return source.of_lines(values)[self._link.lines] if source is not None and path in self._of_lines else values

    def is_written(self, path: str) -> bool:
        """Whether this library wrote the variable into the file, and not another program that added it."""
        return self._followed_in(path) is None and super().is_written(path)

    def has(self, path: str) -> bool:
        """Whether such a variable or group exists, or existed when the file was written."""
        source = self._followed_in(path)
        return super().has(path) if source is None else source.contents.has(path)

    def members(self, group: str) -> tuple[list[str], list[str]]:
        """Names of the variables, and of the groups, in a group."""
        source = self._followed_in(group)
        if source is not None:
            return source.contents.members(group)
        variables, groups = super().members(group)
        if self._source is None or group:
            return variables, groups
        more = self._source.contents.members("")
        return (
            [*variables, *(name for name in more[0] if name in self._followed)],
            [*groups, *(name for name in more[1] if name in self._followed)],
        )

    def is_dimension_only(self, path: str) -> bool:
        """Whether netCDF has no variable of that name, only a dimension: its values mean nothing."""
        source = self._followed_in(path)
        return super().is_dimension_only(path) if source is None else source.contents.is_dimension_only(path)

    def variable(self, path: str) -> Variable:
        """Read a variable. ChecksumError if it is damaged, or missing though it was written."""
        source = self._followed_in(path)
        if source is None:
            return super().variable(path)
        found = source.contents.variable(path)
        dims = ("y",) if path in self._of_lines else found.dims
        return found._replace(dims=dims, data=self._cut(path, found.data))

    def values(self, path: str) -> NDArray[Any]:
        """Read only its values, in their stored form."""
        source = self._followed_in(path)
        return super().values(path) if source is None else self._cut(path, source.contents.values(path))

    def packing(self, path: str) -> Packing | None:
        """How the numbers of a variable are packed or masked; None if they are stored as they are."""
        source = self._followed_in(path)
        return super().packing(path) if source is None else source.contents.packing(path)

    def dims(self, path: str) -> tuple[str, ...]:
        """Names of the axes of a variable."""
        source = self._followed_in(path)
        if source is None:
            return super().dims(path)
        return ("y",) if path in self._of_lines else source.contents.dims(path)

    def shape(self, path: str) -> tuple[int, ...]:
        """Number of values along each axis of a variable."""
        source = self._followed_in(path)
        if source is None:
            return super().shape(path)
        return (self._link.n_lines,) if path in self._of_lines else source.contents.shape(path)

    def checksum(self, path: str) -> int | None:
        """The checksum of its values that is stored in the file itself; None if there is none."""
        return super().checksum(path) if self._followed_in(path) is None else None

    def attributes(self, path: str, is_group: bool = False) -> dict[str, Any]:
        """Attributes of a variable or a group: texts, numbers, rows of numbers. ChecksumError if one is damaged."""
        source = self._followed_in(path)
        return super().attributes(path, is_group) if source is None else source.contents.attributes(path, is_group)
