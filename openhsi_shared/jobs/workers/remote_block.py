"""The work on one block on another computer: it plans the job itself, once for each thread, and keeps it."""

import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openhsi_shared.errors import JobError
from openhsi_shared.files.checksums import crc32_of
from openhsi_shared.files.reading import open_cube
from openhsi_shared.files.significant_bits import round_to_bits
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.workers.block_memory import BlockLayout, BlockMemory
from openhsi_shared.jobs.workers.block_worker import BlockWorker, Processed, Surveyed
from openhsi_shared.processes.spawning import unpack

__all__ = ["RemoteBlocks", "version_here"]

_of_thread = threading.local()
"""The cube that this thread works on."""


def version_here() -> str:
    """The version of this library on the computer that calls it."""
    return str(sys.modules["openhsi_shared"].__version__)  # an import of it would be upwards


@dataclass(frozen=True, eq=False)
class RemoteBlocks:
    """What a worker needs to know to work on blocks of one cube: it is sent with each, so it is small."""

    job: bytes
    """Pickled `PipelineJob` of one cube."""
    path: str
    ppid_hash: str
    surveyed: Mapping[int, Any]
    """What stages have seen in their surveys, by their number."""
    chunks: Any
    """`ZarrChunks` of the result."""
    version: str

    def process(self, number: int) -> Processed:
        """Read, process and write a block. Called by a worker. JobError if version or file are others there."""
        plan, worker, memory = self._opened()
        block = plan.blocks[number]
        done = worker.process(number, 0, 0, len(block))
        out = memory.result(0)[: len(block)]
        if plan.job.significant_bits is not None:
            for line in out:
                round_to_bits(line, plan.job.significant_bits)
            done = done._replace(crcs=np.array([crc32_of(line) for line in out], np.uint32))
        self.chunks.put(block.start, np.ascontiguousarray(out))
        return done

    def survey(self, at: int, parts: Sequence[range]) -> Surveyed:
        """Survey parts of the lines. Called by a worker. JobError as above."""
        return self._opened()[1].survey(at, parts)

    def _opened(self) -> tuple[CubePlan, BlockWorker, BlockMemory]:
        key = (self.job, self.ppid_hash, str(self.chunks.path), tuple(sorted(self.surveyed)))
        if getattr(_of_thread, "key", None) != key:
            _of_thread.key = None
            with getattr(_of_thread, "stack", ExitStack()):
                pass  # closes the cube before
            _of_thread.stack = ExitStack()
            _of_thread.opened = self._open(_of_thread.stack)
            _of_thread.key = key
        opened: tuple[CubePlan, BlockWorker, BlockMemory] = _of_thread.opened
        return opened

    def _open(self, stack: ExitStack) -> tuple[CubePlan, BlockWorker, BlockMemory]:
        if self.version != (here := version_here()):
            raise JobError(
                f"this worker has openhsi_shared {here}, the job is of {self.version}: results could differ; "
                f"install the same version there"
            )
        if not Path(self.path).exists():
            raise JobError(f"{self.path} does not exist on a worker: it must be at the same path on all computers")
        plan: CubePlan = unpack(self.job).plan()
        if plan.ppid_hash != self.ppid_hash:
            raise JobError(
                f"{self.path} or a file that the job uses has another content on a worker: {plan.ppid}; copy the same "
                f"files there"
            )
        for at, found in self.surveyed.items():
            object.__setattr__(plan.stages[at], "surveyed", found)
        memory = BlockMemory.private(BlockLayout(plan, 1))
        cube = stack.enter_context(open_cube(plan.source.path))
        return plan, BlockWorker(plan, cube.lines, memory), memory
