"""Every line of a cube is processed once, whoever works, and whatever fails ends the run or is marked."""

import sys
import threading
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from openhsi_shared.errors import JobError, SaveError
from openhsi_shared.files import open_cube
from openhsi_shared.jobs.line_flag import LineFlag
from openhsi_shared.jobs.stages.registry import stage_from_text
from openhsi_shared.jobs.workers import block_worker
from openhsi_shared.jobs.workers.block_memory import BlockLayout, BlockMemory
from openhsi_shared.jobs.workers.block_worker import BlockWorker
from openhsi_shared.jobs.workers.control import Control
from openhsi_shared.jobs.workers.cube_work import CubeWork
from openhsi_shared.jobs.workers.progress import Progress
from openhsi_shared.jobs.workers.work import WorkerDied
from tests.support.helpers import wait_for
from tests.support.job_teams import FailsAt, Finds, Full, InMemory, Sees, Twice, damage, plan_of, run, saved


@pytest.fixture(params=["threads", "processes"])
def kind(request):
    return request.param


@pytest.mark.parametrize("block_lines", [1, 4, 23, 100])
def test_the_result_is_that_of_a_serial_loop(tmp_path, block_lines):
    path, lines = saved(tmp_path)
    plan = plan_of(path, (Twice(),), block_lines=block_lines)
    for n in (1, 2, 5):
        worked, output = run(plan, n=n)
        assert np.array_equal(output.lines, lines * np.float32(2))
        assert output.n_put.tolist() == [1] * 23
        assert worked.n_failed == 0
        assert worked.line_rows.tolist() == [0] * 23


def test_processes_compute_the_same_as_threads(tmp_path):
    path, lines = saved(tmp_path)
    progress = Progress()
    worked, output = run(plan_of(path, (Twice(),)), kind="processes", progress=progress)
    assert np.array_equal(output.lines, lines * np.float32(2))
    assert worked.line_flag.tolist() == [LineFlag.GOOD] * 23
    assert (progress.n_done, progress.n_processed, progress.n_lines) == (23, 23, 23)
    assert worked.times["twice"] > 0


def test_some_lines_are_taken(tmp_path):
    path, lines = saved(tmp_path)
    _, output = run(plan_of(path, (Twice(),), lines=range(5, 18)))
    assert np.array_equal(output.lines, lines[5:18] * np.float32(2))


def test_without_stages_it_is_a_copy(tmp_path):
    path, lines = saved(tmp_path, n_lines=9, x=180, bands=200)  # lines of more than 64 KiB begin at pages
    _, output = run(plan_of(path))
    assert np.array_equal(output.lines, lines)


def test_an_ordered_output_gets_the_blocks_in_order(tmp_path):
    path, lines = saved(tmp_path)
    plan = plan_of(path, (Twice(),), block_lines=1, n_blocks=4)
    _, output = run(plan, InMemory(plan, is_ordered=True), n=4)
    assert output.firsts == list(range(23))
    assert np.array_equal(output.lines, lines * np.float32(2))


def test_blocks_that_are_written_already_are_skipped(tmp_path):
    plan = plan_of(saved(tmp_path)[0], (Twice(),))
    progress = Progress()
    worked, output = run(plan, skip=frozenset({4, 20}), progress=progress)
    skipped = [*range(4, 8), 20, 21, 22]
    assert [line for line in range(23) if not output.n_put[line]] == skipped
    assert np.flatnonzero(worked.line_rows == -1).tolist() == skipped
    assert progress.n_done == 23
    assert worked.counters["blocks_loaded"] == 4


def test_a_failing_line_ends_the_run_and_is_named(tmp_path, kind):
    path, lines = saved(tmp_path)
    with pytest.raises(JobError, match=r"line 13, stage 'fails_at': .*too hot") as raised:
        run(plan_of(path, (FailsAt(value=int(lines[13, 0, 0])),)), kind=kind)
    assert (raised.value.line, raised.value.stage, raised.value.path) == (13, "fails_at", str(path))
    assert "in fail" in raised.value.worker_traceback


def test_a_failing_line_is_marked(tmp_path):
    path, lines = saved(tmp_path)
    worked, output = run(plan_of(path, (FailsAt(value=int(lines[13, 0, 0])),), on_error="nan"))
    assert worked.line_flag.tolist() == [LineFlag.FAILED if line == 13 else LineFlag.GOOD for line in range(23)]
    assert worked.line_rows[13] == -2
    assert worked.n_failed == 1
    assert np.isnan(output.lines[13]).all()
    assert np.array_equal(np.delete(output.lines, 13, 0), np.delete(lines, 13, 0) * np.float32(2))


def test_a_damaged_line_counts_as_failed(tmp_path):
    path = saved(tmp_path)[0]
    damage(path, 7)
    worked, output = run(plan_of(path, (Twice(),), on_error="nan"))
    assert np.flatnonzero(worked.line_flag == LineFlag.DAMAGED).tolist() == [7]
    assert np.isnan(output.lines[7]).all()
    with pytest.raises(JobError, match=r"line 7, .*damaged in the source"):
        run(plan_of(path, (Twice(),), lines=range(3, 20)))


def test_what_the_output_raises_ends_the_run(tmp_path):
    plan = plan_of(saved(tmp_path)[0], (Twice(),))
    with pytest.raises(SaveError, match="No space left"):
        run(plan, Full(plan))


@pytest.mark.parametrize("step", [1, 3])
def test_a_survey_sees_the_lines_first(tmp_path, kind, step):
    path, lines = saved(tmp_path, n_lines=40)
    progress = Progress()
    _, output = run(plan_of(path, (Twice(), Sees(step=step))), kind=kind, progress=progress)
    twice = lines.astype(np.float32) * 2
    assert np.allclose(output.lines, twice - twice[::step].mean(axis=0), atol=0.1)
    assert progress.survey == 1


def test_debugging_is_done_by_the_calling_thread(tmp_path):
    class Where(Twice):
        threads: ClassVar[set] = set()

        def apply(self, lines, out):
            self.threads.add(threading.get_ident())
            super().apply(lines, out)

    run(plan_of(saved(tmp_path)[0], (Where(),)), debug=True)
    assert Where.threads == {threading.get_ident()}


def test_a_stopped_job_raises_why(tmp_path):
    plan = plan_of(saved(tmp_path)[0], (Twice(),))
    control = Control()
    control.stop(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(plan, control=control)
    control = Control()
    control.stop()
    with pytest.raises(JobError, match="stopped"):
        run(plan, control=control)


NEED_OTHERS = ["bin_lines:n=3", "running_background:n=5", "sparse_background:n=4"]


@pytest.mark.parametrize(
    ("kind", "text"), [*(("threads", text) for text in NEED_OTHERS), ("processes", NEED_OTHERS[1])]
)
def test_lines_that_need_others_do_not_depend_on_blocks_or_workers(tmp_path, kind, text):
    path = saved(tmp_path)[0]
    damage(path, 10)
    stages = (Twice(), stage_from_text(text))
    whole = plan_of(path, stages, block_lines=100, on_error="nan")
    expected, reference = run(whole, n=1)
    for block_lines in (1, 2, 5) if kind == "threads" else (3,):
        worked, output = run(plan_of(path, stages, block_lines=block_lines, on_error="nan"), kind=kind)
        assert np.array_equal(output.lines, reference.lines, equal_nan=True)
        assert worked.line_flag.tolist() == expected.line_flag.tolist()
    assert expected.n_failed == 1


@pytest.mark.parametrize("text", [None, *NEED_OTHERS])
def test_lines_do_not_depend_on_how_many_are_read_at_a_time(tmp_path, monkeypatch, caplog, text):
    path, lines = saved(tmp_path)
    damage(path, 10)
    stages = (FailsAt(value=int(lines[13, 0, 0])), *([stage_from_text(text)] if text else []))
    plan = plan_of(path, stages, block_lines=7, on_error="nan", lines=range(2, 23))
    expected, reference = run(plan, n=1)
    numbers_logged = caplog.text.count("line 10, stage 'load'"), caplog.text.count("line 13, stage 'fails_at'")
    caplog.clear()
    sizes, read = [], BlockWorker._read

    def noting(self, first, stop, out, good):
        sizes.append(stop - first)
        return read(self, first, stop, out, good)

    monkeypatch.setattr(BlockWorker, "_read", noting)
    monkeypatch.setattr(block_worker, "PIECE_BYTES", 3 * lines[0].nbytes + 1)
    worked, output = run(plan, n=2)
    if text is None or text.startswith("bin_lines"):
        assert max(sizes) == 3
    assert np.array_equal(output.lines, reference.lines, equal_nan=True)
    assert worked.line_flag.tolist() == expected.line_flag.tolist()
    assert worked.line_rows.tolist() == expected.line_rows.tolist()
    assert np.count_nonzero(worked.line_flag) == worked.n_failed == expected.n_failed
    assert caplog.text.count("line 10, stage 'load'") == numbers_logged[0] == 1
    assert caplog.text.count("line 13, stage 'fails_at'") == numbers_logged[1] == 1


def test_rows_do_not_depend_on_how_many_lines_are_read_at_a_time(tmp_path, monkeypatch):
    path = saved(tmp_path)[0]
    expected, _ = run(plan_of(path, (Finds(),)), n=1)
    monkeypatch.setattr(block_worker, "PIECE_BYTES", 1)
    worked, _ = run(plan_of(path, (Finds(),)), n=2)
    assert np.array_equal(worked.rows, expected.rows)
    assert len(worked.rows)


class SlowToPrepare(Twice):
    """Prepares for 0.2 s, as one that is compiled."""

    def prepare(self, source):
        time.sleep(0.2)


class DiesAtReading(BlockWorker):
    """A worker that dies when it reads a line of the file."""

    line = 9

    def _read(self, first, stop, out, good):
        if self.line in range(first, stop):
            raise WorkerDied("it died")
        return super()._read(first, stop, out, good)


def test_a_line_that_cannot_be_read_without_dying_fails(tmp_path, caplog):
    path, lines = saved(tmp_path)
    for on_error in ("nan", "raise"):
        plan = plan_of(path, (Twice(),), on_error=on_error)
        output, memory = InMemory(plan), BlockMemory(layout := BlockLayout(plan, 2), np.zeros(layout.n_bytes, np.uint8))
        work = CubeWork(plan, memory, output, Control(), Progress(), n_places=2)
        with open_cube(path) as cube:
            work.work(DiesAtReading(plan, cube.lines, memory))
        if on_error == "nan":
            assert np.flatnonzero(work.worked().line_flag).tolist() == [9]
            assert np.array_equal(np.delete(output.lines, 9, 0), np.delete(lines, 9, 0) * np.float32(2))
            assert "line 9, stage 'process': 3 workers died of it" in caplog.text
        else:
            assert isinstance(work.register.error, JobError)
            assert work.register.error.line == 9


def test_a_damaged_line_is_reported_once(tmp_path, caplog):
    path = saved(tmp_path)[0]
    damage(path, 11)
    run(plan_of(path, (stage_from_text("running_background:n=5"),), on_error="nan"))
    assert caplog.text.count("damaged in the source") == 1


class Untouched(InMemory):
    """Notes blocks only."""

    def put(self, first, lines, crcs):
        assert not crcs.any()
        self.firsts.append(first)


def test_lines_are_not_computed_for_a_table(tmp_path):
    plan = plan_of(saved(tmp_path)[0], (Finds(),), output="table")
    worked, output = run(plan, Untouched(plan))
    assert len(worked.rows) == 22
    assert sorted(output.firsts) == [0, 4, 8, 12, 16, 20]


def test_rows_of_a_table_are_in_order(tmp_path):
    path, lines = saved(tmp_path)
    finished = {}

    def note(first, flags, line_rows, rows):
        finished[first] = (flags.tolist(), line_rows.tolist(), rows["y"].tolist())

    worked, _ = run(plan_of(path, (Finds(),), block_lines=5), finished=note)
    assert worked.rows.dtype.names == ("y", "value")
    assert worked.rows["y"].tolist() == [line for line in range(23) for _ in range(line % 3)]
    assert worked.rows["value"].tolist() == [lines[line, 0, 0] for line in range(23) for _ in range(line % 3)]
    assert worked.line_rows.tolist() == [line % 3 for line in range(23)]
    assert finished[20] == ([0, 0, 0], [2, 0, 1], [20, 20, 22])
    assert sorted(finished) == [0, 5, 10, 15, 20]


def test_preparing_is_timed_by_itself(tmp_path):
    plan, progress, begin = plan_of(saved(tmp_path)[0], (SlowToPrepare(),)), Progress(), time.monotonic()
    run(plan, n=1, progress=progress)
    assert progress.seconds["prepare"] >= 0.2
    assert progress.seconds["prepare"] + progress.seconds["process"] <= time.monotonic() - begin  # not counted twice


@dataclass
class ExitsInItsSurvey(Sees):
    """Calls `sys.exit` in a part of its survey."""

    code = "exits_in_its_survey"
    where: str = ""

    def survey(self, lines):
        return sys.exit() if self.where == "survey" else super().survey(lines)

    def combine(self, parts):
        return sys.exit() if self.where == "combine" else super().combine(parts)


@pytest.mark.parametrize("where", ["survey", "combine"])
def test_a_survey_that_exits_does_not_end_the_program(tmp_path, where):
    with pytest.raises(JobError, match=r"'exits_in_its_survey' failed .*survey.*: SystemExit"):
        run(plan_of(saved(tmp_path)[0], (ExitsInItsSurvey(where=where),)))


def test_a_worker_computes_while_the_disk_takes_its_block(tmp_path):
    path, lines = saved(tmp_path)
    computed = []

    class Notes(Twice):
        def apply(self, lines, out):
            super().apply(lines, out)
            computed.append(len(lines))

    class SlowDisk(InMemory):
        only_waits = True

        def put(self, first, lines, crcs):
            if not self.firsts:
                wait_for(lambda: sum(computed) >= 8)  # by the only worker: the second block, too
            super().put(first, lines, crcs)

    plan = plan_of(path, (Notes(),), block_lines=4, n_blocks=3)
    _, output = run(plan, SlowDisk(plan), n=1)
    assert np.array_equal(output.lines, lines * np.float32(2))
