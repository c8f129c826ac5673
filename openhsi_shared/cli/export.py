"""`openhsi-shared export`: write cubes as files of other formats."""

import errno
from pathlib import Path
from typing import Any

import click

from openhsi_shared.cli import in_one_line
from openhsi_shared.cli.arguments import GivenPath, cubes_in
from openhsi_shared.cli.output import NO_CUBES, echo
from openhsi_shared.errors import OpenHSIError, SaveError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.printable import printable

__all__ = ["export"]

logger = safe_logger(__name__)


@click.command()
@click.argument("paths", metavar="FILE_OR_DIR...", nargs=-1, required=True, type=GivenPath())
@click.option("--to", type=click.Choice(("envi", "netcdf", "zarr")), required=True, help="The format.")
@click.option(
    "--interleave", type=click.Choice(("bip", "bil", "bsq")), help="Order of the pixels of ENVI. Default: bip."
)
@click.option(
    "--bands-first", is_flag=True, help="NetCDF with the axes (wavelength, y, x), as GDAL and QGIS need them."
)
@click.option(
    "--out", "directory", metavar="DIR", type=GivenPath(file_okay=False), required=True, help="Folder of the results."
)
@click.pass_context
def export(
    context: click.Context, /, paths: tuple[Path, ...], to: Any, interleave: Any, bands_first: bool, directory: Path
) -> None:
    """Write cubes as ENVI, NetCDF (of openhsi's cubes, too) or Zarr; of a directory, all in it and below.

    Folders below a directory are kept. Each line is compared with its checksum, and each result is read by the program
    that it is for, before it gets its name; nothing is overwritten. A cube that fails is reported, and does not stop
    the others; the exit code is then 1.
    """
    if interleave is not None and to != "envi":
        raise click.UsageError(f"--interleave {interleave} is for --to envi, not for --to {to}")
    if bands_first and to != "netcdf":
        raise click.UsageError(f"--bands-first is for --to netcdf, not for --to {to}")
    from openhsi_shared.jobs.planning.existing import folders_made

    n_failed = 0
    for given in dict.fromkeys(paths):
        cubes, empty = cubes_in([given])
        for folder in empty:
            echo(f"Error: {folder}: {NO_CUBES}", err=True)
        n_failed += len(empty)
        for cube in cubes:
            below = cube.parent.relative_to(given) if given.is_dir() else Path()
            try:
                folder = directory / below
                with folders_made(folder):
                    if to == "netcdf" and not bands_first:
                        echo(_copy(cube, folder / f"{cube.stem}.nc"))
                    else:
                        echo(_export(cube, folder, to, interleave or "bip", bands_first))
            except (OpenHSIError, OSError) as error:
                logger.info("%s cannot be exported", cube, exc_info=True)
                text = in_one_line(error)
                echo(f"Error: {text if str(cube) in text else f'{cube}: {text}'}", err=True)
                n_failed += 1
    if n_failed:
        context.exit(1)


def _copy(cube: Path, target: Path) -> Path:
    """Write one cube as this library's own NetCDF, with checksums: a job without stages."""
    from openhsi_shared.jobs.recipe import PipelineJob
    from openhsi_shared.jobs.runner import JobRunner

    if target.exists():  # a job would take the result of an earlier one
        raise SaveError(errno.EEXIST, "exists, and nothing is overwritten: choose another folder", str(target))
    JobRunner(PipelineJob(cube, target)).run()
    return target


def _export(cube: Path, folder: Path, to: Any, interleave: Any, bands_first: bool) -> Path:
    """Export one cube, with a bar that counts its lines."""
    from tqdm import tqdm

    from openhsi_shared.files.exporting.exporting import export_cube

    with tqdm(unit="line", desc=printable(cube.name), disable=None, leave=False) as bar:
        return export_cube(cube, folder, to, interleave=interleave, bands_first=bands_first, progress=bar.update)
