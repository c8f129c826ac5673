"""The demo of rings and viewers runs, ends, and reports its counts."""

import re

import numpy as np
import pytest
from click.testing import CliRunner

from openhsi_shared.viewer.demo import main, simulated_frames
from tests.support.helpers import run_python


def test_cells_drift_and_come_round():
    frames = simulated_frames(64, 3).astype(int)
    assert frames.shape == (48, 64, 64)
    assert frames.max() > 1000 > 300 > np.median(frames) > 150
    steps = [np.abs(frames[i] - frames[i - 1]).mean() for i in range(48)]
    assert max(steps) < 2 * np.median(steps)  # the first follows the last as any other


def run_here(*arguments):
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("backend", ["browser", "matplotlib"])
def test_it_runs(backend, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.delenv("DISPLAY", raising=False)
    arguments = ("--backend", backend, "--seconds", "0.5", "--rate", "40")
    if backend == "browser":
        done = run_python("-m", "openhsi_shared.viewer.demo", *arguments)
        assert done.returncode == 0, done.stderr
    else:
        done = run_here(*arguments)
        assert done.exit_code == 0, done.stderr
    (n_put, n_shown) = re.fullmatch(r"(\d+) frames put, (\d+) shown, 0 saved\n", done.stdout).groups()
    assert int(n_put) == 20
    assert (int(n_shown) > 0) == (backend == "matplotlib")  # there is no browser


def test_without_a_screen_it_says_so(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "")
    monkeypatch.delenv("DISPLAY", raising=False)
    done = run_here("--backend", "matplotlib")
    assert done.exit_code == 1
    assert "Error: the viewer of" in done.stderr
    assert "use backend='browser'" in done.stderr
