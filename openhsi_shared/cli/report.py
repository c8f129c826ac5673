"""`openhsi-shared report`: write a page about a flight."""

from pathlib import Path

import click

from openhsi_shared.cli.arguments import GivenPath
from openhsi_shared.cli.output import echo

__all__ = ["report"]


@click.command()
@click.argument("directory", metavar="DIR", type=GivenPath())
@click.option("--json", "as_json", is_flag=True, help="Also write report.json, with all numbers.")
@click.option("--out", type=GivenPath(), metavar="PATH", help="Directory of the report, or its name.  [default: DIR]")
@click.pass_context
def report(context: click.Context, /, directory: Path, as_json: bool, out: Path | None) -> None:
    """Write DIR/report.html about all cubes in a directory and below: one page, which requests nothing.

    Every byte of the cubes is read and verified. Problems go to standard output, one per line: files, and lines of the
    log, that are damaged, foreign or unfinished. The exit code is 1 if there are any.
    """
    from openhsi_shared.flight.report.writing import write_report

    facts, written = write_report(directory, out, as_json=as_json)
    for problem in facts.problems:
        echo(problem)
    for path in written:
        echo(path)
    lost = f"{facts.n_lines_lost:,} lost" if facts.n_lines_lost else "none lost"
    echo(f"{facts.n_cubes:,} cubes, {facts.n_lines:,} lines, {lost}; {facts.n_intact:,} cubes are intact")
    if facts.problems:
        context.exit(1)
