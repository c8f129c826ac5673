"""`openhsi-shared mark`: a mark in a recording that runs on this machine."""

import time

import click

from openhsi_shared.cli.output import echo
from openhsi_shared.cli.running import choose_together

__all__ = ["mark"]


@click.command()
@click.argument("text", nargs=-1, required=True)
@click.option("--recording", "name", metavar="NAME", help="Which recording, if several run: as NAME of `view`.")
def mark(text: tuple[str, ...], name: str | None) -> None:
    """Note TEXT, with the time of this command, in a recording that runs on this machine, or a camera that has a page.

    The file of the line that is being taken then has it in its attribute `marks`, and the log of the flight,
    flight_log.jsonl in the directory of the cubes, has it, too. Several words are one text.
    Of several cameras that record together, the files of all have it.
    """
    monotonic_ns = time.monotonic_ns()
    from openhsi_shared.control.control_socket import request
    from openhsi_shared.control.messages import Mark

    path, whole = next(iter(choose_together(name).values())), " ".join(text).encode("utf-8", "replace").decode()
    request(path, Mark(whole, monotonic_ns))
    echo(f"marked in {path.stem}: {whole}")
