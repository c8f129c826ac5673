"""`openhsi-shared preview`: previews of saved cubes, and a contact sheet of a flight."""

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from openhsi_shared.cli.arguments import GivenPath, cubes_in
from openhsi_shared.cli.output import NO_CUBES, echo
from openhsi_shared.errors import ArgumentError, OpenHSIError
from openhsi_shared.files.preview import preview_path, read_picture, write_preview
from openhsi_shared.files.sheet import MIN_WIDTH, Tile, contact_sheet, tile_height, tile_of
from openhsi_shared.loggers import safe_logger
from openhsi_shared.printable import printable
from openhsi_shared.processes.pool import Died, in_processes
from openhsi_shared.rgb import PREVIEW_RANGES_NM, Range, picture, preview_bands

__all__ = ["preview"]

logger = safe_logger(__name__)

MAX_PARALLEL = 4
"""Each process reads in several threads and needs about 200 MB; more do not make a disk faster."""


def _bands(text: str | None) -> Sequence[Range]:
    """Parse RED,GREEN,BLUE, each one wavelength or FIRST-LAST."""
    if text is None:
        return PREVIEW_RANGES_NM
    try:
        ends = [[float(end) for end in colour.split("-")] for colour in text.split(",")]
        ranges: list[Range] = [end[0] if len(end) == 1 else (end[0], end[1]) for end in ends if len(end) <= 2]
    except ValueError:
        ranges = []
    if len(ranges) != 3:
        raise click.BadParameter(
            f"{text!r} is not RED,GREEN,BLUE in nm, such as 640,550,470 or 640-670,530-590,450-510"
        )
    return ranges


@click.command()
@click.argument("paths", metavar="FILE_OR_DIR...", nargs=-1, required=True, type=GivenPath())
@click.option(
    "--out",
    type=GivenPath(file_okay=False),
    help="Directory of the previews, created if missing.  [default: that of each cube]",
)
@click.option(
    "--sheet",
    type=GivenPath(dir_okay=False),
    help="Also write a contact sheet of all cubes, sorted by time: a PNG.",
)
@click.option(
    "--bands",
    metavar="RED,GREEN,BLUE",
    help="In nm, each one wavelength (its bands within 15 nm) or FIRST-LAST.  [default: 640-670,530-590,450-510]",
)
@click.option(
    "--robust",
    type=float,
    metavar="PERCENT",
    help="Clip this percentage of the darkest and of the brightest pixels; 0: none.  [default: 2 where single pixels, "
    "rows or lines would make all others dark]",
)
@click.option("--hist-eq", is_flag=True, help="Equalise the histogram.")
@click.option(
    "--jobs", type=click.IntRange(1), help="Cubes processed in parallel.  [default: one per processor, at most 4]"
)
@click.pass_context
def preview(
    context: click.Context,
    paths: tuple[Path, ...],
    out: Path | None,
    sheet: Path | None,
    bands: str | None,
    robust: float | None,
    hist_eq: bool,
    jobs: int | None,
) -> None:
    """Write a PNG of each saved cube, of this library or of openhsi; of a directory, all cubes in it and below.

    A failure is reported, and does not stop the others; the exit code is then 1.
    """
    options = {"ranges": _bands(bands), "robust": robust, "hist_eq": hist_eq}
    _check(options)
    cubes, empty = cubes_in(paths)
    for directory in empty:
        echo(f"{directory}: {NO_CUBES}", err=True)
    n_failed = len(empty)
    if out is not None:
        _make_directory(out, "--out")
    targets = {cube: preview_path(cube, out) for cube in cubes}
    if sheet is not None:
        _check_sheet(sheet, targets.values())
    n_sharing, height, tiles = Counter(targets.values()), tile_height(len(cubes)), []
    n_parallel = jobs or min(MAX_PARALLEL, os.cpu_count() or 1)
    tasks = [PreviewTask(cube, target, n_sharing[target], height, options) for cube, target in targets.items()]
    with _progress(len(cubes)) as report, closing(in_processes(make_preview, tasks, n_parallel)) as results:
        for task, result in zip(tasks, results, strict=True):
            tile, error = _died(task, result.exit_code) if isinstance(result, Died) else result
            tiles.append(tile)
            n_failed += bool(error)
            report(f"{task.cube}: {error}", sys.stderr) if error else report(str(task.target), sys.stdout)
    if sheet is not None and tiles:
        n_failed += not _write_sheet(sheet, tiles, paths)
    if n_failed:
        context.exit(1)


def _check(options: dict[str, Any]) -> None:
    """Reject options that are invalid for every cube, before the first is read."""
    try:
        preview_bands(np.linspace(400, 1000, 7), 7, options["ranges"])
        picture(np.zeros((1, 1, 1)), robust=options["robust"], hist_eq=options["hist_eq"])
    except ArgumentError as error:
        raise click.UsageError(str(error)) from error


def _check_sheet(sheet: Path, targets: Any) -> None:
    if sheet.suffix.lower() != ".png":
        raise click.UsageError(f"--sheet {sheet} is written as PNG: use a name that ends with .png")
    if sheet.absolute() in {target.absolute() for target in targets}:
        raise click.UsageError(f"--sheet {sheet} is the preview of one of the cubes: choose another name")
    _make_directory(sheet.parent, "--sheet")


def _make_directory(path: Path, option: str) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"{option} {path} cannot be created: {error.strerror}") from error


class PreviewTask(NamedTuple):
    """One preview to write."""

    cube: Path
    target: Path
    n_sharing: int
    """Number of cubes with this `target`."""
    height: int
    """Height of the tile on the sheet."""
    options: dict[str, Any]

    @property
    def empty_tile(self) -> Tile:
        """Tile on the sheet for a cube that cannot be read."""
        return Tile(self.cube.stem, np.full((self.height, MIN_WIDTH, 3), 48, np.uint8), error="cannot be read")


def make_preview(task: PreviewTask) -> tuple[Tile, str]:
    """Read a cube and write its preview; returns the tile for the sheet, and the error, empty on success."""
    tile = task.empty_tile
    try:
        made = read_picture(task.cube, **task.options)
        tile = tile_of(task.cube.stem, made, task.height)
        if task.n_sharing > 1:
            raise ArgumentError(
                f"{task.n_sharing} cubes have the same preview {task.target}: omit --out, or pass fewer cubes at a time"
            )
        write_preview(made.image, task.target)
    except Exception as error:
        logger.debug("no preview of %s", task.cube, exc_info=True)
        return tile, str(error) if isinstance(error, OpenHSIError | OSError) else f"{type(error).__name__}: {error}"
    return tile, ""


def _died(task: PreviewTask, exit_code: int | None) -> tuple[Tile, str]:
    return task.empty_tile, f"the process that read it died with exit code {exit_code}; retry it alone, with --jobs 1"


def _write_sheet(sheet: Path, tiles: Sequence[Tile], paths: Sequence[Path]) -> bool:
    title = f"{paths[0].resolve().name}{' ...' if len(paths) > 1 else ''}: {len(tiles)} cubes"
    try:
        echo(write_preview(contact_sheet(tiles, title), sheet))
    except (OpenHSIError, OSError) as error:
        echo(f"{sheet}: {error}", err=True)
        return False
    return True


@contextmanager
def _progress(n: int) -> Iterator[Any]:
    """Show a progress bar on a terminal; yields a function that prints above the bar and advances it by one."""
    from tqdm import tqdm

    with tqdm(total=n, unit="cube", desc="previews", disable=None) as bar:

        def report(text: str, stream: Any) -> None:
            bar.write(printable(text), file=stream)
            bar.update()

        yield report
