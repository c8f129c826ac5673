"""`openhsi-shared verify`: compare cubes with their checksums."""

from pathlib import Path

import click

__all__ = ["verify"]


@click.command()
@click.argument("paths", metavar="FILE_OR_DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.pass_context
def verify(context: click.Context, /, paths: tuple[Path, ...]) -> None:
    """Read every byte of the cubes and compare it with its checksum; of a directory, all cubes in it and below.

    Problems go to standard output, one per line; the exit code is 1 if there are any. Data that another program added
    to a cube has no checksums: it is listed, and is not a problem.
    """
    from tqdm import tqdm

    from openhsi_shared.files.verifying import verify as verify_cube

    cubes, n_problems, n_bad = [], 0, 0
    for path in paths:
        inside = _cubes_in(path) if path.is_dir() else [path]
        if not inside:
            click.echo(f"{path}: no cube (*.nc) in this directory")
            n_problems += 1
        cubes += inside
    cubes = list(dict.fromkeys(cubes))
    for cube in tqdm(cubes, unit="cube", desc="verifying", disable=None, leave=False):
        report = verify_cube(cube)
        n_bad += not report.ok
        for problem in report.problems:
            tqdm.write(problem if problem.startswith(f"{cube}: ") else f"{cube}: {problem}")
            n_problems += 1
        if report.added:
            tqdm.write(f"{cube}: added by another program, without checksums: {', '.join(report.added)}")
    click.echo(f"{len(cubes) - n_bad} of {len(cubes)} cubes are intact")
    if n_bad or n_problems:
        context.exit(1)


def _cubes_in(directory: Path) -> list[Path]:
    return sorted(file for file in directory.rglob("*.nc") if not file.name.startswith("."))
