"""Recovers what dead writers left behind: publishes complete files, converts dumps to files, reports the rest.

========================  ==========================================================================================
`.NAME.nc.PID.part`       Locked: its writer is alive, it is skipped. Every checksum right: marked `recovered = 1`
                          and published as `NAME.nc`. The same cube is published already: removed. Else: damaged, kept.
`NAME.raw`, `.raw.json`   A dump: saved as a proper file, then removed. Without sidecar: damaged, kept. With an ENVI
                          header, `NAME.hdr`: no leftover. One whose header is complete, and not published: it is.
`.NAME.zarr.PID.part`     A folder. Locked: it is skipped. Else: damaged, kept.
`.NAME.HASH.journal`      Of a job that can be resumed: reported, and kept with the unfinished result that it names.
========================  ==========================================================================================

A published file that is damaged or cut off does not count: the whole leftover is published beside it.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from openhsi_shared.dataset import Cube, day_folder
from openhsi_shared.durable import PART, PartFile, sync_published
from openhsi_shared.errors import FileError, IncompleteFileError, OpenHSIError, SaveError
from openhsi_shared.files.attribute_patch import patch_attribute
from openhsi_shared.files.dumping import SIDECAR, read_dump
from openhsi_shared.files.exporting.envi_finishing import finish_envi
from openhsi_shared.files.exporting.published_together import is_being_filled
from openhsi_shared.files.journal import JOURNAL, journal_of, unfinished
from openhsi_shared.files.preview import preview_of
from openhsi_shared.files.published import is_whole, uuid_of
from openhsi_shared.files.reading import open_cube
from openhsi_shared.files.verifying import verify
from openhsi_shared.files.writing import CubeWriter
from openhsi_shared.line_times import begin_of
from openhsi_shared.loggers import safe_logger
from openhsi_shared.paths import given_path

__all__ = ["Recovery", "leftovers", "recover"]

logger = safe_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """Result of `recover`."""

    published: tuple[Path, ...] = ()
    """Cubes that were published."""
    damaged: Mapping[Path, str] = field(default_factory=dict)
    """Leftovers that are incomplete, or could not be published, each with the reason. They are kept."""
    live: tuple[Path, ...] = ()
    """Files that a live writer is writing."""
    removed: tuple[Path, ...] = ()
    """Removed leftovers whose cube was published already."""
    resumable: Mapping[Path, str] = field(default_factory=dict)
    """Journals of jobs that were interrupted, each with what is finished of which result, and how to finish it."""
    failed: Mapping[Path, str] = field(default_factory=dict)
    """Leftovers that the system did not let be read or published (no permission, full disk), each with the reason. They
    are not damaged, as far as is known: recover them again when that is mended."""

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged, and nothing failed."""
        return not self.damaged and not self.failed

    def __str__(self) -> str:
        counts = {
            "published": self.published,
            "already saved": self.removed,
            "being written": self.live,
            "resumable": self.resumable,
            "damaged": self.damaged,
            "failed": self.failed,
        }
        words = [f"{len(paths)} {word}" for word, paths in counts.items() if paths]
        return ", ".join(words) or "nothing was left behind"


def leftovers(directory: str | os.PathLike[str]) -> list[Path]:
    """Unfinished files and folders, and dumps, in `directory` and below. FileError if it is not a directory."""
    directory = given_path(directory, "directory")
    if not directory.is_dir():
        raise FileError(f"{directory} is not a directory: give the one that cubes were saved in")
    found = (path for path in directory.rglob("*") if not path.is_symlink())
    return sorted(path for path in found if (_is_leftover(path) if path.is_file() else _is_unfinished_folder(path)))


def _is_unfinished_folder(path: Path) -> bool:
    found = PART.fullmatch(path.name)
    return found is not None and path.is_dir()


def _is_leftover(path: Path) -> bool:
    if path.suffix == ".raw":
        return not path.with_suffix(".hdr").exists()  # else a cube in the format of ENVI
    return any(names.fullmatch(path.name) for names in (PART, JOURNAL)) or path.name.endswith(SIDECAR)


def recover(
    directory: str | os.PathLike[str],
    *,
    each: Callable[[list[Path]], Iterator[Path]] | None = None,
    elsewhere: Iterable[str | os.PathLike[str]] = (),
) -> Recovery:
    """Publish complete files of dead writers in `directory` and below; report the rest. Deletes nothing damaged.

    Reads every byte of what it publishes. Safe to run twice at the same time, and during a recording. `each` wraps the
    list of leftovers, as tqdm does. `elsewhere`: further directories in which the cubes may have been saved, such as
    `fallback_dirs`. Raises FileError if `directory` is not a directory; problems of leftovers are reported.
    """
    others = [given_path(other, "elsewhere") for other in elsewhere]
    return _Recoverer(given_path(directory, "directory"), others).run(each or iter)


class _Recoverer:
    """Processes the leftovers of one directory."""

    def __init__(self, directory: Path, elsewhere: Sequence[Path]) -> None:
        self._directory, self._elsewhere = directory, elsewhere
        self._published: list[Path] = []
        self._damaged: dict[Path, str] = {}
        self._resumable: dict[Path, str] = {}
        self._failed: dict[Path, str] = {}
        self._live: list[Path] = []
        self._removed: list[Path] = []
        self._published_files: dict[str, list[Path]] | None = None
        """By uuid, whole or not."""

    def run(self, each: Callable[[list[Path]], Iterator[Path]]) -> Recovery:
        found = leftovers(self._directory)
        for path in (one for one in found if one.suffix == ".raw"):
            with self._problems_reported(path):
                if finish_envi(path):  # first: it takes some of the others
                    self._published.append(path)
        for path in each(found):
            with self._problems_reported(path):
                if JOURNAL.fullmatch(path.name):
                    self._report_journal(path)
                elif path.name.endswith(SIDECAR):
                    self._recover_dump(path)
                elif path.suffix == ".raw":
                    self._check_sidecar(path, found)
                elif path.is_dir():
                    self._report_folder(path)
                else:
                    self._recover_part(path)
        return Recovery(
            published=tuple(self._published),
            damaged=self._damaged,
            failed=self._failed,
            live=tuple(self._live),
            removed=tuple(self._removed),
            resumable=self._resumable,
        )

    @contextmanager
    def _problems_reported(self, path: Path) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # not swallowed: it is reported, and the other leftovers are processed
            logger.debug("%s could not be recovered", path, exc_info=True)
            is_clear = isinstance(error, OpenHSIError | OSError)
            problems = self._failed if getattr(error, "errno", None) is not None else self._damaged
            problems[path] = str(error) if is_clear else f"{path}: {type(error).__name__}: {error}"

    def _lock(self, path: Path) -> PartFile | None:
        """Lock a leftover; None if its writer is alive, or if another process has published it meanwhile."""
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

    # ---- unfinished files ----

    def _report_folder(self, path: Path) -> None:
        if is_being_filled(path):
            self._live.append(path)
        elif journal_of(path) is None:  # else the journal is reported
            self._damaged[path] = f"{path} is unfinished, to be named {_name_of(path)}: remove it if it is of no use"

    def _report_journal(self, path: Path) -> None:
        lock = self._lock(path)
        if lock is not None:
            with lock:
                self._resumable[path] = str(unfinished(path))

    def _recover_part(self, path: Path) -> None:
        part = self._lock(path) if journal_of(path) is None else None  # else the journal is reported
        if part is None:
            return
        with part:
            name = _name_of(path)
            if not name.endswith(".nc"):
                self._damaged[path] = f"unfinished file, to be named {name}"
                return
            if problem := _problem_of(path):
                self._damaged[path] = problem
                return
            self._publish(part, path, name.removesuffix(".nc"))

    def _publish(self, part: PartFile, path: Path, stem: str) -> None:
        uuid = uuid_of(path)
        published = self._published_file(uuid)
        if published is None:
            patch_attribute(part, "recovered", 1)
            target = part.publish(stem, ".nc", is_same=lambda taken: is_whole(taken, uuid))
            self._add(uuid, target)
        else:
            sync_published(published)  # before the other copy is removed
            path.unlink()
            self._removed.append(path)
            logger.info("%s was removed: its cube is published as %s", path, published)

    # ---- dumps ----

    def _recover_dump(self, path: Path) -> None:
        lock = self._lock(path)
        if lock is None:
            return
        with lock:
            dump = read_dump(path)
            published = self._published_file(dump.cube.uuid)
            if published is not None:
                sync_published(published)  # before the other copy is removed
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
            path.unlink()  # first: a .raw without sidecar is reported, a sidecar without .raw would be an error
            dump.raw_path.unlink()

    def _check_sidecar(self, path: Path, found: list[Path]) -> None:
        sidecar = path.with_name(path.name + ".json")
        if path.with_suffix(".hdr").exists():  # published meanwhile
            return
        if path.exists() and sidecar not in found and not sidecar.exists():  # else: processed with its sidecar
            self._damaged[path] = (
                f"{path} has no sidecar {path.name}.json, and no header {path.stem}.hdr: its writer was interrupted"
            )

    # ---- published cubes ----

    def _published_file(self, uuid: str | None) -> Path | None:
        """The published file of this cube that is whole, if there is one."""
        if self._published_files is None:
            self._published_files = {}
            for directory in (self._directory, *self._elsewhere):
                for path in directory.rglob("*.nc"):
                    if not path.name.startswith(".") and (found := uuid_of(path)):
                        self._published_files.setdefault(found, []).append(path)
        return next((path for path in self._published_files.get(uuid or "", []) if is_whole(path, uuid)), None)

    def _add(self, uuid: str | None, path: Path) -> None:
        self._published.append(path)
        if self._published_files is not None and uuid:
            self._published_files.setdefault(uuid, []).append(path)
        try:
            preview_of(path)
        except (OpenHSIError, OSError) as error:
            logger.warning("%s is recovered, but its preview failed: %s", path, error)


def _problem_of(part: Path) -> str:
    """Why the leftover of a dead writer cannot be published; "" if it can."""
    report = verify(part)
    if report.ok:
        return ""
    try:
        open_cube(part).close()
    except IncompleteFileError:  # its own message suggests to wait, or to call `recover`
        return (
            f"{part} was not finished when its writer died, and cannot be read as a cube: it is unknown which of its "
            f"lines were written; remove it if it is of no use"
        )
    except FileError:
        pass  # one of the problems
    more = f" (and {len(report.problems) - 1} more problems)" if len(report.problems) > 1 else ""
    return report.problems[0] + more


def _name_of(part: Path) -> str:
    match = PART.fullmatch(part.name)
    if match is None:
        raise FileError(f"{part} is not a leftover of a writer")
    return match["name"]


def _directory_of(sidecar: Path, cube: Cube) -> Path:
    """Parent of the cube's folder of the day; the dump's own folder if the dump was moved."""
    folder = sidecar.parent
    return folder.parent if folder.name == day_folder(begin_of(cube.columns["time_ns"])) else folder
