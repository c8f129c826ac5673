"""What an earlier run has left of a result: its journal, and its blocks, which this run has, too."""

import dataclasses
from typing import Any

from openhsi_shared.errors import MemoryShortage
from openhsi_shared.files.journal import Journal
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.jobs.planning.block_size import free_bytes, sized
from openhsi_shared.loggers import safe_logger

__all__ = ["layout_of", "open_journal", "with_blocks_of"]

logger = safe_logger(__name__)


def open_journal(plan: CubePlan, *, resume: bool, tmp_suffix: str | None) -> Journal | None:
    """The journal of the result, locked; None unless `resume`: then what an earlier run has left is removed.

    SaveError (EBUSY) if another run is writing the result.
    """
    if not resume:
        Journal.discard(plan.target, plan.ppid_hash, tmp_suffix=tmp_suffix)
        return None
    return Journal.open(
        plan.target, plan.ppid_hash, layout_of(plan), n_lines=plan.result.n_lines, tmp_suffix=tmp_suffix
    )


def with_blocks_of(plan: CubePlan, *, tmp_suffix: str | None) -> CubePlan:
    """The plan with blocks as an earlier run had them, if the job leaves their size open and only that differs.

    That size depends on the free memory, and on the kind and number of workers: none of them makes another result.
    """
    earlier = Journal.layout_of(plan.target, plan.ppid_hash, tmp_suffix=tmp_suffix)
    present = layout_of(plan)
    if earlier is None or plan.job.block_lines is not None or earlier == present:
        return plan
    block_lines = earlier.get("block_lines")
    if present | {"block_lines": block_lines} != earlier or not isinstance(block_lines, int) or block_lines < 1:
        return plan
    try:
        of_earlier = dataclasses.replace(plan, job=plan.job.replace(block_lines=block_lines))
        return dataclasses.replace(sized(of_earlier, *free_bytes(plan)), job=plan.job)
    except MemoryShortage as error:
        logger.warning("the blocks that an earlier run has written are too large for this one: %s", error)
        return plan


def layout_of(plan: CubePlan) -> dict[str, Any]:
    """What decides the bytes of the temporary file besides the job's id."""
    job = plan.job
    return {
        "output": job.output,
        "old_style": job.old_style,
        "compression": job.compression,
        "link_to_input": job.link_to_input,
        "block_lines": plan.block_lines,
        "source": str(plan.source.path),
    }
