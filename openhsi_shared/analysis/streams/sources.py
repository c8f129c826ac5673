"""Which source reads what a user names: captures, cubes, folders of cubes, or a class of generators."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from openhsi_shared.analysis.streams.captures import CaptureSource, n_runs
from openhsi_shared.analysis.streams.carried import DecodedSource
from openhsi_shared.analysis.streams.cubes import CubeSource
from openhsi_shared.analysis.streams.generators import GeneratorSource
from openhsi_shared.analysis.streams.merged import MergedSource
from openhsi_shared.analysis.streams.record_layout import RECORD
from openhsi_shared.analysis.streams.selected import SelectedSource
from openhsi_shared.analysis.streams.source import Source
from openhsi_shared.errors import ArgumentError, CaptureError, FileError
from openhsi_shared.given_numbers import is_whole
from openhsi_shared.paths import cubes_below, given_path

__all__ = ["open_source", "open_sources", "paths_of"]

DECODED = (".gz", ".pkls")
CAPTURES = (".cbors", ".cbors.gz", ".pkls", ".pkls.gz")
STREAM = "lines"


def open_source(
    files: Sequence[str | Path] | str | Path = (),
    *,
    stream: str = STREAM,
    processing_lvl: int | None = None,
    source: type | str | None = None,
    trust_pickles: bool = False,
    first: int | None = None,
    until: int | None = None,
    only: int | None = None,
) -> Source:
    """Return the one source of all `files`, or of the class `source`: captures merged, cubes joined along track.

    `first`, `until` (both included) and `only` choose events by number; the first event of each stream comes in any
    case. FileError, ArgumentError, CaptureError; what is wrong within a capture is found by `ranges()`.
    """
    (found,) = open_sources(
        files,
        stream=stream,
        processing_lvl=processing_lvl,
        source=source,
        trust_pickles=trust_pickles,
        first=first,
        until=until,
        only=only,
    )
    return found


def open_sources(
    files: Sequence[str | Path] | str | Path = (),
    *,
    per: Literal["cube", "run"] | None = None,
    stream: str = STREAM,
    processing_lvl: int | None = None,
    source: type | str | None = None,
    trust_pickles: bool = False,
    first: int | None = None,
    until: int | None = None,
    only: int | None = None,
) -> list[Source]:
    """Return the sources of `files`: one, as `open_source`; per="cube" one for each cube, per="run" one for each run.

    per="run": a capture to which several runs were appended, where event numbers fall.
    """
    if per not in (None, "cube", "run"):
        raise ArgumentError(f"per is 'cube', 'run' or None, got {per!r}")
    paths = paths_of(files)
    if (source is None) == (not paths):
        raise ArgumentError("expected files, or a source class, " + ("and not both" if paths else "got neither"))
    for path in paths:
        if not path.exists():
            raise FileError(f"{path} does not exist: expected a capture, a cube, or a folder of cubes")
    paths = [file for path in paths for file in _captures_in(path)]
    captures = [path for path in paths if _is_capture(path)]
    if captures and len(captures) < len(paths):
        cube = next(path for path in paths if path not in captures)
        raise ArgumentError(f"{captures[0]} is a capture, {cube} is not: replay them one after the other")
    found: list[Source]
    if captures or source is not None:
        if per == "cube" or stream != STREAM or processing_lvl is not None:
            what = "per='cube'" if per == "cube" else "stream" if stream != STREAM else "processing_lvl"
            raise ArgumentError(f"{what} is for cubes, got {source or captures[0]}")
        found = [GeneratorSource(source)] if source is not None else _captures(captures, per, trust_pickles)
    else:
        cubes = CubeSource(paths, stream=stream, processing_lvl=processing_lvl)
        if per == "run":
            raise ArgumentError(f"per='run' is for captures, got {paths[0]}: per='cube' is for cubes")
        found = list(cubes.each()) if per == "cube" else [cubes]
    return [_selected(one, first, until, only) for one in found]


def _is_capture(path: Path) -> bool:
    if not path.is_file():
        return False
    if path.name.endswith(CAPTURES):
        return True
    with path.open("rb") as file:
        return file.read(len(RECORD)) == RECORD


def _captures_in(path: Path) -> list[Path]:
    """The captures in a folder without cubes, in the order of their names; else the path itself."""
    captures = sorted(file for file in path.iterdir() if _is_capture(file)) if path.is_dir() else []
    return captures if captures and not cubes_below(path) else [path]


def _captures(paths: list[Path], per: str | None, trust_pickles: bool) -> list[Source]:
    mapped = [not path.name.endswith(DECODED) for path in paths]
    for path in paths:
        if ".pkls" in path.suffixes and not trust_pickles:
            text = "is a pickle, which can execute any code: if you know where it comes from, replay it with"
            raise CaptureError(f"{path} {text} trust_pickles=True (--trust-pickles)", path=str(path))
    if per == "run":
        if len(paths) > 1 or not mapped[0]:
            raise ArgumentError(f"per='run' is for one uncompressed capture, got {', '.join(map(str, paths))}")
        return [CaptureSource(paths[0], run) for run in range(n_runs(paths[0]))]
    sources = tuple(
        CaptureSource(path) if is_mapped else DecodedSource(path) for path, is_mapped in zip(paths, mapped, strict=True)
    )
    return [sources[0] if len(sources) == 1 else MergedSource(sources, tuple(map(str, paths)))]


def paths_of(files: Iterable[str | Path] | str | Path) -> list[Path]:
    """Return the paths that a user gave for what is replayed. ArgumentError for what is none."""
    given = [files] if isinstance(files, str | bytes | Path) or not isinstance(files, Iterable) else files
    return [given_path(file, "a file to replay") for file in given]


def _selected(source: Source, first: int | None, until: int | None, only: int | None) -> Source:
    if only is not None:
        if first is not None or until is not None:
            raise ArgumentError(f"only={only} excludes first and until, got first={first}, until={until}")
        first = until = only
    if first is None and until is None:
        return source
    first = first or 0
    if not all(one is None or is_whole(one) for one in (first, until)):
        raise ArgumentError(f"events are chosen by whole numbers, got first={first!r}, until={until!r}")
    if first < 0 or (until is not None and until < first):
        raise ArgumentError(f"expected event numbers 0 <= first <= until, got first={first}, until={until}")
    return SelectedSource(source, first, until)
