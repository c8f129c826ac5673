"""The HDF5 file of a cube, all but the lines: made in memory, so that HDF5 never touches the disk.

HDF5 on a failing disk hides the errno, keeps the blocks and may end the process; and it copies. So it only lays the
file out. One chunk is one line, the lines are put on the disk by whoever knows their places (`offsets`), and what HDF5
itself wrote follows (`extents`). The file keeps to the HDF5 1.8 format, which every netCDF-4 reader opens; the
structures of that format carry checksums. Lines of 64 KiB and more begin at whole pages, so that they can be written
past the page cache.
"""

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t, h5z
from numpy.typing import NDArray

from openhsi_shared.dataset import CONTENTS_CHECKSUMS, Group, Variable
from openhsi_shared.durable import PAGE
from openhsi_shared.files.memory_file import SparseFile
from openhsi_shared.files.variables import GroupWriter, put_attributes, put_checked
from openhsi_shared.save_options import Compression

__all__ = ["LARGE_LINE", "ZSTD_FILTER", "Image", "Layout"]


LARGE_LINE = 65536
"""Bytes from which on a chunk begins at a whole page."""
ZSTD_FILTER = 32015


class Layout(NamedTuple):
    """Which file is to be made: what has to be known before its first line."""

    n_lines: int
    line_shape: tuple[int, int]
    """(cross-track, wavelength)."""
    dtype: np.dtype[Any]
    old_style: bool = True
    """Dimensions (x, y, wavelength); else (wavelength, x, y)."""
    compression: Compression | None = None
    compression_level: int = 1

    @property
    def dims(self) -> tuple[str, str, str]:
        """Names of the datacube's dimensions in their order."""
        return ("x", "y", "wavelength") if self.old_style else ("wavelength", "x", "y")

    @property
    def y_axis(self) -> int:
        """Which of them counts the lines."""
        return self.dims.index("y")

    def shape_of(self, n_lines: int) -> tuple[int, int, int]:
        """Shape of that many lines, in the order of `dims`."""
        x, bands = self.line_shape
        return (x, n_lines, bands) if self.old_style else (bands, x, n_lines)

    @property
    def line_bytes(self) -> int:
        """Bytes of one line, uncompressed."""
        return self.line_shape[0] * self.line_shape[1] * self.dtype.itemsize


class Image:
    """A cube's file while it is being laid out. First the lines, then `describe`, at last `finish`."""

    layout: Layout
    offsets: NDArray[np.int64]
    """Where each line begins in the file; empty while compressed lines have no place yet."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._memory = SparseFile()
        self._file = h5py.File(
            self._memory,
            "w",
            libver=("v108", "v108"),
            track_order=True,
            alignment_threshold=LARGE_LINE,
            alignment_interval=PAGE,
            meta_block_size=1 << 18,  # else the index of the chunks would lie strewn between them
        )
        self._root = GroupWriter(self._file)
        self._has_groups = False
        self._datacube = self._make_datacube()
        self.offsets = np.zeros(0, np.int64) if layout.compression else self._find_chunks()

    def _make_datacube(self) -> Any:
        layout = self.layout
        options = h5p.create(h5p.DATASET_CREATE)
        options.set_chunk(layout.shape_of(1))
        options.set_fill_time(h5d.FILL_TIME_NEVER)
        options.set_attr_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
        if layout.compression is None:
            options.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        else:
            if layout.dtype.itemsize > 1:
                options.set_shuffle()
            if layout.compression == "deflate":
                options.set_deflate(layout.compression_level)
            else:  # optional: our HDF5 need not have it, because it never compresses
                options.set_filter(ZSTD_FILTER, h5z.FLAG_OPTIONAL, (layout.compression_level,))
        space = h5s.create_simple(layout.shape_of(layout.n_lines))
        return h5d.create(self._file.id, b"datacube", h5t.py_create(layout.dtype), space, options)

    def _find_chunks(self) -> NDArray[np.int64]:
        offsets = np.zeros(self.layout.n_lines, np.int64)
        axis = self.layout.y_axis

        def note(chunk: Any) -> None:
            offsets[chunk.chunk_offset[axis]] = chunk.byte_offset

        self._datacube.chunk_iter(note)
        return offsets

    @property
    def size(self) -> int:
        """Length of the file as far as it is laid out."""
        self._file.flush()
        return self._memory.size

    def place_line(self, index: int, chunk: memoryview) -> int:
        """Give a compressed line its place in the file, and return it."""
        self._memory.expect(chunk)
        coordinate = [0, 0, 0]
        coordinate[self.layout.y_axis] = index
        self._datacube.write_direct_chunk(tuple(coordinate), chunk)
        place = self._memory.place()
        return self._datacube.get_chunk_info_by_coord(tuple(coordinate)).byte_offset if place is None else place

    def describe(
        self,
        variables: Mapping[str, Variable],
        datacube_attributes: Mapping[str, Any],
        attributes: Mapping[str, Any],
        groups: Mapping[str, Group] = MappingProxyType({}),
    ) -> None:
        """Write everything that is known besides the lines. Variables named like a dimension are its coordinate."""
        put_attributes(self._datacube, datacube_attributes)
        put_checked(self._file.id, attributes)
        sizes = dict(zip(self.layout.dims, self.layout.shape_of(self.layout.n_lines), strict=True))
        for variable in variables.values():
            sizes |= zip(variable.dims, variable.data.shape, strict=True)
        self._root.add_dimensions(sizes, variables)
        self._root.attach(h5py.Dataset(self._datacube), self.layout.dims)
        for name, variable in variables.items():
            if name not in sizes:
                self.add(name, variable)
        for name, group in groups.items():
            self._root.add_group(name, group)
        self._has_groups = bool(groups)

    def add(self, name: str, variable: Variable) -> None:
        """Write one more variable, along dimensions that are there."""
        self._root.add_variable(name, variable)

    def finish(self, complete: bool = True) -> None:
        """Say that the file is complete, and close it: `extents` and `final_size` are true then."""
        if self._has_groups:
            put_attributes(self._file.id, {CONTENTS_CHECKSUMS: json.dumps(self._root.contents)})
        put_attributes(self._file.id, {"complete": int(complete)})
        self._file.close()

    def close(self) -> None:
        """Throw away what is not finished; calling it twice is once."""
        self._file.close()

    @property
    def final_size(self) -> int:
        """Length of the finished file."""
        return self._memory.size

    def extents(self) -> Iterator[tuple[int, memoryview]]:
        """What HDF5 wrote into the finished file, as (offset, bytes): everything but the lines."""
        return self._memory.extents()
