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
NAMES = runpy.run_path(str(ROOT / "benchmarks" / "__init__.py"))
BENCHMARKS, PROGRAMS = NAMES["BENCHMARKS"], NAMES["PROGRAMS"]

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
        assert row["is_right"], row
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


def test_each_benchmark_and_program_is_explained():
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert [name for name in BENCHMARKS if f"| `{name}` |" not in text] == []
    assert [name for name in PROGRAMS if f"python -m benchmarks.{name} " not in text] == []
    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "argparse" in path.read_text()}
    assert modules == {"__main__", *PROGRAMS}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speed"], "there is no benchmark speed; there are imports, put"),
        (["chaos"], "and python -m benchmarks.soak, python -m benchmarks.chaos"),
        (["stalls", "--case", "record-calm"], "there is no case record-calm; there are collect-quiet"),
        (["put", "--case", "record-quiet"], "--case selects cases of the benchmark `stalls`"),
        (["put", "--openhsi-python", "no/python"], "no/python is no file"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_measured(arguments, message):
    done = run(*arguments, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert not done.stdout


ONE_ROW = """
import sys, types
from pathlib import Path
import benchmarks.__main__ as program
from benchmarks.measuring import Row

folder, is_right, size = sys.argv[1:]
row = dict(benchmark="put", what="a line", ours="1", is_reached=True, verified="its bits")
row["figures"] = {"us": [float("nan"), 1]}
sys.modules["benchmarks.put"] = types.SimpleNamespace(run=lambda plan: [Row(**row, is_right=is_right == "right")])
sys.argv[1:] = ["put", *size.split(), "--directory", folder, "--out", f"{folder}/out.json"]
sys.exit(program.main())
"""


@pytest.mark.parametrize("size", ["", "--quick", "--tiny"])
def test_a_run_whose_check_fails_ends_with_1_whatever_its_size(tmp_path, size):
    for is_right in (True, False):
        command = [sys.executable, "-c", ONE_ROW, str(tmp_path), "right" if is_right else "wrong", size]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (int(not is_right), "")
        assert ("WRONG: its bits" in done.stdout) is not is_right
        [row] = json.loads((tmp_path / "out.json").read_text(), parse_constant=pytest.fail)["rows"]
        assert (row["is_right"], row["is_reached"], row["figures"]) == (is_right, is_right, {"us": [None, 1]})


ACCOUNT = """
from pathlib import Path
from benchmarks.frames import Checked, are_accounted
def file(*ids, n_wrong=0): return Checked(path=Path(), ids=ids, n_wrong=n_wrong, n_checked=len(ids), n_bytes=0)
whole = [file(0, 1), file(4, 5)]
print(are_accounted(whole, 6, [(2, 3)]), are_accounted(whole, 6, []), are_accounted(whole, 7, [(2, 3)]))
print(are_accounted(whole, 6, [(2, 4)]), are_accounted([*whole, file(5)], 6, [(2, 3)]))
print(are_accounted([file(0, n_wrong=1)], 1, []))
"""


def test_each_frame_is_saved_once_or_declared_lost():
    assert ask(ACCOUNT) == ["True", *["False"] * 5]


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
from benchmarks.frames import CountedFrames, are_accounted, check_cube
for path in sys.argv[1:]:
    file = check_cube(Path(path), CountedFrames((32, 64)))
    whole = are_accounted([file], 6, []), are_accounted([file], 7, []), are_accounted([file, file], 6, [])
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
