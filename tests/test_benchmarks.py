"""Each benchmark works, verifies what it measures, and says what it found; how fast it was is not asked here."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from openhsi_shared import SharedSimulatedCamera

ROOT = Path(__file__).parent.parent
BENCHMARKS = runpy.run_path(str(ROOT / "benchmarks" / "__init__.py"))["BENCHMARKS"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="they measure what only Linux has")


def run(*arguments, check=True):
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=check, timeout=100)


def ask(program, *arguments):
    """Run a program beside the benchmarks, which are no part of the package."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.split()


IN_EVERY_RUN = {"put", "swap", "saving", "nonstop", "levels", "growth", "channels", "exports", "jobs"}
"""The others start browsers and many processes: together they take two minutes of a processor."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in IN_EVERY_RUN else pytest.mark.campaign) for name in BENCHMARKS]
)
def test_benchmark_runs_and_verifies(name, tmp_path):
    out = tmp_path / "out.json"
    done = run(name, "--tiny", "--directory", tmp_path, "--out", out)
    rows = json.loads(out.read_text())["rows"]
    assert rows
    for row in rows:
        assert row["benchmark"] == name
        assert row["what"] in done.stdout
        assert row["verified"] in done.stdout
        assert "MISSING" not in row["verified"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_no_benchmark_is_forgotten():
    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "\ndef run(plan: Plan)" in path.read_text()}
    assert modules == set(BENCHMARKS)


def test_benchmark_that_does_not_exist_is_refused():
    done = run("speed", check=False)
    assert done.returncode == 2
    assert "there is no benchmark speed; there are imports, put" in done.stderr


CHECK = """
import sys
from pathlib import Path
from benchmarks.frames import CountedFrames, check_cube, ids_are_whole
file = check_cube(Path(sys.argv[1]), CountedFrames((32, 64)))
print(len(file.ids), file.n_wrong, ids_are_whole([file], 6), ids_are_whole([file], 7), ids_are_whole([file, file], 6))
"""


@pytest.fixture
def cube(tmp_path):
    with SharedSimulatedCamera(6, mode="counting", resolution=(32, 64), row_slice=(0, -1)) as camera:
        camera.collect(progress=False)
        return camera.save(tmp_path).result().path


def test_oracle_believes_a_file_that_is_right(cube):
    assert ask(CHECK, cube) == ["6", "0", "True", "False", "False"]


def test_oracle_sees_one_wrong_bit(cube):
    with h5py.File(cube, "r+") as file:
        file["datacube"][3, 2, 5] ^= 1
    assert ask(CHECK, cube) == ["6", "1", "False", "False", "False"]


def test_oracle_sees_a_wrong_checksum(cube):
    with h5py.File(cube, "r+") as file:
        file["line_crc32"][4] ^= 1
    assert ask(CHECK, cube)[:3] == ["6", "1", "False"]


def test_oracle_sees_lines_that_changed_places(cube):
    with h5py.File(cube, "r+") as file:
        file["datacube"][:, [1, 2]] = file["datacube"][:, [1, 2]][:, ::-1]
    assert ask(CHECK, cube)[:3] == ["6", "2", "False"]


def test_oracle_sees_an_id_that_is_missing(cube):
    with h5py.File(cube, "r+") as file:
        ids = file["frame_id"][...]
        file["frame_id"][...] = np.where(ids == 5, 6, ids)
    assert ask(CHECK, cube)[1:3] == ["1", "False"]


def test_a_load_that_fails_is_named() -> None:
    program = """
from benchmarks.loads import _program
try:
    _program("raise SystemExit(3)").__enter__()
except RuntimeError as error:
    print(error)
"""
    assert " ".join(ask(program)) == "a load has ended with 3: raise SystemExit(3)"
