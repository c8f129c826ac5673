"""Workers of a job: threads, or processes, for each of which a thread waits."""

import threading
from collections.abc import Iterable, Sequence
from typing import Literal, Self

from openhsi_shared.errors import ArgumentError, JobError
from openhsi_shared.files.reading import open_cube
from openhsi_shared.jobs.outputs.output import Output
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.workers.blocks import Block
from openhsi_shared.jobs.workers.control import Control
from openhsi_shared.jobs.workers.cube_work import CubeWork, Finished, Worked
from openhsi_shared.jobs.workers.progress import Progress
from openhsi_shared.jobs.workers.surveying import Survey, surveys_of
from openhsi_shared.jobs.workers.work import LineWorker, Work
from openhsi_shared.jobs.workers.worker_sets import Processes, Threads, WorkerSet
from openhsi_shared.loggers import safe_logger

__all__ = ["Kind", "Team", "kind_for"]

logger = safe_logger(__name__)

Kind = Literal["threads", "processes"]
PATIENCE_S = 300.0
GRACE_S = 2.0
"""After a failure, workers may finish what they do for so long; then processes are killed, threads left alone."""
KILL_TIMEOUT_S = 1.0


def kind_for(plans: Iterable[CubePlan], workers: Literal["auto", "threads", "processes"] = "auto") -> Kind:
    """The kind of workers: threads if every stage releases the interpreter's lock, else processes."""
    if workers != "auto":
        return workers
    return "threads" if all(stage.releases_lock for plan in plans for stage in plan.stages) else "processes"


class Team:
    """The workers of a job, which live for all its cubes. Used by one thread."""

    def __init__(
        self,
        *,
        n_procs: int,
        kind: Kind = "threads",
        patience_s: float = PATIENCE_S,
        debug: bool = False,
        control: Control,
        worker_set: WorkerSet | None = None,
    ) -> None:
        """Starts nothing yet. A worker that needs longer than `patience_s` for some lines counts as hung.

        `worker_set`: another one than threads or processes of this computer.

        `debug`: the calling thread does all the work, one block at a time, so that `breakpoint()` works in a stage.
        """
        if n_procs < 1:
            raise ArgumentError(f"n_procs must be 1 or more, got {n_procs}")
        self._n_procs, self._patience_s, self._is_debugged, self._control = n_procs, patience_s, debug, control
        usual: WorkerSet = Processes(patience_s) if kind == "processes" and not debug else Threads()
        self._worker_set = worker_set or usual

    def start(self, plan: CubePlan) -> None:
        """Let processes for the first cube start, before `run`: they need longer for it than all else. Does not block.

        MemoryShortage; OSError if the system cannot start them.
        """
        self._worker_set.start(min(self._n_procs, len(plan.blocks)), plan, self._n_places(plan))

    def release(self) -> None:
        """Let the workers end after the last cube, before `close`. Does not block until they have."""
        self._worker_set.release()

    def run(
        self,
        plan: CubePlan,
        output: Output,
        *,
        skip: frozenset[int] = frozenset(),
        progress: Progress,
        finished: Finished | None = None,
    ) -> Worked:
        """Process a cube, except blocks whose first lines are in `skip`. Blocks until all other lines are written.

        `finished` is called for each block, after `output.put`, by the thread that has written it.
        JobError for a line that fails, for a worker that hangs, and if the job is stopped; FileError for a source that
        cannot be read; MemoryShortage; what the output raises. Nothing works on this cube afterwards, except a thread
        that hangs.
        """
        memory, n_places = self._worker_set.memory_for(plan, self._n_places(plan))
        with open_cube(plan.source.path) as cube:
            for at, lines in surveys_of(plan):
                survey = Survey(plan, at, lines, self._control, progress, n_workers=self._n_procs)
                self._do(survey, self._worker_set.workers(self._n_procs, plan, cube.lines, memory))
                plan = survey.surveyed()
            work = CubeWork(
                plan,
                memory,
                output,
                self._control,
                progress,
                n_places=n_places,
                skip=skip,
                finished=finished,
                whole_blocks=self._worker_set.whole_blocks,
            )
            self._do(work, self._worker_set.workers(self._n_procs, plan, cube.lines, memory))
            return work.worked()

    def _n_places(self, plan: CubePlan) -> int:
        return 1 if self._is_debugged else plan.n_blocks

    def close(self) -> None:
        """End the workers. Idempotent."""
        self._worker_set.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _do(self, work: Work, workers: Sequence[LineWorker]) -> None:
        """Let these workers work, one thread for each."""
        if self._is_debugged:
            work.work(workers[0])
        else:
            self._in_threads(work, workers)
        if work.register.error is not None:
            raise work.register.error
        if not work.register.is_done:
            raise self._control.error or JobError(f"{work.path}: the job was stopped", path=str(work.path))

    def _work(self, work: Work, worker: LineWorker, stages: Sequence[str]) -> None:
        this_thread = threading.get_ident()
        self._control.thread_ids.add(this_thread)
        try:
            work.work(worker, stages)
        finally:
            self._control.thread_ids.discard(this_thread)

    def _in_threads(self, work: Work, workers: Sequence[LineWorker]) -> None:
        register = work.register
        parts = [(f"worker {number}", one, work.stages) for number, one in enumerate(workers)]
        if work.stages_beside:
            parts.append(("writer", workers[0], work.stages_beside))
        threads = [
            threading.Thread(
                target=self._work, args=(work, one, stages), name=f"openhsi_shared job {name}", daemon=True
            )
            for name, one, stages in parts
        ]
        try:
            for thread in threads:
                thread.start()
            late = register.wait(self._patience_s, self._worker_set.watched)
            if late is not None:
                register.fail(_hung(work, *late, self._patience_s))
        except BaseException as error:
            register.fail(error)
            raise
        finally:
            is_released = register.wait_released(GRACE_S)
            if not is_released:
                self._worker_set.kill()
                register.wait_released(self._patience_s, ("write",))
                is_released = register.wait_released(KILL_TIMEOUT_S)
            for thread in threads:
                if thread.ident is not None:
                    thread.join(GRACE_S if is_released else 0)
            if any(thread.is_alive() for thread in threads):
                logger.error("%s: a thread hangs in a stage, or in writing; it ends with this program", work.path)
                self._worker_set.forget()


def _hung(work: Work, block: Block, first: int, stop: int, patience_s: float) -> JobError:
    text = (
        f"{work.path}: a worker has not finished stage {block.stage!r} of lines {first} to {stop - 1} of block "
        f"{block.number} for {patience_s:g} s: a stage or a disk hangs; workers='processes' replaces workers that hang"
    )
    return JobError(text, path=str(work.path), stage=block.stage)
