"""Zarr: a folder with a chunk for each block of lines, so that several processes can write side by side.

(y, x, wavelength), with the attributes and variables of the NetCDF file. Format 2 of Zarr, which all readers know; with
consolidated metadata. The attribute `complete` is written last.
"""

import errno
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.attributes import attribute_value
from openhsi_shared.durable import save_error
from openhsi_shared.errors import FileError, SaveError
from openhsi_shared.files.checksums import crc32_of
from openhsi_shared.files.exporting.description import Description
from openhsi_shared.files.exporting.published_together import PartFolder, refuse_existing
from openhsi_shared.files.exporting.read_back import Samples
from openhsi_shared.groups import Group, Variable
from openhsi_shared.loggers import safe_logger
from openhsi_shared.packages import needed_by
from openhsi_shared.save_options import Compression

__all__ = ["ZarrChunks", "ZarrWriter", "attributes_of_zarr", "damaged_lines_of_zarr"]

logger = safe_logger(__name__)

DIMS = ("y", "x", "wavelength")
CHECKSUM = "line_crc32"
DIMENSIONS = "_ARRAY_DIMENSIONS"
"""Attribute of an array in which xarray looks for the names of its axes."""


_CONFIGURING = threading.Lock()
"""The configuration of zarr is one for all threads."""


class ZarrChunks:
    """The pixels of a Zarr folder that is being written, in any process. Picklable: it has only the path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._array: Any = None

    def __reduce__(self) -> tuple[type["ZarrChunks"], tuple[Path]]:
        return ZarrChunks, (self.path,)

    def put(self, first: int, lines: NDArray[Any]) -> None:
        """Write a block of lines: whole chunks. SaveError. Several threads, and processes, may call it."""
        try:
            array = self._opened()
            n_lines, chunk = array.shape[0], array.chunks[0]
            stop = first + len(lines)
            if first % chunk or (stop % chunk and stop != n_lines):
                raise SaveError(
                    errno.EINVAL, f"lines {first} to {stop} are not whole chunks of {chunk} lines", str(self.path)
                )
            array[first:stop] = lines
        except OSError as error:
            raise save_error(error, self.path) from error

    def read(self, first: int, stop: int) -> NDArray[Any]:
        """Read the lines of a chunk. FileNotFoundError if it was not written; errors of zarr."""
        array = self._opened()
        (self.path / "datacube" / f"{first // array.chunks[0]}.0.0").stat()
        return np.asarray(array[first:stop])

    def fits(self, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
        """Whether there is such an array."""
        try:
            array = self._opened()
        except Exception as error:  # noqa: BLE001 - of a damaged folder, anything
            logger.warning("%s cannot be continued, and is begun again: %s", self.path, error)
            return False
        return (array.shape, array.chunks, array.dtype) == (shape, chunks, dtype)

    def _opened(self) -> Any:
        if self._array is None:
            with _every_chunk_written() as zarr:
                self._array = zarr.open_group(str(self.path), mode="r+", zarr_format=2)["datacube"]
        return self._array


class ZarrWriter:
    """The folder of a cube while it is written. SaveError from all methods.

    Use it as a context manager: what is not published by the end of the block is removed.
    """

    def __init__(
        self,
        target: Path,
        description: Description,
        chunk_lines: int,
        compression: tuple[Compression | None, int | None] = (None, None),
        tmp_suffix: str = "",
        leftover: Path | None = None,
    ) -> None:
        """`compression`: with its level; `leftover`: the folder of an earlier run, which is continued."""
        refuse_existing([target])
        self._description = description
        self._samples = Samples(description.n_lines, description.line_bytes)
        shape, dtype = (description.n_lines, *description.line_shape), description.dtype.newbyteorder("<")
        chunk = min(chunk_lines, description.n_lines), *description.line_shape
        self._folder = PartFolder(target, tmp_suffix, leftover)
        self.chunks = ZarrChunks(self._folder.path)
        try:
            if self._folder.is_adopted:
                self._folder.clear_all_but("datacube", ".zgroup")  # else what it had of all else would be in the way
                if self.chunks.fits(shape, chunk, dtype):
                    return
                self._folder.close()
                self._folder = PartFolder(target, tmp_suffix)
                self.chunks = ZarrChunks(self._folder.path)
            with _every_chunk_written() as zarr:
                zarr.create_group(str(self._folder.path), zarr_format=2).create_array(
                    "datacube",
                    shape=shape,
                    chunks=chunk,
                    dtype=dtype,
                    compressors=_compressor(*compression),
                    filters=None,
                    fill_value=None,  # else xarray would take pixels of that value as missing
                )
        except OSError as error:
            self.close()
            raise save_error(error, self._folder.path) from error
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> Path:
        """The temporary name."""
        return self._folder.path

    def put(self, first: int, lines: NDArray[Any]) -> None:
        """Write lines (n, x, wavelength) from number `first` on: whole chunks. Several threads may call it."""
        self._samples.note(first, lines)
        self.chunks.put(first, lines)

    def restore(self, first: int, crcs: NDArray[np.uint32]) -> bool:
        """Whether these lines, which an earlier run has written, are whole."""
        try:
            lines = self.chunks.read(first, first + len(crcs))
        except Exception as error:  # noqa: BLE001 - of a damaged folder, anything: its lines are written again
            logger.info("%s: lines from %d on are written again: %s", self.path, first, error)
            return False
        if any(crc32_of(line) != crc for line, crc in zip(lines, crcs, strict=True)):
            return False
        self._samples.note(first, lines)
        return True

    def finish(self, description: Description | None = None) -> Path:
        """Write all else, let xarray read it, and publish it. Returns the path.

        `description`: what is known now that all lines are written.
        """
        description = description or self._description
        path = self._folder.path
        try:
            with _every_chunk_written() as zarr:
                root: Any = zarr.open_group(str(path), mode="r+", zarr_format=2)
                root["datacube"].attrs.put({**_plain(description.labels), DIMENSIONS: list(DIMS)})
                _put_variables(root, description.variables)
                for name, group in description.groups.items():
                    _put_group(root, name, group)
                root.attrs.put({**_plain(description.attributes), "complete": 1})
                zarr.consolidate_metadata(str(path), zarr_format=2)
        except OSError as error:
            raise save_error(error, path) from error
        self._read_back(description)
        target = self._folder.publish()
        self.close()
        return target

    def _read_back(self, description: Description) -> None:
        path = self._folder.path
        import xarray as xr

        try:
            with xr.open_dataset(path, engine="zarr", chunks=None, mask_and_scale=False) as dataset:
                datacube = dataset["datacube"]
                if datacube.dims != DIMS:
                    raise FileError(f"{path}: xarray reads the axes {datacube.dims}, not {DIMS}")
                read = lambda number: np.asarray(datacube[number])  # noqa: E731 - of this dataset
                if CHECKSUM in description.variables:
                    self._samples.compare_crcs(path, "xarray", read, description.variables[CHECKSUM].data)
                else:
                    self._samples.compare(path, "xarray", read)
        except (ValueError, KeyError) as error:
            raise FileError(f"{path}: xarray cannot read it: {error}") from error

    def close(self, *, keep: bool = False) -> None:
        """End; what is not published is removed, unless `keep`. Idempotent."""
        self._folder.close(keep=keep)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@contextmanager
def _every_chunk_written() -> Iterator[Any]:
    """Gives zarr. Arrays that are made or opened meanwhile write chunks of zeros, too: one that is missing is lost."""
    with needed_by("Zarr", "zarr"):
        import zarr
    with _CONFIGURING, zarr.config.set({"array.write_empty_chunks": True}):  # arrays keep it
        yield zarr


def _compressor(compression: Compression | None, level: int | None) -> Any:
    if compression is None:
        return None
    import numcodecs

    return (numcodecs.Zlib if compression == "deflate" else numcodecs.Zstd)(level=level)


def _put_variables(target: Any, variables: Mapping[str, Variable]) -> None:
    for name, variable in variables.items():
        data = np.ascontiguousarray(variable.data)
        labels = {key: value for key, value in variable.attributes.items() if key != "_FillValue"}
        array = target.create_array(
            name,
            shape=data.shape,
            chunks=data.shape if data.size else tuple(max(1, n) for n in data.shape),
            dtype=data.dtype,
            compressors=None,
            filters=None,
            fill_value=_scalar(variable.attributes.get("_FillValue")),
        )
        if data.size:
            array[...] = data
        array.attrs.put({**_plain(labels), DIMENSIONS: list(variable.dims)})


def _put_group(target: Any, name: str, group: Group) -> None:
    made = target.create_group(name)
    made.attrs.put(_plain(group.attributes))
    _put_variables(made, group.variables)
    for inner, nested in group.groups.items():
        _put_group(made, inner, nested)


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as JSON has them."""
    found = {name: attribute_value(value) for name, value in attributes.items()}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in found.items()}


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


# ---- reading ----


def attributes_of_zarr(path: Path) -> dict[str, Any]:
    """The attributes of a cube in a Zarr folder. FileError if it is none, or not complete."""
    with needed_by("Zarr", "zarr"):
        import zarr
    try:
        attributes = dict(zarr.open_group(str(path), mode="r").attrs)
    except (OSError, ValueError, KeyError) as error:
        raise FileError(f"{path} is no Zarr folder of a cube: {error}") from error
    if attributes.get("complete") != 1:
        raise FileError(f"{path} is incomplete: its writer did not finish it")
    return attributes


def damaged_lines_of_zarr(path: Path) -> list[int]:
    """Numbers of the lines that differ from their checksums, `line_crc32`. FileError if it has none."""
    with needed_by("Zarr", "zarr"):
        import zarr
    attributes_of_zarr(path)
    root: Any = zarr.open_group(str(path), mode="r")
    if CHECKSUM not in root or "datacube" not in root:
        raise FileError(f"{path} has no checksums of lines: another program wrote it")
    array, checksums = root["datacube"], root[CHECKSUM][:]
    n = array.chunks[0]
    found: list[int] = []
    for first in range(0, array.shape[0], n):
        try:
            lines = array[first : first + n]
        except Exception:  # noqa: BLE001 - a damaged chunk: of which kind depends on the compressor
            found += range(first, min(first + n, array.shape[0]))
            continue
        found += [number for number, line in enumerate(lines, first) if crc32_of(line) != checksums[number]]
    return found
