"""What commands print: lines whose names and attributes cannot control the terminal."""

import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from openhsi_shared.printable import printable

__all__ = [
    "INTERRUPTED",
    "NO_CUBES",
    "PrintableFormatter",
    "echo",
    "echo_saved_more_than_once",
    "make_streams_tolerant",
]

INTERRUPTED = 130
"""Conventional exit code of a program ended by Ctrl-C."""

NO_CUBES = "no cube (*.nc) in this directory"


def echo(line: object, *, err: bool = False) -> None:
    """Print one line to standard output, or to standard error."""
    click.echo(printable(str(line)), err=err)


def echo_saved_more_than_once(cubes: Iterable[Path], *, err: bool = False) -> None:
    """Print a line for each cube that several files contain: a copy, or a save whose first directory hung."""
    from openhsi_shared.files.published import saved_more_than_once

    for uuid, paths in saved_more_than_once(cubes).items():
        echo(f"the same cube (uuid {uuid}) is in {len(paths)} files: {', '.join(map(str, paths))}", err=err)


class PrintableFormatter(logging.Formatter):
    """Formats a log record; a name in its message cannot control the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Format it; lines of a traceback stay lines."""
        return "\n".join(map(printable, super().format(record).split("\n")))


def make_streams_tolerant() -> None:
    """Let standard streams show what their encoding does not have as escapes, and closed ones take all: none fails."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # after `2>&-`: progress bars and code of the user write into it
            stream = Path(os.devnull).open("w")  # noqa: SIM115 - it stays open to the end of the program
            setattr(sys, name, stream)
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
