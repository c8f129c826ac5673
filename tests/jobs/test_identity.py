"""Ids of jobs: of content and code, readable, and invertible."""

import functools
import linecache
import math
import os
import pickle
import random
import shutil
import sys
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from scipy.interpolate import CubicSpline

from openhsi_shared.calibration import Calibration, read_calibration, write_calibration
from openhsi_shared.errors import ArgumentError
from openhsi_shared.jobs import PipelineJob, Stage
from openhsi_shared.jobs.recipes.contents import calibration_hash, content_of_cube, content_of_file
from openhsi_shared.jobs.recipes.serial import from_jsonable, to_jsonable
from openhsi_shared.jobs.recipes.value_texts import text_of, value_of
from tests.calibration.test_pickles import as_openhsi_has_it
from tests.jobs import child_ids
from tests.support.helpers import in_child
from tests.support.job_cubes import save_calibration, save_cube, save_foreign_cube, save_raw_cube, save_settings
from tests.support.level_oracle import CALIBRATION

GAIN = 2


def amplify(line):
    return line * GAIN


def twice_amplify(line):
    return amplify(amplify(line))


def countdown(n):
    return n and countdown(n - 1)


@dataclass
class Shift(Stage):
    """A stage of the user's."""

    by: int = 1

    code = "shift"

    def apply(self, lines, out):
        out[:] = lines + self.by


# ---- values --------------------------------------------------------------------------------------

ends = st.none() | st.integers(-(2**70), 2**70)
plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.builds(slice, ends, ends, ends), st.binary(),
    st.dates(), st.complex_numbers(allow_nan=False),
)  # fmt: skip
values = st.recursive(
    plain,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


def are_same(one, other):
    """Equal, of one type, with NaN equal to itself and 0.0 unlike -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(are_same, one, other))
    if isinstance(one, dict):
        return are_same(list(one.items()), list(other.items()))
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    return one == other


@settings(deadline=None)  # the machine may be busy
@given(values)
def test_a_value_comes_back_from_its_text_which_has_no_separators(value):
    text = text_of(value)
    assert are_same(value_of(text), value)
    assert not set("|:^=") & set(text)


@settings(deadline=None)  # the machine may be busy
@given(values, values)
def test_values_that_differ_have_different_texts(one, other):
    assert (text_of(one) == text_of(other)) == are_same(one, other)


@settings(deadline=None)  # the machine may be busy
@given(st.text("()[]{},'~=^|: 05slicepackedjson", max_size=30))
def test_a_text_that_is_no_value_is_refused(text):
    try:
        value = value_of(text)
    except ArgumentError:
        return
    assert are_same(value_of(text_of(value)), value)


def test_none_zero_infinities_and_slices_are_told_apart():
    values = [None, 0, 0.0, -0.0, False, "", "0", "None", np.nan, np.inf, -np.inf, slice(0, -1), slice(0, None), (), []]
    assert len({text_of(value) for value in values}) == len(values)
    assert text_of(np.float64(0.5)) == text_of(0.5)
    assert text_of(np.arange(3)) != text_of(np.arange(3.0))
    assert np.array_equal(value_of(text_of(np.arange(1e4))), np.arange(1e4))
    assert len(text_of(list(range(1000)))) < 4000


# ---- jobs ----------------------------------------------------------------------------------------


@pytest.fixture
def raw(tmp_path):
    save_calibration(tmp_path / "cal.nc")
    save_settings(tmp_path / "settings.json")
    return save_raw_cube(tmp_path / "a.nc")


def job_of(raw, **values):
    given = {"json_path": raw.parent / "settings.json", "cal_path": raw.parent / "cal.nc", "processing_lvl": 4}
    return PipelineJob(raw, **(given | values))


def test_an_id_is_readable_and_its_hash_is_of_the_text(raw):
    text, digest, parts = job_of(raw, lines=slice(-5, None)).get_ppid(ret_hash=True, ret_dict=True)
    assert "|".join(parts.values()) == text == job_of(raw, lines=slice(-5, None)).get_ppid()
    assert list(parts) == ["gen", "dat", "cal", "lvl", "err"]
    assert parts["lvl"] == "level:level=4^compat=None^rows=None"
    assert parts["dat"].startswith("cube:uuid='")
    assert parts["dat"].endswith("^lines=slice(-5,None,None)")
    assert "exposure_ms=10.0" in parts["cal"]
    assert "row_slice=(3,17)" in parts["cal"]
    assert len(digest) == 64


def test_what_does_not_change_the_result_is_not_in_the_id(raw, tmp_path):
    moved = tmp_path / "elsewhere" / "b.nc"
    moved.parent.mkdir()
    shutil.copy(raw, moved)
    expected = job_of(raw).get_ppid(ret_hash=True)
    same = [
        job_of(raw, path_out=None, n_procs=7, workers="processes", block_lines=3, n_blocks=9, debug=True, log_level=10),
        job_of(raw, compression="zstd-3", old_style=False),
        job_of(raw).replace(path_in=moved, path_out=tmp_path / "x.nc"),
    ]
    assert all(job.get_ppid(ret_hash=True) == expected for job in same)


def test_all_that_changes_the_result_is_in_the_id(raw, tmp_path):
    brighter = CALIBRATION.with_values(spec_rad_ref_luminance=52021.0)
    other = [
        job_of(raw),
        job_of(raw, processing_lvl=5),
        job_of(raw, processing_lvl=None),
        job_of(raw, compat="openhsi"),
        job_of(raw, lines=slice(0, 6)),
        job_of(raw, rows=slice(0, None)),
        job_of(raw, on_error="nan"),
        job_of(raw, significant_bits=12),
        job_of(raw, output="table"),
        job_of(raw, cal_path=None),
        job_of(raw, cal_path=write_calibration(brighter, tmp_path / "brighter.nc")),
        job_of(raw, json_path=save_settings(tmp_path / "narrow.json", fwhm_nm=2)),
        job_of(raw, stages=["level:level=4"]),
        job_of(raw, stages=["level:level=4", "level:level=4"]),
        job_of(save_raw_cube(tmp_path / "again.nc")),
    ]
    assert len({job.get_ppid() for job in other}) == len(other)


def test_a_job_is_made_again_of_its_id(raw):
    job = job_of(raw, lines=slice(-5, None), rows=slice(None, -2), stages=["level:level=5"], significant_bits=12)
    given = {"json_path": job.json_path, "cal_path": job.cal_path}
    assert PipelineJob.from_ppid(job.get_ppid(), raw, **given) == job
    table = job.replace(output="table", stages=[amplify])
    with pytest.raises(ArgumentError, match=r"hash of the function 'amplify'.*known="):
        PipelineJob.from_ppid(table.get_ppid(), raw, **given)
    assert PipelineJob.from_ppid(table.get_ppid(), raw, known=[amplify], **given) == table
    mine = job.replace(stages=[Shift(by=3)])
    assert PipelineJob.from_ppid(mine.get_ppid(), raw, known=[Shift], **given) == mine


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "at least 5 parts"),
        (lambda text: text.replace("generation=1", "generation=2"), "generation 2"),
        (lambda text: text.replace("jobs:", "dcnum:"), "begins with 'dcnum'"),
        (lambda text: text.replace("^rows=None", ""), "lacks 'rows'"),
        (lambda text: text.replace("rows=None", "rows=Nome"), "'Nome' is no value"),
        (lambda text: text.replace("rows=None", "rows"), "code:key=value"),
    ],
)
def test_what_is_no_id_is_refused(raw, change, message):
    with pytest.raises(ArgumentError, match=message):
        PipelineJob.from_ppid(change(job_of(raw).get_ppid()), raw)


# ---- content of files ----------------------------------------------------------------------------


def test_a_calibration_has_the_same_hash_as_pickle_and_as_file(tmp_path):
    pickled = tmp_path / "cal.pkl"
    pickled.write_bytes(pickle.dumps(as_openhsi_has_it()))
    path = write_calibration(read_calibration(pickled), tmp_path / "cal.nc")
    hashes = {calibration_hash(one) for one in (read_calibration(path), read_calibration(pickled), CALIBRATION)}
    assert len(hashes) == 1


def test_the_order_of_the_values_of_a_calibration_does_not_matter():
    turned = Calibration(
        {key: CALIBRATION[key] for key in reversed(list(CALIBRATION))}, CALIBRATION.dims, CALIBRATION.coordinates
    )
    assert calibration_hash(turned) == calibration_hash(CALIBRATION)
    assert calibration_hash(Calibration()) is None
    longer = CALIBRATION.coordinates | {"exposure": CALIBRATION.coordinates["exposure"] * 2}
    assert calibration_hash(Calibration(CALIBRATION, CALIBRATION.dims, longer)) != calibration_hash(CALIBRATION)


def test_a_foreign_cube_is_known_by_its_pixels(tmp_path):
    one, other = save_foreign_cube(tmp_path / "a.nc"), save_foreign_cube(tmp_path / "b.nc", n_lines=11)
    shutil.copy(one, tmp_path / "c.nc")
    kind, content = content_of_cube(one)
    assert kind == "foreign"
    assert content_of_cube(tmp_path / "c.nc")[1] == content
    assert content_of_cube(other)[1] != content


def test_a_cube_that_is_replaced_is_read_again(tmp_path):
    path = save_cube(tmp_path / "a.nc")
    before = content_of_cube(path)
    save_cube(path, uuid="another")
    assert content_of_cube(path) != before


# ---- functions -----------------------------------------------------------------------------------


def id_of(function):
    return text_of(function)


def test_two_lambdas_on_one_line_differ():
    one, other = lambda line: line + 1, lambda line: line + 2
    assert id_of(one) != id_of(other)


def test_values_of_closures_globals_and_defaults_are_in_the_id(monkeypatch):
    def made(offset, default=0):
        return lambda line, more=default: line + offset + more

    ids = {id_of(made(1)), id_of(made(2)), id_of(made(1.0)), id_of(made(1, 5)), id_of(made(np.arange(3)))}
    assert len(ids) == 5
    assert id_of(made(1)) == id_of(made(1))
    before = id_of(amplify), id_of(twice_amplify)
    monkeypatch.setitem(globals(), "GAIN", 3)
    assert id_of(amplify) != before[0]
    assert id_of(twice_amplify) != before[1]


def test_functions_of_one_name_and_inner_functions_differ():
    def made(kind):
        if kind:

            def same(line):
                return [pixel + 1 for pixel in line]
        else:

            def same(line):
                return [pixel + 2 for pixel in line]

        return same

    assert id_of(made(0)) != id_of(made(1))


def test_partials_methods_recursion_and_objects_have_ids():
    class Adder:
        def __init__(self, n):
            self.n = n

        def __call__(self, line):
            return line + self.n

        def add(self, line):
            return line + self.n

    ids = {
        *map(id_of, (Adder(1), Adder(2), Adder(1).add, Adder(2).add)),
        *map(id_of, (functools.partial(pow, 2), functools.partial(pow, 3), countdown, np.sqrt, np.cbrt, np.mean)),
    }
    assert len(ids) == 10
    assert id_of(Adder(1)) == id_of(Adder(1))


def test_a_function_without_source_text_has_an_id_and_a_warning(caplog):
    made = {}
    exec("def one(line): return line + 1\ndef two(line): return line + 2", made)
    assert id_of(made["one"]) != id_of(made["two"])
    assert "not reproducible" in caplog.text


def test_a_stage_of_the_users_is_in_the_id_with_its_code(raw):
    class Other(Shift):
        def apply(self, lines, out):
            out[:] = lines - self.by

    ids = {job_of(raw, stages=[stage]).get_ppid() for stage in (Shift(1), Shift(2), Other(1))}
    assert len(ids) == 3


def test_an_id_is_the_same_in_another_process(raw):
    offset = {"b": 1, "a": {3, 1, 2}}
    job = job_of(raw, stages=[lambda line: line + len(offset), child_ids.plus_two])
    assert in_child(child_ids.of_pickle, pickle.dumps(job)) == job.get_ppid()


def test_a_function_of_a_notebook_keeps_its_source_text_in_another_process(raw, caplog):
    cell = "def of_a_cell(line):\n    return helper(line)\n\ndef helper(line):\n    return line + 1\n"
    linecache.cache["<cell 1>"] = (len(cell), None, cell.splitlines(keepends=True), "<cell 1>")
    names = {"__name__": "__main__"}
    exec(compile(cell, "<cell 1>", "exec"), names)
    job = job_of(raw, stages=[names["of_a_cell"]])
    assert in_child(child_ids.of_pickle, pickle.dumps(job)) == job.get_ppid()
    assert in_child(child_ids.of_json, job.to_json()) == job.get_ppid()
    assert job.replace(n_procs=1).replace(n_procs=2).get_ppid() == job.get_ppid()
    assert "not reproducible" not in caplog.text


def test_a_stage_of_a_notebook_has_the_same_id_in_another_process(raw, caplog):
    cell = """
from dataclasses import dataclass
from openhsi_shared.jobs import Stage

@dataclass
class Mine(Stage):
    by: int = 1
    code = "mine"

    @property
    def twice(self):
        return 2 * self.by

    def apply(self, lines, out):
        out[:] = lines + self.twice
"""
    linecache.cache["<cell 2>"] = (len(cell), None, cell.splitlines(keepends=True), "<cell 2>")
    names = {"__name__": "__main__"}
    exec(compile(cell, "<cell 2>", "exec"), names)
    job = job_of(raw, stages=[names["Mine"](by=3)])
    expected = job.get_ppid()
    assert in_child(child_ids.of_pickle, pickle.dumps(job)) == expected
    assert in_child(child_ids.of_json, job.to_json()) == expected
    assert job.replace(n_procs=1).get_ppid() == expected
    assert "not reproducible" not in caplog.text


class Decorated:
    """A decorator that is more than its function."""

    def __init__(self, function, factor):
        functools.update_wrapper(self, function)
        self.factor = factor

    def __call__(self, line):
        return self.__wrapped__(line) * self.factor


class WithSlots:
    __slots__ = ("factor",)

    def __init__(self, factor):
        self.factor = factor


class WithBoth(WithSlots):
    pass


def with_attribute(factor):
    def function(line):
        return line * function.factor

    function.factor = factor
    return function


def double(value):
    return value * 2


def plus(one, other):
    return one + other


def of_two_masks():
    return [np.ma.array([1.0, 2.0], mask=mask) for mask in ([0, 1], [1, 0])]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (with_attribute(1), with_attribute(2)),
        (Decorated(np.sqrt, 1), Decorated(np.sqrt, 2)),
        (WithBoth(1), WithBoth(2)),
        (CubicSpline([0, 1, 2], [0, 1, 2]), CubicSpline([0, 1, 2], [0, 1, 3])),
        (defaultdict(int), defaultdict(float)),
        (random.Random(1), random.Random(2)),
        of_two_masks(),
        (np.vectorize(double, otypes=[float]), np.vectorize(double, otypes=[int])),
        tuple(functools.update_wrapper(functools.partial(plus, number), plus) for number in (1, 2)),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_all_that_a_pickle_of_a_thing_holds_is_in_the_id(one, other):
    def using(thing):
        return lambda line: line + bool(thing)

    assert id_of(using(one)) != id_of(using(other))
    again = from_jsonable(to_jsonable(using(one)), allow_functions=True)
    assert id_of(again) == id_of(using(one))


def test_the_types_of_a_compiled_function_are_in_the_id():
    one, other = (njit(f"{kind}({kind})")(double) for kind in ("float32", "float64"))
    assert id_of(one) != id_of(other)
    assert id_of(njit(double)) == id_of(njit(double)) != id_of(njit(fastmath=True)(double))


def test_a_masked_array_as_a_parameter_is_known_by_its_mask_and_is_no_part_of_a_recipe():
    one, other = of_two_masks()
    assert text_of(one) != text_of(other)
    with pytest.raises(ArgumentError, match="NaN where it is masked"):
        to_jsonable(one)


def test_a_value_that_was_set_in_a_module_of_the_users_is_in_the_id(monkeypatch):
    module = sys.modules[__name__]

    def function(line):
        return line * module.GAIN

    before = id_of(function)
    monkeypatch.setattr(module, "GAIN", 3)
    assert id_of(function) != before


def test_a_file_that_is_replaced_has_another_content_although_its_size_and_time_are_the_same(tmp_path):
    path, other = tmp_path / "dark.npy", tmp_path / "other.npy"
    np.save(path, np.zeros((3, 4)))
    np.save(other, np.ones((3, 4)))
    before, time_ns = content_of_file(path), path.stat().st_mtime_ns
    os.utime(other, ns=(time_ns, time_ns))
    other.replace(path)
    assert content_of_file(path) != before
