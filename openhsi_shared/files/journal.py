"""The journal of a result that is written block by block: what of it is finished, so that a later run can go on.

It is stored beside the result, as `.NAME.HASH.journal`, while the result has a temporary name. Each line is a CRC-32
and a JSON object: first what is written and where, then two notes for each block, what the file contains of it and what
is known of its lines. A block is read back and compared with its CRCs before it counts, so nothing is synced here.
"""

import base64
import errno
import json
import os
import re
import shutil
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.durable import PART, PartFile, save_error
from openhsi_shared.errors import FileError, SaveError
from openhsi_shared.locking import lock
from openhsi_shared.loggers import safe_logger
from openhsi_shared.renaming import unlink_or_warn
from openhsi_shared.standard_streams import fill_standard_descriptors

__all__ = ["JOURNAL", "FinishedBlock", "Journal", "Unfinished", "journal_of", "unfinished"]

logger = safe_logger(__name__)

FORMAT = "openhsi_shared journal 1"
JOURNAL = re.compile(r"\.(?P<name>.+)\.(?P<hash>[0-9a-f]{12})(~(?P<suffix>.+))?\.journal")
"""Name of a journal: the final name of the result, the beginning of the job's hash, and the suffix of the run."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedBlock:
    """What a journal knows of a block that is written."""

    crcs: NDArray[np.uint32]
    """CRC-32 of each line."""
    extra: Any
    """What the format of the file adds, such as where the lines are stored."""
    line_flag: NDArray[np.uint8]
    line_rows: NDArray[np.int64]
    """Rows of a table that each line gave."""
    rows: NDArray[Any] | None
    """These rows, if the job makes a table."""


class Journal:
    """The journal of one result: locked while it is open, so that no two runs continue the same result.

    The methods that note something are thread-safe. All methods raise SaveError.
    """

    part: Path | None
    """Temporary name of the result: until `begin`, of that which the run before has left, if there is one."""
    blocks: Mapping[int, FinishedBlock]
    """Finished blocks of the run before, by their first line."""

    def __init__(self, path: Path, fd: int, header: Mapping[str, Any]) -> None:
        """Use `open`."""
        self.path = path
        self._fd, self._header = fd, dict(header)
        self._lock = threading.Lock()
        self._n_finished = 0
        self.part, self.blocks = None, {}

    @property
    def has_finished(self) -> bool:
        """Whether a later run can go on with something."""
        return self._n_finished > 0 and self.part is not None and self.part.exists()  # else it has its final name

    @classmethod
    def discard(cls, target: Path, ppid_hash: str, *, tmp_suffix: str | None = None) -> None:
        """Remove what an earlier run has left to be continued, unless that run lives."""
        path = _path_of(target, ppid_hash, tmp_suffix)
        if _exists(path):
            cls._continued(path, {}).close()  # the header of no run: what it names is removed

    @classmethod
    def open(
        cls,
        target: Path,
        ppid_hash: str,
        layout: Mapping[str, Any],
        *,
        n_lines: int = 0,
        tmp_suffix: str | None = None,
    ) -> Self:
        """Open the journal of the result that is to become `target`, or make one: its folder must exist.

        `layout` (JSON values) is what decides the bytes of the file besides the job's id: what was written with another
        one is removed, and the result begun again. SaveError (EBUSY) if another run is writing it.
        """
        path = _path_of(target, ppid_hash, tmp_suffix)
        header = {"format": FORMAT, "target": target.name, "hash": ppid_hash, "layout": dict(layout)}
        return cls._continued(path, json.loads(json.dumps(header)) | {"n_lines": n_lines})

    @classmethod
    def layout_of(cls, target: Path, ppid_hash: str, *, tmp_suffix: str | None = None) -> Mapping[str, Any] | None:
        """The `layout` of what an earlier run has left to be continued; None if it has left nothing."""
        path = _path_of(target, ppid_hash, tmp_suffix)
        try:
            found = _Contents.of(path) if _exists(path) else None
        except OSError as error:
            raise save_error(error, path) from error
        layout = None if found is None or found.left(path) is None else found.header.get("layout")
        return layout if isinstance(layout, dict) else None

    @classmethod
    def _continued(cls, path: Path, header: Mapping[str, Any]) -> Self:
        try:
            journal = cls(path, _open_locked(path), header)
            try:
                journal._continue()
            except BaseException:
                journal.close(keep=os.fstat(journal._fd).st_size > 0)
                raise
        except OSError as error:
            raise save_error(error, path) from error
        return journal

    def _continue(self) -> None:
        found = _Contents.of(self.path)
        part = None if found is None else found.left(self.path)
        if found is not None and part is not None and found.header == self._header:
            self.part, self.blocks = part, found.blocks()
            self._n_finished = len(self.blocks)
            os.ftruncate(self._fd, found.n_bytes)  # a line that a dying process has begun
            os.lseek(self._fd, 0, os.SEEK_END)
            return
        self._remove_earlier(found, part)
        self._restart()

    def _remove_earlier(self, found: "_Contents | None", part: Path | None) -> None:
        """Remove what cannot be continued, and report what is lost."""
        if found is None and os.fstat(self._fd).st_size:
            part = _part_in(self.path, _records(self.path, until_damaged=False))
            left = "" if part else f"; what it named is left in {self.path.parent}, and reported by `recover`"
            logger.warning("%s is damaged: the result is begun again%s", self.path, left)
        elif found is not None and (n := sum(len(block.crcs) for block in found.blocks().values())) and part:
            logger.warning("%s is removed: %d finished lines of an earlier run %s", part, n, self._why_not(found))
        if part is not None:
            _remove(part)

    def _why_not(self, found: "_Contents") -> str:
        """Why an earlier run is not continued, in words."""
        if not self._header:
            return "are not continued without resume=True (--resume)"
        before, now = ({**one, **one.get("layout", {})} for one in (found.header, self._header))
        names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        differing = (f"{name}={before.get(name)!r}, not {now.get(name)!r}" for name in names if name != "layout")
        return f"are of a run with {', '.join(differing)}"

    def _restart(self) -> None:
        self.part, self.blocks, self._n_finished = None, {}, 0
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._append(self._header)

    # ---- notes ----

    def begin(self, part: Path) -> None:
        """The result has this temporary name from now on. Unless it is `part`, nothing of it is finished."""
        if part != self.part:
            with self._lock:
                try:
                    self._restart()
                except OSError as error:
                    raise save_error(error, self.path) from error
            self._note({"part": part.name})
            self.part = part

    def note_written(self, first: int, crcs: NDArray[np.uint32], extra: Any = None) -> None:
        """The file contains the lines of a block, from number `first` on. `extra`: JSON values."""
        self._note({"written": first, "crcs": _text(np.asarray(crcs, "<u4")), "extra": extra})

    def note_known(
        self, first: int, line_flag: NDArray[np.uint8], line_rows: NDArray[np.int64], rows: NDArray[Any] | None
    ) -> None:
        """What is known of the lines of that block besides their values."""
        table = None if rows is None else {"dtype": rows.dtype.descr, "rows": _text(rows)}
        flags, counts = _text(np.asarray(line_flag, np.uint8)), _text(np.asarray(line_rows, "<i8"))
        self._note({"known": first, "line_flag": flags, "line_rows": counts, "table": table})
        self._n_finished += 1

    def _note(self, record: Mapping[str, Any]) -> None:
        with self._lock:
            try:
                self._append(record)
            except OSError as error:
                raise save_error(error, self.path) from error

    def _append(self, record: Mapping[str, Any]) -> None:
        text = json.dumps(record).encode()
        line = b"%08x %s\n" % (zlib.crc32(text), text)
        while line:
            line = line[os.write(self._fd, line) :]

    def close(self, *, keep: bool = False) -> None:
        """Close it, and remove it unless `keep`. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            if not keep:
                unlink_or_warn(self.path)  # before the lock is released
            os.close(fd)


def _path_of(target: Path, ppid_hash: str, tmp_suffix: str | None) -> Path:
    suffix = f"~{tmp_suffix}" if tmp_suffix else ""
    return target.with_name(f".{target.name}.{ppid_hash[:12]}{suffix}.journal")


def _exists(path: Path) -> bool:
    """Whether there is such a file. SaveError if that cannot be found out."""
    try:
        return path.exists()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # that of the result may still be short enough
            return False
        raise save_error(error, path) from error


def _open_locked(path: Path) -> int:
    """Open or create a file, and lock it. SaveError (EBUSY) if another process has locked it."""
    fill_standard_descriptors()
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0), 0o666)
        try:
            if lock(fd, path) is False:
                busy = "another run writes this result now: wait for it, or give tmp_suffix"
                raise SaveError(errno.EBUSY, busy, str(path))
            with suppress(FileNotFoundError):  # the run that had locked it has just removed it
                if os.path.samestat(os.fstat(fd), path.stat()):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _remove(part: Path) -> None:
    """Remove a leftover, unless its writer lives."""
    if part.is_dir():
        shutil.rmtree(part)
    elif (left := PartFile.adopt(part)) is not None:
        left.remove()


# ---- reading ----


@dataclass(frozen=True)
class _Contents:
    """What is readable of a journal."""

    header: Mapping[str, Any]
    records: list[dict[str, Any]]
    n_bytes: int

    @classmethod
    def of(cls, path: Path) -> "_Contents | None":
        """None if it is empty, or of another format."""
        records, n_bytes = [], 0
        for record, end in _records(path):
            records.append(record)
            n_bytes = end
        if not records or records[0].get("format") != FORMAT:
            return None
        return cls(records[0], records[1:], n_bytes)

    def left(self, path: Path) -> Path | None:
        """The temporary file or folder that it names, if it exists."""
        return _part_in(path, ((record, 0) for record in self.records))

    def blocks(self) -> dict[int, FinishedBlock]:
        written = {record["written"]: record for record in self.records if "written" in record}
        known = {record["known"]: record for record in self.records if "known" in record}
        return {
            first: FinishedBlock(
                crcs=_array(written[first]["crcs"], np.dtype("<u4")),
                extra=written[first]["extra"],
                line_flag=_array(known[first]["line_flag"], np.dtype(np.uint8)),
                line_rows=_array(known[first]["line_rows"], np.dtype("<i8")),
                rows=_rows(known[first]["table"]),
            )
            for first in sorted(written.keys() & known.keys())
        }


def _records(path: Path, *, until_damaged: bool = True) -> Iterator[tuple[dict[str, Any], int]]:
    """Whole records, each with its end in the file: those before the first damaged one, or all."""
    end = 0
    for line in path.read_bytes().splitlines(keepends=True):
        code, _, text = line.partition(b" ")
        end += len(line)
        if line.endswith(b"\n") and code == b"%08x" % zlib.crc32(text[:-1]):
            yield json.loads(text), end
        elif until_damaged:
            return


def _part_in(journal: Path, records: Iterable[tuple[dict[str, Any], int]]) -> Path | None:
    """The last temporary name in these records, if there is such a file or folder; a link is none of ours."""
    names = [record["part"] for record, _ in records if "part" in record]
    if not names or PART.fullmatch(names[-1]) is None or "/" in names[-1]:
        return None
    part = journal.with_name(names[-1])
    return part if part.exists() and not part.is_symlink() else None


def _text(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _array(text: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), dtype)


def _rows(table: Mapping[str, Any] | None) -> NDArray[Any] | None:
    if table is None:
        return None
    dtype = np.dtype([(field[0], field[1], *(tuple(shape) for shape in field[2:])) for field in table["dtype"]])
    return _array(table["rows"], dtype)


# ---- for those who find a journal ----


@dataclass(frozen=True)
class Unfinished:
    """A result that a job has begun, and that the same job can finish."""

    journal: Path
    part: Path | None
    """Its temporary name, if there is such a file."""
    target: Path
    n_lines: int
    n_finished: int
    """Lines of finished blocks."""

    def __str__(self) -> str:
        if self.part is None and self.target.exists():
            return f"{self.journal}: {self.target.name} exists; the same job, or you, may remove this journal"
        done = f"{self.n_finished} of {self.n_lines} lines of {self.target.name} are written"
        return (
            f"{self.part or self.journal}: {done}; "
            f"run the same job with resume=True (--resume) to finish it, or remove both it and {self.journal.name}"
        )


def unfinished(journal: Path) -> Unfinished:
    """What a journal says. FileError if it is not readable as one."""
    try:
        found = _Contents.of(journal) if JOURNAL.fullmatch(journal.name) else None
        if found is None:
            raise ValueError("its writer was interrupted before it began")
        part = found.left(journal)
        target = journal.with_name(found.header["target"])
        n_finished = sum(len(block.crcs) for block in found.blocks().values())
        return Unfinished(journal, part, target, int(found.header["n_lines"]), n_finished if part else 0)
    except (ValueError, LookupError, TypeError) as error:
        raise FileError(f"{journal} is not a journal of a job ({error}): remove it") from error


def journal_of(part: Path) -> Path | None:
    """The journal that names this temporary file or folder, if there is one."""
    if PART.fullmatch(part.name):
        for journal in sorted(part.parent.glob(".*.journal")):
            with suppress(FileError, OSError):
                if unfinished(journal).part == part:
                    return journal
    return None
