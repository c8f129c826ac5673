"""`openhsi-shared verify`: compare cubes with their checksums."""

from pathlib import Path

import click

from openhsi_shared.cli.arguments import GivenPath, cubes_in
from openhsi_shared.cli.output import NO_CUBES, echo, echo_saved_more_than_once
from openhsi_shared.printable import printable

__all__ = ["verify"]


@click.command()
@click.argument("paths", metavar="FILE_OR_DIR...", nargs=-1, required=True, type=GivenPath())
@click.pass_context
def verify(context: click.Context, /, paths: tuple[Path, ...]) -> None:
    """Read every byte of the cubes and compare it with its checksum; of a directory, all cubes in it and below.

    Problems go to standard output, one per line; the exit code is 1 if there are any. Data that another program added
    to a cube has no checksums: it is listed, and is not a problem. Nor are several files of one cube, which are listed.
    """
    from openhsi_shared.files.verifying import verify as verify_cube
    from openhsi_shared.processes.progress import progress_bar

    cubes, empty = cubes_in(paths)
    for directory in empty:
        echo(f"{directory}: {NO_CUBES}")
    n_problems, n_bad = len(empty), 0
    with progress_bar(len(cubes), "verifying", "cube") as bar:
        for cube in cubes:
            report = verify_cube(cube)
            n_bad += not report.ok
            for problem in report.problems:
                bar.write(printable(problem if problem.startswith(f"{cube}: ") else f"{cube}: {problem}"))
                n_problems += 1
            if report.added:
                added = ", ".join(report.added)
                bar.write(printable(f"{cube}: added by another program, without checksums: {added}"))
            bar.update()
    echo_saved_more_than_once(cubes)
    echo(f"{len(cubes) - n_bad} of {len(cubes)} cubes are intact")
    if n_bad or n_problems:
        context.exit(1)
