"""`openhsi-shared preview`: previews of saved cubes, and a contact sheet of a flight."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click

from openhsi_shared.cli.arguments import GivenPath, cubes_in
from openhsi_shared.cli.output import NO_CUBES, echo
from openhsi_shared.printable import printable

__all__ = ["preview"]


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
    from openhsi_shared.cli.previews import PreviewTask, bands_of, died, make_preview, refuse_invalid, write_sheet
    from openhsi_shared.files.preview import preview_path
    from openhsi_shared.files.sheet import tile_height
    from openhsi_shared.processes.pool import Died, in_processes

    options = {"ranges": bands_of(bands), "robust": robust, "hist_eq": hist_eq}
    refuse_invalid(options)
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
    tasks = [PreviewTask(cube, target, n_sharing[target], height, options) for cube, target in targets.items()]
    with _progress(len(cubes)) as report, closing(in_processes(make_preview, tasks, jobs)) as results:
        for task, result in zip(tasks, results, strict=True):
            tile, error = died(task, result.exit_code) if isinstance(result, Died) else result
            tiles.append(tile)
            n_failed += bool(error)
            report(f"{task.cube}: {error}", sys.stderr) if error else report(str(task.target), sys.stdout)
    if sheet is not None and tiles:
        n_failed += not write_sheet(sheet, tiles, paths)
    if n_failed:
        context.exit(1)


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


@contextmanager
def _progress(n: int) -> Iterator[Any]:
    """Show a progress bar on a terminal; yields a function that prints above the bar and advances it by one."""
    from tqdm import tqdm

    with tqdm(total=n, unit="cube", desc="previews", disable=None) as bar:

        def report(text: str, stream: Any) -> None:
            bar.write(printable(text), file=stream)
            bar.update()

        yield report
