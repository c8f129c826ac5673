"""`openhsi-shared reference`: take the dark or the white reference of a flight, before it is recorded."""

from pathlib import Path
from typing import Any

import click

from openhsi_shared.cli.arguments import GivenPath
from openhsi_shared.cli.camera_options import given_options, keyword_options
from openhsi_shared.cli.output import echo

__all__ = ["reference"]


@click.command()
@click.argument("kind", type=click.Choice(["dark", "white"]))
@click.option(
    "--camera", default="simulated", show_default=True, help="Name of the camera; see `openhsi-shared cameras`."
)
@click.option("--settings", type=GivenPath(), help="Settings of the camera, a JSON file as of openhsi.")
@click.option("--calibration", type=GivenPath(), help="Calibration, a NetCDF file as of openhsi.")
@click.option("--level", type=int, default=-1, show_default=True, help="Processing level, as of the recording.")
@click.option("--out", type=GivenPath(), default="flight", show_default=True, help="Directory of the flight.")
@click.option("--frames", type=click.IntRange(2), default=200, show_default=True, help="Frames that are averaged.")
@keyword_options
def reference(kind: str, camera: str, out: Path, frames: int, level: int, options: Any, **files: Any) -> None:
    """Take a reference, and write it into the folder `references` of --out: `record --out` uses the newest ones.

    dark: with the lens covered. white: of a white target that fills the line, not saturated. It belongs to recordings
    with the same camera, exposure, window, binning, format and level.
    """
    from openhsi_shared.cameras import camera_class

    keywords = {"processing_lvl": level, "json_path": files["settings"], "cal_path": files["calibration"]}
    with camera_class(camera)(n_lines=2, **keywords, **given_options(options, keywords)) as open_camera:
        taken = open_camera.take_reference(kind, frames, out)  # type: ignore[arg-type] # checked by click
    echo(str(taken))
    echo(str(taken.path))
