"""Finds what is on the disk of a cube already: its file, its dump, and what dead writers left of it.

A cube is published once in all the directories that it may have gone to. Who saves a cube that was tried before, or is
about to report that it is not saved, looks here first. A name proves nothing: a file counts if its uuid is that of the
cube and every checksum is right.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from openhsi_shared.dataset import cube_stem, day_folder
from openhsi_shared.durable import Durability, PartFile, sync_published
from openhsi_shared.errors import FileError, SaveError
from openhsi_shared.files.attribute_patch import patch_attribute
from openhsi_shared.files.attributes import is_in_heap
from openhsi_shared.files.dumping import SIDECAR, read_dump, remove_dump
from openhsi_shared.files.not_synced import warn_not_synced
from openhsi_shared.files.opening import open_unchecked
from openhsi_shared.loggers import safe_logger

__all__ = ["CubeOnDisk", "is_whole", "saved_more_than_once", "uuid_of"]

logger = safe_logger(__name__)

NUMBER = r"(-\d+)?"
"""What a name gets if it is taken."""
FILE = rf"{NUMBER}\.nc"
DUMP = NUMBER + re.escape(SIDECAR)
LINES = rf"{NUMBER}\.raw"
LEFTOVER = rf"{NUMBER}\.(nc|raw|raw\.json)\.[1-9]\d*(-\d+)?\.part"


def uuid_of(path: Path) -> str | None:
    """The uuid of the cube in a file; None if it is not a file of this library."""
    try:
        with open_unchecked(path) as file:
            if "uuid" not in file.attrs or is_in_heap(file.attrs.get_id("uuid").get_type()):
                return None  # as other libraries write it, and HDF5 may loop endlessly in a damaged heap
            value = file.attrs["uuid"]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError):
        return None  # not this cube in any case
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else None


def saved_more_than_once(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Cubes of which several of these files have the uuid, whole or not; links to one file are one."""
    found: dict[str, dict[tuple[int, int], Path]] = {}
    for path in paths:
        if (uuid := uuid_of(path)) is not None:
            with suppress(OSError):  # removed meanwhile
                stat = path.stat()
                found.setdefault(uuid, {}).setdefault((stat.st_dev, stat.st_ino), path)
    return {uuid: list(files.values()) for uuid, files in found.items() if len(files) > 1}


def is_whole(path: Path, uuid: str | None) -> bool:
    """Whether a file is the cube `uuid`, with every checksum right. Reads all of it, from the disk if possible."""
    from openhsi_shared.files.verifying import verify

    if uuid is None or path.is_symlink() or uuid_of(path) != uuid:  # a link may lead to the leftover itself
        return False
    with suppress(OSError, AttributeError), path.open("rb") as file:  # not everywhere
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    report = verify(path)
    if not report.ok:
        logger.warning("%s has the name of a cube and is not whole: %s", path, report.problems[0])
    return report.ok


@dataclass(frozen=True, kw_only=True)
class CubeOnDisk:
    """What may be on the disk of one cube, under the names that writers give it."""

    uuid: str
    time_ns: int | None
    """Of its first line; None if the times of all lines are unknown."""
    prefix: str
    suffix: str
    directories: Sequence[Path]
    """All in which it may have been saved."""
    durability: Durability

    def find(self, *, recovered: bool = False) -> Path | None:
        """The published file of this cube, whole and synced, or None; tidies up what dead writers left of it.

        A whole leftover is published, marked `recovered` if that is set. Other leftovers are removed, so that the disk
        has room for the cube, and dumps are if the cube is published.
        """
        found = self.published()
        for path in self._named(r"\.", LEFTOVER):
            try:
                found = self._settle(path, found, recovered) or found
            except (OSError, RuntimeError) as error:  # the cube is saved without it
                logger.warning("a leftover stays: %s: %s", path, error)
        if found is not None:
            self.remove_dumps()
        return found

    def published(self) -> Path | None:
        """The published file of this cube, whole and synced; None if there is none."""
        for path in self._named("", FILE):
            if uuid_of(path) == self.uuid:
                self.sync(path)
                if is_whole(path, self.uuid):
                    return path
        return None

    def sync(self, path: Path) -> None:
        """Sync a published file and its folder. It is saved anyway: a failure is logged."""
        if self.durability == "fsync":
            try:
                sync_published(path)
            except SaveError as error:
                warn_not_synced(path, error)

    def dumped(self) -> Path | None:
        """The sidecar of a whole dump of this cube; None if there is none."""
        return next(iter(self._dumps()), None)

    def remove_dumps(self) -> None:
        """Remove dumps of this cube, complete or not: it is published."""
        for sidecar in list(self._dumps()):
            logger.info("%s is removed: its cube is published", sidecar)
            remove_dump(sidecar)
        for lines in list(self._named("", LINES)):
            if not lines.with_name(lines.name + ".json").exists():  # its writer died before it wrote the sidecar
                with suppress(OSError):  # `recover` reports it
                    lines.unlink()

    def _settle(self, path: Path, found: Path | None, recovered: bool) -> Path | None:
        """Publish a leftover and return its path, or remove it; leave it alone if its writer lives."""
        part = PartFile.adopt(path)
        if part is None:
            return None
        with part:
            if not part.has_name or uuid_of(path) not in (None, self.uuid):
                return None
            if found is not None or not is_whole(path, self.uuid):
                part.remove()
                return None
            if recovered:
                patch_attribute(part, "recovered", 1)
            try:
                stem = cube_stem(self.time_ns, self.prefix, self.suffix)
                return part.publish(
                    stem, ".nc", durability=self.durability, is_same=lambda taken: is_whole(taken, self.uuid)
                )
            except SaveError:
                if not part.is_published:
                    raise
                self.sync(part.path)
                return part.path

    def _dumps(self) -> Iterator[Path]:
        for path in self._named("", DUMP):
            with suppress(FileError):  # damaged: `recover` reports it
                if read_dump(path).cube.uuid == self.uuid:
                    yield path

    def _named(self, before: str, after: str) -> Iterator[Path]:
        """Files with the name of this cube between these patterns."""
        pattern = re.compile(before + re.escape(cube_stem(self.time_ns, self.prefix, self.suffix)) + after)
        for directory in self.directories:
            folder = Path(directory) / day_folder(self.time_ns)
            try:
                with os.scandir(folder) as entries:
                    names = sorted(e.name for e in entries if pattern.fullmatch(e.name) and not e.is_symlink())
            except (OSError, ValueError):  # it is not there, its disk is gone, or it is no name (with NUL)
                continue
            yield from (folder / name for name in names)
