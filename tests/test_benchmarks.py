"""Each benchmark works, verifies what it measures, and says what it found; how fast it was is not asked here."""

import json
import runpy
import shutil
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
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=check, timeout=280)


def ask(program, *arguments):
    """Run a program beside the benchmarks, which are no part of the package."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.split()


IN_EVERY_RUN = {"put", "saving", "nonstop"}
"""One of each kind; the others compile, or start browsers and many processes: together they take minutes."""


def verify(names, folder):
    """Run them, in one process."""
    out = folder / "out.json"
    done = run(*names, "--tiny", "--directory", folder, "--out", out)
    rows = json.loads(out.read_text())["rows"]
    assert {row["benchmark"] for row in rows} == set(names)
    for row in rows:
        assert row["what"] in done.stdout
        assert row["verified"] in done.stdout
        assert "MISSING" not in row["verified"]
    assert [path.name for path in folder.iterdir()] == ["out.json"]


@pytest.mark.timeout(300)
def test_benchmarks_run_and_verify(tmp_path):
    verify(sorted(IN_EVERY_RUN), tmp_path)


@pytest.mark.campaign
@pytest.mark.parametrize("name", sorted(set(BENCHMARKS) - IN_EVERY_RUN))
def test_benchmark_runs_and_verifies(name, tmp_path):
    verify([name], tmp_path)


def test_no_benchmark_is_forgotten():
    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "\ndef run(plan: Plan)" in path.read_text()}
    assert modules == set(BENCHMARKS)


def test_benchmark_that_does_not_exist_is_refused():
    done = run("speed", check=False)
    assert done.returncode == 2
    assert "there is no benchmark speed; there are imports, put" in done.stderr


def test_earlier_state_that_is_no_checkout_is_refused(tmp_path):
    done = run("jobs", "--tiny", "--before", tmp_path, check=False)
    assert done.returncode == 2
    assert f"--before {tmp_path}: expected the root of a checkout" in done.stderr


@pytest.mark.campaign
def test_job_is_compared_with_another_state(tmp_path):
    run("jobs", "--tiny", "--before", ROOT, "--directory", tmp_path, "--out", tmp_path / "out.json")
    found = [row["figures"]["wall_s"] for row in json.loads((tmp_path / "out.json").read_text())["rows"][:6]]
    assert ["camera before" in sides for sides in found] == [True] * 6


BEFORE = """
import sys
from pathlib import Path
from benchmarks.jobs_before import Before
from benchmarks.jobs_cubes import files_of, make_cube
from benchmarks.levels import Camera
from benchmarks.measuring import Plan
plan = Plan(size="tiny", directory=Path(sys.argv[1]), before=Path(sys.argv[2]))
camera = Camera(plan, plan.directory)
try:
    Before(plan, make_cube(plan, plan.directory, 4), 4, files_of(camera))
except ValueError as error:
    print(error)
"""
ANOTHER = """
import sys
sys.path = [path for path in sys.path if not path.startswith({root!r})]
del sys.modules[__name__]
import openhsi_shared
"""


def test_state_that_is_imported_from_elsewhere_is_no_earlier_one(tmp_path):
    package = tmp_path / "before" / "openhsi_shared"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(ANOTHER.format(root=str(tmp_path)))
    words = " ".join(ask(BEFORE, tmp_path, tmp_path / "before"))
    module = ROOT / "openhsi_shared" / "__init__.py"
    assert words == f"the earlier state was imported from {module}, expected from {package.parent}"


CHECK = """
import sys
from pathlib import Path
from benchmarks.frames import CountedFrames, check_cube, ids_are_whole
for path in sys.argv[1:]:
    file = check_cube(Path(path), CountedFrames((32, 64)))
    whole = ids_are_whole([file], 6), ids_are_whole([file], 7), ids_are_whole([file, file], 6)
    print(len(file.ids), file.n_wrong, *whole, sep=",")
"""


def _one_wrong_bit(file):
    file["datacube"][3, 2, 5] ^= 1


def _a_wrong_checksum(file):
    file["line_crc32"][4] ^= 1


def _lines_that_changed_places(file):
    file["datacube"][:, [1, 2]] = file["datacube"][:, [1, 2]][:, ::-1]


def _an_id_that_is_missing(file):
    ids = file["frame_id"][...]
    file["frame_id"][...] = np.where(ids == 5, 6, ids)


def test_oracle_believes_a_file_that_is_right_and_no_other(tmp_path):
    with SharedSimulatedCamera(6, mode="counting", resolution=(32, 64), row_slice=(0, -1)) as camera:
        camera.collect(progress=False)
        files = [camera.save(tmp_path).result().path]
    for number, damage in enumerate(
        (_one_wrong_bit, _a_wrong_checksum, _lines_that_changed_places, _an_id_that_is_missing)
    ):
        files.append(Path(shutil.copy(files[0], tmp_path / f"{number}.nc")))
        with h5py.File(files[-1], "r+") as file:
            damage(file)
    right, *wrong, missing = ask(CHECK, *files)
    assert right == "6,0,True,False,False"
    assert wrong == ["6,1,False,False,False", "6,1,False,False,False", "6,2,False,False,False"]
    assert missing.startswith("6,1,False,")


def test_a_load_that_fails_is_named() -> None:
    program = """
from benchmarks.loads import _program
try:
    _program("raise SystemExit(3)").__enter__()
except RuntimeError as error:
    print(error)
"""
    assert " ".join(ask(program)) == "a load has ended with 3: raise SystemExit(3)"
