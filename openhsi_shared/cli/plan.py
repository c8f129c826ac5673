"""`openhsi-shared plan`: what holds with this camera, disk and machine, measured before a flight."""

from pathlib import Path
from typing import Any

import click

from openhsi_shared.cli.arguments import GivenPath
from openhsi_shared.cli.camera_options import WITH_RATE, keyword_options, option_from, rate_of
from openhsi_shared.cli.configured import keywords_from
from openhsi_shared.cli.output import echo
from openhsi_shared.flight.config import FlightConfig, read_config

__all__ = ["plan"]

N_LINES, N_BUFFERS = 16, 2
"""Of the camera while it is measured."""
OF_CAMERA = ("average", "compat")
"""Keys of [record] that are keywords of the camera."""


def _read_existing(context: click.Context, _option: click.Parameter, path: Path) -> Path:
    """What the file says about the camera holds unless the command line says otherwise, as for `record`."""
    config = context.obj = read_config(path) if path.exists() else FlightConfig()
    context.default_map = {
        str(option.name): config.record[name]
        for option in context.command.params
        if (name := str(option.name)) in config.record
    }
    return path


@click.command()
@click.option("--camera", default="simulated", show_default=True, help="Name of the camera.")
@click.option("--settings", type=GivenPath(), help="Settings of the camera, a JSON file as of openhsi.")
@click.option("--calibration", type=GivenPath(), help="Calibration, a NetCDF file as of openhsi.")
@click.option("--level", type=int, default=-1, show_default=True, help="Processing level, -1 (raw) to 8.")
@click.option("--out", type=GivenPath(), default="flight", show_default=True, help="Directory of the cubes.")
@click.option("--for", "minutes", type=click.FloatRange(0, min_open=True), metavar="MINUTES", help="Planned time.")
@click.option("--rate", type=rate_of, metavar="R", help="Lines per second of a simulated or replayed camera.")
@keyword_options
@click.option(
    "--config",
    type=GivenPath(),
    default="flight.toml",
    show_default=True,
    is_eager=True,  # before the other options, whose defaults it sets
    callback=_read_existing,
    help="File to be written, if it holds; of one that exists, the camera is planned as it says.",
)
@click.pass_context
def plan(context: click.Context, /, **given: Any) -> None:
    """Measure disk, memory, and the camera's rate and queue, for at most 20 s, and write flight.toml.

    Cubes of the camera's own frames are saved in --out, as the writer does it, and removed. `record --config
    flight.toml` records with the lines, buffers and compression that hold. The camera of a flight.toml that exists
    is planned as it is set there; all other keys stay, and the file is kept as flight.toml~. The exit code is 1, and
    nothing is written, if nothing holds.
    """
    from openhsi_shared.cameras import camera_class
    from openhsi_shared.flight.plan import note_plan, write_plan

    config: FlightConfig = context.obj
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
    kept = {key: value for key, value in config.record.items() if key in OF_CAMERA}
    kept |= dict(map(option_from, config.record.get("option", ()))) | keywords_from(config.camera)
    with camera_class(given["camera"])(**{**kept, **of_camera, **keywords}) as camera:
        found = camera.plan(given["out"], given["minutes"])
    note_plan(found)
    for line in str(found).split("\n"):
        echo(line)
    if not found.holds:
        context.exit(1)
    of_record = {"camera": given["camera"], "out": str(given["out"]), "level": given["level"]}
    of_record |= {key: str(given[key]) for key in ("settings", "calibration") if given[key] is not None}
    echo(f"written      {write_plan(found, given['config'], of_record, of_camera)}")
