"""The command line as a whole: its commands, and its errors."""

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]


def test_the_help_names_every_command_and_what_it_does(run: Run) -> None:
    ended = run("--help")
    assert ended.code == 0
    for name in ("record", "recorder", "cameras", "preview", "info", "verify"):
        (line,) = [line for line in ended.out.splitlines() if line.startswith(f"  {name} ")]
        assert len(line.split()) > 4


@pytest.mark.parametrize(
    "command", ["record", "recorder", "cameras", "preview", "info", "verify", "process", "replay", "service"]
)
def test_every_command_explains_itself(run: Run, command: str) -> None:
    ended = run(command, "--help")
    assert ended.code == 0
    assert f"Usage: openhsi-shared {command}" in ended.out
    assert "\\b" not in ended.out  # examples keep their lines


def test_an_unknown_command_is_exit_code_2(run: Run) -> None:
    ended = run("recrod")
    assert ended.code == 2
    assert "No such command 'recrod'" in ended.err


def test_the_version_is_that_of_the_package(run_apart: Run) -> None:
    import openhsi_shared

    assert run_apart("--version").out == f"openhsi-shared, version {openhsi_shared.__version__}\n"


def test_an_unexpected_exception_is_one_line_too(python: Run) -> None:
    printed = python(
        "import click; from click.testing import CliRunner; from openhsi_shared.cli import main\n"
        "@main.command()\n"
        "def fails(): raise ZeroDivisionError('by\\nzero')\n"
        "ended = CliRunner().invoke(main, ['fails'])\n"
        "print(ended.exit_code, ended.output)"
    )
    assert printed.strip() == "1 Error: ZeroDivisionError: by zero"
