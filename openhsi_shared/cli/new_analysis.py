"""`openhsi-shared new-analysis`: a folder to begin an analysis with."""

from pathlib import Path

import click

from openhsi_shared.cli.arguments import GivenPath
from openhsi_shared.cli.output import echo

__all__ = ["new_analysis"]


@click.command("new-analysis")
@click.argument("directory", metavar="DIR", type=GivenPath(file_okay=False))
@click.option(
    "--from",
    "source",
    metavar="FILE",
    type=GivenPath(),
    required=True,
    help="A capture, a cube, or a folder of cubes, of which the first lines are copied.",
)
def new_analysis(directory: Path, source: Path) -> None:
    """Make the folder DIR with a worker, a reducer, parameters, a small capture cut from FILE, and a test.

    DIR/README.md has the commands to replay, to record and to attach. It is put under git, if git is installed.
    """
    from openhsi_shared.analysis.scaffold import make_analysis

    n_lines = make_analysis(directory, source)
    echo(f"{directory}: worker, reducer, and a capture of {n_lines} lines; README.md has the commands")
