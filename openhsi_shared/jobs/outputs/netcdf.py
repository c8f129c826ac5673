"""NetCDF output: a file as that of a saved cube, with checksums and a preview beside it."""

import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import PreviewError
from openhsi_shared.files.checksums import crc32_of
from openhsi_shared.files.image import Layout
from openhsi_shared.files.journal import Journal
from openhsi_shared.files.preview import png_of, preview_path, write_png
from openhsi_shared.files.significant_bits import attributes_of_rounding, check_significant_bits, round_to_bits
from openhsi_shared.files.streamed import StreamedFile
from openhsi_shared.groups import numbers
from openhsi_shared.jobs.outputs.output import Done, Output, Published
from openhsi_shared.jobs.outputs.travelling import Travelling
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.loggers import safe_logger
from openhsi_shared.rgb import preview_bands, thinned

__all__ = ["NetCDFOutput"]

logger = safe_logger(__name__)


class NetCDFOutput(Output):
    """The NetCDF file of one cube. `put` rounds `lines` in place if the job has `significant_bits`."""

    is_ordered = False

    def __init__(
        self,
        plan: CubePlan,
        *,
        tmp_suffix: str = "",
        journal: Journal | None = None,
    ) -> None:
        """ArgumentError for a result that a file cannot store; SaveError."""
        result, job = plan.result, plan.job
        significant_bits = job.significant_bits
        numbers("the result", np.zeros(0, result.dtype))
        if significant_bits is not None:
            check_significant_bits(significant_bits, result.dtype)
        self._n_bits = significant_bits
        labels = attributes_of_rounding(significant_bits) if significant_bits else {}
        self._travelling = Travelling.read(plan, labels, is_linked=job.link_to_input)
        compression, level = job.codec
        dtype = result.dtype.newbyteorder("<")
        layout = Layout(result.n_lines, result.line_shape, dtype, job.old_style, compression, level or 0)
        bands = thinned(preview_bands(result.wavelengths_nm, result.line_shape[1]))
        self._journal = journal
        leftover = None if journal is None else journal.part
        self._file = StreamedFile(plan.target, layout, bands=bands, tmp_suffix=tmp_suffix, leftover=leftover)
        self.only_waits = compression is None and job.old_style and significant_bits is None
        self._begin(journal, self._file.temporary_path)

    def put(self, first: int, lines: NDArray[Any], crcs: NDArray[np.uint32]) -> None:
        """Write a block of lines, from any thread: without a copy, if they have the file's layout in memory."""
        if self._n_bits is not None:
            for line in lines:
                round_to_bits(line, self._n_bits)
            crcs = np.array([crc32_of(line) for line in lines], np.uint32)
        place = self._file.put(first, lines, crcs)
        if self._journal is not None:
            self._journal.note_written(first, crcs, place)

    def finished_blocks(self) -> frozenset[int]:
        """First lines of blocks that an earlier run has written; their lines are read, and compared with their CRCs."""
        if self._journal is None:
            return frozenset()
        return self._file.restore({first: (block.crcs, block.extra) for first, block in self._journal.blocks.items()})

    def finish(self, done: Done) -> Published:
        """Write all else, make it durable, and publish it; then its preview, whose failure is logged."""
        travelling = self._travelling
        with ThreadPoolExecutor(1) as pool:  # the file goes to the disk while the picture is made
            picture = pool.submit(self._png)
            path = self._file.finish(travelling.cube(done, str(uuid.uuid4())), travelling.labels)
        return Published(path=path, preview_path=_write_preview(picture, path))

    def _png(self) -> bytes | None:
        picture = self._file.take_picture()
        return None if picture is None else png_of(picture, preview_path(self._file.target))

    def close(self, *, keep: bool = False) -> None:
        """End. What is not published is removed, unless `keep`. Idempotent."""
        self._file.close(keep=keep)


def _write_preview(picture: Future[bytes | None], path: Path) -> Path | None:
    try:
        png = picture.result()
        return None if png is None else write_png(png, preview_path(path))
    except PreviewError as error:
        logger.warning("%s is written, but not its preview: %s", path, error)
        return None
