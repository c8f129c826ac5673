"""The small variables of a file of this library, each compared with the checksum of its values."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from h5py import h5z
from numpy.typing import NDArray

from openhsi_shared.files.checksums import COLUMN_CHECKSUM, crc32_of

__all__ = ["read_column"]

FLETCHER32_BYTES = 4


def read_column(path: Path, variable: Any, attributes: Mapping[str | bytes, Any]) -> NDArray[Any]:
    """Read a variable that has these attributes. ValueError, KeyError or OSError if it is not what was written.

    HDF5 is used only to locate the values: if its index is damaged, reading through HDF5 would return zeros or crash
    the process. Its own checksum of the values does not suffice.
    """
    values = _values(path, variable) if _has_written_layout(variable) else np.asarray(variable[()])
    if crc32_of(values) != attributes[COLUMN_CHECKSUM]:
        raise ValueError("its checksum is not the one that was written")
    return values


def _has_written_layout(variable: Any) -> bool:
    """Whether its values are in chunks with only HDF5's checksum filter; other programs may have repacked them."""
    if variable.chunks is None:
        return False
    options = variable.id.get_create_plist()
    return [options.get_filter(number)[0] for number in range(options.get_nfilters())] == [h5z.FILTER_FLETCHER32]


def _values(path: Path, variable: Any) -> NDArray[Any]:
    values = np.zeros(variable.shape, variable.dtype)
    chunks: list[Any] = []
    variable.id.chunk_iter(chunks.append)
    with path.open("rb") as file:
        for chunk in chunks:
            places = zip(chunk.chunk_offset, variable.chunks, strict=True)
            part = values[tuple(slice(begin, begin + n) for begin, n in places)]
            part[:] = _chunk(file, chunk, variable)[tuple(map(slice, part.shape))]
    return values


def _chunk(file: BinaryIO, chunk: Any, variable: Any) -> NDArray[Any]:
    n_bytes = int(np.prod(variable.chunks)) * variable.dtype.itemsize
    if chunk.size != n_bytes + FLETCHER32_BYTES or chunk.filter_mask:
        raise ValueError(f"{chunk.size} bytes with filter mask {chunk.filter_mask} are not {n_bytes} and a checksum")
    if chunk.byte_offset + n_bytes > os.fstat(file.fileno()).st_size:
        raise ValueError("its position is behind the end of the file")
    file.seek(chunk.byte_offset)
    return np.frombuffer(file.read(n_bytes), variable.dtype).reshape(variable.chunks)
