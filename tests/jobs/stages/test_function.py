"""Functions of users as stages: what they may return, what is refused, and how they travel."""

import copy
import functools
import logging
import pickle
import sys
import threading
from collections import namedtuple

import numpy as np
import pytest

from openhsi_shared.errors import ArgumentError, StageNotApplicable
from openhsi_shared.jobs.stages.function import FunctionStage
from openhsi_shared.jobs.stages.function_sources import sources_of
from openhsi_shared.processes.printing import logged_prints
from tests.support.helpers import run_python
from tests.support.stage_runs import line_format, prepared, run_in_blocks

LINES = np.random.default_rng(6).uniform(0, 4000, (17, 6, 5)).astype(np.float32)
Spot = namedtuple("Spot", "x mean")


def bright(line):
    """The bright pixels of a line."""
    means = line.mean(axis=1, dtype=np.float64)
    return [{"x": int(x), "mean": means[x]} for x in np.flatnonzero(means > 2500)]


def tried(function, lines=LINES, **parameters):
    stage = FunctionStage(function, **parameters)
    stage.check(line_format(lines))
    stage.try_on(lines[[0, 8, 16]], line_format(lines))
    return stage


# ---- lines ----


@pytest.mark.parametrize(
    ("function", "dtype"),
    [
        (lambda line: line * 2, "float32"),
        (lambda line: line, "float32"),
        (lambda line: line[::2, :3] * 1.5, "float32"),
        (lambda line: line.mean(axis=1), "float32"),
        (lambda line: line.astype(np.float64)[:, :1] ** 0.5, "float64"),
        (lambda line: line.argmax(axis=1), "int64"),
        (lambda line: line > 2000, "uint8"),
        (lambda line: line.astype(np.float16), "float32"),
        (lambda line: line.astype(np.longdouble), "float64"),
        (lambda line: np.asfortranarray(line).astype(">f4"), "float32"),
        (functools.partial(np.clip, a_min=100, a_max=200), "float32"),
        (np.sqrt, "float32"),
    ],
)
def test_a_function_of_a_line_gives_lines_of_any_size_and_type(function, dtype):
    expected = np.array([function(line) for line in LINES])
    found = run_in_blocks(FunctionStage(function), LINES, 4)
    assert found.dtype == np.dtype(dtype)
    assert np.array_equal(found, expected.reshape(found.shape).astype(dtype))


def test_a_function_of_a_block_is_called_with_all_of_its_lines():
    def smooth(lines):
        seen.append(len(lines))
        return (lines[:, 1:] + lines[:, :-1]) / 2

    seen: list[int] = []
    found = run_in_blocks(FunctionStage(smooth, kind="block"), LINES, 5)
    assert np.array_equal(found, (LINES[:, 1:] + LINES[:, :-1]) / 2)
    assert not seen  # what it changes is its own copy
    means = run_in_blocks(FunctionStage(lambda lines: lines.mean(axis=2), kind="block"), LINES, 5)
    assert means.shape == (17, 6, 1)


def test_a_function_may_change_its_argument_the_lines_stay():
    def halve(line):
        line /= 2
        return line

    before = LINES.copy()
    for kind in ("line", "block"):
        assert np.array_equal(run_in_blocks(FunctionStage(halve, kind=kind), LINES, 4), before / 2)
    assert np.array_equal(LINES, before)


def test_masked_pixels_become_nan_and_nan_and_infinity_stay():
    def cover(line):
        return np.ma.masked_less(np.where(line > 3000, np.inf, line), 500)

    found = run_in_blocks(FunctionStage(cover), LINES, 4)
    assert np.array_equal(np.isnan(found), LINES < 500)
    assert np.array_equal(np.isinf(found), LINES > 3000)


def test_the_result_is_of_unknown_quantity_and_keeps_wavelengths_of_as_many_bands():
    source = line_format(LINES, np.arange(5.0), quantity="radiance", level=4)
    for function, wavelengths in ((np.sqrt, [0, 1, 2, 3, 4]), (lambda line: line[:, 1:], None)):
        result = tried(function).out_format(source)
        assert (result.level, result.quantity) == (None, None)
        assert "units" not in result.labels
        assert (None if result.wavelengths_nm is None else result.wavelengths_nm.tolist()) == wavelengths


# ---- rows ----

ROWS = {
    "mappings": bright,
    "generator": lambda line: (row for row in bright(line)),
    "named tuples": lambda line: [Spot(**row) for row in bright(line)],
    "tuples": lambda line: [(row["x"], row["mean"]) for row in bright(line)],
    "columns": lambda line: {
        "x": np.flatnonzero((m := line.mean(axis=1, dtype=float)) > 2500), "mean": m[m > 2500]
    },
    "structured": lambda line: np.array([tuple(row.values()) for row in bright(line)], [("x", "i8"), ("mean", "f8")]),
    "structured scalars": lambda line: list(ROWS["structured"](line)),
    "plain array": lambda line: np.array([tuple(row.values()) for row in bright(line)]),
}  # fmt: skip


@pytest.mark.parametrize("kind", ROWS)
def test_rows_may_be_given_in_every_usual_way(kind):
    needs_fields = kind in ("tuples", "plain array")
    fields = {"x": "int64", "mean": ("float64", "1")} if needs_fields else None
    stage = prepared(FunctionStage(ROWS[kind], fields=fields), LINES, line_format(LINES))
    assert stage.row_dtype == np.dtype([("x", "i8"), ("mean", "f8")])
    found = stage.rows(LINES)
    assert [len(rows) for rows in found] == [len(bright(line)) for line in LINES]
    assert {0, 1} <= {len(rows) for rows in found}
    for line, rows in zip(LINES, found, strict=True):
        assert [dict(zip(("x", "mean"), row.tolist(), strict=True)) for row in rows] == bright(line)


def test_fields_have_types_and_units_and_one_spelling():
    given = {"x": "int16", "mean": (np.float32, "uW cm-2"), "n": int}
    stage = FunctionStage(lambda line: {"x": 3, "mean": 0.1, "n": 2}, fields=given)
    assert stage.fields == "x int16; mean float32 uW cm-2; n int64"
    assert stage == FunctionStage(stage.function, fields=stage.fields, kind="auto")
    assert stage.row_units == {"mean": "uW cm-2"}
    assert stage.row_dtype == np.dtype([("x", "i2"), ("mean", "f4"), ("n", "i8")])
    row = prepared(stage, LINES, line_format(LINES)).rows(LINES[:1])[0][0]
    assert row.tolist() == (3, pytest.approx(0.1), 2)
    assert stage.out_format(line_format(LINES)).line_shape == (6, 5)


def test_types_of_rows_are_those_that_have_the_values_of_all_lines_tried():
    stage = tried(lambda line: [{"value": float(line[0, 0]) if line[0, 0] > 2000 else 1}])
    assert stage.row_dtype["value"] == np.float64
    assert tried(lambda line: [{"value": True}]).row_dtype["value"] == np.uint8


def test_nan_in_a_row_is_kept_and_a_value_that_the_type_does_not_have_is_refused():
    stage = tried(lambda line: [{"mean": float("nan")}])
    assert np.isnan(stage.rows(LINES[:1])[0]["mean"][0])
    for value, dtype in ((3.5, "int32"), (float("nan"), "int32"), (300, "uint8"), (1e300, "float32"), (-1, "uint8")):
        stage = FunctionStage(lambda line, value=value: [{"x": value}], fields={"x": dtype})
        with pytest.raises(StageNotApplicable, match=f"field 'x' values of .* that {dtype} does not have, such as"):
            stage.rows(LINES[:1])


# ---- what is refused ----


class Odd:
    """Returns something else each time."""

    def __init__(self, *results):
        self.results = results
        self.n = 0

    def __call__(self, line):
        self.n += 1
        return self.results[(self.n - 1) % len(self.results)]


class Homesick:
    """Can be sent away, but not made again."""

    def __call__(self, line):
        return line

    def __reduce__(self):
        return raises, (0,)


def ends(line):
    sys.exit(3)


def raises(line):
    raise ValueError("no light")


@pytest.mark.parametrize(
    ("function", "parameters", "message"),
    [
        (lambda line: None, {}, "returned None, expected an array .* or rows"),
        (lambda line: None, {"kind": "line"}, "None, expected an array of numbers"),
        (lambda line: None, {"kind": "rows"}, "returned None, expected rows"),
        (lambda line: None, {"kind": "block"}, "returned None for 3 lines"),
        (lambda line: 3.5, {}, "returned float 3.5"),
        (lambda line: line.mean(), {}, r"of the shape \(\)|float32"),
        (lambda line: "dark", {}, "returned str 'dark'"),
        (lambda line: line.astype(complex), {}, "array of complex128"),
        (lambda line: line[np.newaxis], {}, r"of the shape \(1, 6, 5\)"),
        (lambda line: line[:0], {}, r"of the shape \(0, 5\)"),
        (lambda line: line[: int(line[0, 0]) % 5 + 1], {}, "for different lines, expected the same each time"),
        (Odd(LINES[0], LINES[0].astype(float)), {}, "float32 .* and float64 .* for different lines"),
        (Odd(LINES[0], None), {}, "returned None"),
        (lambda line: [[1, 2], [3]], {"kind": "line"}, "returned no line"),
        (lambda line: [(1, 2), (3, 4)], {}, "tuples with fields= given"),
        (lambda line: np.ma.masked_less(line.astype(int), 500), {}, "masked pixels of int64"),
        (lambda line: [], {}, "returned no row when it was tried"),
        (lambda line: [{"x": 1}, {"x": 2, "z": 3}], {}, r"rows with the fields \['x', 'z'\], expected \['x'\]"),
        (Odd([{"x": 1}], [{"z": 1}]), {}, r"fields \['z'\], expected \['x'\]"),
        (lambda line: {"x": [1, 2], "z": [1]}, {}, "ragged rows"),
        (lambda line: [(1, 2), (1,)], {"fields": {"a": int, "b": int}}, "ragged rows: 1 values, expected 2"),
        (lambda line: [{"x": 1}], {"fields": {"a": int}}, r"fields \['x'\], expected \['a'\]"),
        (lambda line: [{"name": "rock"}], {}, "str 'rock' for field 'name', expected a number"),
        (lambda line: [{"x": [1, 2]}], {}, "for field 'x', expected a number"),
        (lambda line: {"x": np.array(["a"])}, {}, "for field 'x' <U1, expected numbers"),
        (lambda line: [{"y": 1}], {}, "not y, which is the line"),
        (lambda line: [{"two words": 1}], {}, "must be one word"),
        (lambda line: line, {"kind": "rows"}, "expected rows"),
        (ends, {}, r"calls sys.exit\(3\)"),
        (raises, {}, r"raised ValueError: no light, when it was called with a line of the shape \(6, 5\) of float32"),
        (raises, {"kind": "block"}, "raised ValueError: no light"),
        (lambda lines: lines[:1], {"kind": "block"}, r"shape \(1, 6, 5\) for 3 lines"),
        (lambda lines: lines - lines.mean(axis=0), {"kind": "block"}, "depend on the size of blocks"),
        (Odd(*LINES[:5]), {}, "something else for the same line at a second call"),
        (lambda line: line + np.random.default_rng().random(line.shape), {}, "random numbers with a seed for each"),
        (Odd([{"x": 1}], [{"x": 2}]), {}, "depend on which worker gets which lines"),
        (Homesick(), {}, "cannot go to another process: ValueError: no light"),
        (None, {"held": True}, "cannot go to another process"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_the_run(function, parameters, message):
    if parameters.get("held"):
        lock = threading.Lock()
        function = lambda line: lock and line  # noqa: E731
        parameters = {}
    with pytest.raises(StageNotApplicable, match=message):
        tried(function, **parameters)


@pytest.mark.parametrize(
    ("function", "parameters", "message"),
    [
        (None, {}, "needs a function"),
        ("numpy:sqrt", {}, "needs a function"),
        (lambda: 0, {}, "callable with one argument"),
        (lambda line, n: 0, {}, "callable with one argument"),
        (np.sqrt, {"kind": "table"}, "auto, line, block, rows, got 'table'"),
        (np.sqrt, {"kind": "line", "fields": {"x": int}}, "are those of rows"),
        (np.sqrt, {"fields": {}}, "names and types"),
        (np.sqrt, {"fields": ["x"]}, "names and types"),
        (np.sqrt, {"fields": {"x": str}}, "expected real numbers"),
        (np.sqrt, {"fields": {"x": "complex64"}}, "expected real numbers"),
        (np.sqrt, {"fields": {"x": "number"}}, "must have a type"),
        (np.sqrt, {"fields": {"x": None}}, "must have a type"),
        (np.sqrt, {"fields": "x"}, "must have a type"),
        (np.sqrt, {"fields": {"y": int}}, "not y, which is the line"),
        (np.sqrt, {"fields": {"x": (int, 5)}}, "units of field 'x'"),
        (np.sqrt, {"fields": "x int; x int"}, "different names"),
    ],
)
def test_what_is_no_function_or_field_is_refused_where_it_is_given(function, parameters, message):
    with pytest.raises(ArgumentError, match=message):
        FunctionStage(function, **parameters)


def test_a_coroutine_is_refused():
    async def later(line):
        return line

    with pytest.raises(ArgumentError, match="coroutine"):
        FunctionStage(later)


def test_a_line_that_raises_while_it_is_tried_does_not_stop_the_job_but_one_of_them_must_not():
    def picky(line):
        if line[0, 0] == LINES[0, 0, 0]:
            raise ValueError("the first line")
        return line

    stage = tried(picky)
    out = np.empty((2, 6, 5), np.float32)
    stage.apply(LINES[1:3], out)
    assert np.array_equal(out, LINES[1:3])
    with pytest.raises(ValueError, match="the first line"):
        stage.apply(LINES[:2], out)


def test_another_result_during_the_run_fails_its_line():
    stage = tried(lambda line: line if line[0, 0] != LINES[5, 0, 0] else line[:3])
    out = np.empty((1, 6, 5), np.float32)
    with pytest.raises(StageNotApplicable, match=r"the shape \(3, 5\), and \(6, 5\) when it was tried"):
        stage.apply(LINES[5:6], out)
    stage = tried(lambda line: line if line[0, 0] != LINES[5, 0, 0] else line / np.float64(3))
    with pytest.raises(StageNotApplicable, match="values of float64 that float32 does not have"):
        stage.apply(LINES[5:6], out)
    stage = tried(lambda line: line if line[0, 0] != LINES[5, 0, 0] else np.zeros((6, 5), int))
    stage.apply(LINES[5:6], out)  # the same numbers in another type
    assert not out.any()


def test_its_format_is_unknown_before_it_is_tried():
    with pytest.raises(StageNotApplicable, match="before it is tried"):
        FunctionStage(np.sqrt).out_format(line_format(LINES))


# ---- how it travels ----


def test_each_copy_has_its_own_variables():
    seen = []

    def remember(line):
        seen.append(1)
        return line.max(axis=1)

    stage = tried(remember)
    out = np.empty((4, 6, 1), np.float32)
    for one in (copy.deepcopy(stage), pickle.loads(pickle.dumps(stage))):
        assert one.out_shape(line_format(LINES)) == (6, 1)
        one.apply(LINES[:4], out)
        assert len(one.function.__closure__[0].cell_contents) == 4
    assert seen == []


SCRIPT = """
import pickle
import numpy as np
from openhsi_shared.jobs.stages.function import FunctionStage
from tests.support.stage_runs import line_format

gain = 3
def helper(line):
    return line * gain
def mine(line):
    return helper(line)

lines = np.ones((3, 2, 2), np.float32)
stage = FunctionStage(mine)
stage.check(line_format(lines))
stage.try_on(lines, line_format(lines))
"""


def test_a_function_of_a_script_or_notebook_takes_what_it_uses_with_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + f"open({str(tmp_path / 'stage')!r}, 'wb').write(pickle.dumps(stage))\n")
    done = run_python(str(script))
    assert done.returncode == 0, done.stderr
    script.unlink()
    stage = pickle.loads((tmp_path / "stage").read_bytes())  # in a process that has no such function
    assert sources_of(stage.function) == [
        "def mine(line):\n    return helper(line)\n",
        "def helper(line):\n    return line * gain\n",
    ]
    out = np.empty((17, 6, 5), np.float32)
    stage.apply(LINES, out)
    assert np.array_equal(out, LINES * 3)


# ---- what it prints ----


def test_what_it_prints_when_it_is_tried_is_logged(caplog, capsys):
    def talk(line):
        print("the line\nis", line.shape)  # noqa: T201
        return line

    with caplog.at_level(logging.INFO):
        tried(talk)
    assert capsys.readouterr().out == ""
    assert [record.getMessage() for record in caplog.records[:2]] == ["printed: the line", "printed: is (6, 5)"]
    caplog.clear()
    with caplog.at_level(logging.INFO), logged_prints():
        print("no end", end="")  # noqa: T201
    assert [record.getMessage() for record in caplog.records] == ["printed: no end"]


def test_other_threads_print_as_before(capsys):
    with logged_prints():
        thread = threading.Thread(target=print, args=("elsewhere",))
        thread.start()
        thread.join()
    print("after")  # noqa: T201
    assert capsys.readouterr().out == "elsewhere\nafter\n"
