"""One cube on its way into one file.

::

    cube.memory ──as it lies, or encoded line by line──▶ chunks of the file ─┐
       └──in threads──▶ checksums, means for the picture ──▶ image ──────────┴▶ fsync ──▶ its name
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, wait
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from openhsi_shared import dataset
from openhsi_shared.dataset import Cube, Variable
from openhsi_shared.durable import PAGE, Durability, PartFile
from openhsi_shared.files.blocks import BlockWriter
from openhsi_shared.files.checksums import crc32_of
from openhsi_shared.files.encoding import encoder
from openhsi_shared.files.image import LARGE_LINE, Image, Layout
from openhsi_shared.rgb import Band, decimation, mean_of_bands
from openhsi_shared.rgb import picture as picture_of

__all__ = ["Passed", "Saving", "Written", "pass_all", "uuid_of"]

LOOK_BYTES = 16 << 20
"""What a thread looks at in one task."""
ENCODE_BYTES = 4 << 20
"""What a thread encodes in one task; a few such results wait in memory."""
PIECE_BYTES = 64 << 20
"""What is written at once."""

Passed = Callable[[str], None]
"""Called with the name of each point passed: created, piece (often), half, written, fsynced, published.

So the writer shows that it does not hang, and tests fail or kill it at a point.
"""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Written:
    """What became of a cube."""

    path: Path
    n_bytes: int
    """Length of the file."""
    seconds: float
    """From the beginning until the file was durable."""
    lines_crc32: NDArray[np.uint32]
    """Checksum of each line."""
    means: NDArray[np.float32] | None
    """(along-track, cross-track, colours): what the picture is made of, or None if none was asked for."""

    @property
    def has_picture(self) -> bool:
        """Whether there is a picture; at once, while the picture itself takes some work."""
        return self.means is not None

    @cached_property
    def picture(self) -> NDArray[np.uint8] | None:
        """(cross-track, along-track[, 3]), to be saved as the cube's preview; made when first asked for."""
        return None if self.means is None else picture_of(self.means)


class Block(NamedTuple):
    """Lines that follow each other in time and in memory."""

    first: int
    """Number of the first one, in the order of time."""
    stored: int
    """Where it lies in memory."""
    n_lines: int


class _Looked(NamedTuple):
    """What a thread found out of a block."""

    crcs: list[int]
    means: NDArray[np.float32] | None
    chunks: list[memoryview]
    """The lines encoded, where they are not written as they lie."""


@dataclass(frozen=True, kw_only=True)
class Saving:
    """What is to be written, and how."""

    cube: Cube
    variables: Mapping[str, Variable]
    attributes: Mapping[str, Any]
    pool: Executor
    threads: int
    durability: Durability
    bands: list[Band] | None
    """What the picture shows, or None for no picture."""
    passed: Passed

    def run(self, image: Image, folder: Path, stem: str) -> Written:
        """Write and publish; SaveError, with nothing left behind, if that fails. Uses `image` up."""
        start = time.perf_counter()
        with PartFile(folder, f"{stem}.nc") as part:
            self.passed("created")
            looked = self._write_lines(image, part)
            crcs = np.array([crc for block in looked for crc in block.crcs], np.uint32)
            image.add("line_crc32", dataset.checksums(crcs))
            image.finish()
            self._write_rest(image, part)
            self.passed("written")
            if self.durability == "fsync":
                part.sync()
            self.passed("fsynced")
            path = part.publish(stem, ".nc", durability=self.durability, is_same=self._is_same)
            self.passed("published")
        means = [block.means for block in looked if block.means is not None]
        seconds = time.perf_counter() - start
        return Written(path, image.final_size, seconds, crcs, np.concatenate(means) if means else None)

    def _write_rest(self, image: Image, part: PartFile) -> None:
        """Write all but the lines: large variables of groups past the page cache, as the lines."""
        extents = image.extents()
        superblock = next(extents)
        gathered = BlockWriter(part)
        for offset, data in extents:
            if len(data) < LARGE_LINE:
                part.write_at(offset, data)
            else:
                gathered.put(offset, data)
                gathered.flush()  # what lies before the next piece is not ours to write
                self.passed("piece")
        part.write_at(*superblock)  # last: without it, it is no file
        part.resize(image.final_size)

    def _is_same(self, path: Path) -> bool:
        return uuid_of(path) == self.cube.uuid

    def _write_lines(self, image: Image, part: PartFile) -> list[_Looked]:
        if image.layout.compression is None:
            part.reserve(image.size)
        if _lies_as_in_file(self.cube, image.layout):
            return self._write_memory(image, part)
        return self._write_encoded(image, part)

    def _describe(self, image: Image) -> None:
        on_y = [name for name, item in self.variables.items() if item.dims == ("y",) and name != "y"]
        arithmetic = self.cube.attributes.get("level_arithmetic")
        times = " ".join(name for name in on_y if name == "time")
        labels = dataset.datacube_attributes(self.cube.level, times, arithmetic)
        attributes = {**self.attributes, "durability": self.durability}
        image.describe(self.variables, labels, attributes, self.cube.groups)

    def _write_memory(self, image: Image, part: PartFile) -> list[_Looked]:
        """Write large pieces of memory as they are, while threads look at the lines."""
        gathered = BlockWriter(part)
        describing = self.pool.submit(self._describe, image)
        looking = [self.pool.submit(self._look, block) for block in _blocks(self.cube, LOOK_BYTES)]
        try:
            n_written = 0
            for offset, data, n_lines in _pieces(self.cube, image.offsets):
                if part.is_direct and not _is_aligned(data, offset):
                    gathered.put(offset, data)
                else:
                    part.write_at(offset, data)
                self._pass_lines(n_written, n_lines)
                n_written += n_lines
            gathered.flush()
            describing.result()
            return [future.result() for future in looking]
        finally:
            _end([describing, *looking])

    def _write_encoded(self, image: Image, part: PartFile) -> list[_Looked]:
        """Write line by line what threads have compressed, turned, or only put together."""
        self._describe(image)
        gathered = BlockWriter(part)
        encode = encoder(image.layout)
        looked: list[_Looked] = []
        n_written = 0
        blocks = _blocks(self.cube, ENCODE_BYTES)
        with closing(_in_order(self.pool, lambda block: self._look(block, encode), blocks, self.threads)) as looks:
            for block, look in looks:
                for index, chunk in enumerate(look.chunks, block.first):
                    place = int(image.offsets[index]) if image.offsets.size else image.place_line(index, chunk)
                    gathered.put(place, chunk)
                looked.append(look._replace(chunks=[]))
                self._pass_lines(n_written, block.n_lines)
                n_written += block.n_lines
        gathered.flush()
        return looked

    def _pass_lines(self, n_before: int, n_more: int) -> None:
        self.passed("piece")
        if n_before < self.cube.n_lines / 2 <= n_before + n_more:
            self.passed("half")

    def _look(self, block: Block, encode: Callable[[NDArray[Any]], memoryview] | None = None) -> _Looked:
        """Look at the lines of a block, in a thread: their checksums, their means, and their encoding."""
        lines = self.cube.memory[block.stored : block.stored + block.n_lines]
        crcs = [crc32_of(line) for line in lines]
        means = None
        if self.bands is not None:
            step = decimation(self.cube.n_lines)
            shown = lines[-block.first % step :: step]
            means = mean_of_bands(shown, self.bands) if len(shown) else None
        return _Looked(crcs, means, [encode(line) for line in lines] if encode else [])


def _blocks(cube: Cube, n_bytes: int) -> list[Block]:
    """All lines in the order of time, in portions of `n_bytes` that do not go round the end of the memory."""
    most = max(1, n_bytes // (cube.memory[0].size * cube.memory.itemsize))
    return [
        Block(section.first + begin, section.stored + begin, min(most, section.n_lines - begin))
        for section in _sections(cube)
        for begin in range(0, section.n_lines, most)
    ]


def _sections(cube: Cube) -> list[Block]:
    n_before_end = min(cube.n_lines, len(cube.memory) - cube.first)
    sections = [Block(0, cube.first, n_before_end), Block(n_before_end, 0, cube.n_lines - n_before_end)]
    return [section for section in sections if section.n_lines]


def _lies_as_in_file(cube: Cube, layout: Layout) -> bool:
    """Whether the lines can be written from where they are."""
    line = cube.memory[0]
    stride = cube.memory.strides[0]
    return (
        layout.compression is None
        and layout.old_style
        and line.flags.c_contiguous
        and line.dtype == layout.dtype
        and 0 <= stride - layout.line_bytes < PAGE
    )


def _pieces(cube: Cube, offsets: NDArray[np.int64]) -> Iterator[tuple[int, memoryview, int]]:
    """Memory that lies in the file as it lies here: (offset in the file, bytes, number of lines).

    What lies between two lines in memory is written too, since it saves a write for each line; in the file it is a gap
    before the next page, and what HDF5 keeps there is written later.
    """
    memory, stride = cube.memory, cube.memory.strides[0]
    line_bytes = memory[0].size * memory.itemsize
    most = max(1, PIECE_BYTES // stride)
    begin_of_memory = memory[0].reshape(-1).view(np.uint8)[:1]
    span = (len(memory) - 1) * stride + line_bytes
    everything = np.lib.stride_tricks.as_strided(begin_of_memory, (span,), (1,)).data
    for first, stored, n_lines in _sections(cube):
        places = offsets[first : first + n_lines]
        breaks = (np.flatnonzero(np.diff(places) != stride) + 1).tolist()
        for run, end_of_run in pairwise([0, *breaks, n_lines]):
            for begin in range(run, end_of_run, most):
                end = min(begin + most, end_of_run)
                gap = (
                    stride - line_bytes if end == end_of_run else 0
                )  # behind the last line there may be something else
                data = everything[(stored + begin) * stride : (stored + end) * stride - gap]
                yield int(places[begin]), data, end - begin


def _is_aligned(data: memoryview, offset: int) -> bool:
    address: int = np.frombuffer(data, np.uint8).ctypes.data
    return not data.readonly and (address - offset) % PAGE == 0


def pass_all(point: str) -> None:
    """Fail nowhere."""


def _in_order(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Generator[tuple[Item, Result], None, None]:
    """Results of `function`, computed by threads not too far ahead, in the order of `items`."""
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > threads + 1:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()
    finally:
        _end([future for _, future in waiting])


def _end(futures: list[Future[Any]]) -> None:
    """Wait for what runs and drop what does not: nobody may look at the lines once the save is over."""
    for future in futures:
        future.cancel()
    wait(futures)


def uuid_of(path: Path) -> str | None:
    """The uuid of the cube in a file; None if it is no file of ours."""
    try:
        with h5py.File(path, "r") as file:
            value = file.attrs.get("uuid")
    except (OSError, RuntimeError, KeyError, ValueError, TypeError):
        return None  # whatever it is, it is not this cube
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else None
