"""`openhsi-shared preview`: pictures of saved cubes."""

import logging
import sys
from collections import Counter
from pathlib import Path

import click

from openhsi_shared.errors import ArgumentError, OpenHSIError
from openhsi_shared.files.preview import preview_of, preview_path

__all__ = ["preview"]

logger = logging.getLogger(__name__)


@click.command()
@click.argument("paths", metavar="FILE_OR_DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for the pictures, made if it is not there.  [default: beside each cube]",
)
@click.pass_context
def preview(context: click.Context, paths: tuple[Path, ...], out: Path | None) -> None:
    """Make a PNG of each saved cube, of ours and of openhsi; of a directory, all cubes in it and below.

    One that cannot be made is named, the others are made; the exit code is 1 then.
    """
    from tqdm import tqdm

    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"--out {out} cannot be made: {error.strerror}") from error
    cubes, n_failed = _cubes_of(paths)
    n_alike = Counter(preview_path(cube, out) for cube in cubes)
    for cube in tqdm(cubes, unit="cube", desc="previews", disable=None):
        try:
            target = preview_path(cube, out)
            if n_alike[target] > 1:
                raise ArgumentError(
                    f"{n_alike[target]} cubes would become {target}: leave --out, or name fewer at a time"
                )
            tqdm.write(str(preview_of(cube, target)), file=sys.stdout)
        except (OpenHSIError, OSError) as error:
            logger.debug("no preview of %s", cube, exc_info=True)
            tqdm.write(f"{cube}: {error}", file=sys.stderr)
            n_failed += 1
    if n_failed:
        context.exit(1)


def _cubes_of(paths: tuple[Path, ...]) -> tuple[list[Path], int]:
    """Collect the cubes, each once, those of a directory by name; count the directories that hold none."""
    cubes: list[Path] = []
    n_empty = 0
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*.nc") if not file.name.startswith("."))
            if not inside:
                click.echo(f"{path}: no cube (*.nc) in this directory", err=True)
                n_empty += 1
            cubes += inside
        else:
            cubes.append(path)
    return list(dict.fromkeys(cubes)), n_empty
