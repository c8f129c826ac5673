"""`openhsi-shared track`: write where the lines of saved cubes were taken, for programs that lay them on a map."""

from pathlib import Path

import click

from openhsi_shared.cli.arguments import GivenPath
from openhsi_shared.cli.output import echo

__all__ = ["track"]


@click.command()
@click.argument("path", metavar="FILE_OR_DIR", type=GivenPath())
@click.option("--to", required=True, type=click.Choice(["csv", "lcf", "headwall", "gpx", "geojson"]), help="Format.")
@click.option("--out", type=GivenPath(), metavar="DIR", help="Folder of the files.  [default: beside the cubes]")
@click.option("--level", is_flag=True, help="Without attitude: roll and pitch 0, yaw from the course over ground.")
@click.option("--position", metavar="NAME", help="Channel with the position, if there are several.")
@click.option("--leap-seconds", type=int, metavar="N", help="GPS time minus UTC.  [default: from a table, 18 now]")
def track(path: Path, to: str, out: Path | None, level: bool, position: str | None, leap_seconds: int | None) -> None:
    """Write the track of a cube, or of all cubes in a directory and below: one row a saved line, or a sample.

    csv: all channels of each line. lcf (Resonon): .lcf and .times for each cube. headwall: imu_gps.txt and
    frameIndex_N.txt for each recording. gpx, geojson: for maps. Lost frames are missing numbers.
    """
    from openhsi_shared.channels.tracks.exporting import export_track

    options = {"level": level, "position": position, "leap_seconds": leap_seconds}
    for written in export_track(path, to, out, **options):  # type: ignore[arg-type]
        echo(str(written))
