"""The demo of rings and viewers runs, ends, and reports its counts."""

import re

import numpy as np
import pytest

from openhsi_shared.viewer.demo import simulated_frames
from tests.support.helpers import environment, run_python


def test_cells_drift_and_come_round():
    frames = simulated_frames(64, 3).astype(int)
    assert frames.shape == (48, 64, 64)
    assert frames.max() > 1000 > 300 > np.median(frames) > 150
    steps = [np.abs(frames[i] - frames[i - 1]).mean() for i in range(48)]
    assert max(steps) < 2 * np.median(steps)  # the first follows the last as any other


@pytest.mark.parametrize("backend", ["browser", "matplotlib"])
def test_it_runs(backend, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.delenv("DISPLAY", raising=False)
    arguments = ("--backend", backend, "--seconds", "0.5", "--rate", "40")
    assert environment()["MPLBACKEND"] == "agg"
    done = run_python("-m", "openhsi_shared.viewer.demo", *arguments)
    assert done.returncode == 0, done.stderr
    (n_put, n_shown) = re.fullmatch(r"(\d+) frames put, (\d+) shown, 0 saved\n", done.stdout).groups()
    assert int(n_put) == 20
    assert (int(n_shown) > 0) == (backend == "matplotlib")  # there is no browser


def test_without_a_screen_it_says_so(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "")
    monkeypatch.delenv("DISPLAY", raising=False)
    done = run_python("-m", "openhsi_shared.viewer.demo", "--backend", "matplotlib")
    assert done.returncode == 1
    assert "Error: the viewer of" in done.stderr
    assert "use backend='browser'" in done.stderr
