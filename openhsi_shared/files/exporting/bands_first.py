"""Bands-first NetCDF, (wavelength, y, x), in chunks of one band: what GDAL, and so QGIS, reads band by band.

GDAL mirrors the rows of NetCDF, since it expects the south at row 0, unless a grid mapping says where the rows are:
`crs` is one in pixels, whose rows go downwards. HDF5 lays the file out in memory, as for `CubeWriter`; pixels are
written to the places of their chunks, without HDF5. Groups are in `NAME_groups.nc4`: beside other arrays GDAL would not
open the pixels by the name of the file alone.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t
from numpy.typing import NDArray

from openhsi_shared.durable import PartFile
from openhsi_shared.errors import FileError
from openhsi_shared.files.exporting.description import Description
from openhsi_shared.files.exporting.groups_file import GROUPS, write_groups
from openhsi_shared.files.exporting.orders import by_band, room
from openhsi_shared.files.exporting.published_together import part_name, refuse_existing
from openhsi_shared.files.exporting.read_back import Samples
from openhsi_shared.files.memory_file import MemoryFile
from openhsi_shared.files.variables import GroupWriter, put_attributes, put_checked
from openhsi_shared.renaming import unlink_or_warn

__all__ = ["BandsFirstWriter"]

DIMS = ("wavelength", "y", "x")
CHUNK_BYTES = 4 << 20
"""Largest chunk: readers keep some of them in memory."""
CRS = {
    "long_name": "grid of pixels: rows are lines, columns are cross-track pixels",
    "GeoTransform": "0 1 0 0 0 1",
    "spatial_ref": 'LOCAL_CS["pixels"]',
}
CHECKSUM = "line_crc32"
"""Of the lines of this library's own files: a reader would expect their layout."""
MAX_BANDS_READ = 3


class BandsFirstWriter:
    """The file of a cube while it is written. SaveError from all methods.

    Use it as a context manager: what is not published by the end of the block is removed.
    """

    def __init__(self, target: Path, description: Description, tmp_suffix: str = "") -> None:
        self._groups_target = target.with_name(f"{target.stem}{GROUPS}")
        refuse_existing([target, self._groups_target])
        self._suffix = tmp_suffix
        self._target, self._description = target, description
        self._own = threading.local()
        self._samples = Samples(description.n_lines, description.line_bytes)
        self._memory = MemoryFile()
        self._file = h5py.File(self._memory, "w", libver=("v108", "v108"), track_order=True, meta_block_size=1 << 18)
        try:
            self._datacube = self._make_datacube()
            self._offsets = self._find_chunks()
            self._part = PartFile(target.parent, part_name(target, tmp_suffix))
        except BaseException:
            self._file.close()
            raise
        try:
            self._file.flush()
            self._part.reserve(self._memory.size)
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> Path:
        """The temporary name."""
        return self._part.path

    @property
    def _dtype(self) -> np.dtype[Any]:
        return self._description.dtype.newbyteorder("<")

    def _make_datacube(self) -> Any:
        n_lines, (x, bands) = self._description.n_lines, self._description.line_shape
        n_chunks = -(-n_lines * x * self._dtype.itemsize // CHUNK_BYTES)
        self._chunk_lines = -(-n_lines // n_chunks)
        options = h5p.create(h5p.DATASET_CREATE)
        options.set_chunk((1, self._chunk_lines, x))
        options.set_fill_time(h5d.FILL_TIME_NEVER)
        options.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        options.set_attr_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
        space = h5s.create_simple((bands, n_lines, x))
        return h5d.create(self._file.id, b"datacube", h5t.py_create(self._dtype), space, options)

    def _find_chunks(self) -> NDArray[np.int64]:
        """Offsets in the file, (band, chunk)."""
        n_chunks = -(-self._description.n_lines // self._chunk_lines)
        offsets = np.zeros((self._description.line_shape[1], n_chunks), np.int64)

        def note(chunk: Any) -> None:
            band, line, _ = chunk.chunk_offset
            offsets[band, line // self._chunk_lines] = chunk.byte_offset

        self._datacube.chunk_iter(note)
        return offsets

    def put(self, first: int, lines: NDArray[Any]) -> None:
        """Write lines (n, x, wavelength), each contiguous, from number `first` on. Several threads may call it."""
        self._samples.note(first, lines)
        x, bands = self._description.line_shape
        row = x * self._dtype.itemsize
        out = self._scratch((bands, len(lines), x))
        by_band(lines, out)
        begin = 0
        while begin < len(lines):  # which may lie in several chunks
            chunk, within = divmod(first + begin, self._chunk_lines)
            end = min(len(lines), begin + self._chunk_lines - within)
            for offset, pixels in zip((self._offsets[:, chunk] + within * row).tolist(), out, strict=True):
                self._part.write_at(offset, pixels[begin:end].reshape(-1).view(np.uint8).data)
            begin = end

    def _scratch(self, shape: tuple[int, int, int]) -> NDArray[Any]:
        n = int(np.prod(shape))
        memory: NDArray[Any] | None = getattr(self._own, "memory", None)
        if memory is None or memory.size < n:
            memory = self._own.memory = room((n,), self._dtype)
        return memory[:n].reshape(shape)

    def finish(self, description: Description | None = None) -> Path:
        """Write all else, let GDAL read it, or HDF5 where rasterio is not installed, and publish. Returns the path.

        `description`: what is known now that all lines are written.
        """
        description = description or self._description
        self._describe(description)
        self._part.resize(self._memory.size)
        for offset, data in self._memory.extents():
            self._part.write_at(offset, data)
        self._part.share()
        self._read_back()
        if not description.groups:
            self._part.publish_as(self._target)
        else:
            with PartFile(self._target.parent, part_name(self._groups_target, self._suffix)) as groups:
                write_groups(groups, description)
                groups.publish_as(self._groups_target)
            try:
                self._part.publish_as(self._target)
            except BaseException:
                unlink_or_warn(self._groups_target)
                raise
        self.close()
        return self._target

    def _describe(self, description: Description) -> None:
        root = GroupWriter(self._file)
        n_lines, (x, bands) = description.n_lines, description.line_shape
        sizes = {"wavelength": bands, "y": n_lines, "x": x}
        variables = {name: one for name, one in description.variables.items() if name != CHECKSUM}
        labels = {key: value for key, value in description.labels.items() if key != "ancillary_variables"}
        if description.dtype.kind == "f":
            labels["_FillValue"] = description.dtype.type(np.nan)  # without it GDAL reads 0 where a pixel is NaN
        put_attributes(self._datacube, {**labels, "grid_mapping": "crs"})
        put_checked(self._file.id, dict(description.attributes))
        root.add_dimensions(sizes, variables)
        root.attach(h5py.Dataset(self._datacube), DIMS)
        crs = self._file.create_dataset("crs", data=np.int32(0), track_order=True)
        put_attributes(crs.id, CRS)
        for name, variable in variables.items():
            if name not in sizes:
                root.add_variable(name, variable)
        put_attributes(self._file.id, {"complete": 1})
        self._file.close()

    def _read_back(self) -> None:
        bands = sorted({0, self._description.line_shape[1] // 2, self._description.line_shape[1] - 1})[:MAX_BANDS_READ]
        try:
            import rasterio  # noqa: F401 - whether it is installed
        except ImportError:
            self._read_by_hdf5(bands)
        else:
            self._read_by_gdal(bands)

    def _read_by_gdal(self, bands: list[int]) -> None:
        import warnings

        import rasterio
        from rasterio.windows import Window

        path, x = self._part.path, self._description.line_shape[0]
        expected = (self._description.line_shape[1], self._description.n_lines, x)
        numbers = [band + 1 for band in bands]
        try:
            with warnings.catch_warnings(), _link_to(path) as link:
                warnings.simplefilter("ignore")  # that a grid of pixels has no place on the earth
                with rasterio.open(f'NETCDF:"{link}":datacube') as image:
                    shape = (image.count, image.height, image.width)
                    if shape != expected:
                        raise FileError(f"{path}: GDAL reads (bands, rows, columns) {shape}, not {expected}")
                    self._samples.compare(
                        path, "GDAL", lambda number: image.read(numbers, window=Window(0, number, x, 1))[:, 0].T, bands
                    )
        except rasterio.errors.RasterioError as error:
            raise FileError(f"{path}: GDAL cannot read it: {error}") from error

    def _read_by_hdf5(self, bands: list[int]) -> None:
        with h5py.File(self._part.path, "r", locking=False) as file:
            datacube = file["datacube"]
            self._samples.compare(self._part.path, "HDF5", lambda number: datacube[bands, number].T, bands)

    def close(self) -> None:
        """End. Idempotent."""
        self._file.close()
        self._part.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@contextmanager
def _link_to(path: Path) -> Iterator[Path]:
    """The path, or a link to it if it has quotes, or is no UTF-8: these cannot be a part of a name of GDAL's."""
    if not any(letter == '"' or "\ud800" <= letter <= "\udfff" for letter in str(path.absolute())):
        yield path.absolute()
        return
    with TemporaryDirectory() as folder:
        link = Path(folder, "cube.nc")
        link.symlink_to(path.absolute())
        yield link
