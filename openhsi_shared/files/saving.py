"""Saves one cube into one file.

::

    cube.memory ──unchanged, or encoded line by line──▶ chunks of the file ───────────┐
       └──in threads──▶ checksums, saturated pixels, means for the picture ──▶ image ─┴▶ fsync ──▶ rename
"""

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, wait
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from openhsi_shared import dataset
from openhsi_shared.columns import SATURATED
from openhsi_shared.dataset import Cube
from openhsi_shared.durable import Durability, PartFile
from openhsi_shared.exposure import SaturationCounter
from openhsi_shared.files.blocks import BlockWriter
from openhsi_shared.files.checksums import crc32_of
from openhsi_shared.files.encoding import Encoded, Encoder
from openhsi_shared.files.image import Image
from openhsi_shared.files.not_synced import warn_not_synced
from openhsi_shared.files.pieces import has_file_layout, place_chunks, put_chunks, write_extents, write_lines
from openhsi_shared.files.published import is_whole
from openhsi_shared.rgb import Band, BandMeans, decimation
from openhsi_shared.rgb import picture as picture_of

__all__ = ["ProgressCallback", "Saving", "Written", "no_progress"]

BLOCK_BYTES = 16 << 20
"""What a thread processes in one task."""
ENCODE_BYTES = 16 << 20
"""What a thread encodes in one task, and what is written at once; a few results are queued in memory."""
CACHED_BYTES = 4 << 20
"""Lines that a thread averages at once for the picture: few calls, while they are in a cache that all threads share."""
TASKS_PER_THREAD = 8
"""Tasks of a cube at least: with fewer ones, threads would wait for the last."""

ProgressCallback = Callable[[str], None]
"""Progress callback, called with the name of each stage: created, piece (often), half, written, fsynced, published.

The writer sends heartbeats with it, and tests inject faults at a stage.
"""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Written:
    """Result of a save."""

    path: Path
    n_bytes: int
    """Length of the file."""
    seconds: float
    """Duration until the file was durable; 0 if it was saved before."""
    lines_crc32: NDArray[np.uint32]
    """Checksum of each line."""
    means: NDArray[np.float32] | None
    """(along-track, cross-track, colours): the data of the picture, or None if none was requested."""
    saturated: float = math.nan
    """Mean share of saturated pixels of its lines; NaN if it is not known."""

    @classmethod
    def found(cls, path: Path) -> "Written":
        """The result of an earlier save, whose file was found: without the data of its picture."""
        from openhsi_shared.files.reading import open_cube

        with open_cube(path) as cube:
            shares = cube.saturated
            saturated = math.nan if shares is None else float(np.mean(shares))
            return cls(path, path.stat().st_size, 0.0, cube.column("line_crc32"), None, saturated)

    @cached_property
    def picture(self) -> NDArray[np.uint8] | None:
        """(cross-track, along-track[, 3]), to be saved as the cube's preview; computed on first access."""
        return None if self.means is None else picture_of(self.means, robust=None)


class Block(NamedTuple):
    """Lines that are consecutive in time and in memory."""

    first: int
    """Number of the first one, in the order of time."""
    position: int
    """Its index in memory."""
    n_lines: int


class _BlockResult(NamedTuple):
    """What a thread computed for a block."""

    crcs: list[int]
    shares: list[float]
    """Of saturated pixels; empty if they are not counted."""
    means: NDArray[np.float32] | None
    encoded: Encoded | None = None
    """The chunks of the lines, if they are not written unchanged."""


@dataclass(frozen=True, kw_only=True)
class Saving:
    """A cube to be saved, and how."""

    cube: Cube
    describe: Callable[[Image], None]
    """Lays out all metadata but what is computed from the lines; called in a thread while they are written."""
    pool: Executor
    threads: int
    durability: Durability
    bands: list[Band] | None
    """What the picture shows, few (`thinned`), or None for no picture."""
    passed: ProgressCallback
    free: list[Encoded] = field(default_factory=list)
    """Memory for encoded lines, kept for the next cube: the system need not clear new pages."""

    def run(self, image: Image, folder: Path, stem: str) -> Written:
        """Write and publish; SaveError, with nothing left behind, if that fails. `image` cannot be used again."""
        start = time.perf_counter()
        with PartFile(folder, f"{stem}.nc") as part:
            self.passed("created")
            results = self._write_lines(image, part)
            crcs = np.array([crc for block in results for crc in block.crcs], np.uint32)
            shares = [share for block in results for share in block.shares]
            if self.cube.saturation is not None:
                image.add(SATURATED.name, dataset.saturated_variable(shares, self.cube.saturation))
            image.add("line_crc32", dataset.checksums(crcs))  # last: what follows was added by another program
            image.finish()
            write_extents(image.extents(), image.final_size, part, lambda: self.passed("piece"))
            self.passed("written")
            if self.durability == "fsync":
                part.sync()
            self.passed("fsynced")
            path = self._publish(part, stem)
        means = [block.means for block in results if block.means is not None]
        seconds = time.perf_counter() - start
        saturated = float(np.mean(shares)) if shares else math.nan
        return Written(path, image.final_size, seconds, crcs, np.concatenate(means) if means else None, saturated)

    def _publish(self, part: PartFile, stem: str) -> Path:
        """Give the file its name. A failure after that is none if the file is whole: else it would be saved twice."""
        try:
            path = part.publish(
                stem, ".nc", durability=self.durability, is_same=lambda taken: is_whole(taken, self.cube.uuid)
            )
            self.passed("published")
        except OSError as error:
            if not part.is_published or not is_whole(part.path, self.cube.uuid):
                raise
            warn_not_synced(part.path, error)
            return part.path
        return path

    def _write_lines(self, image: Image, part: PartFile) -> list[_BlockResult]:
        if image.layout.compression is None:
            part.reserve(image.size)
        if has_file_layout(self.cube.memory, image.layout):
            return self._write_memory(image, part)
        return self._write_encoded(image, part)

    def _write_memory(self, image: Image, part: PartFile) -> list[_BlockResult]:
        """Write large pieces of memory unchanged, while threads process the lines."""
        gathered = BlockWriter(part)
        metadata_task = self.pool.submit(self.describe, image)
        processing = [self.pool.submit(self._process, block) for block in _blocks(self.cube, BLOCK_BYTES)]
        try:
            n_written = 0
            for section in _sections(self.cube):
                lines = self.cube.memory[section.position : section.position + section.n_lines]
                offsets = image.offsets[section.first : section.first + section.n_lines]
                for n_lines in write_lines(lines, offsets, part, gathered):
                    self._pass_lines(n_written, n_lines)
                    n_written += n_lines
            gathered.flush()
            metadata_task.result()
            return [future.result() for future in processing]
        finally:
            _cancel([metadata_task, *processing])

    def _write_encoded(self, image: Image, part: PartFile) -> list[_BlockResult]:
        """Write, line by line, what threads have compressed, transposed, or made contiguous."""
        gathered = BlockWriter(part)
        encoder = Encoder(image.layout, self.free)
        results: list[_BlockResult] = []
        n_written = 0
        n_bytes = image.layout.line_bytes * self.cube.n_lines // (TASKS_PER_THREAD * self.threads)
        blocks = _blocks(self.cube, min(ENCODE_BYTES, n_bytes))
        with closing(
            _map_in_order(self.pool, lambda block: self._process(block, encoder), blocks, self.threads)
        ) as processed:
            for block, result in processed:
                if not results:
                    self.describe(image)  # while threads process the next blocks
                if result.encoded is not None:
                    put_chunks(place_chunks(image, block.first, result.encoded), gathered, result.encoded)
                    encoder.release(result.encoded)
                results.append(result._replace(encoded=None))
                self._pass_lines(n_written, block.n_lines)
                n_written += block.n_lines
        gathered.flush()
        return results

    def _pass_lines(self, n_before: int, n_more: int) -> None:
        self.passed("piece")
        if n_before < self.cube.n_lines / 2 <= n_before + n_more:
            self.passed("half")

    def _process(self, block: Block, encoder: Encoder | None = None) -> _BlockResult:
        """Compute checksums, saturation, means, and encoding of the lines of a block; runs in a thread."""
        cube = self.cube
        lines = cube.memory[block.position : block.position + block.n_lines]
        saturation = cube.saturation
        counter = None if saturation is None else SaturationCounter(saturation, cube.line_shape, lines.dtype)
        step = decimation(cube.n_lines)
        n_shown = len(range(-block.first % step, block.n_lines, step)) if self.bands is not None else 0
        averaging = BandMeans(cube.line_shape, self.bands) if self.bands is not None else None
        means = np.empty((n_shown, cube.line_shape[0], len(self.bands or ())), np.float32)
        encoded = encoder.block(block.n_lines) if encoder is not None else None
        crcs, shares, n_averaged = list[int](), list[float](), 0
        at_once = max(1, CACHED_BYTES // lines[0].nbytes)
        for begin in range(0, block.n_lines, at_once):  # all that is to be done with lines while they are in the caches
            group = lines[begin : begin + at_once]
            for line in group:
                crcs.append(crc32_of(line))
                if counter is not None:
                    shares.append(counter.share_of(line))
                if encoder is not None and encoded is not None:
                    encoder.encode(line, encoded)
            if averaging is not None:
                shown = group[-(block.first + begin) % step :: step]
                averaging.average(shown, means[n_averaged : n_averaged + len(shown)])
                n_averaged += len(shown)
        return _BlockResult(crcs, shares, means if n_shown else None, encoded)


def _blocks(cube: Cube, n_bytes: int) -> list[Block]:
    """All lines in the order of time, in blocks of `n_bytes` that do not wrap around the end of the memory."""
    max_lines = max(1, n_bytes // (cube.memory[0].size * cube.memory.itemsize))
    return [
        Block(section.first + begin, section.position + begin, min(max_lines, section.n_lines - begin))
        for section in _sections(cube)
        for begin in range(0, section.n_lines, max_lines)
    ]


def _sections(cube: Cube) -> list[Block]:
    n_before_end = min(cube.n_lines, len(cube.memory) - cube.first)
    sections = [Block(0, cube.first, n_before_end), Block(n_before_end, 0, cube.n_lines - n_before_end)]
    return [section for section in sections if section.n_lines]


def no_progress(point: str) -> None:
    """No-op progress callback."""


def _map_in_order(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Generator[tuple[Item, Result], None, None]:
    """Results of `function` in the order of `items`, computed by threads with a bounded queue."""
    queue: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            queue.append((item, pool.submit(function, item)))
            if len(queue) > threads + 1:
                done, future = queue.popleft()
                yield done, future.result()
        while queue:
            done, future = queue.popleft()
            yield done, future.result()
    finally:
        _cancel([future for _, future in queue])


def _cancel(futures: list[Future[Any]]) -> None:
    """Cancel pending tasks and wait for running ones: no thread may read the lines after the save."""
    for future in futures:
        future.cancel()
    wait(futures)
