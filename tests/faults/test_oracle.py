"""The account of a recording detects every fault in its files; and the campaigns run."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from tests.support.account import Account
from tests.support.oracle import count, prove
from tests.support.process_faults import camera

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Four cubes, with the frames 5, 10, 11 lost."""
    folder = tmp_path_factory.mktemp("good")
    with camera(script={5: "gap", 10: "gap", 11: "gap"}) as cam:
        for _ in range(4):
            cam.collect()
            cam.save(folder).join()
    return folder


@pytest.fixture
def cubes(good, tmp_path):
    """A copy of them, to be damaged."""
    shutil.copytree(good, tmp_path / "cubes")
    return sorted((tmp_path / "cubes").rglob("*.nc"))


def verdict_of(tmp_path, offered=35):
    return count(tmp_path / "cubes", offered)


def test_a_recording_without_fault_is_exact(cubes, tmp_path):
    verdict = prove(tmp_path / "cubes", 35)
    assert (verdict.saved, verdict.declared_lost) == (32, 3)


def test_a_missing_file_is_missed(cubes, tmp_path):
    cubes[2].unlink()
    assert len(verdict_of(tmp_path).unaccounted) == 8


def test_a_missing_end_is_missed(cubes, tmp_path):
    assert verdict_of(tmp_path, 36).unaccounted == (35,)


def test_what_was_never_offered_is_strange(cubes, tmp_path):
    assert verdict_of(tmp_path, 34).strange == (34,)


def test_a_file_that_is_there_twice_is_doubled(cubes, tmp_path):
    shutil.copy(cubes[0], cubes[0].with_name("again.nc"))
    verdict = verdict_of(tmp_path)
    assert len(verdict.doubled) == 8
    assert "two files of cube" in verdict.wrong[0]


def change(path, name, key, value):
    with h5py.File(path, "r+") as file:
        file[name][key] = value


def add(path, name, value):
    with h5py.File(path, "r+") as file:
        file[name][...] += value


def set_attribute(path, name, value):
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value


FAULTS = {
    "a wrong bit": (lambda path: change(path, "datacube", (3, 2, 5), 0), "is not as the camera made it"),
    "a wrong checksum": (lambda path: change(path, "line_crc32", 4, 0), "checksum of frame 31 is wrong"),
    "a wrong id": (lambda path: change(path, "frame_id", 7, 35), "line of frame 35 is not as the camera made it"),
    "a step back in time": (lambda path: change(path, "time", 3, 0), "ids or times do not increase"),
    "a time that overlaps": (lambda path: add(path, "time", -(10**12)), "times overlap by"),
    "a name of another time": (lambda path: add(path, "time", 10**9), "the name is not the time of the first line"),
    "a step of the clock": (lambda path: set_attribute(path, "clock_anchor_wall_ns", 0), "the clock stepped by"),
    "a loss that was not": (lambda path: set_attribute(path, "lost_frame_ids", "35-36"), "counts of lost lines"),
    "a wrong count": (lambda path: set_attribute(path, "lines_lost", 7), "counts of lost lines"),
    "an unfinished file": (lambda path: set_attribute(path, "complete", 0), "is not complete"),
    "another recording": (lambda path: set_attribute(path, "run_id", "another"), "files of 2 recordings"),
    "another order": (lambda path: set_attribute(path, "cube_number", 0), "not numbered in the order of their frames"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_file_is_found(cubes, tmp_path, fault):
    damage, message = FAULTS[fault]
    damage(cubes[-1])
    verdict = verdict_of(tmp_path)
    assert not verdict.is_exact
    assert message in " ".join(verdict.wrong)


def test_a_frame_that_is_saved_and_declared_lost_is_doubled(cubes):
    account = Account()
    for path in cubes:
        account.read(path)
    account.declare_lost(34, 35)
    verdict = account.verdict(36)
    assert (verdict.doubled, verdict.unaccounted) == ((34,), ())


# ---- the campaigns, as short as possible ----


def run_campaign(name, *arguments, folder, timeout_s=110):
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--out", folder / "out.json", "--directory", folder, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]} {done.stderr[-3000:]}"
    report = json.loads((folder / "out.json").read_text())["report"]
    assert [path.name for path in folder.iterdir()] == ["out.json"]
    return report


@pytest.mark.parametrize(
    "n_lines",
    [10_000, pytest.param(1_000_000, marks=[pytest.mark.campaign, pytest.mark.timeout(1200)])],
)
def test_a_soak_accounts_for_every_bit_of_every_line(tmp_path, n_lines):
    """S1: as fast as they go."""
    report = run_campaign("soak", "--lines", str(n_lines), folder=tmp_path, timeout_s=1100)
    assert (report["saved"], report["declared_lost"], report["cubes"]) == (n_lines, 0, n_lines // 500)
    assert report["told_by_summary"] == [n_lines, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="it needs what only Linux has")
@pytest.mark.parametrize(
    ("minutes", "n_faults"),
    [(1, 4), pytest.param(3, 10**6, marks=[pytest.mark.campaign, pytest.mark.timeout(600)])],
)
def test_chaos_accounts_for_every_frame(tmp_path, minutes, n_faults):
    """S2: a few faults, or all that fit into some minutes."""
    arguments = ["--minutes", str(minutes), "--faults", str(n_faults), "--seed", "3", "--shape", "32", "64"]
    report = run_campaign("chaos", *arguments, folder=tmp_path, timeout_s=500)
    assert report["n_faults"] >= 4
    assert report["offered"] == report["saved"] + report["declared_lost"] > 0
    assert report["left_in_dev_shm"] == []


# ---- the list ----


def test_every_fault_of_the_list_has_a_test():
    """The table of docs/reliability.md, and the ids with which the docstrings of tests begin."""
    rows = re.findall(r"^\| ([A-Z]\d+(?:-[A-Z]\d+)?) \|", (ROOT / "docs" / "reliability.md").read_text(), re.M)
    listed = {row for row in rows if row[0] in "PLMCKRS"}
    tested = set()
    for path in [*Path(__file__).parent.glob("test_*.py"), *Path(__file__).parents[1].glob("field/test_*.py")]:
        for begin in re.findall(r'^    """((?:[PLMCKRS]\d+[,:] ?)+)', path.read_text(), re.M):
            tested |= set(re.findall(r"\w+", begin))
    assert len(listed) == 15 + 5 + 4 + 11 + 2 + 1 + 2
    assert tested == listed
