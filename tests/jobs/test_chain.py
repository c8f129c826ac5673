"""Stages in a row give what each gives alone, whatever the blocks are; a line that fails is the only one."""

import time
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhsi_shared.errors import ArgumentError, JobError
from openhsi_shared.jobs.line_flag import LineFlag
from openhsi_shared.jobs.stages.stage import Stage
from openhsi_shared.jobs.workers.chain import Chain
from openhsi_shared.testing.stage_contract import format_of
from tests.support.stages import plan_of, run

LINES = np.random.default_rng(3).integers(1, 60000, (23, 3, 4)).astype(np.uint16)
GOOD, FAILED, DAMAGED = LineFlag.GOOD, LineFlag.FAILED, LineFlag.DAMAGED


@dataclass
class Twice(Stage):
    code = "twice"

    def out_dtype(self, source):
        return np.dtype(np.float32)

    def apply(self, lines, out):
        out.reshape(-1)[:] = lines.reshape(-1) * np.float32(2)  # lost if `out` has space between its lines


@dataclass
class Around(Stage):
    """Sum of n lines before, the line, and one behind; those that are not good count as 0."""

    n: int = 2
    code = "around"

    def __post_init__(self):
        self.halo = (self.n, 1)

    def out_dtype(self, source):
        return np.dtype(np.float64)

    def apply_within(self, lines, out, before, good):
        clean = np.where(good[:, None, None], lines, 0).astype(np.float64)
        for y in range(len(out)):
            at = before + y
            out[y] = clean[max(0, at - self.n) : at + 2].sum(axis=0)


@dataclass
class Third(Stage):
    """The first of three lines, and how many they are."""

    code = "third"
    lines_per_result = 3

    def apply_within(self, lines, out, before, good):
        for y in range(len(out)):
            of_line = lines[before + 3 * y : before + 3 * y + 3]
            out[y] = of_line[0] * 10 + len(of_line)


@dataclass
class FailsAt(Stage):
    """Fails where the first pixel is one of these."""

    at: tuple[int, ...] = ()
    error: type[BaseException] = ValueError
    code = "fails"

    def apply(self, lines, out):
        for line, made in zip(lines, out, strict=True):
            if line[0, 0] in self.at:
                raise self.error("not this one")
            made[:] = line


@dataclass
class Peaks(Stage):
    """One row for each pixel above a limit."""

    limit: int = 30000
    code = "peaks"

    def __post_init__(self):
        self.row_dtype = np.dtype([("x", "i4"), ("value", "f4")])

    def rows(self, lines):
        found = []
        for line in lines:
            x, band = np.nonzero(line > self.limit)
            found.append(np.array(list(zip(x, line[x, band], strict=True)), self.row_dtype))
        return found


def around(lines, n=2):
    sums = np.zeros(lines.shape)
    for y in range(len(lines)):
        sums[y] = lines[max(0, y - n) : y + 2].astype(float).sum(axis=0)
    return sums


def thirds(lines):
    return np.stack([lines[y] * 10 + len(lines[y : y + 3]) for y in range(0, len(lines), 3)])


@settings(max_examples=40, deadline=None)
@given(
    block_lines=st.integers(1, 30),
    gap=st.sampled_from([0, 40]),
    lines=st.tuples(st.integers(0, 22), st.integers(1, 23)).map(lambda two: range(two[0], min(23, sum(two)))),
)
def test_any_blocks_give_the_same(block_lines, gap, lines):
    chain = (Twice(), Around(2), Third(), Around(1))
    plan = plan_of(format_of(LINES), *chain, block_lines=block_lines, lines=lines)
    made, results = run(plan, LINES, gap=gap)
    expected = around(thirds(around(LINES[lines.start : lines.stop] * np.float32(2))), 1)
    assert made.tobytes() == expected.tobytes()
    assert not any(result.flags.any() or result.failures for result in results)


def test_a_stage_may_reshape_its_result():
    for chain in ((Twice(),), (Around(), Twice())):
        results = [run(plan_of(format_of(LINES), *chain), LINES, gap=gap)[0] for gap in (0, 40)]
        assert results[0].tobytes() == results[1].tobytes()


def test_without_stages_lines_are_copied():
    made, results = run(plan_of(format_of(LINES)), LINES, LINES[:, 0, 0] > 9000)
    flags = np.concatenate([result.flags for result in results])
    assert flags.tolist() == np.where(LINES[:, 0, 0] > 9000, GOOD, DAMAGED).tolist()
    np.testing.assert_array_equal(made, np.where((flags == GOOD)[:, None, None], LINES, 0))


def test_a_line_that_fails_is_the_only_one():
    at = tuple(int(LINES[y, 0, 0]) for y in (0, 7, 8, 22))
    plan = plan_of(format_of(LINES), FailsAt(at), Twice(), block_lines=5)
    made, results = run(plan, LINES)
    flags = np.concatenate([result.flags for result in results])
    assert np.flatnonzero(flags == FAILED).tolist() == [0, 7, 8, 22]
    assert np.isnan(made[flags == FAILED]).all()
    np.testing.assert_array_equal(made[flags == GOOD], LINES[flags == GOOD] * np.float32(2))
    failures = [one for result in results for one in result.failures]
    assert [(one.line, one.stage, one.text) for one in failures] == [
        (y, "fails", "ValueError: not this one") for y in (0, 7, 8, 22)
    ]
    assert "made[:] = line" not in failures[0].where
    assert 'raise self.error("not this one")' in failures[0].where


def test_exit_is_a_failure_and_ctrl_c_is_none():
    at = (int(LINES[7, 0, 0]),)
    _, results = run(plan_of(format_of(LINES), FailsAt(at, SystemExit)), LINES)
    assert [(one.line, one.text) for result in results for one in result.failures] == [(7, "SystemExit: not this one")]
    with pytest.raises(KeyboardInterrupt):
        run(plan_of(format_of(LINES), FailsAt(at, KeyboardInterrupt)), LINES)


def test_a_result_has_the_worst_flag_of_its_lines():
    good = np.ones(23, bool)
    good[[4, 5, 13]] = False
    at = (int(LINES[3, 0, 0]), int(LINES[20, 0, 0]))
    plan = plan_of(format_of(LINES), FailsAt(at), Around(2), Third(), block_lines=1, lines=range(1, 23))
    made, results = run(plan, LINES, good)
    flags = np.concatenate([result.flags for result in results])
    assert flags.tolist() == [FAILED, DAMAGED, GOOD, GOOD, DAMAGED, GOOD, FAILED, GOOD]
    assert np.isnan(made[flags > 0]).all()
    assert [one.line for result in results for one in result.failures] == [3, 20]  # once, though in halos of others
    clean = LINES.copy()
    clean[[3, 4, 5, 13, 20]] = 0
    expected = thirds(around(clean[1:]))
    np.testing.assert_array_equal(made[flags == 0], expected[flags == 0])


def test_a_failure_has_its_traceback_also_behind_one_of_a_line_around():
    at = (int(LINES[3, 0, 0]), int(LINES[5, 0, 0]))
    _, results = run(plan_of(format_of(LINES), FailsAt(at), Around(2), block_lines=5, lines=range(23)), LINES)
    own, around_it = results[1].failures, results[1].around
    assert ([one.line for one in around_it], [one.line for one in own]) == ([3], [5])
    assert all("Traceback" in one.where for one in (*around_it, *own))


def test_rows_belong_to_their_lines():
    good = np.ones(23, bool)
    good[6] = False
    plan = plan_of(format_of(LINES), Twice(), Peaks(80000), block_lines=4)
    made, results = run(plan, LINES, good)
    rows = [one for result in results for one in result.rows]
    for y, found in enumerate(rows):
        x, band = np.nonzero(LINES[y] * 2.0 > 80000) if good[y] else ((), ())
        assert found["x"].tolist() == list(x)
        assert found["value"].tolist() == (LINES[y, x, band] * 2.0).tolist() if good[y] else len(found) == 0
    np.testing.assert_array_equal(made[good], LINES[good] * np.float32(2))  # the cube besides the rows
    chain = Chain(plan)
    assert chain.run(LINES[:4], good[:4], 0, 4, None).rows is not None  # the rows alone


@dataclass
class WrongRows(Peaks):
    code = "wrong"

    def rows(self, lines):
        return super().rows(lines[:1])


def test_rows_that_are_wrong_are_failures():
    _, results = run(plan_of(format_of(LINES), WrongRows(), block_lines=23), LINES)
    assert results[0].failures == []  # one by one they are right

    @dataclass
    class Plain(Peaks):
        code = "plain"

        def rows(self, lines):
            return [np.zeros(2)] * len(lines)

    _, [result] = run(plan_of(format_of(LINES[:2]), Plain(), block_lines=2), LINES[:2])
    assert [one.line for one in result.failures] == [0, 1]
    assert "structured array" in result.failures[0].text
    assert (result.failures[0].where != "", result.failures[1].where) == (True, "")


@dataclass
class Changes(Stage):
    code = "changes"

    def apply(self, lines, out):
        lines[:] = 0


@dataclass
class CannotPrepare(Stage):
    code = "unprepared"

    def prepare(self, source):
        raise RuntimeError("no lamp")


def test_a_stage_cannot_change_its_input():
    kept = LINES.copy()
    _, [result] = run(plan_of(format_of(LINES), Changes(), block_lines=23), LINES)
    assert "read-only" in result.failures[0].text
    np.testing.assert_array_equal(LINES, kept)


def test_a_stage_that_cannot_be_prepared_is_named():
    with pytest.raises(JobError, match="stage 'unprepared' could not be prepared: RuntimeError: no lamp") as caught:
        Chain(plan_of(format_of(LINES), CannotPrepare()))
    assert caught.value.stage == "unprepared"
    assert "raise RuntimeError" in caught.value.worker_traceback


def test_stages_of_the_job_are_not_changed_and_memory_is_used_again():
    twice = Twice()
    plan = plan_of(format_of(LINES), twice, Twice(), Twice())
    chain = Chain(plan)
    out = np.empty((4, 3, 4), np.float32)
    chain.run(LINES[:4], np.ones(4, bool), 0, 4, out)
    memories = [memory.of(plan.result, 1).ctypes.data for memory in chain._memory]
    chain.run(LINES[4:8], np.ones(4, bool), 4, 8, out)
    assert [memory.of(plan.result, 1).ctypes.data for memory in chain._memory] == memories
    assert 0 < chain.seconds["twice"] < time.perf_counter()
    assert vars(twice) == {}


def test_the_first_stages_alone():
    plan = plan_of(format_of(LINES), Twice(), Around(2), Twice())
    chain = Chain(plan, until=1)
    out = np.empty((3, 3, 4), np.float32)
    result = chain.run(LINES[5:8], np.ones(3, bool), 5, 8, out)
    assert result.flags.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(out, LINES[5:8] * np.float32(2))


def test_lines_that_do_not_fit_are_refused():
    chain = Chain(plan_of(format_of(LINES), Around(2)))
    with pytest.raises(
        ArgumentError, match="lines 4 to 7 are made of lines 2 to 8 of the source, got 4, 4 marks, and room"
    ):
        chain.run(LINES[4:8], np.ones(4, bool), 4, 8, np.empty((4, 3, 4)))
