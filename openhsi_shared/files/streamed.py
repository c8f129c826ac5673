"""A cube's file that is written block by block, in any order, by several threads: the same as a cube that is saved.

::

    put(block) ──lines as they are, or encoded──▶ their place in the file ─┐
       └──▶ checksums, means for the picture ──▶ image ──────── finish ────┴▶ fsync ──▶ rename

Lines without compression have their place in the file from the beginning. What is compressed is stored in the order in
which it is put; the file says where.
"""

import errno
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from openhsi_shared import dataset
from openhsi_shared.dataset import Cube
from openhsi_shared.durable import Durability, PartFile
from openhsi_shared.errors import ArgumentError, SaveError
from openhsi_shared.files.blocks import BlockWriter
from openhsi_shared.files.checksums import crc32_of
from openhsi_shared.files.encoding import Encoder, decoded
from openhsi_shared.files.image import Image, Layout
from openhsi_shared.files.not_synced import publish_whole
from openhsi_shared.files.pieces import has_file_layout, place_chunks, put_chunks, write_extents, write_lines
from openhsi_shared.rgb import Band, BandMeans, decimation
from openhsi_shared.rgb import picture as picture_of

__all__ = ["StreamedFile"]

GATHERED_BYTES = 1 << 20
"""What a thread gathers before it writes, where lines are not stored in memory as in the file."""


class StreamedFile:
    """A file of a cube under a temporary name beside its target, until `finish`. All methods raise SaveError.

    Lines are written without a copy if each is contiguous, they are `stride` bytes apart, which is their length, or
    from 64 KiB on whole pages, and the first one begins at a page in memory.
    """

    def __init__(
        self,
        target: Path,
        layout: Layout,
        *,
        bands: list[Band] | None = None,
        durability: Durability = "fsync",
        tmp_suffix: str = "",
        leftover: Path | None = None,
    ) -> None:
        """`bands`: what the picture shows, or None for none. Without compression, room on the disk is reserved now.

        `leftover`: the temporary file of an earlier run with the same layout, which is continued: see `restore`.
        """
        self.target, self.layout = target, layout
        self._durability = durability
        self._image = Image(layout)
        self._encoder = Encoder(layout)
        self._placing = threading.Lock()
        self._own = threading.local()
        self._crcs = np.zeros(layout.n_lines, np.uint32)
        self._is_put = np.zeros(layout.n_lines, np.bool_)
        self._bands, self._step = bands, decimation(layout.n_lines)
        n_shown = len(range(0, layout.n_lines, self._step)) if bands is not None else 0
        self._means = np.full((n_shown, layout.line_shape[0], len(bands or ())), np.nan, np.float32)
        self._n_placed = 0
        """Blocks whose compressed lines have a place in the file."""
        adopted = PartFile.adopt(leftover) if leftover is not None and leftover.is_file() else None
        suffix = f"~{tmp_suffix}" if tmp_suffix else ""
        self._part = adopted or PartFile(target.parent, f"{target.stem}{suffix}{target.suffix}")
        try:
            if layout.compression is None:
                self._part.reserve(self._image.size)
        except BaseException:
            self.close()
            raise

    @property
    def temporary_path(self) -> Path:
        """Where the file is until it is published."""
        return self._part.path

    def put(self, first: int, lines: NDArray[Any], crcs: NDArray[np.uint32]) -> Any:
        """Write `lines` (n, x, wavelength) from number `first` on; `crcs`: the CRC-32 of each. Any thread; blocks.

        Returns what `restore` needs, as JSON values. ArgumentError for lines of another shape or type, or beyond the
        last one.
        """
        stop = first + len(lines)
        expected = (self.layout.line_shape, self.layout.dtype)
        if (lines.shape[1:], lines.dtype) != expected or not 0 <= first < stop <= self.layout.n_lines:
            raise ArgumentError(
                f"lines {first} to {stop - 1} of {lines.shape[1:]} {lines.dtype} do not fit a file of "
                f"{self.layout.n_lines} lines of {expected[0]} {expected[1]}"
            )
        self._average(first, lines)
        gathered, place = self._gathered(), None
        if has_file_layout(lines, self.layout):
            for _ in write_lines(lines, self._image.offsets[first:stop], self._part, gathered):
                pass
        else:
            place = self._put_encoded(first, lines, gathered)
        gathered.flush()
        self._note(first, crcs)
        return place

    def _note(self, first: int, crcs: NDArray[np.uint32]) -> None:
        self._crcs[first : first + len(crcs)] = crcs
        self._is_put[first : first + len(crcs)] = True

    def _put_encoded(self, first: int, lines: NDArray[Any], gathered: BlockWriter) -> Any:
        encoded = self._encoder.block(len(lines))
        for line in lines:
            self._encoder.encode(line, encoded)
        with self._placing:
            number, self._n_placed = self._n_placed, self._n_placed + 1
            chunks = place_chunks(self._image, first, encoded)
        put_chunks(chunks, gathered, encoded)
        self._encoder.release(encoded)
        return [number, chunks] if self.layout.compression else None

    def _gathered(self) -> BlockWriter:
        if not hasattr(self._own, "gathered"):
            self._own.gathered = BlockWriter(self._part, GATHERED_BYTES)
        gathered: BlockWriter = self._own.gathered
        return gathered

    def _average(self, first: int, lines: NDArray[Any]) -> None:
        """Compute the means of the lines that the picture shows."""
        begin = -first % self._step
        if self._bands is None or begin >= len(lines):
            return
        if not hasattr(self._own, "averaging"):
            self._own.averaging = BandMeans(self.layout.line_shape, self._bands)
        shown = lines[begin :: self._step]
        at = (first + begin) // self._step
        self._own.averaging.average(shown, self._means[at : at + len(shown)])

    def restore(self, blocks: Mapping[int, tuple[NDArray[np.uint32], Any]]) -> frozenset[int]:
        """Take over blocks that are in the leftover; return the first lines of those whose CRCs are right.

        `blocks`: by their first line, CRC-32 of each line, and what `put` returned. Call it before the first `put`.
        HDF5 allocates compressed lines one after the other, so what follows a block that is missing is not taken over.
        """
        if self.layout.compression is None:
            return frozenset(first for first, (crcs, _) in blocks.items() if self._restore(first, crcs, None))
        restored = set()
        for first, (crcs, place) in sorted(blocks.items(), key=lambda item: int(item[1][1][0])):
            number, chunks = place
            if number == self._n_placed and self._restore(first, crcs, chunks):
                self._n_placed += 1
                restored.add(first)
        return frozenset(restored)

    def _restore(self, first: int, crcs: NDArray[np.uint32], chunks: list[tuple[int, int]] | None) -> bool:
        """Whether the lines of a block are in the file as they were put."""
        lines = np.empty((len(crcs), *self.layout.line_shape), self.layout.dtype)
        n_bytes = self.layout.line_bytes
        places = [(int(at), n_bytes) for at in self._image.offsets[first : first + len(crcs)]] or chunks or []
        stored = [self._part.read_at(offset, length) for offset, length in places]
        try:
            for line, chunk, crc in zip(lines, stored, crcs, strict=True):
                line[:] = decoded(chunk, self.layout)
                if crc32_of(line) != crc:
                    return False
        except ValueError:  # not that many, or not lines
            return False
        if chunks is not None:
            found = [self._image.place_line(first + index, memoryview(chunk)) for index, chunk in enumerate(stored)]
            if found != [offset for offset, _ in chunks]:
                raise SaveError(
                    errno.EINVAL,
                    "it was begun with another version of HDF5: remove it, and begin again",
                    str(self._part.path),
                )
        self._average(first, lines)
        self._note(first, crcs)
        return True

    def finish(self, cube: Cube, labels: Mapping[str, Any] = MappingProxyType({})) -> Path:
        """Write all besides the lines, make it durable, and publish it. SaveError (EEXIST) if the target is taken.

        `cube`: the metadata of the file; its memory is not read. `labels`: further attributes of the datacube.
        ArgumentError if lines are missing.
        """
        if not self._is_put.all():
            missing = np.flatnonzero(~self._is_put)
            raise ArgumentError(f"{len(missing)} lines of {self.target} were never put, from {missing[0]} on: put all")
        attributes = {**dataset.global_attributes(cube), "durability": self._durability}
        self._image.describe_cube(cube, dataset.coordinates(cube), attributes, labels)
        self._image.add("line_crc32", dataset.checksums(self._crcs))
        self._image.finish()
        write_extents(self._image.extents(), self._image.final_size, self._part)
        publish_whole(self._part, self.target, durability=self._durability)
        return self.target

    def take_picture(self) -> NDArray[np.uint8] | None:
        """(cross-track, along-track[, 3]), to be saved as the preview when all lines are put; None without bands.

        Once only: the means that it is made of are freed.
        """
        if self._bands is None:
            return None
        means, self._means = self._means, np.empty((0, 0, 0), np.float32)
        return picture_of(means, robust=None)

    def close(self, *, keep: bool = False) -> None:
        """End. What is not published is removed, unless `keep`. Idempotent."""
        self._image.close()
        if keep:
            self._part.keep()
        else:
            self._part.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
