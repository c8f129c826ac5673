"""`openhsi-shared recover`: what a crash left behind gets its name."""

from collections.abc import Iterator
from pathlib import Path

import click

__all__ = ["recover"]


@click.command()
@click.argument(
    "directories",
    metavar="DIR...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
)
@click.pass_context
def recover(context: click.Context, /, directories: tuple[Path, ...]) -> None:
    """Publish the cubes that a writer left whole when it died, in these directories and below, and name the others.

    Safe while recordings run: what a living writer is at work on is left alone. Nothing that is damaged is deleted; the
    exit code is 1 if there is any.
    """
    from tqdm import tqdm

    from openhsi_shared.files.recovering import recover as recover_in

    def each(paths: list[Path]) -> Iterator[Path]:
        return iter(tqdm(paths, unit="file", desc="recovering", disable=None, leave=False))

    n_damaged = 0
    for directory in directories:
        found = recover_in(directory, each=each)
        for path in found.published:
            click.echo(f"published      {path}")
        for path in found.removed:
            click.echo(f"there already  {path}")
        for path in found.live:
            click.echo(f"being written  {path}")
        for path, why in found.damaged.items():
            click.echo(f"damaged        {path}: {why}")
        click.echo(f"{directory}: {found}")
        n_damaged += len(found.damaged)
    if n_damaged:
        context.exit(1)
