"""Whether the examples of the pages about analysis do what they say."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from openhsi_shared import SharedSimulatedCamera, record
from openhsi_shared.analysis import replay

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with record(SharedSimulatedCamera, tmp_path / "flight_07", n_lines=8, n_cubes=2, progress=False) as run:
        run.wait()
    return tmp_path


def test_the_examples_of_the_page_about_analysis_run_as_a_script(folder: Path) -> None:
    page = (ROOT / "docs" / "analysis.md").read_text(encoding="utf-8")
    script = folder / "script.py"
    script.write_text("\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, script]
    done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("18 0 [")
    assert "lossless, 130 events" in done.stdout
    (saved,) = folder.glob("flight_08/*/*_analysis.h5")
    with h5py.File(saved) as file:
        assert file["mean"].shape == (128,)
        assert np.isfinite(file["mean"][...]).all()


DRANSPOSE = os.environ.get("OPENHSI_SHARED_DRANSPOSE")
"""The Python of an environment with dranspose, and cbor2 below 6."""


@pytest.mark.skipif(not DRANSPOSE, reason="OPENHSI_SHARED_DRANSPOSE names no Python that has dranspose")
def test_dranspose_gets_the_same_numbers_of_a_capture_of_a_flight(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = folder / "small.cbors"
    write = [sys.executable, "-m", "openhsi_shared", "capture", folder / "flight_07", "--out", capture]
    subprocess.run(write, cwd=ROOT, check=True, capture_output=True)
    command = [str(DRANSPOSE), "-m", "benchmarks.dranspose_side", capture, "MeanWorker", "2"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    monkeypatch.syspath_prepend(str(ROOT))
    pair = "benchmarks.analysis_pairs:MeanWorker", "benchmarks.analysis_pairs:MeanReducer"
    for file in (capture, folder / "flight_07"):
        ours = replay(*pair, [file], progress=False).published
        assert (ours["n"], theirs["n"]) == (16, 16)
        assert ours["sum"] == pytest.approx(theirs["sum"], rel=1e-12)
