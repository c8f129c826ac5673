"""The work of `openhsi-shared preview`: each picture in one of several processes, and the sheet of all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from openhsi_shared.cli.output import echo
from openhsi_shared.errors import ArgumentError, OpenHSIError
from openhsi_shared.files.preview import read_picture, write_preview
from openhsi_shared.files.sheet import MIN_WIDTH, Tile, contact_sheet, tile_of
from openhsi_shared.loggers import safe_logger
from openhsi_shared.rgb import PREVIEW_RANGES_NM, Range, picture, preview_bands

__all__ = ["PreviewTask", "bands_of", "died", "make_preview", "refuse_invalid", "write_sheet"]

logger = safe_logger(__name__)


def bands_of(text: str | None) -> Sequence[Range]:
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


def refuse_invalid(options: dict[str, Any]) -> None:
    """Reject options that are invalid for every cube, before the first is read."""
    try:
        preview_bands(np.linspace(400, 1000, 7), 7, options["ranges"])
        picture(np.zeros((1, 1, 1)), robust=options["robust"], hist_eq=options["hist_eq"])
    except ArgumentError as error:
        raise click.UsageError(str(error)) from error


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


def died(task: PreviewTask, exit_code: int | None) -> tuple[Tile, str]:
    """Return what `make_preview` does, of one whose process died."""
    return task.empty_tile, f"the process that read it died with exit code {exit_code}; retry it alone, with --jobs 1"


def write_sheet(sheet: Path, tiles: Sequence[Tile], paths: Sequence[Path]) -> bool:
    """Write the contact sheet; a failure is printed, and gives False."""
    title = f"{paths[0].resolve().name}{' ...' if len(paths) > 1 else ''}: {len(tiles)} cubes"
    try:
        echo(write_preview(contact_sheet(tiles, title), sheet))
    except (OpenHSIError, OSError) as error:
        echo(f"{sheet}: {error}", err=True)
        return False
    return True
