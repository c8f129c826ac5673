"""Paths as users give them: `~` is the home directory, also where no shell has expanded it; and cubes below one."""

import os
import re
from pathlib import Path

from openhsi_shared.errors import ArgumentError

__all__ = ["MATCHED", "REFERENCE", "cubes_below", "file_version", "given_path", "given_text", "is_below"]

MATCHED = ".channels"
"""Ends the name, without `.nc`, of a file beside a cube that contains channels matched to its lines."""
REFERENCE = ".reference"
"""Ends the name, without `.nc`, of a file with a dark or white reference."""
_NO_CUBE = re.compile(rf".*({re.escape(MATCHED)}|{re.escape(REFERENCE)})(-\d+)?\.nc")


def given_path(path: str | os.PathLike[str], what: str = "path", kind: str = "the path of a file or directory") -> Path:
    """The path that a user gave for `what`, which is `kind`, with `~` and `~user` expanded as by a shell.

    ArgumentError for what is no path, is empty, contains a null character, or needs a home directory that is unknown,
    or a user who is.

    >>> given_path("./~").as_posix()
    '~'
    """
    return Path(given_text(path, what, kind))


def given_text(path: str | os.PathLike[str], what: str = "path", kind: str = "the path of a file or directory") -> str:
    """`given_path` as a text, for where time counts."""
    try:
        text = os.fspath(path)
    except TypeError:
        text = ""
    if not isinstance(text, str) or not text:
        raise ArgumentError(f"{what} must be {kind}, got {path!r}")
    if "\0" in text:
        raise ArgumentError(f"{what} {text!r} contains a null character, which no path can")
    if text[0] != "~":
        return text
    expanded = os.path.expanduser(text)  # noqa: PTH111 - leaves the name of an unknown user as it is
    if expanded[0] == "~":
        name = Path(text).parts[0][1:]
        problem = f" of a user {name!r} who is unknown here" if name else ", which is unknown"
        raise ArgumentError(
            f"{what} {text!r} begins with the home directory{problem}: give the whole path, or './{text}' for a name "
            "that begins with ~"
        )
    return expanded


def file_version(path: Path) -> tuple[str | int, ...]:
    """What changes when the content of a file does, also if its size and time are what they were. OSError."""
    found = path.stat()
    return str(path.absolute()), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def is_below(path: Path, folder: Path) -> bool:
    """Whether a path is in a folder, or below it; links are followed."""
    return folder.resolve() in path.resolve().parents


def cubes_below(directory: Path) -> list[Path]:
    """All cubes (`*.nc`) in a directory and below, sorted by their paths.

    Links to folders are followed, such as to days on another disk. Each folder is entered once, by its own name rather
    than by a link, and none of those above `directory`.
    """
    above = {_identity(folder) for folder in directory.resolve().parents}
    known, found, todo = set(above), list[Path](), [directory]
    while todo:
        links = list[Path]()
        for top in todo:
            for name, folders, files in os.walk(top):
                folder, identity = Path(name), _identity(name)
                if identity in known:
                    folders.clear()
                    continue
                known.add(identity)
                links += [folder / one for one in folders if (folder / one).is_symlink()]
                found += [folder / one for one in files if one.endswith(".nc")]
        todo = sorted(links)
    return sorted(path for path in found if not path.name.startswith(".") and not _NO_CUBE.fullmatch(path.name))


def _identity(folder: str | Path) -> tuple[int, int] | None:
    try:
        found = Path(folder).stat()
    except OSError:  # removed meanwhile
        return None
    return found.st_dev, found.st_ino
