"""Checksums of what a file contains besides the lines: of values, of attributes, and of both together.

Each small variable has a checksum of its values; each long attribute has one, in groups every attribute. A file with
groups has a list of all variables and groups at its root: for each a checksum over these checksums, its dimensions and
its type. So a missing or renamed object is detected.
"""

import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

__all__ = [
    "COLUMN_CHECKSUM",
    "LONG_ATTRIBUTE",
    "attribute_crc32",
    "attribute_length",
    "crc32_of",
    "end_vector_code",
    "object_crc32",
]

COLUMN_CHECKSUM = "values_crc32"
"""Attribute of every small variable: CRC-32 of its values. HDF5's fletcher32 does not detect zeros."""
LONG_ATTRIBUTE = 2048
"""Bytes above which this library adds a checksum to an attribute: HDF5 has none for those of about 4 KiB and more,
such as a list of many gaps."""


def crc32_of(array: NDArray[Any]) -> int:
    """CRC-32 of a line (x, wavelength), or any array: same values as zlib, but with the GIL released."""
    little_endian = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    checksum: int = isal_zlib.crc32(little_endian.reshape(-1).view(np.uint8))
    end_vector_code()
    return checksum


_FLOATS = np.zeros(64, np.float32)


def end_vector_code() -> None:
    """Let SSE code run at its speed in this thread after functions of ISA-L.

    On x86-64 they leave the upper halves of the vector registers in use. Code for SSE is then slow: numpy's casts take
    up to three times as long. Additions of float32 in numpy are AVX code, at whose end these halves are cleared.
    """
    np.add(_FLOATS, _FLOATS, out=_FLOATS)


def attribute_crc32(value: Any) -> int:
    """CRC-32 of an attribute: of a text in UTF-8, or of the type and the bytes of a number or a row of numbers."""
    if isinstance(value, str):
        return zlib.crc32(value.encode("utf-8"))
    array = np.asarray(value)
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return zlib.crc32(array.tobytes(), zlib.crc32(array.dtype.str.encode("ascii")))


def attribute_length(value: Any) -> int:
    """Bytes of an attribute."""
    return len(value.encode("utf-8")) if isinstance(value, str) else np.asarray(value).nbytes


def object_crc32(
    attributes_crc32: str, dims: Sequence[str] = (), shape: Sequence[int] = (), dtype: str = "", values_crc32: int = 0
) -> int:
    """CRC-32 of a variable, or of a group: its values and all its metadata in one number.

    `attributes_crc32` is its attribute of that name, "" if it has none; `dtype` as numpy writes it, such as "<f8".
    """
    parts = [attributes_crc32, list(dims), [int(size) for size in shape], dtype, int(values_crc32)]
    return zlib.crc32(json.dumps(parts).encode("utf-8"))
