"""Worker processes die, hang, print and start threads: the job notices, and goes on."""

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from openhsi_shared import open_cube
from openhsi_shared.buffers import memory
from openhsi_shared.errors import JobError, MemoryShortage
from openhsi_shared.jobs import JobRunner, PipelineJob
from openhsi_shared.jobs.line_flag import LineFlag
from openhsi_shared.jobs.workers.control import Control
from openhsi_shared.jobs.workers.progress import Progress
from openhsi_shared.jobs.workers.team import Team, kind_for
from openhsi_shared.jobs.workers.work import WorkerDied
from openhsi_shared.jobs.workers.worker_sets import Processes
from tests.support.helpers import TIMEOUT_S, child, wait_for
from tests.support.job_teams import FailsAt, InMemory, Kills, Sees, Twice, Waiting, plan_of, run, saved
from tests.support.process_faults import writers_of
from tests.support.products import some


@dataclass
class Hangs(FailsAt):
    """Hangs at a line; if there is a `marks` folder, only once."""

    code = "hangs"
    marks: str = ""

    def fail(self, lines):
        if self.marks:
            if list(Path(self.marks).iterdir()):
                return
            (Path(self.marks) / "hung").touch()
        time.sleep(3600)


@dataclass
class Environment(Twice):
    """Gives the number of threads of libraries, and prints."""

    code = "environment"

    def apply(self, lines, out):
        print("a stage prints")  # noqa: T201 - it is to be caught
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        out[:] = sum(int(os.environ[name]) for name in names)


@dataclass
class Which(Twice):
    """Gives the number of its process."""

    code = "which"

    def apply(self, lines, out):
        out[:] = os.getpid()


@dataclass
class Slow(Twice):
    """Takes 5 ms for a line."""

    code = "slow"

    def apply(self, lines, out):
        time.sleep(0.005 * len(lines))  # as work that takes long
        super().apply(lines, out)


@dataclass
class Keeps(Sees):
    """Has an extract that cannot be pickled."""

    code = "keeps"

    def survey(self, lines):
        return threading.Lock()


@dataclass
class Exits(FailsAt):
    """Ends its process with `os._exit`."""

    code = "exits"

    def fail(self, lines):
        os._exit(3)


@pytest.mark.parametrize("number", some(signal.SIGSEGV, all_of=(signal.SIGKILL, signal.SIGSEGV)))
def test_a_worker_that_is_killed_is_replaced_and_its_lines_are_done_again(tmp_path, number, caplog):
    path, lines = saved(tmp_path)
    (marks := tmp_path / "marks").mkdir()
    worked, output = run(plan_of(path, (Kills(int(lines[9, 0, 0]), str(marks), 2, number),)), kind="processes")
    assert np.array_equal(output.lines, lines * np.float32(2))
    assert output.n_put.tolist() == [1] * 23
    assert len(list(marks.iterdir())) == 2
    assert worked.n_failed == 0
    assert signal.Signals(number).name in caplog.text


def test_a_line_that_kills_three_workers_fails_and_is_named(tmp_path, caplog):
    path, lines = saved(tmp_path)
    stage = Kills(int(lines[9, 0, 0]))
    worked, output = run(plan_of(path, (stage,), on_error="nan"), kind="processes", n=1)
    assert np.flatnonzero(worked.line_flag == LineFlag.FAILED).tolist() == [9]
    assert np.isnan(output.lines[9]).all()
    assert np.array_equal(np.delete(output.lines, 9, 0), np.delete(lines, 9, 0) * np.float32(2))
    assert "line 9, stage 'process': 3 workers died of it" in caplog.text


def test_workers_that_are_killed_at_any_time_cost_no_line(tmp_path):
    path, lines = saved(tmp_path, n_lines=60)
    plan = plan_of(path, (Slow(),), block_lines=3)
    with Team(n_procs=2, kind="processes", control=Control()) as team:
        output, progress, n_killed = InMemory(plan), Progress(), 0
        running = threading.Thread(target=team.run, args=(plan, output), kwargs={"progress": progress})
        running.start()
        for n_done in (3, 30):
            wait_for(lambda n_done=n_done: progress.n_done >= n_done or not running.is_alive(), TIMEOUT_S)
            for worker in team._worker_set._workers:
                worker.kill()
                n_killed += 1
        running.join(TIMEOUT_S)
    assert n_killed == 4
    assert np.array_equal(output.lines, lines * np.float32(2))
    assert output.n_put.tolist() == [1] * 60


def test_a_stage_that_exits_the_process_is_a_death(tmp_path):
    path, lines = saved(tmp_path)
    with pytest.raises(JobError, match="exited with code 3"):
        run(plan_of(path, (Exits(int(lines[2, 0, 0])),)), kind="processes", n=1)


def test_a_worker_that_hangs_is_replaced(tmp_path, caplog):
    path, lines = saved(tmp_path)
    (marks := tmp_path / "marks").mkdir()
    plan = plan_of(path, (Hangs(int(lines[9, 0, 0]), str(marks)),))
    _, output = run(plan, kind="processes", n=1, patience_s=2)
    assert np.array_equal(output.lines, lines * np.float32(2))
    assert "gave no answer for 2 s" in caplog.text


def test_a_thread_that_hangs_ends_the_run(tmp_path):
    path, lines = saved(tmp_path)
    release = threading.Event()

    class HangsInThread(FailsAt):
        def fail(self, lines):
            assert release.wait(TIMEOUT_S)

        def __deepcopy__(self, memo):
            return self

    with pytest.raises(JobError, match=r"has not finished stage 'process' of lines . to . of block 2 for 3 s"):
        run(plan_of(path, (HangsInThread(int(lines[9, 0, 0])),)), patience_s=3)
    release.set()
    wait_for(lambda: not [thread for thread in threading.enumerate() if " job " in thread.name])


def test_libraries_use_one_thread_in_worker_processes(tmp_path, capfd, caplog):
    caplog.set_level("INFO", "openhsi_shared")
    before = os.environ.get("OMP_NUM_THREADS")
    _, output = run(plan_of(saved(tmp_path)[0], (Environment(),)), kind="processes", n=1)
    assert np.unique(output.lines).tolist() == [3]
    assert os.environ.get("OMP_NUM_THREADS") == before
    assert "a stage prints" in caplog.text
    assert "a stage prints" not in capfd.readouterr().out


def test_what_cannot_travel_to_the_parent_is_named(tmp_path):
    with pytest.raises(JobError, match="pickle"):
        run(plan_of(saved(tmp_path)[0], (Keeps(),)), kind="processes", n=1)


def test_workers_live_for_all_cubes_and_their_memory_grows(tmp_path):
    path = saved(tmp_path)[0]

    found = []
    with Team(n_procs=1, kind="processes", control=Control()) as team:
        for block_lines in (3, 2, 500):
            plan = plan_of(path, (Which(),), block_lines=block_lines)
            output = InMemory(plan)
            team.run(plan, output, progress=Progress())
            found.append(np.unique(output.lines).tolist())
    assert found[0] == found[1] != found[2]


def test_a_process_starts_when_it_is_needed(tmp_path):
    plan = plan_of(saved(tmp_path, n_lines=1)[0], (Twice(),))
    with Team(n_procs=4, kind="processes", control=Control()) as team:
        team.run(plan, InMemory(plan), progress=Progress())
        assert len([worker for worker in team._worker_set._workers if worker._child is not None]) == 1


def test_little_shared_memory_is_enough_for_few_blocks_or_refused(tmp_path, monkeypatch, caplog):
    path, lines = saved(tmp_path)
    plan = plan_of(path, (Twice(),), n_blocks=30)
    monkeypatch.setattr(memory, "free_memory", lambda: [("/dev/shm", 100_000, "mount it larger")])
    _, output = run(plan, kind="processes", n=1)
    assert np.array_equal(output.lines, lines * np.float32(2))
    assert "blocks fit into shared memory instead of 30" in caplog.text
    monkeypatch.setattr(memory, "free_memory", lambda: [("/dev/shm", 10_000, "mount it larger")])
    with pytest.raises(MemoryShortage, match=r"block_lines=4.*mount it larger"):
        run(plan, kind="processes")


def test_a_slow_output_lets_blocks_run_out(tmp_path):
    plan = plan_of(saved(tmp_path)[0], (Twice(),), block_lines=2, n_blocks=3)
    output, progress = Waiting(plan), Progress()
    running = threading.Thread(target=run, args=(plan, output), kwargs={"n": 5, "progress": progress})
    running.start()
    wait_for(lambda: progress.blocks == {"process": 0, "write": 3, "free": 0})
    assert progress.n_done == 0
    assert output.n_waiting <= 3
    output.may_write.set()
    running.join(TIMEOUT_S)
    assert output.n_put.tolist() == [1] * 23


def test_ctrl_c_ends_the_run(tmp_path):
    path, lines = saved(tmp_path)
    (tmp_path / "marks").mkdir()
    plan = plan_of(path, (Hangs(int(lines[9, 0, 0]), str(tmp_path / "marks")),))
    threading.Thread(target=_interrupt_when, args=(tmp_path / "marks" / "hung",)).start()
    with pytest.raises(KeyboardInterrupt):
        run(plan, kind="processes", n=1)


def _interrupt_when(path):
    wait_for(path.exists, TIMEOUT_S)
    os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C: the main thread wakes; `raise_signal` would interrupt this one


def test_the_kind_of_workers_follows_from_the_stages(tmp_path):
    path = saved(tmp_path)[0]
    quick, python = plan_of(path, (Twice(),)), plan_of(path, (Twice(), Kills()))
    assert kind_for([quick]) == "threads"
    assert kind_for([quick, python]) == "processes"
    assert kind_for([quick, python], "threads") == "threads"


def test_a_worker_ends_with_the_process_that_started_it(tmp_path):
    path, lines = saved(tmp_path)
    (marks := tmp_path / "marks").mkdir()
    with child(run_and_hang, str(path), int(lines[9, 0, 0]), str(marks)) as (process, _):
        wait_for((marks / "hung").exists, TIMEOUT_S)
        workers = psutil.Process(process.pid).children()
        assert writers_of(process.pid), "workers are children of the same kind"
        process.kill()
        _, alive = psutil.wait_procs(workers, timeout=TIMEOUT_S)
        assert not alive


def run_and_hang(_connection, path, value, marks):
    run(plan_of(Path(path), (Hangs(value, marks),)), kind="processes")


def test_a_worker_that_is_ended_does_not_start_again(tmp_path):
    worker_set = Processes(TIMEOUT_S)
    plan = plan_of(saved(tmp_path)[0], (Twice(),))
    memory, _ = worker_set.memory_for(plan, 2)
    [worker] = worker_set.workers(1, plan, None, memory)
    worker_set.kill()  # before, or while, it starts
    with pytest.raises(WorkerDied, match="was ended"):
        worker.process(0, 0, 0, 4)
    [worker] = worker_set.workers(1, plan, None, memory)  # for the next cube
    assert worker.process(0, 0, 0, 4).flags.tolist() == [0] * 4
    worker_set.close()
    with pytest.raises(WorkerDied, match="was ended"):
        worker.process(0, 0, 0, 4)


def test_processes_start_before_the_work_and_have_ended_when_they_are_closed(tmp_path):
    plan = plan_of(saved(tmp_path)[0], (Which(),), block_lines=3)
    with Team(n_procs=2, kind="processes", control=Control()) as team:
        team.start(plan)
        children = [worker._child for worker in team._worker_set._workers]
        assert len(children) == 2
        output = InMemory(plan)
        team.run(plan, output, progress=Progress())
        assert set(np.unique(output.lines).tolist()) <= {child.pid for child in children}
        assert [worker._child for worker in team._worker_set._workers] == children
        team.release()
        assert all(child.join(TIMEOUT_S) for child in children)
    assert [child.exit_code for child in children] == [0, 0]


def test_no_more_processes_start_than_there_are_blocks(tmp_path):
    plan = plan_of(saved(tmp_path, n_lines=1)[0], (Twice(),))
    with Team(n_procs=4, kind="processes", control=Control()) as team:
        team.start(plan)
        assert len(team._worker_set._workers) == 1


def test_a_process_imports_only_what_it_needs(tmp_path):
    path, _ = saved(tmp_path)
    names = ("openhsi_shared.jobs.outputs", "openhsi_shared.jobs.planning.plans", "numba", "pydantic")
    stages = [lambda line: np.array([name in sys.modules for name in ("sys", *names)], np.uint8) + 0 * line[:1, :1]]
    found = JobRunner(PipelineJob(path, tmp_path / "out.nc", stages=stages, workers="processes", n_procs=1)).run()
    with open_cube(found.path) as cube:
        assert np.unique(cube.lines[:], axis=0).tolist() == [[[1, 0, 0, 0, 0]]]
