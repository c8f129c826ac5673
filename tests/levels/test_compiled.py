"""Kernels do the same compiled and as plain Python, and are compiled before they are needed."""

import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest

from openhsi_shared.levels import kernels
from openhsi_shared.levels.compiled import _compiled, compiled
from tests.support.helpers import environment

SHIFTS = np.array([0, 2, 1], np.int64)
EDGES = np.array([0, 2, 5, 7, 9], np.uint64)
FRAME = np.random.default_rng(0).integers(0, 65535, (5, 11), np.uint16, endpoint=True)
U2, F4, I8, U8 = "uint16:2", "float32:2", "int64:1", "uint64:1"


def some(n_columns):
    return np.random.default_rng(n_columns).uniform(0.5, 2, (3, n_columns)).astype(np.float32)


CASES = {
    "shift": (kernels.make_shift, (), (U2, I8, U2), (), 9, np.uint16),
    "sum": (kernels.make_sum, (3,), (U2, I8, F4), (), 3, np.float32),
    "calibrated": (kernels.make_calibrated_sum, (2,), (U2, I8, F4, F4, F4), (some(4), some(4)), 4, np.float32),
    "weighing": (kernels.make_weighing, (3,), (U2, I8, F4, F4, F4), (some(9), some(3)), 3, np.float32),
    "uneven": (kernels.make_uneven_sum, (2,), (U2, I8, U8, F4), (EDGES,), 4, np.float32),
    "uneven weighing": (
        kernels.make_uneven_weighing,
        (2,),
        (U2, I8, U8, F4, F4, F4),
        (EDGES, some(9), some(4)),
        4,
        np.float32,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_kernel_does_the_same_as_plain_python_which_watches_its_bounds(name):
    make, constants, dtypes, arrays, n_columns, dtype = CASES[name]
    plain, fast = np.zeros((3, n_columns), dtype), np.zeros((3, n_columns), dtype)
    make(*constants)(FRAME, 1, SHIFTS, *arrays, plain)
    compiled(make, constants, dtypes)(FRAME, 1, SHIFTS, *arrays, fast)
    assert plain.any()
    np.testing.assert_allclose(fast, plain, rtol=3e-7)


def test_a_kernel_is_compiled_for_its_types_and_never_again():
    make, constants, dtypes, *_ = CASES["sum"]
    kernel = compiled(make, constants, dtypes)
    assert compiled(make, constants, dtypes) is kernel
    with pytest.raises(TypeError, match="No matching definition"):
        kernel(FRAME.astype(np.float64), 1, SHIFTS, np.zeros((3, 3), np.float32))


@pytest.mark.parametrize("other", [((2,), (U2, I8, F4)), ((3,), ("int16:2", I8, F4))])
def test_two_kernels_that_are_kept_at_the_same_moment_have_files_of_their_own(monkeypatch, tmp_path, other):
    """Else one that sums other columns might be loaded, without a word."""
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    for constants, dtypes in (((3,), (U2, I8, F4)), other):
        _compiled(kernels.make_sum(*constants), (dtypes[0], "int64", *dtypes[1:]), "sum")
        for index in tmp_path.rglob("*.nbi"):
            index.unlink()  # another process has read it before
    assert len([*tmp_path.rglob("*.nbc")]) == 2


WITHOUT_FILE = """
def make():
    def times(frame, first, line):
        for row in range(frame.shape[0]):
            for column in range(frame.shape[1]):
                line[row, column] = frame[row, column] * first
    return times
"""


def test_a_kernel_that_cannot_be_kept_still_runs(caplog):
    """A function without a file has no place where numba could keep it."""
    scope = {"np": np}
    exec(WITHOUT_FILE, scope)
    with caplog.at_level(logging.INFO):
        kernel = compiled(scope["make"], (), (U2, U2))
    assert "the kernel make is compiled for this process only" in caplog.text
    line = np.zeros((2, 2), np.uint16)
    kernel(np.ones((2, 2), np.uint16), 3, line)
    assert line.tolist() == [[3, 3], [3, 3]]


PROGRAM = """
import sys, time
import numpy as np
from tests.support.level_oracle import Formulas, line_of, make_frame, make_plan
assert "numba" not in sys.modules
plan = make_plan({level})
for level in (-1, 0):
    line_of(make_plan(level), make_frame())
assert "numba" not in sys.modules, "a copy needs no compiler"
plan.warm()
assert "numba" in sys.modules
line = line_of(plan, make_frame())
assert np.allclose(line, Formulas().level({level}, make_frame()), rtol=1e-5, atol=1e-4)
import openhsi_shared.levels.compiled as c
from openhsi_shared.levels.plan import FusedLevel
print(sum(plan._work._kernel.stats.cache_hits.values()), sum(plan._work._kernel.stats.cache_misses.values()))
"""


def run(cache, level=4):
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(level=level)],
        env=environment(NUMBA_CACHE_DIR=str(cache)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.split()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """What a first program kept."""
    folder = tmp_path_factory.mktemp("kept") / "cache"
    assert run(folder) == ["0", "1"]
    return folder


def test_numba_is_loaded_only_where_a_level_needs_it_and_what_it_made_is_kept(cache):
    assert run(cache) == ["1", "0"]


def test_a_damaged_cache_is_no_reason_not_to_record(cache, tmp_path):
    shutil.copytree(cache, tmp_path / "cache")
    kept = [*(tmp_path / "cache").rglob("*.nb*")]
    assert len(kept) == 2
    for path in kept:
        path.write_bytes(path.read_bytes()[:10])
    run(tmp_path / "cache")


def test_a_cache_directory_that_cannot_be_made_is_no_reason_either(tmp_path):
    (tmp_path / "file").touch()
    run(tmp_path / "file" / "below")
