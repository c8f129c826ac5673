"""The list of available cameras of the command line."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import openhsi_shared

PACKAGE_PARENT = Path(openhsi_shared.__file__).parent.parent
Run = Callable[..., Any]
NEEDS_PYLON = "pypylon is missing: pip install 'openhsi_shared[basler]'"


def _row(ended: Any, name: str) -> str:
    assert ended.code == 0, ended.err
    (row,) = [line for line in ended.out.splitlines() if line.startswith(f"{name} ")]
    return " ".join(row.split())


def test_the_simulated_camera_is_always_there_and_a_camera_that_needs_an_option_says_so(run: Run) -> None:
    ended = run("cameras")
    assert _row(ended, "simulated") == "simulated ready 644 x 800 pixels, uint16"
    assert _row(ended, "replay") == "replay ready needs --option path=..."


def test_a_camera_that_is_not_connected_says_why(run_apart: Run) -> None:
    pytest.importorskip("pypylon", reason=NEEDS_PYLON)
    row = _row(run_apart("cameras", PYLON_CAMEMU="0"), "basler")
    assert row.startswith("basler unavailable no Basler camera was found: check power, cable")


def test_an_emulated_camera_is_there(run_apart: Run) -> None:
    pytest.importorskip("pypylon", reason=NEEDS_PYLON)
    assert _row(run_apart("cameras", PYLON_CAMEMU="1"), "basler").startswith("basler ready ")


def test_a_missing_package_is_named(run_apart: Run, tmp_path: Path) -> None:
    (tmp_path / "pypylon.py").write_text("raise ModuleNotFoundError(\"No module named 'pypylon'\", name='pypylon')")
    row = _row(run_apart("cameras", PYTHONPATH=f"{tmp_path}{os.pathsep}{PACKAGE_PARENT}"), "basler")
    assert row.startswith("basler unavailable camera 'basler' needs the package 'pypylon'")
    assert row.endswith("; pip install 'openhsi_shared[basler]'")
