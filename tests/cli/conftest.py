"""The command line in an empty directory: in the process of the test, or in its own, as users run it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import openhsi_shared
from tests.support.commands import Ended, run_here

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(openhsi_shared.__file__).parent.parent), "COLUMNS": "120"}
SMALL = ("--option", "resolution=[16,48]", "--option", "row_slice=[2,14]", "--option", "mode=counting")
"""A camera with frames of 16 x 48 pixels that prove themselves."""


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a command in an empty directory."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a shell that started the tests in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def start_command(*arguments: object, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "openhsi_shared", *map(str, arguments)],
            cwd=tmp_path,
            env=ENVIRONMENT | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start_command


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ended]:
    """Run a command to its end, in this process."""
    return partial(run_here, tmp_path)


@pytest.fixture
def run_apart(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., Ended]:
    """Run a command to its end, in a process of its own."""

    def run_command(*arguments: object, **environment: str) -> Ended:
        with start(*arguments, **environment) as process:
            out, err = process.communicate(timeout=100)
        return Ended(process.returncode, out, err)

    return run_command


@pytest.fixture
def python() -> Callable[[str], str]:
    """Run a program in a fresh interpreter and return what it prints."""

    def run_program(code: str) -> str:
        done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
        return done.stdout

    return run_program


@pytest.fixture
def record(run: Callable[..., Ended]) -> Callable[..., Ended]:
    """Record small frames."""
    return lambda *arguments: run("record", *SMALL, *arguments)


@pytest.fixture(scope="session")
def recorded_flight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record two cubes of 8 lines, once for all tests, which copy them."""
    directory = tmp_path_factory.mktemp("flight")
    command = [sys.executable, "-m", "openhsi_shared", "record", *SMALL, "--lines", "8", "--cubes", "2"]
    subprocess.run(command, cwd=directory, env=ENVIRONMENT, capture_output=True, timeout=100, check=True)
    return directory / "flight"


@pytest.fixture
def cubes(recorded_flight: Path, tmp_path: Path) -> list[Path]:
    """Two cubes of 8 lines in the folder `flight`."""
    shutil.copytree(recorded_flight, tmp_path / "flight")
    return sorted((tmp_path / "flight").rglob("*.nc"))
