"""The HDF5 file of a cube without its lines, built in memory, so that HDF5 never writes to the disk.

On a failing disk HDF5 hides the errno, keeps the blocks and may crash the process; and it copies. So it only lays the
file out. One chunk is one line; the caller writes the lines at their `offsets`, then what HDF5 wrote (`extents`). The
file uses the HDF5 1.8 format, which every netCDF-4 reader opens; its structures have checksums. Lines of 64 KiB and
more are page-aligned, so that they can be written with direct I/O, past the page cache.
"""

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t, h5z
from numpy.typing import NDArray

from openhsi_shared.dataset import CONTENTS_CHECKSUMS, Cube, datacube_attributes
from openhsi_shared.durable import PAGE
from openhsi_shared.files.memory_file import MemoryFile
from openhsi_shared.files.variables import GroupWriter, put_attributes, put_checked
from openhsi_shared.groups import Group, Variable
from openhsi_shared.save_options import Compression

__all__ = ["LARGE_LINE", "ZSTD_FILTER", "Image", "Layout"]


LARGE_LINE = 65536
"""Bytes from which on a chunk is page-aligned."""
ZSTD_FILTER = 32015


class Layout(NamedTuple):
    """Layout of a file: what must be known before its first line is written."""

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
        """Index of the along-track dimension in `dims`."""
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
    """A cube's file while it is laid out. Order of calls: `place_line`, `describe`, `add`, `finish`."""

    layout: Layout
    offsets: NDArray[np.int64]
    """Offset of each line in the file; empty for compressed lines, which `place_line` allocates."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._memory = MemoryFile()
        self._file = h5py.File(
            self._memory,
            "w",
            libver=("v108", "v108"),
            track_order=True,
            alignment_threshold=LARGE_LINE,
            alignment_interval=PAGE,
            meta_block_size=1 << 18,  # else the chunk index would be scattered between the chunks
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
            else:  # optional: HDF5 does not compress here, so its filter need not be installed
                level = layout.compression_level % 2**32  # the filter reads it as a signed number
                options.set_filter(ZSTD_FILTER, h5z.FLAG_OPTIONAL, (level,))
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
        """Length of the file laid out so far."""
        self._file.flush()
        return self._memory.size

    def place_line(self, index: int, chunk: memoryview) -> int:
        """Allocate a compressed line in the file, and return its offset."""
        self._memory.expect_chunk(chunk)
        coordinate = [0, 0, 0]
        coordinate[self.layout.y_axis] = index
        self._datacube.write_direct_chunk(tuple(coordinate), chunk)
        offset = self._memory.chunk_offset()
        return self._datacube.get_chunk_info_by_coord(tuple(coordinate)).byte_offset if offset is None else offset

    def describe_cube(
        self,
        cube: Cube,
        variables: Mapping[str, Variable],
        attributes: Mapping[str, Any],
        labels: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Write all metadata of a cube; `labels`: further attributes of the datacube."""
        on_y = [name for name, item in variables.items() if item.dims == ("y",) and name != "y"]
        times = " ".join(name for name in on_y if name == "time")
        of_datacube = datacube_attributes(cube.level, times, cube.attributes.get("level_arithmetic"))
        self.describe(variables, {**of_datacube, **labels}, attributes, cube.groups)

    def describe(
        self,
        variables: Mapping[str, Variable],
        datacube_attributes: Mapping[str, Any],
        attributes: Mapping[str, Any],
        groups: Mapping[str, Group] = MappingProxyType({}),
    ) -> None:
        """Write all metadata. A variable with the name of a dimension is its coordinate variable."""
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
        self._file.flush()  # not only at the end, when the lines are on the disk already

    def add(self, name: str, variable: Variable) -> None:
        """Write one more variable, along existing dimensions."""
        self._root.add_variable(name, variable)

    def finish(self, complete: bool = True) -> None:
        """Mark the file as complete, and close it: `extents` and `final_size` are valid from then on."""
        if self._has_groups:
            put_attributes(self._file.id, {CONTENTS_CHECKSUMS: json.dumps(self._root.contents)})
        put_attributes(self._file.id, {"complete": int(complete)})
        self._file.close()

    def close(self) -> None:
        """Discard an unfinished file. Idempotent."""
        self._file.close()

    @property
    def final_size(self) -> int:
        """Length of the finished file."""
        return self._memory.size

    def extents(self) -> Iterator[tuple[int, memoryview]]:
        """What HDF5 wrote into the finished file, as (offset, bytes): everything but the lines."""
        has_large_lines = self.offsets.size and self.layout.line_bytes >= LARGE_LINE
        return self._memory.extents(PAGE - 1 if has_large_lines else 0)  # such a gap has no line in it
