"""ENVI files whose writer was killed while it published them: the pixels have their name, the header does not."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from glob import escape
from pathlib import Path

from openhsi_shared.durable import PART, PartFile
from openhsi_shared.errors import FileError, PackageMissing
from openhsi_shared.files.exporting.envi import LINES_TABLE
from openhsi_shared.files.exporting.envi_reading import damaged_lines_of_envi
from openhsi_shared.files.exporting.groups_file import GROUPS
from openhsi_shared.loggers import safe_logger

__all__ = ["finish_envi"]

logger = safe_logger(__name__)


def finish_envi(raw: Path) -> bool:
    """Publish the files that pixels lack, if their writer died when all were complete; True if there is a header now.

    A writer gives names to the pixels, the table of lines, the groups and the header, in this order. Each line is read,
    and compared with its checksum, before. Blocks. SaveError.
    """
    if os.path.lexists(raw.with_suffix(".hdr")) or not raw.is_file():
        return False
    return any(_finish(raw, header, run) for header, run in _headers(raw))


def _headers(raw: Path) -> Iterator[tuple[Path, tuple[str, str]]]:
    """Temporary headers of these pixels, with the suffix and the process of the run that wrote them."""
    for path in sorted(raw.parent.glob(f".{escape(raw.stem)}*.hdr.*.part")):
        found = PART.fullmatch(path.name)
        suffix = "" if found is None else found["name"].removeprefix(raw.stem).removesuffix(".hdr")
        if found is not None and (not suffix or suffix.startswith("~")):
            yield path, (suffix, found["process"])


def _finish(raw: Path, header: Path, run: tuple[str, str]) -> bool:
    targets = [raw.with_name(f"{raw.stem}{end}") for end in (LINES_TABLE, GROUPS)]
    parts = [(_part_of(target, run), target) for target in targets]
    table = parts[0][0] or targets[0]
    with ExitStack() as stack:
        adopted = []
        for path, target in [*parts, (header, raw.with_suffix(".hdr"))]:
            if path is None:
                continue
            part = PartFile.adopt(path)
            if part is None:  # its writer lives
                return False
            adopted.append((stack.enter_context(part), target))
        try:
            damaged = damaged_lines_of_envi(raw, header=header, table=table)
        except (FileError, PackageMissing) as error:
            logger.warning("%s has no header, and %s cannot become it: %s", raw, header, error)
            return False
        if damaged:
            logger.warning("%s has no header, and %s is not of its lines: line %d differs", raw, header, damaged[0])
            return False
        for part, target in adopted:
            part.publish_as(target)
    logger.info("%s is complete now: its writer was killed when it gave its files their names", raw)
    return True


def _part_of(target: Path, run: tuple[str, str]) -> Path | None:
    """The temporary file of a run that is to become `target`."""
    suffix, process = run
    name = f".{escape(f'{target.stem}{suffix}{target.suffix}')}.{process}*.part"
    found = [path for path in sorted(target.parent.glob(name)) if _process_of(path) == process]
    return found[-1] if found else None


def _process_of(path: Path) -> str:
    found = PART.fullmatch(path.name)
    return "" if found is None else found["process"]
