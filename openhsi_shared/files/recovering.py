"""What writers left behind that died: whole files get their names, dumps become files, the rest is told.

========================  ==========================================================================================
`.NAME.nc.PID.part`       locked: its writer lives, it is left alone. Whole, by every checksum: marked `recovered = 1`
                          and published as `NAME.nc`. The same cube is there already: removed. Else: damaged, kept.
`NAME.raw`, `.raw.json`   a dump, of which a proper file is made; then it is removed. Without sidecar: damaged, kept.
========================  ==========================================================================================
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from openhsi_shared.dataset import Cube, day_folder
from openhsi_shared.durable import PART, PartFile
from openhsi_shared.errors import FileError, IncompleteFileError, OpenHSIError, SaveError
from openhsi_shared.files.attribute_patch import mark
from openhsi_shared.files.dumping import SIDECAR, read_dump
from openhsi_shared.files.preview import preview_of
from openhsi_shared.files.reading import open_cube
from openhsi_shared.files.saving import uuid_of
from openhsi_shared.files.verifying import verify
from openhsi_shared.files.writing import CubeWriter

__all__ = ["Recovery", "leftovers", "recover"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What `recover` found and did."""

    published: tuple[Path, ...] = ()
    """Cubes that have their names now."""
    damaged: Mapping[Path, str] = field(default_factory=dict)
    """Leftovers that are not whole, or that could not be published, and why. They stay where they are."""
    live: tuple[Path, ...] = ()
    """Files that a writer is at work on."""
    removed: tuple[Path, ...] = ()
    """Leftovers of which the cube was published already."""

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damaged

    def __str__(self) -> str:
        counts = [(self.published, "published"), (self.removed, "there already"), (self.live, "being written")]
        told = [f"{len(paths)} {word}" for paths, word in [*counts, (self.damaged, "damaged")] if paths]
        return ", ".join(told) or "nothing was left behind"


def leftovers(directory: str | os.PathLike[str]) -> list[Path]:
    """Files in `directory` and below that a writer has not finished, or dumped. FileError if it is no directory."""
    directory = Path(directory)
    if not directory.is_dir():
        raise FileError(f"{directory} is no directory: give the one that cubes were saved in")
    found = (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(path for path in found if _is_leftover(path))


def _is_leftover(path: Path) -> bool:
    return PART.fullmatch(path.name) is not None or path.name.endswith((".raw", SIDECAR))


def recover(
    directory: str | os.PathLike[str], *, each: Callable[[list[Path]], Iterator[Path]] | None = None
) -> Recovery:
    """Publish what dead writers left whole in `directory` and below, and report the rest. Nothing damaged is deleted.

    Reads every byte of what it publishes. Two at once, or one beside a recording, do no harm. `each` goes through the
    leftovers, as tqdm does. Raises FileError if `directory` is no directory; whatever is wrong with a leftover is told.
    """
    return _Rescuer(Path(directory)).run(each or iter)


class _Rescuer:
    """Goes through the leftovers of one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._published: list[Path] = []
        self._damaged: dict[Path, str] = {}
        self._live: list[Path] = []
        self._removed: list[Path] = []
        self._homes: dict[str, Path] | None = None

    def run(self, each: Callable[[list[Path]], Iterator[Path]]) -> Recovery:
        found = leftovers(self._directory)
        for path in each(found):
            with self._told(path):
                if path.name.endswith(SIDECAR):
                    self._make_of_dump(path)
                elif path.suffix == ".raw":
                    self._look_for_sidecar(path, found)
                else:
                    self._take_part(path)
        return Recovery(
            published=tuple(self._published),
            damaged=self._damaged,
            live=tuple(self._live),
            removed=tuple(self._removed),
        )

    @contextmanager
    def _told(self, path: Path) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # not swallowed: it is told, and the other leftovers are looked at
            logger.debug("%s could not be recovered", path, exc_info=True)
            is_told = isinstance(error, OpenHSIError | OSError)
            self._damaged[path] = str(error) if is_told else f"{path}: {type(error).__name__}: {error}"

    def _adopted(self, path: Path) -> PartFile | None:
        """Take a leftover over; None if its writer is at work on it, or somebody published it since we looked."""
        try:
            part = PartFile.adopt(path)
        except SaveError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        if part is None:
            self._live.append(path)
        elif not part.has_name:
            part.close()
            return None
        return part

    # ---- files that were not finished ----

    def _take_part(self, path: Path) -> None:
        part = self._adopted(path)
        if part is None:
            return
        with part:
            name = _name_of(path)
            if not name.endswith(".nc"):
                self._damaged[path] = f"it was to become {name}, and was not finished"
                return
            if problem := _problem_of(path):
                self._damaged[path] = problem
                return
            self._publish(part, path, name.removesuffix(".nc"))

    def _publish(self, part: PartFile, path: Path, stem: str) -> None:
        uuid = uuid_of(path)
        home = self._home_of(uuid)
        if home is None:
            mark(part, "recovered", 1)
            target = part.publish(stem, ".nc", is_same=lambda taken: uuid_of(taken) == uuid)
            self._add(uuid, target)
        else:
            path.unlink()
            self._removed.append(path)
            logger.info("%s is there already as %s", path, home)

    # ---- dumps ----

    def _make_of_dump(self, path: Path) -> None:
        lock = self._adopted(path)
        if lock is None:
            return
        with lock:
            dump = read_dump(path)
            if self._home_of(dump.cube.uuid) is not None:
                self._removed.append(path)
            else:
                cube = replace(dump.cube, attributes={**dump.cube.attributes, "recovered": 1})
                with closing(CubeWriter(cube.n_lines, cube.line_shape, cube.memory.dtype)) as writer:
                    written = writer.write(
                        cube,
                        [_directory_of(path.resolve(), cube)],
                        prefix=dump.prefix,
                        suffix=dump.suffix,
                        old_style=dump.old_style,
                        picture=False,
                    )
                self._add(cube.uuid, written.path)
            path.unlink()  # first: bytes without a sidecar are reported, a sidecar without bytes would be an error
            dump.raw_path.unlink()

    def _look_for_sidecar(self, path: Path, found: list[Path]) -> None:
        sidecar = path.with_name(path.name + ".json")
        if path.exists() and sidecar not in found and not sidecar.exists():  # else it went, or will go, with that
            self._damaged[path] = f"{path} has no sidecar {path.name}.json: whoever wrote it was interrupted"

    # ---- where cubes are ----

    def _home_of(self, uuid: str | None) -> Path | None:
        """Where this cube was published, if it was."""
        if self._homes is None:
            files = (path for path in self._directory.rglob("*.nc") if not path.name.startswith("."))
            self._homes = {found: path for path in files if (found := uuid_of(path))}
        return self._homes.get(uuid or "")

    def _add(self, uuid: str | None, path: Path) -> None:
        self._published.append(path)
        if self._homes is not None and uuid:
            self._homes[uuid] = path
        try:
            preview_of(path)
        except (OpenHSIError, OSError) as error:
            logger.warning("%s is recovered, but its preview is not: %s", path, error)


def _problem_of(part: Path) -> str:
    """What keeps the leftover of a dead writer from being published; "" if nothing does."""
    report = verify(part)
    if report.ok:
        return ""
    try:
        open_cube(part).close()
    except IncompleteFileError:  # whose way out is to wait, or to come here
        return (
            f"{part} was not finished when its writer died, and cannot be read as a cube: nothing tells which of its "
            f"lines are there; remove it if it is of no use"
        )
    except FileError:
        pass  # one of the problems
    more = f" (and {len(report.problems) - 1} more problems)" if len(report.problems) > 1 else ""
    return report.problems[0] + more


def _name_of(part: Path) -> str:
    match = PART.fullmatch(part.name)
    if match is None:
        raise FileError(f"{part} is no leftover of a writer")
    return match["name"]


def _directory_of(sidecar: Path, cube: Cube) -> Path:
    """Where the cube's folder of the day lies, or shall lie if the dump was moved."""
    folder = sidecar.parent
    return folder.parent if folder.name == day_folder(int(cube.columns["time_ns"][0])) else folder
