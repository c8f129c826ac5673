"""`openhsi-shared match`: match channels to the lines of saved cubes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openhsi_shared.cli.arguments import GivenPath
from openhsi_shared.cli.output import echo

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["match"]

HOWS = ("nearest", "previous", "linear", "cubic", "mean")


@click.command()
@click.argument("path", metavar="FILE_OR_DIR", type=GivenPath())
@click.option(
    "--channel", "channels", metavar="NAME=LOG", multiple=True,
    help="A log: CSV, NetCDF, NMEA, or a cube; with keywords: NAME=log:FILE,clock_offset_s=0.5. Default: the channels "
    "that were recorded with the cubes.",
)  # fmt: skip
@click.option("--how", type=click.Choice(HOWS), help="How values are found between samples.")
@click.option("--tolerance", "tolerance_s", type=float, metavar="S", help="Use no sample further away from a line.")
@click.option("--gap", "gap_s", type=float, metavar="S", help="Interpolate over no longer hole between samples.")
@click.option("--max-age", "max_age_s", type=float, metavar="S", help="With previous: use no older sample.")
@click.option("--clock-offset", "clock_offset_s", type=float, metavar="S", help="Added to the stamps of the source.")
@click.option("--latency", "latency_s", type=float, metavar="S", help="Subtracted from times of arrival.")
@click.option("--save", is_flag=True, help="Write NAME.channels.nc beside each cube.")
def match(path: Path, channels: Sequence[str], save: bool, **how: Any) -> None:
    """Match channels to the lines of a cube, or of all cubes in a directory and below, as one flight.

    Prints how many lines have a value of each channel, and why others have none.
    """
    from openhsi_shared.channels.matched_files import match_channels

    logs = dict(map(_named, channels)) or None
    changed = {name: value for name, value in how.items() if value is not None}
    dataset = match_channels(path, logs, save=save, **changed)
    for line in _summary(dataset):
        echo(line)
    for saved in dataset.attrs.get("saved", ()):
        echo(saved)


def _named(text: str) -> tuple[str, str]:
    name, equals, source = text.partition("=")
    if not equals or not name or not source:
        raise click.UsageError(f"--channel {text!r}: expected NAME=LOG, such as gps=flight.nmea")
    return name, source


def _summary(dataset: "xr.Dataset") -> list[str]:
    """One line for each channel: how many lines there are in each state."""
    found = [f"{len(dataset.attrs['cubes'])} cubes, {dataset.sizes['y']} lines"]
    for name, variable in dataset.variables.items():
        words = str(variable.attrs.get("flag_meanings", "")).split()
        if not str(name).endswith("_state") or not words:
            continue
        numbers = variable.values.tolist()
        counts = {word: numbers.count(number) for number, word in enumerate(words)}
        parts = (f"{count} {word.replace('_', ' ')}" for word, count in counts.items() if count)
        found.append(f"{str(name).removesuffix('_state')}: {', '.join(parts)}")
    return found
