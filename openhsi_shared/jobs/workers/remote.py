"""Work on other computers: blocks as futures of an executor, such as a client of Dask.

What travels is the recipe, the path of the cube and the number of a block, never pixels: each worker reads the file,
and writes its chunks of a Zarr folder, itself. So both must be at the same path on all computers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, JobError
from openhsi_shared.files.lines import FileLines
from openhsi_shared.jobs.outputs.output import Done, Output, Published
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.workers.block_memory import BlockLayout, BlockMemory
from openhsi_shared.jobs.workers.block_worker import Processed, Surveyed
from openhsi_shared.jobs.workers.control import Control
from openhsi_shared.jobs.workers.cube_work import Finished, Worked
from openhsi_shared.jobs.workers.progress import Progress
from openhsi_shared.jobs.workers.remote_block import RemoteBlocks, version_here
from openhsi_shared.jobs.workers.team import Team
from openhsi_shared.jobs.workers.work import LineWorker, WorkerDied
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.dask_client import DEATHS
from openhsi_shared.processes.spawning import pack

__all__ = ["RemoteTeam"]

logger = safe_logger(__name__)

PATIENCE_S = 300.0
PER_THREAD = 2
"""Blocks that each thread of a worker has, so that it need not wait for the next one."""


class Executor(Protocol):
    """A client of dask.distributed, or an executor of `concurrent.futures`."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        """A future of function(*arguments)."""


class RemoteTeam:
    """Workers of an executor. The interface of `Team`."""

    def __init__(self, executor: Executor, *, control: Control, patience_s: float = PATIENCE_S) -> None:
        """ArgumentError for what has no `submit`; JobError if workers have another version of this library, or none."""
        if not callable(getattr(executor, "submit", None)):
            raise ArgumentError(
                f"executor must be a client of dask.distributed, or have submit(function, *arguments), got {executor!r}"
            )
        self._executor, self._control, self._patience_s = executor, control, patience_s
        self._worker_set = _RemoteWorkers(executor, patience_s)
        _check_versions(executor)

    def start(self, plan: CubePlan) -> None:
        """The workers live already."""

    def release(self) -> None:
        """They are not ours."""

    def run(
        self,
        plan: CubePlan,
        output: Output,
        *,
        skip: frozenset[int] = frozenset(),
        progress: Progress,
        finished: Finished | None = None,
    ) -> Worked:
        """As `Team.run`. ArgumentError for an output that is not Zarr."""
        chunks = getattr(output, "chunks", None) if plan.job.output == "zarr" else None
        if chunks is None:
            raise ArgumentError(
                f"output={plan.job.output!r}: workers on other computers can only write Zarr, whose chunks are single "
                f"files: use output='zarr' (--to zarr), or no executor"
            )
        noting = _Noting(output)
        self._worker_set.begin(chunks, noting)
        n_workers = _n_threads(self._executor, plan) * PER_THREAD
        team = Team(n_procs=n_workers, patience_s=self._patience_s, control=self._control, worker_set=self._worker_set)
        return team.run(plan, noting, skip=skip, progress=progress, finished=finished)

    def close(self) -> None:
        """Nothing is left: the executor is that of the caller. Idempotent."""
        self._worker_set.close()


@dataclass(eq=False)
class _Noting(Output):
    """An output whose blocks other computers write: here they are noted, and written if no worker has written them."""

    output: Any
    written: set[int] = field(default_factory=set)
    """First lines of blocks that workers have written."""
    is_ordered = False

    def put(self, first: int, lines: NDArray[Any], crcs: NDArray[np.uint32]) -> None:
        if first in self.written:
            self.output.note(first, crcs)
        else:  # workers died of it: its lines are failed
            self.output.put(first, lines, crcs)

    def finish(self, done: Done) -> Published:
        found: Published = self.output.finish(done)
        return found

    def close(self, *, keep: bool = False) -> None:
        self.output.close(keep=keep)


class _RemoteWorkers:
    """Workers of an executor, each with a thread that waits for its futures."""

    watched: tuple[str, ...] = ("write",)
    whole_blocks = True

    def __init__(self, executor: Executor, patience_s: float) -> None:
        self._executor, self._patience_s = executor, patience_s
        self._workers: list[_RemoteWorker] = []
        self._chunks: Any = None
        self._noting: Any = None

    def begin(self, chunks: Any, noting: _Noting) -> None:
        """Set the output of the next cube."""
        self._chunks, self._noting = chunks, noting

    def memory_for(self, plan: CubePlan, n_places: int) -> tuple[BlockMemory, int]:
        """Places for blocks of which only the numbers come back: nothing of it is allocated until it is used."""
        n_places = max(n_places, len(self._workers), 2)
        return BlockMemory.private(BlockLayout(plan, n_places)), n_places

    def workers(self, n: int, plan: CubePlan, lines: FileLines, memory: BlockMemory) -> list[LineWorker]:  # noqa: ARG002
        """`n` workers for this cube."""
        surveyed = {at: stage.surveyed for at, stage in enumerate(plan.stages) if stage.surveyed is not None}
        blocks = RemoteBlocks(
            pack(plan.job.replace(block_lines=plan.block_lines)),
            str(plan.source.path),
            plan.ppid_hash,
            surveyed,
            self._chunks,
            version_here(),
        )
        self._workers = [_RemoteWorker(self._executor, blocks, plan, self._noting, self._patience_s) for _ in range(n)]
        return [*self._workers]

    def start(self, n: int, plan: CubePlan, n_places: int) -> None:
        """They live already."""

    def release(self) -> None:
        """They are not ours."""

    def kill(self) -> None:
        """Cancel what has not begun."""
        for worker in self._workers:
            worker.cancel()

    def forget(self) -> None:
        """Wait for nothing any more."""
        self.kill()

    def close(self) -> None:
        """Cancel all. Idempotent."""
        self.kill()
        self._workers, self._chunks, self._noting = [], None, None


class _RemoteWorker:
    """Sends blocks, one at a time, and waits for each."""

    def __init__(
        self, executor: Executor, blocks: RemoteBlocks, plan: CubePlan, noting: _Noting, patience_s: float
    ) -> None:
        self._executor, self._blocks, self._plan = executor, blocks, plan
        self._noting, self._patience_s = noting, patience_s
        self._future: Any = None

    def process(self, number: int, place: int, first: int, stop: int) -> Processed:  # noqa: ARG002 - of others
        """Let a worker read, process and write a whole block. WorkerDied, JobError."""
        found: Processed = self._wait_for(self._blocks.process, number)
        self._noting.written.add(self._plan.blocks[number].start)
        return found

    def survey(self, at: int, parts: Sequence[range]) -> Surveyed:
        """Let a worker survey parts. WorkerDied, JobError."""
        found: Surveyed = self._wait_for(self._blocks.survey, at, parts)
        return found

    def cancel(self) -> None:
        """Cancel what has not begun."""
        if (future := self._future) is not None:
            future.cancel()

    def _wait_for(self, function: Callable[..., Any], *arguments: Any) -> Any:
        options = {"pure": False} if hasattr(self._executor, "scheduler_info") else {}
        self._future = self._executor.submit(function, *arguments, **options)
        future = self._future
        try:
            return future.result(timeout=self._patience_s)
        except TimeoutError as error:
            if future.done() and not future.cancelled():  # it was the work that raised it, or it has just ended
                return future.result(timeout=0)
            self.cancel()
            raise JobError(
                f"{self._plan.source.path}: no worker has finished a block within {self._patience_s:g} s: are "
                "there workers, and do they reach the file?"
            ) from error
        except ImportError as error:
            raise _no_library(error) from error
        except BaseException as error:
            if type(error).__name__ in DEATHS:
                raise WorkerDied(f"a worker of the executor died, or was cancelled: {error}") from error
            raise
        finally:
            self._future = None


def _n_threads(executor: Any, plan: CubePlan) -> int:
    """Threads of all workers."""
    if hasattr(executor, "nthreads"):
        return sum(executor.nthreads().values()) or 1
    return int(getattr(executor, "_max_workers", 0)) or plan.job.n_workers


def _check_versions(executor: Any) -> None:
    """JobError unless all workers of Dask have this version; those that come later are checked at their first block."""
    if not hasattr(executor, "run"):
        return
    try:
        found = executor.run(version_here)
    except ImportError as error:
        raise _no_library(error) from error
    if not found:
        raise JobError("the scheduler has no workers: start some, such as `dask worker ADDRESS`")
    here = version_here()
    for worker, version in found.items():
        if version != here:
            raise JobError(
                f"the worker {worker} has openhsi_shared {version}, this computer {here}: results could differ; "
                f"install the same version there"
            )


def _no_library(error: BaseException) -> JobError:
    return JobError(
        f"a worker cannot import what the job needs ({error}): install openhsi_shared {version_here()} there"
    )
