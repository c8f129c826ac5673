"""Table output: rows, and what is known of the lines, as a NetCDF file without a datacube."""

import uuid
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.durable import PartFile
from openhsi_shared.files.journal import Journal
from openhsi_shared.files.not_synced import publish_whole
from openhsi_shared.files.table_file import write_table
from openhsi_shared.jobs.outputs.output import Done, Output, Published
from openhsi_shared.jobs.outputs.travelling import Travelling
from openhsi_shared.jobs.plan import CubePlan

__all__ = ["TableOutput"]


class TableOutput(Output):
    """The table of one cube; its lines are not written. Groups of the source do not travel."""

    is_ordered = False

    def __init__(self, plan: CubePlan, *, tmp_suffix: str = "", journal: Journal | None = None) -> None:
        """ArgumentError for rows that a file cannot store; SaveError."""
        self._plan, self._journal = plan, journal
        self._travelling = Travelling.read(plan, has_groups=False, is_linked=plan.job.link_to_input)
        suffix = f"~{tmp_suffix}" if tmp_suffix else ""
        leftover = None if journal is None else journal.part
        adopted = PartFile.adopt(leftover) if leftover is not None and leftover.is_file() else None
        self._part = adopted or PartFile(plan.target.parent, f"{plan.target.stem}{suffix}{plan.target.suffix}")
        self._begin(journal, self._part.path)

    def put(self, first: int, lines: NDArray[Any], crcs: NDArray[np.uint32]) -> None:  # noqa: ARG002 - part of the protocol
        """Note that these lines are processed: the table is written at the end."""
        if self._journal is not None:
            self._journal.note_written(first, crcs)

    def finished_blocks(self) -> frozenset[int]:
        """First lines of blocks whose rows the journal contains."""
        return frozenset() if self._journal is None else frozenset(self._journal.blocks)

    def finish(self, done: Done) -> Published:
        """Write all, make it durable, and publish it."""
        cube = self._travelling.cube(done, str(uuid.uuid4()))
        write_table(self._part, cube)
        publish_whole(self._part, self._plan.target)
        return Published(path=self._plan.target)

    def close(self, *, keep: bool = False) -> None:
        """End. What is not published is removed, unless `keep`. Idempotent."""
        if keep:
            self._part.keep()
        else:
            self._part.remove()
