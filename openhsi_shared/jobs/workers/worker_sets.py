"""What the workers of a team work with, and in: in threads, or in processes."""

import contextlib
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.memory import PAGE, aligned_bytes, require_memory, shared_array
from openhsi_shared.errors import MemoryShortage
from openhsi_shared.files.lines import FileLines
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.workers.block_memory import BlockLayout, BlockMemory, private_bytes
from openhsi_shared.jobs.workers.block_worker import BlockWorker
from openhsi_shared.jobs.workers.work import LineWorker
from openhsi_shared.jobs.workers.worker_process import Begin, WorkerProcess
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.spawning import pack

__all__ = ["Processes", "Threads", "WorkerSet", "blocks_that_fit"]

logger = safe_logger(__name__)


class WorkerSet(Protocol):
    """Memory for the blocks of one cube after the other, and its workers."""

    watched: tuple[str, ...]
    """Stages in which a worker cannot notice by itself that it hangs."""
    whole_blocks: bool
    """Whether a worker processes a whole block, rather than some of its lines."""

    def memory_for(self, plan: CubePlan, n_places: int) -> tuple[BlockMemory, int]:
        """Memory for blocks of this cube, and for how many: fewer than wanted if it is short. MemoryShortage."""

    def workers(self, n: int, plan: CubePlan, lines: FileLines, memory: BlockMemory) -> list[LineWorker]:
        """`n` workers for this cube."""

    def start(self, n: int, plan: CubePlan, n_places: int) -> None:
        """Let `n` workers start, if that takes long, with memory for so many blocks of this cube. Does not block.

        Before the first cube. MemoryShortage; OSError if the system cannot start them.
        """

    def release(self) -> None:
        """Let workers end that have nothing more to do. Does not block until they have; the rest is left to `close`."""

    def kill(self) -> None:
        """End what workers do, if possible: the threads that wait for them go on."""

    def forget(self) -> None:
        """Use other memory from now on: a thread that hangs may still use this."""

    def close(self) -> None:
        """End all, and free the memory. Idempotent."""


class Threads:
    """Workers in threads, in private memory."""

    watched: tuple[str, ...] = ("process", "write", "survey")
    """What a thread cannot notice by itself if it hangs."""
    whole_blocks = False

    def __init__(self) -> None:
        self._memory: NDArray[np.uint8] | None = None

    def memory_for(self, plan: CubePlan, n_places: int) -> tuple[BlockMemory, int]:
        """Memory for blocks, and how many there are."""
        layout = BlockLayout(plan, n_places)
        if self._memory is None or len(self._memory) < layout.n_bytes:
            self._memory = private_bytes(layout.n_bytes)
        return BlockMemory(layout, self._memory), n_places

    def workers(self, n: int, plan: CubePlan, lines: FileLines, memory: BlockMemory) -> list[LineWorker]:
        """`n` workers for this cube."""
        return [BlockWorker(plan, lines, memory) for _ in range(n)]

    def start(self, n: int, plan: CubePlan, n_places: int) -> None:
        """Threads start at once."""

    def release(self) -> None:
        """Free the memory already."""
        self.forget()

    def kill(self) -> None:
        """Threads cannot be killed."""

    def forget(self) -> None:
        """Use other memory from now on: a thread may still write into this."""
        self._memory = None

    def close(self) -> None:
        """Free the memory. Idempotent."""
        self.forget()


def blocks_that_fit(plan: CubePlan, n_places: int) -> int:
    """How many blocks, at most `n_places`, fit into the shared memory of worker processes. MemoryShortage if none."""
    place_bytes = BlockLayout(plan, 1).place_bytes
    for n in range(n_places, 1, -1):
        with contextlib.suppress(MemoryShortage):
            require_memory(n * place_bytes + 2 * PAGE, _what(plan, n))
            return n
    require_memory(place_bytes + 2 * PAGE, _what(plan, 1))
    return 1


def _what(plan: CubePlan, n: int) -> str:
    size = f"{plan.block_lines:,} lines (block_lines={plan.block_lines})"
    return f"{plan.source.path}: {n} blocks of {size} for worker processes"


class Processes:
    """Workers that are processes, started when first used, in shared memory, which they get then."""

    watched: tuple[str, ...] = ("write",)
    whole_blocks = False

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._array: Any = None
        self._n_bytes = self._n_wanted = self._n_places = 0
        self._workers: list[WorkerProcess] = []

    def memory_for(self, plan: CubePlan, n_places: int) -> tuple[BlockMemory, int]:
        """Shared memory for blocks, and how many there are: fewer than wanted if it is short. MemoryShortage.

        Processes that have too little memory are ended, and started again with more.
        """
        place_bytes = BlockLayout(plan, 1).place_bytes
        if self._n_wanted < n_places * place_bytes or self._n_bytes < place_bytes:
            self.close()
            self._make_memory(plan, n_places, place_bytes)
            self._n_wanted = n_places * place_bytes
        self._n_places = min(n_places, self._n_bytes // place_bytes)
        layout = BlockLayout(plan, self._n_places)
        return BlockMemory(layout, aligned_bytes(self._array, self._n_bytes)), self._n_places

    def _make_memory(self, plan: CubePlan, n_places: int, place_bytes: int) -> None:
        """Make it for as many blocks as fit."""
        n = blocks_that_fit(plan, n_places)
        if n < n_places:
            logger.warning("%s: %d blocks fit into shared memory instead of %d", plan.source.path, n, n_places)
        self._n_bytes = n * place_bytes
        self._array = shared_array("B", self._n_bytes + PAGE, _what(plan, n))

    def workers(
        self,
        n: int,
        plan: CubePlan,
        lines: FileLines,  # noqa: ARG002 - they open it themselves
        memory: BlockMemory,  # noqa: ARG002 - as above
    ) -> list[LineWorker]:
        """`n` workers for this cube."""
        begin = Begin(pack(plan), self._n_places)
        self._add_workers(n)
        for worker in self._workers:
            worker.begin(begin)
        return [*self._workers[:n]]

    def _add_workers(self, n: int) -> None:
        """Until there are `n`. They are not started yet."""
        while len(self._workers) < n:
            self._workers.append(WorkerProcess(len(self._workers) + 1, self._array, self._n_bytes, self._patience_s))

    def start(self, n: int, plan: CubePlan, n_places: int) -> None:
        """Let `n` processes start, and import what they need meanwhile."""
        self.memory_for(plan, n_places)
        self._add_workers(n)
        for worker in self._workers:
            worker.start()

    def release(self) -> None:
        """Let the processes end by themselves."""
        for worker in self._workers:
            worker.hang_up()

    def kill(self) -> None:
        """Kill all processes: the threads that wait for them go on."""
        for worker in self._workers:
            worker.end()

    def forget(self) -> None:
        """A thread that hangs while it writes may still read the memory."""
        self.close()

    def close(self) -> None:
        """End the processes and free the memory. Idempotent."""
        for worker in self._workers:
            worker.hang_up()
        for worker in self._workers:
            worker.close()
        self._workers, self._array, self._n_bytes, self._n_wanted = [], None, 0, 0
