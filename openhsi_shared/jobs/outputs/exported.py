"""ENVI and Zarr output: by the writers that export saved cubes, with what travels from the source."""

import uuid
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError
from openhsi_shared.files.checksums import crc32_of
from openhsi_shared.files.exporting.description import Description, description_of
from openhsi_shared.files.exporting.envi import EnviWriter
from openhsi_shared.files.exporting.zarr import ZarrChunks, ZarrWriter
from openhsi_shared.files.journal import Journal
from openhsi_shared.files.significant_bits import attributes_of_rounding, check_significant_bits, round_to_bits
from openhsi_shared.groups import numbers
from openhsi_shared.jobs.outputs.output import Done, Output, Published
from openhsi_shared.jobs.outputs.travelling import Travelling
from openhsi_shared.jobs.plan import CubePlan

__all__ = ["ExportedOutput"]


class ExportedOutput(Output):
    """The files of one cube. `put` rounds `lines` in place if the job has `significant_bits`."""

    is_ordered = False

    def __init__(self, plan: CubePlan, *, tmp_suffix: str = "", journal: Journal | None = None) -> None:
        """ArgumentError for a result that the format cannot store; PackageMissing, SaveError."""
        result, job = plan.result, plan.job
        compression, level = job.codec
        numbers("the result", np.zeros(0, result.dtype))
        if job.significant_bits is not None:
            check_significant_bits(job.significant_bits, result.dtype)
        self._n_bits = job.significant_bits
        self._travelling = Travelling.read(plan, attributes_of_rounding(self._n_bits) if self._n_bits else {})
        self._crcs = np.zeros(result.n_lines, np.uint32)
        self._is_put = np.zeros(result.n_lines, np.bool_)
        description = self._described(Done(line_flag=np.zeros(result.n_lines, np.uint8)))
        self._journal = journal
        leftover = None if journal is None else journal.part
        self._writer: EnviWriter | ZarrWriter
        if job.output == "envi":
            self._writer = EnviWriter(plan.target, description, tmp_suffix=tmp_suffix, leftover=leftover)
        else:
            codec = (compression, level)
            self._writer = ZarrWriter(plan.target, description, plan.block_lines, codec, tmp_suffix, leftover)
        self._begin(journal, self._writer.path)

    @property
    def temporary_path(self) -> Path:
        """Where the file, or folder, is until it is published."""
        return self._writer.path

    @property
    def chunks(self) -> ZarrChunks:
        """What other processes write blocks with: picklable. They return the checksums for `note`. Zarr only."""
        if not isinstance(self._writer, ZarrWriter):
            raise ArgumentError("other processes can write into Zarr only: use output='zarr'")
        return self._writer.chunks

    def put(self, first: int, lines: NDArray[Any], crcs: NDArray[np.uint32]) -> None:
        """Write a block of lines, from any thread; of Zarr, whole blocks of the plan."""
        if self._n_bits is not None:
            for line in lines:
                round_to_bits(line, self._n_bits)
            crcs = np.array([crc32_of(line) for line in lines], np.uint32)
        self._writer.put(first, lines)
        self.note(first, crcs)

    def note(self, first: int, crcs: NDArray[np.uint32]) -> None:
        """Note that these lines are written, by `put` or by another process."""
        self._note(first, crcs)
        if self._journal is not None:
            self._journal.note_written(first, crcs, None)

    def _note(self, first: int, crcs: NDArray[np.uint32]) -> None:
        self._crcs[first : first + len(crcs)] = crcs
        self._is_put[first : first + len(crcs)] = True

    def finished_blocks(self) -> frozenset[int]:
        """First lines of blocks that an earlier run has written; their lines are read, and compared with their CRCs."""
        found = set()
        for first, block in (self._journal.blocks if self._journal is not None else {}).items():
            if self._writer.restore(first, block.crcs):
                self._note(first, block.crcs)
                found.add(first)
        return frozenset(found)

    def finish(self, done: Done) -> Published:
        """Write all else, let the program read it that it is for, and publish it."""
        if not self._is_put.all():
            missing = np.flatnonzero(~self._is_put)
            raise ArgumentError(f"{len(missing)} lines were never put, from {missing[0]} on: put all")
        return Published(path=self._writer.finish(self._described(done, str(uuid.uuid4()))))

    def _described(self, done: Done, identity: str = "0") -> Description:
        return description_of(self._travelling.cube(done, identity), self._travelling.labels, self._crcs)

    def close(self, *, keep: bool = False) -> None:
        """End. What is not published is removed, unless `keep`. Idempotent."""
        self._writer.close(keep=keep)
