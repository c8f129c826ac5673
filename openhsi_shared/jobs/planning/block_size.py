"""How many lines are in a block, and how many blocks are in memory at a time."""

import dataclasses
import math

from openhsi_shared.buffers.memory import SHM, free_memory
from openhsi_shared.errors import MemoryShortage
from openhsi_shared.jobs.plan import CubePlan

__all__ = ["block_bytes", "free_bytes", "sized"]

BLOCK_BYTES = 16 << 20
"""Of input and result of a block, together."""
MAX_BLOCK_BYTES = 4 * BLOCK_BYTES
"""With a halo, of which at most as much again is read."""
RESERVE = 64 << 20
"""Bytes always left to other programs."""


def sized(plan: CubePlan, place: str, free: int) -> CubePlan:
    """The plan with its `block_lines` and `n_blocks`, for so many free bytes of a memory (`free_bytes`).

    What the job does not say is chosen so that it fits. MemoryShortage if it cannot.
    """
    job = plan.job
    n_blocks = job.n_blocks or (1 if job.debug else job.n_workers + 2)
    if job.block_lines is not None:
        block_lines, n_blocks = job.block_lines, n_blocks if job.n_blocks else 1
    else:
        block_lines = min(plan.result.n_lines, _chosen(plan))
        while block_lines > 1 and block_bytes(plan, block_lines) * n_blocks > free:
            block_lines = (block_lines + 1) // 2
        if job.n_blocks is None:
            n_blocks = max(1, min(n_blocks, free // block_bytes(plan, block_lines)))
    _check(plan, block_lines, n_blocks, place, free)
    block_lines = min(block_lines, plan.result.n_lines)
    if job.n_blocks is None and job.block_lines is not None:
        wanted = 1 if job.debug else job.n_workers + 2
        n_blocks = max(1, min(wanted, free // block_bytes(plan, block_lines)))
    n_blocks = min(n_blocks, math.ceil(plan.result.n_lines / block_lines))
    return dataclasses.replace(plan, block_lines=block_lines, n_blocks=n_blocks)


def block_bytes(plan: CubePlan, block_lines: int) -> int:
    """Bytes of a block of so many lines of the result: its input, with lines around it, and its result.

    Of the input, a worker needs as much at most: usually it reads less at a time.
    """
    return _source_lines(plan, block_lines) * plan.formats[0].line_bytes + block_lines * plan.result.line_bytes


def _source_lines(plan: CubePlan, n: int) -> int:
    """Lines of the source that so many lines of the result need at most."""
    for stage in reversed(plan.stages):
        n = n * stage.lines_per_result + sum(stage.halo)
    return n


def _chosen(plan: CubePlan) -> int:
    """Lines of a block of about 16 MB; with a halo up to 64 MB, so that less is read twice."""
    halo = block_bytes(plan, 0)
    per_line = block_bytes(plan, 1) - halo
    room = max(BLOCK_BYTES - halo, min(halo, MAX_BLOCK_BYTES - halo))
    return max(1, room // per_line)


def _check(plan: CubePlan, block_lines: int, n_blocks: int, place: str, free: int) -> None:
    needed = block_bytes(plan, block_lines) * n_blocks
    if needed > free:
        raise MemoryShortage(
            f"{plan.source.path}: {n_blocks} blocks of {block_lines:,} lines need {needed / 1e6:,.1f} MB, but {place} "
            f"has {max(0, free) / 1e6:,.1f} MB free: give a smaller block_lines or n_blocks, or lines and rows, or "
            f"close other programs"
        )


def free_bytes(plan: CubePlan) -> tuple[str, int]:
    """Name and free bytes of the smallest memory that blocks are made in."""
    job = plan.job
    in_threads = job.debug or job.workers == "threads"
    in_threads |= job.workers == "auto" and all(stage.releases_lock for stage in plan.stages)
    limits = [(place, free - RESERVE) for place, free, _ in free_memory() if place != str(SHM)]
    if not in_threads:
        limits += [(place, free - min(RESERVE, free // 8)) for place, free, _ in free_memory() if place == str(SHM)]
    return min(limits, key=lambda one: one[1], default=("this machine", 1 << 62))
