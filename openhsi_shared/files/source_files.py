"""The files that a cube is read from, as they were when it was opened: one that changes meanwhile is noticed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from openhsi_shared.errors import FileError
from openhsi_shared.files.attributes import plain
from openhsi_shared.files.opening import open_hdf5
from openhsi_shared.files.reading import OpenCube

__all__ = ["NO_FILE", "SourceFiles", "version_of"]

Version = tuple[int, int]
"""Size and time of modification in ns."""
NO_FILE: Version = -1, -1


@dataclass(frozen=True)
class SourceFiles:
    """A cube's file, and those of the cubes that it refers to, from which lines and columns are read."""

    path: Path
    version: Version
    uuid: str | None
    """Of a cube of this library."""
    sources: dict[Path, Version]

    @classmethod
    def of(cls, cube: OpenCube, version: Version, uuid: str | None) -> Self:
        """The files of an open cube; `version` is that of before it was opened."""
        return cls(cube.path, version, uuid, {source.path: version_of(source.path) for source in _sources_of(cube)})

    def check_unchanged(self) -> None:
        """FileError if a file has another size, time or uuid now."""
        try:
            changed = [path for path, before in self.sources.items() if version_of(path) != before]
            now = version_of(self.path)
            is_same = now == self.version
            if is_same and self.uuid is not None:
                with open_hdf5(self.path) as file:
                    is_same = plain(file.attrs.get("uuid")) == self.uuid
        except OSError as error:
            raise FileError(f"{self.path} changed while it was read: {error}; process it again") from error
        if changed:
            raise FileError(f"{changed[0]}, which {self.path} refers to, changed while it was read; process it again")
        if not is_same:
            raise FileError(
                f"{self.path} changed while it was read: it had {self.version[0]} bytes, now {now[0]}, or another "
                f"time or uuid; process it again when nothing writes to it"
            )


def version_of(path: Path) -> Version:
    """OSError if there is no file."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _sources_of(cube: OpenCube) -> Iterator[OpenCube]:
    """The cube that a file refers to, that which this one refers to, and so on."""
    while (source := cube.source) is not None:
        yield source
        cube = source
