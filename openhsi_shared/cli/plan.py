"""`openhsi-shared plan`: what holds with this camera, disk and machine, measured before a flight."""

from typing import Any

import click

from openhsi_shared.cli.arguments import GivenPath
from openhsi_shared.cli.configured import option_from
from openhsi_shared.cli.output import echo
from openhsi_shared.cli.record import WITH_RATE, rate_of

__all__ = ["plan"]

N_LINES, N_BUFFERS = 16, 2
"""Of the camera while it is measured."""


@click.command()
@click.option("--camera", default="simulated", show_default=True, help="Name of the camera.")
@click.option("--settings", type=GivenPath(), help="Settings of the camera, a JSON file as of openhsi.")
@click.option("--calibration", type=GivenPath(), help="Calibration, a NetCDF file as of openhsi.")
@click.option("--level", type=int, default=-1, show_default=True, help="Processing level, -1 (raw) to 8.")
@click.option("--out", type=GivenPath(), default="flight", show_default=True, help="Directory of the cubes.")
@click.option("--for", "minutes", type=click.FloatRange(0, min_open=True), metavar="MINUTES", help="Planned time.")
@click.option("--rate", type=rate_of, metavar="R", help="Lines per second of a simulated or replayed camera.")
@click.option(
    "--option", "options", multiple=True, type=option_from, metavar="KEY=VALUE", help="Keyword of the camera."
)
@click.option(
    "--config", type=GivenPath(), default="flight.toml", show_default=True, help="File to be written, if it holds."
)
@click.pass_context
def plan(context: click.Context, /, **given: Any) -> None:
    """Measure disk, memory, and the camera's rate and queue, for at most 20 s, and write flight.toml.

    Cubes of the camera's own frames are saved in --out, as the writer does it, and removed. `record --config
    flight.toml` records with the lines, buffers and compression that hold. Of a flight.toml that exists, all other
    keys stay, and the file is kept as flight.toml~. The exit code is 1, and nothing is written, if nothing holds.
    """
    from openhsi_shared.cameras import camera_class
    from openhsi_shared.flight.plan import note_plan, write_plan

    of_camera = dict(given["options"])
    if given["rate"] is not None:
        if given["camera"] not in WITH_RATE:
            raise click.UsageError(f"--rate applies to {' and '.join(WITH_RATE)} only")
        of_camera["rate"] = given["rate"]
    keywords = {
        "n_lines": N_LINES,
        "n_buffers": N_BUFFERS,
        "processing_lvl": given["level"],
        "json_path": given["settings"],
        "cal_path": given["calibration"],
    }
    for key in of_camera.keys() & keywords.keys():
        raise click.UsageError(f"--option {key}: use the dedicated option for this; see --help")
    with camera_class(given["camera"])(**keywords, **of_camera) as camera:
        found = camera.plan(given["out"], given["minutes"])
    note_plan(found)
    for line in str(found).split("\n"):
        echo(line)
    if not found.holds:
        context.exit(1)
    of_record = {"camera": given["camera"], "out": str(given["out"]), "level": given["level"]}
    of_record |= {key: str(given[key]) for key in ("settings", "calibration") if given[key] is not None}
    echo(f"written      {write_plan(found, given['config'], of_record, of_camera)}")
