"""The command line, `openhsi-shared`: record a flight, view, verify and process it.

One module per command, imported when the command is run. Results go to standard output, everything else to standard
error; the exit code is 0 only on success. Several commands use `arguments`, `camera_options`, `output` and `running`;
`record` uses `configured`, `keys`, `pins` and `together`, `preview` uses `previews`, `process` uses `dry_run`.
"""

import logging
import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from openhsi_shared import __version__
from openhsi_shared.cli.output import PrintableFormatter, make_streams_tolerant
from openhsi_shared.errors import OpenHSIError
from openhsi_shared.printable import printable
from openhsi_shared.processes.blas import quieten_blas
from openhsi_shared.processes.descriptors import explained

__all__ = ["main"]

COMMANDS = (
    "plan",
    "record",
    "service",
    "reference",
    "focus",
    "view",
    "mark",
    "analyse",
    "cameras",
    "channels",
    "recorder",
    "preview",
    "info",
    "process",
    "jobs",
    "replay",
    "export",
    "capture",
    "match",
    "track",
    "report",
    "verify",
    "recover",
    "new-analysis",
)


class _Commands(click.Group):
    """Commands by name, each in the module of its name; an exception becomes one line and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)  # None; click reports it
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"{__name__}.{name}"), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # used by click to end a program
        except Exception as error:
            if logging.getLogger().isEnabledFor(logging.INFO):
                raise
            raise click.ClickException(in_one_line(error)) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = get_close_matches(args[0], COMMANDS, 1, 0.5)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"{printable(error.message)}{meant} Commands: {', '.join(COMMANDS)}", ctx) from error


def in_one_line(error: BaseException) -> str:
    """Format an error and its notes in one line, without tracebacks.

    >>> in_one_line(OpenHSIError("no camera:   is it on?"))
    'no camera: is it on?'
    """
    notes = [note for note in getattr(error, "__notes__", []) if "Traceback" not in note]
    kind = "" if isinstance(error, OpenHSIError) else f"{type(error).__name__}: "
    return printable(kind + " ".join("; ".join([explained(error), *notes]).split()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", count=True, help="Log more, and show tracebacks; twice for debug messages.")
@click.version_option(__version__, prog_name="openhsi-shared")
def main(verbose: int) -> None:
    """Record hyperspectral datacubes from pushbroom cameras without a gap."""
    quieten_blas()  # commands import numpy when they run
    make_streams_tolerant()
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(levelname)s: %(message)s"))
    handler.setLevel(levels[min(verbose, 2)])  # a job lets more of this library's messages pass, for its result
    logging.basicConfig(handlers=[handler], level=levels[min(verbose, 2)], force=True)
