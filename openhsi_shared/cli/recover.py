"""`openhsi-shared recover`: publish complete cubes that a crash left behind."""

from collections.abc import Iterator
from pathlib import Path

import click

from openhsi_shared.cli.arguments import GivenPath, cubes_in
from openhsi_shared.cli.output import echo, echo_saved_more_than_once

__all__ = ["recover"]


@click.command()
@click.argument(
    "directories",
    metavar="DIR...",
    nargs=-1,
    required=True,
    type=GivenPath(exists=True, file_okay=False),
)
@click.pass_context
def recover(context: click.Context, /, directories: tuple[Path, ...]) -> None:
    """Publish complete cubes of writers that died, in these directories and below, and report the others.

    A cube that is saved in any of these directories is not published again. Safe while recordings run: files of a
    running writer are skipped. Damaged files are not deleted, nor those that the system does not let be read or
    published ("failed": no permission, no space); the exit code is 1 if there are any.
    Results of jobs that were interrupted with --resume are named; the same job finishes them.
    Several files of one cube, as after a save whose first directory did not respond, are named, and stay.
    """
    from openhsi_shared.files.recovering import recover as recover_in
    from openhsi_shared.processes.progress import progress_bar

    def each(paths: list[Path]) -> Iterator[Path]:
        with progress_bar(len(paths), "recovering", "file") as bar:
            for path in paths:
                yield path
                bar.update()

    n_damaged = 0
    for directory in directories:
        found = recover_in(directory, each=each, elsewhere=directories)
        for path in found.published:
            echo(f"published      {path}")
        for path in found.removed:
            echo(f"already saved  {path}")
        for path in found.live:
            echo(f"being written  {path}")
        for reason in found.resumable.values():
            echo(f"resumable      {reason}")
        for path, reason in found.damaged.items():
            echo(f"damaged        {path}: {reason}")
        for path, reason in found.failed.items():
            echo(f"failed         {path}: {reason}")
        echo(f"{directory}: {found}")
        n_damaged += len(found.damaged) + len(found.failed)
    echo_saved_more_than_once(cubes_in(directories)[0])
    if n_damaged:
        context.exit(1)
