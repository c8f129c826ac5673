"""A new folder for an analysis: what is in it works, and nothing is left of one that cannot be made."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from openhsi_shared.analysis import replay
from openhsi_shared.analysis.scaffold import make_analysis
from openhsi_shared.cli import main
from openhsi_shared.errors import AnalysisError, OpenHSIError
from tests.support.job_cubes import save_cube


def test_the_folder_has_a_pair_a_capture_and_a_test_that_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = save_cube(tmp_path / "cube.nc", 30)
    done = CliRunner().invoke(main, ["new-analysis", str(tmp_path / "mine"), "--from", str(cube)])
    assert done.exit_code == 0, done.output
    assert "a capture of 16 lines" in done.output
    mine = tmp_path / "mine"
    assert json.loads((mine / "params.json").read_text())
    if shutil.which("git"):
        staged = subprocess.run(["git", "-C", mine, "ls-files"], check=True, capture_output=True, text=True).stdout
        assert {"src/worker.py", "data/lines.cbors", ".gitignore"} <= set(staged.split())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    tried = subprocess.run(command, cwd=mine, env=environment, check=False, capture_output=True, text=True)
    assert tried.returncode == 0, tried.stdout
    assert "2 passed" in tried.stdout
    monkeypatch.chdir(mine)
    monkeypatch.syspath_prepend(str(mine))
    on_cube = replay("src.worker:Worker", "src.reducer:Reducer", [cube], parameters="params.json", progress=False)
    assert on_cube.published["n_lines"] == 30


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(AnalysisError, match="exists and is not empty"):
        make_analysis(tmp_path / "mine", save_cube(tmp_path / "cube.nc"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", ["nothing.nc", "empty.cbors", "text.nc"])
def test_nothing_is_left_of_a_folder_whose_source_cannot_be_read(tmp_path: Path, name: str) -> None:
    if name != "nothing.nc":
        (tmp_path / name).write_bytes(b"text" * (name == "text.nc"))
    with pytest.raises(OpenHSIError, match=name):
        make_analysis(tmp_path / "mine", tmp_path / name)
    assert not (tmp_path / "mine").exists()
