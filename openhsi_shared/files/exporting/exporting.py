"""Exports a saved cube: copies its lines, block by block, into a file of another format."""

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.durable import PAGE
from openhsi_shared.errors import ArgumentError, ChecksumError, SaveError
from openhsi_shared.files.exporting.bands_first import BandsFirstWriter
from openhsi_shared.files.exporting.description import Description, described
from openhsi_shared.files.exporting.envi import INTERLEAVES, EnviWriter, Interleave
from openhsi_shared.files.exporting.orders import room
from openhsi_shared.files.exporting.published_together import refuse_existing
from openhsi_shared.files.exporting.zarr import ZarrWriter
from openhsi_shared.files.lines import FileLines
from openhsi_shared.files.reading import open_cube
from openhsi_shared.files.threads import in_threads
from openhsi_shared.paths import given_path

__all__ = ["FORMATS", "Format", "export_cube", "exported_path"]

Format = Literal["envi", "netcdf", "zarr"]
FORMATS: tuple[Format, ...] = ("envi", "netcdf", "zarr")
ENDINGS: dict[Format, str] = {"envi": ".raw", "netcdf": ".nc", "zarr": ".zarr"}
N_THREADS = 2
BLOCK_BYTES = 16 << 20
"""Lines of a block: two threads have one each, and as much again for what they write."""
BSQ_BLOCK_BYTES = 28 << 20
BAND_BLOCK_BYTES = 48 << 20
"""Where a block becomes a piece of each band: the larger it is, the longer are the pieces."""

Progress = Callable[[int], None]
"""Called with the number of lines that were written since the call before, by any thread."""


class Writer(Protocol):
    """A file that takes lines."""

    def put(self, first: int, lines: NDArray[Any]) -> None:
        """Write lines from number `first` on."""

    def finish(self) -> Path:
        """Complete, read back and publish."""

    def close(self) -> None:
        """End; what is not published is removed."""


def exported_path(path: Path, directory: Path, to: Format) -> Path:
    """Where the export of a cube goes: the file of the pixels, or the folder of Zarr."""
    return directory / f"{path.stem}{ENDINGS[to]}"


def export_cube(
    path: str | Path,
    directory: str | Path,
    to: Format,
    *,
    interleave: Interleave = "bip",
    bands_first: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a saved cube as `NAME.raw` with its header, `NAME.nc` or `NAME.zarr` into a folder. Returns the path.

    Each line is compared with its checksum first, and the result is read by the program that it is for, before it gets
    its name. Nothing is overwritten. ArgumentError, FileError for the cube, SaveError for the result; PackageMissing.
    """
    path, directory = given_path(path), given_path(directory, "directory", "the path of a folder")
    if to not in FORMATS:
        raise ArgumentError(f"to={to!r} is no format of an export: expected one of {', '.join(FORMATS)}")
    if bands_first != (to == "netcdf"):
        raise ArgumentError(f"to={to!r} with bands_first={bands_first}: it is for netcdf, whose exports all have it")
    if interleave not in INTERLEAVES:
        raise ArgumentError(f"interleave={interleave!r} is unknown: expected one of {', '.join(INTERLEAVES)}")
    if not directory.is_dir():
        raise SaveError(errno.ENOTDIR, "is no folder: make it before, or give another directory", str(directory))
    target = exported_path(path, directory, to)
    refuse_existing([target])
    with open_cube(path) as cube:
        description = described(cube)
        n_at_once = _lines_at_once(description, _block_bytes(to, interleave))
        writer = _writer(target, description, to, interleave, n_at_once)
        try:
            _copy(path, cube.lines, writer, n_at_once, progress)
            return writer.finish()
        finally:
            writer.close()


def _writer(target: Path, description: Description, to: Format, interleave: Interleave, n_at_once: int) -> Writer:
    if to == "envi":
        return EnviWriter(target, description, interleave)
    if to == "zarr":
        return ZarrWriter(target, description, n_at_once)
    return BandsFirstWriter(target, description)


def _block_bytes(to: Format, interleave: Interleave) -> int:
    if to == "netcdf":
        return BAND_BLOCK_BYTES
    return BSQ_BLOCK_BYTES if to == "envi" and interleave == "bsq" else BLOCK_BYTES


def _lines_at_once(description: Description, n_bytes: int) -> int:
    """Lines of a block: whole pages, if that many fit."""
    n = max(1, n_bytes // description.line_bytes)
    whole = PAGE // int(np.gcd(PAGE, description.line_bytes))
    return min(n // whole * whole or n, description.n_lines)


def _copy(path: Path, lines: FileLines, writer: Writer, n_at_once: int, progress: Progress | None) -> None:
    n_lines = len(lines)
    free: SimpleQueue[NDArray[Any]] = SimpleQueue()
    for _ in range(N_THREADS):
        free.put(room((n_at_once, *lines.shape[1:]), lines.dtype))
    failed = threading.Event()

    def copy(first: int) -> None:
        if failed.is_set():
            return
        block = free.get()
        try:
            part = block[: min(n_at_once, n_lines - first)]
            good = lines.read_into(first, first + len(part), part)
            if not good.all():
                number = first + int(np.flatnonzero(~good)[0])
                raise ChecksumError(
                    f"{path}: line {number} is damaged: it is not what was written; `openhsi-shared process` with "
                    f"--on-error nan keeps the other lines"
                )
            writer.put(first, part)
        except BaseException:
            failed.set()
            raise
        finally:
            free.put(block)
        if progress is not None:
            progress(len(part))

    in_threads(N_THREADS, copy, range(0, n_lines, n_at_once))
