"""The lines of a file as a lazy array: reads, and checks, only the requested lines.

Its axes are always (along-track, cross-track, wavelength), in whatever order the file has them.
"""

import errno
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from h5py import h5z
from numpy.typing import DTypeLike, NDArray

from openhsi_shared.errors import ArgumentError, ChecksumError, FileError
from openhsi_shared.file_calls import read_at
from openhsi_shared.files.checksums import crc32_of
from openhsi_shared.files.encoding import decompress, unshuffled
from openhsi_shared.files.image import ZSTD_FILTER
from openhsi_shared.files.packing import Packing
from openhsi_shared.files.threads import in_threads
from openhsi_shared.save_options import Compression

__all__ = ["CACHED_BYTES", "CheckedLines", "DecodedLines", "FileLines", "PlainLines", "SelectedLines"]

READ_THREADS = 4
SPAN_BYTES = 32 << 20
CACHED_BYTES = 1 << 20
"""Bytes that are read at a time if they are compared with their checksums next: they stay in the cache meanwhile."""
FILTERS: dict[int, Compression] = {h5z.FILTER_DEFLATE: "deflate", ZSTD_FILTER: "zstd"}


class FileLines(ABC):
    """Lines of an open file: `lines[i]`, `lines[a:b]`, `lines[a:b, x, band]`, `len(lines)`, `numpy.asarray(lines)`."""

    shape: tuple[int, int, int]
    """(along-track, cross-track, wavelength)."""
    dtype: np.dtype[Any]
    ndim = 3

    @abstractmethod
    def read(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        """Read these lines, in this order: (n, cross-track, wavelength). FileError if they cannot be read."""

    def read_into(self, first: int, stop: int, out: NDArray[Any], n_threads: int = 1) -> NDArray[np.bool_]:
        """Read the lines from `first` to `stop` (excluded) into `out` (n, cross-track, wavelength) of their type.

        Each line of `out` must be contiguous in C order. Returns which lines are good: a damaged one raises nothing
        here, and its pixels in `out` mean nothing. `n_threads` share what has to be decompressed. ArgumentError for
        lines that do not exist, or another `out`; FileError if nothing can be read. Several threads may call it.
        """
        self._check_room(first, stop, out)
        return self._read_into(first, stop, out, n_threads)

    def _read_into(self, first: int, stop: int, out: NDArray[Any], n_threads: int) -> NDArray[np.bool_]:
        del n_threads
        out[:] = self.read(np.arange(first, stop))
        return np.ones(stop - first, np.bool_)

    def _check_room(self, first: int, stop: int, out: NDArray[Any]) -> None:
        if not 0 <= first <= stop <= len(self):
            raise ArgumentError(f"lines {first} to {stop} do not exist: there are {len(self)}")
        shape = (stop - first, *self.shape[1:])
        if out.shape != shape or out.dtype != self.dtype or not (stop == first or out[0].flags.c_contiguous):
            raise ArgumentError(
                f"got room for lines of {out.dtype} {out.shape}, expected {self.dtype} {shape}, each line contiguous"
            )

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        """Read the lines of the first index; the other indices select within these, as in numpy."""
        keys = key if isinstance(key, tuple) else (key,)
        if Ellipsis in [item for item in keys if item is Ellipsis]:
            at = next(number for number, item in enumerate(keys) if item is Ellipsis)
            keys = keys[:at] + (slice(None),) * (4 - len(keys)) + keys[at + 1 :]
        if len(keys) > 3:
            raise IndexError(f"{len(keys)} indices are too many for lines (along-track, cross-track, wavelength)")
        first = np.arange(len(self))[keys[0] if keys else slice(None)]
        if np.ndim(first) == 0:
            return np.asarray(self.read(np.array([first]))[0][keys[1:]])
        if np.ndim(first) != 1:
            raise IndexError(f"lines are selected by a number, a slice or a list of numbers, got {keys[0]!r}")
        return np.asarray(self.read(first)[:, *keys[1:]])

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("lines of a file cannot be returned without a copy: they are read")
        return self[:].astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.shape} {self.dtype}>"


class PlainLines(FileLines):
    """Lines of a file of any program, read by HDF5."""

    def __init__(self, path: Path, variable: Any, dims: tuple[str, ...]) -> None:
        self._path, self._variable = path, variable
        self._axes = tuple(dims.index(name) for name in ("y", "x", "wavelength"))
        self.shape = tuple(variable.shape[axis] for axis in self._axes)
        self.dtype = variable.dtype.newbyteorder("=")

    def read(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        """Read these lines: in one call if they are consecutive."""
        if len(indices) == 0:
            return np.empty((0, *self.shape[1:]), self.dtype)
        low, high = int(indices.min()), int(indices.max()) + 1
        try:
            if np.array_equal(indices, np.arange(low, high)):
                return self._read_span(low, high)
            if self._axes[0] == 0 and self._variable.chunks is None:  # a line is contiguous
                return np.concatenate([self._read_span(int(index), int(index) + 1) for index in indices])
            return self._read_in_spans(indices)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise FileError(f"{self._path}: lines {low} to {high - 1} cannot be read: {error}") from error

    def _read_in_spans(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        """Read lines whose pixels are interleaved with those of others: in spans, which include other lines."""
        lines = np.empty((len(indices), *self.shape[1:]), self.dtype)
        n_at_once = max(1, SPAN_BYTES // max(1, lines[:1].nbytes))
        of_span = indices // n_at_once
        for span in np.unique(of_span):
            requested = np.flatnonzero(of_span == span)
            low, high = int(indices[requested].min()), int(indices[requested].max()) + 1
            lines[requested] = self._read_span(low, high)[indices[requested] - low]
        return lines

    def _read_span(self, low: int, high: int) -> NDArray[Any]:
        key: list[slice] = [slice(None)] * 3
        key[self._axes[0]] = slice(low, high)
        return np.asarray(self._variable[tuple(key)]).astype(self.dtype, copy=False).transpose(self._axes)


class SelectedLines(FileLines):
    """Some of the lines of a file."""

    def __init__(self, lines: FileLines, selected: NDArray[np.intp]) -> None:
        self._lines, self._selected = lines, selected
        self.shape, self.dtype = (len(selected), *lines.shape[1:]), lines.dtype

    def read(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        """Read these lines, numbered among those that are selected."""
        return self._lines.read(self._selected[indices])

    def _read_into(self, first: int, stop: int, out: NDArray[Any], n_threads: int) -> NDArray[np.bool_]:
        numbers = self._selected[first:stop]
        if len(numbers) and numbers[-1] - numbers[0] == len(numbers) - 1:
            return self._lines.read_into(int(numbers[0]), int(numbers[-1]) + 1, out, n_threads)
        return super()._read_into(first, stop, out, n_threads)


class DecodedLines(FileLines):
    """Lines that are stored packed or masked, as numbers: NaN where one is missing."""

    def __init__(self, lines: FileLines, packing: Packing) -> None:
        self._lines, self._packing = lines, packing
        self.shape, self.dtype = lines.shape, packing.dtype

    def read(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        """Read and decode these lines."""
        return self._packing.decode(self._lines.read(indices))

    def _read_into(self, first: int, stop: int, out: NDArray[Any], n_threads: int) -> NDArray[np.bool_]:
        stored = np.empty((stop - first, *self.shape[1:]), self._lines.dtype)
        good = self._lines.read_into(first, stop, stored, n_threads)
        out[:] = self._packing.decode(stored)
        return good


class Chunk(NamedTuple):
    """Where the bytes of a line are stored."""

    offset: int
    n_bytes: int
    filter_mask: int


class CheckedLines(FileLines):
    """Lines of a file of this library: each line read is compared with its checksum, unless `check` is false.

    Reads chunks without HDF5, in threads, so that a file compressed with zstd needs no plugin. Raises ChecksumError.
    """

    def __init__(
        self, path: Path, variable: Any, dims: tuple[str, ...], checksums: NDArray[np.uint32], check: bool = True
    ) -> None:
        self._path, self._checksums, self._check = path, checksums, check
        self._is_transposed = dims != ("x", "y", "wavelength")
        axes = tuple(dims.index(name) for name in ("y", "x", "wavelength"))
        self.shape = tuple(variable.shape[axis] for axis in axes)
        self.dtype = variable.dtype
        expected = tuple(1 if name == "y" else size for name, size in zip(dims, variable.shape, strict=True))
        if variable.chunks != expected or checksums.shape != self.shape[:1]:
            raise FileError(
                f"{path}: chunks of {variable.chunks} and {checksums.shape} checksums do not fit a cube of "
                f"{variable.shape}"
            )
        self._compression, self._is_shuffled = _filters(path, variable)
        self._chunks: dict[int, Chunk] = {}

        def note(chunk: Any) -> None:
            self._chunks[chunk.chunk_offset[axes[0]]] = Chunk(chunk.byte_offset, chunk.size, chunk.filter_mask)

        variable.id.chunk_iter(note)
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._close = weakref.finalize(self, os.close, self._fd)  # also if it is dropped without `close`
        self._close.atexit = False

    @property
    def extents(self) -> list[tuple[int, int]]:
        """(offset, number of bytes) in the file of each line, if lines are stored as they are: not compressed."""
        if self._compression is not None:
            return []
        return [(chunk.offset, chunk.n_bytes) for chunk in self._chunks.values()]

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._fd = -1
        self._close()

    def read(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        """Read these lines, several at a time."""
        lines = np.empty((len(indices), *self.shape[1:]), self.dtype)

        def fill(number: int) -> None:
            self._read_line(int(indices[number]), lines[number])

        if len(indices) < READ_THREADS:
            for number in range(len(indices)):
                fill(number)
        else:
            in_threads(READ_THREADS, fill, range(len(indices)))
        return lines

    def _read_into(self, first: int, stop: int, out: NDArray[Any], n_threads: int) -> NDArray[np.bool_]:
        """Without new memory, and in spans that fit into the cache, if chunks are lines as they are in memory."""
        self._require_open()
        good = np.zeros(stop - first, np.bool_)

        def fill(number: int) -> None:
            good[number] = self._try_line(first + number, out[number])

        if self._is_as_in_memory:
            for begin, end in self._spans(first, stop, out):
                span = out[begin - first : end - first]
                if self._read_span(begin, span):
                    good[begin - first : end - first] = [
                        not self._check or crc32_of(line) == self._checksums[index]
                        for index, line in enumerate(span, begin)
                    ]
                else:
                    for index in range(begin, end):
                        fill(index - first)
        elif n_threads > 1 and stop - first > 1:
            in_threads(n_threads, fill, range(stop - first))
        else:
            for number in range(stop - first):
                fill(number)
        return good

    @property
    def _is_as_in_memory(self) -> bool:
        is_plain = self._compression is None and not self._is_shuffled and not self._is_transposed
        return is_plain and hasattr(os, "preadv")

    def _spans(self, first: int, stop: int, out: NDArray[Any]) -> Iterator[tuple[int, int]]:
        """Ranges of lines that lie one behind the other in the file and in `out`, of at most CACHED_BYTES."""
        n_bytes = self.shape[1] * self.shape[2] * self.dtype.itemsize
        n_most = max(1, CACHED_BYTES // max(1, n_bytes)) if out.flags.c_contiguous else 1
        begin = first
        for index in range(first + 1, stop + 1):
            before, chunk = self._chunks.get(index - 1), self._chunks.get(index)
            is_next = before is not None and chunk is not None and chunk.offset == before.offset + n_bytes
            if index == stop or index - begin == n_most or not is_next:
                yield begin, index
                begin = index

    def _read_span(self, begin: int, span: NDArray[Any]) -> bool:
        """Whether these lines could be read at once."""
        chunks = [self._chunks.get(index) for index in range(begin, begin + len(span))]
        n_bytes = span[0].nbytes
        if any(chunk is None or chunk.n_bytes != n_bytes or chunk.filter_mask for chunk in chunks):
            return False
        try:
            return os.preadv(self._fd, [span.data], self._chunks[begin].offset) == span.nbytes
        except (OSError, OverflowError):  # line by line, so that only those are lost that cannot be read
            return False

    def _try_line(self, index: int, line: NDArray[Any]) -> bool:
        """Whether this line could be read."""
        try:
            self._read_line(index, line)
        except FileError:  # damaged, or missing
            return False
        return True

    def crc32_in_file(self, index: int) -> int:
        """Compute the checksum of a line from what is in the file. FileError if the line is missing."""
        line = np.empty(self.shape[1:], self.dtype)
        self._fetch(index, line)
        return crc32_of(line)

    def _read_line(self, index: int, line: NDArray[Any]) -> None:
        self._fetch(index, line)
        if self._check and crc32_of(line) != self._checksums[index]:
            raise ChecksumError(
                f"{self._path}: line {index} is damaged: its checksum is {crc32_of(line):#010x}, "
                f"but {self._checksums[index]:#010x} was written; open the file with check=False to read it unchecked"
            )

    def _fetch(self, index: int, line: NDArray[Any]) -> None:
        """Fill `line` from the file."""
        self._require_open()
        chunk = self._chunks.get(index)
        if chunk is None:
            raise FileError(f"{self._path}: line {index} is missing")
        try:
            pixels = self._decoded(chunk)
        except (ValueError, OSError) as error:
            raise ChecksumError(f"{self._path}: line {index} is damaged: {error}") from error
        line[:] = pixels.reshape(line.shape[::-1]).T if self._is_transposed else pixels.reshape(line.shape)

    def _require_open(self) -> None:
        if self._fd < 0:
            raise ArgumentError(f"{self._path} is closed: read lines while it is open, or copy them before")

    def _decoded(self, chunk: Chunk) -> NDArray[Any]:
        n_bytes = self.shape[1] * self.shape[2] * self.dtype.itemsize
        if chunk.n_bytes > 2 * n_bytes + 4096 or chunk.filter_mask:
            raise ValueError(
                f"{chunk.n_bytes} bytes with filter mask {chunk.filter_mask} are not a line of {n_bytes} bytes"
            )
        if chunk.offset + chunk.n_bytes > os.fstat(self._fd).st_size:
            raise ValueError("its position is behind the end of the file")
        data = read_at(self._fd, chunk.n_bytes, chunk.offset)
        if len(data) != chunk.n_bytes:
            raise OSError(errno.EIO, f"the file ends before byte {chunk.offset + chunk.n_bytes}")
        if self._compression is not None:
            data = decompress(data, self._compression, n_bytes)
        elif len(data) != n_bytes:
            raise ValueError(f"{len(data)} bytes are not a line of {n_bytes} bytes")
        return unshuffled(data, self.dtype) if self._is_shuffled else np.frombuffer(data, self.dtype)


def _filters(path: Path, variable: Any) -> tuple[Compression | None, bool]:
    """How the chunks are compressed, and whether they are shuffled."""
    options = variable.id.get_create_plist()
    found = [options.get_filter(number)[0] for number in range(options.get_nfilters())]
    is_shuffled = found[:1] == [h5z.FILTER_SHUFFLE]
    compression = found[1:] if is_shuffled else found
    if not compression and not is_shuffled:
        return None, False
    if len(compression) != 1 or compression[0] not in FILTERS:
        raise FileError(f"{path}: its filters {found} are not those of a cube of openhsi_shared")
    return FILTERS[compression[0]], is_shuffled
