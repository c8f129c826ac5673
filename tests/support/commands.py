"""Commands of the command line, run in the process of the test: a process of its own would take half a second.

Each command is run in a process of its own by one test at least, as users do.
"""

import contextlib
import io
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from openhsi_shared.cli import main

__all__ = ["Ended", "run_here"]


@dataclass(frozen=True)
class Ended:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def run_here(directory: Path, *arguments: object, **environment: str) -> Ended:
    """Run `openhsi-shared ARGUMENTS...` in a directory, in this process."""
    out, err, root = io.StringIO(), io.StringIO(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()  # the command closes those that it finds
    try:
        with pytest.MonkeyPatch.context() as patch, contextlib.chdir(directory), pytest.raises(SystemExit) as ended:  # noqa: PT012
            for name, value in {"COLUMNS": "200", **environment}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "path", sys.path[:])  # `process` adds the directory
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                main([*map(str, arguments)], prog_name="openhsi-shared")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue())
