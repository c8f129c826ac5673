"""Pieces of memory that have the same layout in a file: written as they are, many lines in one call."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.durable import PAGE, PartFile
from openhsi_shared.files.blocks import BlockWriter
from openhsi_shared.files.encoding import Encoded
from openhsi_shared.files.image import LARGE_LINE, Image, Layout

__all__ = ["has_file_layout", "place_chunks", "put_chunks", "write_extents", "write_lines"]

WRITE_BYTES = 64 << 20
"""What one call writes."""


def has_file_layout(lines: NDArray[Any], layout: Layout) -> bool:
    """Whether `lines` (n, x, wavelength) can be written directly from memory."""
    line, stride = lines[0], lines.strides[0]
    return (
        layout.compression is None
        and layout.old_style
        and line.flags.c_contiguous
        and line.dtype == layout.dtype
        and 0 <= stride - layout.line_bytes < PAGE
    )


def write_lines(
    lines: NDArray[Any], offsets: NDArray[np.int64], part: PartFile, gathered: BlockWriter
) -> Iterator[int]:
    """Write lines that have the file's layout at their offsets; yield the number of lines after each call.

    What is not aligned as in the file goes through `gathered`, which the caller flushes.
    """
    for offset, data, n_lines in _pieces(lines, offsets):
        if part.is_direct and not _is_aligned(data, offset):
            gathered.put(offset, data)
        else:
            part.write_at(offset, data)
        yield n_lines


def _pieces(lines: NDArray[Any], offsets: NDArray[np.int64]) -> Iterator[tuple[int, memoryview, int]]:
    """Pieces of memory that have the same layout in the file: (offset in the file, bytes, number of lines).

    The padding behind a line in memory is written too, which saves a write for each line; in the file it is a gap
    before the next page, and what HDF5 stores there is written later.
    """
    stride, line_bytes, n = lines.strides[0], lines[0].size * lines.itemsize, len(lines)
    max_lines = max(1, WRITE_BYTES // stride)
    n_bytes = n * stride if stride % PAGE == 0 and _n_readable(lines) >= n * stride else (n - 1) * stride + line_bytes
    begin_of_memory = lines[0].reshape(-1).view(np.uint8)[:1]
    everything = np.lib.stride_tricks.as_strided(begin_of_memory, (n_bytes,), (1,)).data
    breaks = (np.flatnonzero(np.diff(offsets) != stride) + 1).tolist()
    for run, end_of_run in pairwise([0, *breaks, n]):
        for begin in range(run, end_of_run, max_lines):
            end = min(begin + max_lines, end_of_run)
            is_cut = end == end_of_run and stride % PAGE  # other data may follow the last line in the file
            end_of_piece = end * stride - (stride - line_bytes if is_cut else 0)
            yield int(offsets[begin]), everything[begin * stride : end_of_piece], end - begin


def _n_readable(lines: NDArray[Any]) -> int:
    """Bytes from the first line to the end of the memory that it is a part of."""
    memory = lines
    while isinstance(memory.base, np.ndarray):
        memory = memory.base
    if not memory.flags.c_contiguous:
        return lines.nbytes
    return int(memory.ctypes.data + memory.nbytes - lines.ctypes.data)


def place_chunks(image: Image, first: int, encoded: Encoded) -> list[tuple[int, int]]:
    """Offset and length in the file of the chunks of the lines from `first` on. One thread at a time."""
    memory, places = encoded.memory.data, []
    for index, (begin, end) in enumerate(encoded.spans, first):
        chunk = memory[begin:end]
        offset = int(image.offsets[index]) if image.offsets.size else image.place_line(index, chunk)
        places.append((offset, len(chunk)))
    return places


def put_chunks(places: list[tuple[int, int]], gathered: BlockWriter, encoded: Encoded) -> None:
    """Write chunks at their places: together, where they lie in the file as in memory."""
    memory = encoded.memory.data
    at = begin = end = 0
    for (offset, _), (begin_of_chunk, end_of_chunk) in zip(places, encoded.spans, strict=True):
        if end > begin and offset - at != begin_of_chunk - begin:
            gathered.put_pages(at, memory, begin, end)
            begin = end
        if begin == end:
            at, begin = offset, begin_of_chunk
        end = end_of_chunk
    gathered.put_pages(at, memory, begin, end)


def write_extents(
    extents: Iterator[tuple[int, memoryview]], n_bytes: int, part: PartFile, passed: Callable[[], None] | None = None
) -> None:
    """Write what HDF5 wrote into a file of `n_bytes`; large variables of groups past the page cache, like lines.

    `passed` is called after each large one.
    """
    superblock = next(extents)
    gathered = BlockWriter(part)
    for offset, data in extents:
        if len(data) < LARGE_LINE:
            part.write_at(offset, data)
        else:
            gathered.put(offset, data)
            gathered.flush()  # the gap before the next piece must not be overwritten
            if passed is not None:
                passed()
    part.write_at(*superblock)  # last: without it, the file is not valid
    part.resize(n_bytes)


def _is_aligned(data: memoryview, offset: int) -> bool:
    address: int = np.frombuffer(data, np.uint8).ctypes.data
    return (address - offset) % PAGE == 0
