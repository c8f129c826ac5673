"""Self-checking frames: each contains its number in every row and pixel, and a checksum.

Bytes of a frame, whatever its dtype, all numbers little-endian::

    row 0      | number u32 | row u16 | n_rows u16 | crc32 u32 | pixels ...      crc32: of all other bytes of the frame
    row i      | number u32 | row u16 | n_rows u16 | pixels ...................

    pixel(row, column) = row * 3 + column * 7 + number * 40503   modulo 2^16 (2^8 for uint8)

Any two frames differ in every pixel (numbers 65536 apart, or 256, in the first bytes of each row), so a torn, mixed,
shifted or stale line is always detected. A line that was cropped to some of its rows can be checked, too.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError

__all__ = ["CountingPainter", "check_frame", "frame_number"]

_STAMP_BYTES = 8
_HEADER_BYTES = 12
_MIN_ROW_BYTES = 16
_PER_NUMBER = 40503  # odd, so that it takes every value modulo a power of two


class CountingPainter:
    """Paints frames for `check_frame`."""

    def __init__(self, frame_shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        _require_size(frame_shape, dtype)
        self._base = _pattern(range(frame_shape[0]), frame_shape[1], dtype)
        stamps = _stamps(self._base)
        stamps["row"] = np.arange(frame_shape[0])
        stamps["n_rows"] = frame_shape[0]
        self._stamps = stamps.copy()
        self._crc32 = _crc32_function()

    def paint(self, out: NDArray[Any], frame_id: int) -> None:
        """Fill `out` with the frame of that number."""
        np.add(self._base, _offset(frame_id, out.dtype), out=out)
        self._stamps["number"] = frame_id & 0xFFFFFFFF
        _stamps(out)[:] = self._stamps
        _crc_field(out)[0] = _crc32_of_frame(out, self._crc32)


def frame_number(line: NDArray[Any]) -> int:
    """Return the number of a line (cross-track, wavelength) in mode "counting", modulo 2^32, unchecked.

    Works on a line as saved at the levels -1 and 0, uint16 or uint8. ArgumentError for anything else.

    >>> frame = np.zeros((2, 8), np.uint16)
    >>> CountingPainter(frame.shape, frame.dtype).paint(frame, 42)
    >>> frame_number(frame), check_frame(frame), check_frame(frame[::-1])
    (42, True, False)
    """
    return int(_stamps(_as_line(line))["number"][0])


def check_frame(line: NDArray[Any]) -> bool:
    """Whether every byte of a line (cross-track, wavelength) in mode "counting" is unchanged.

    Also for a line cropped to adjacent rows (level 0); the checksum is verified if all rows exist. ArgumentError for an
    impossible line: neither uint16 nor uint8, or too small.
    """
    line = _as_line(line)
    stamps = _stamps(line)
    first = int(stamps["row"][0])
    rows = range(first, first + line.shape[0])
    expected = _pattern(rows, line.shape[1], line.dtype)
    expected += _offset(int(stamps["number"][0]), line.dtype)
    wanted = _stamps(expected)
    wanted["number"], wanted["n_rows"], wanted["row"] = (
        stamps["number"][0],
        stamps["n_rows"][0],
        np.arange(rows.start, rows.stop),
    )
    if first == 0:
        _crc_field(expected)[0] = _crc_field(line)[0]
    if rows.stop > stamps["n_rows"][0] or not np.array_equal(line, expected):
        return False
    is_whole = first == 0 and rows.stop == stamps["n_rows"][0]
    return not is_whole or int(_crc_field(line)[0]) == _crc32_of_frame(line, _crc32_function())


def _pattern(rows: range, n_columns: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    values = np.arange(rows.start, rows.stop)[:, None] * 3 + np.arange(n_columns)[None, :] * 7
    return values.astype(dtype)  # the modulo is intended


def _offset(number: int, dtype: np.dtype[Any]) -> Any:
    return dtype.type(number * _PER_NUMBER % (1 << 8 * dtype.itemsize))


def _stamps(frame: NDArray[Any]) -> NDArray[Any]:
    """View of the stamps at the start of each row, (rows,)."""
    stamp = np.dtype([("number", "<u4"), ("row", "<u2"), ("n_rows", "<u2")])
    return frame[:, : _STAMP_BYTES // frame.itemsize].view(stamp)[:, 0]


def _crc_field(frame: NDArray[Any]) -> NDArray[Any]:
    size = frame.itemsize
    return frame[0, _STAMP_BYTES // size : _HEADER_BYTES // size].view("<u4")


def _crc32_of_frame(frame: NDArray[Any], crc32: Callable[..., int]) -> int:
    pixels = frame.data.cast("B")
    return crc32(pixels[_HEADER_BYTES:], crc32(pixels[:_STAMP_BYTES]))


def _crc32_function() -> Callable[..., int]:
    from isal import isal_zlib

    function: Callable[..., int] = isal_zlib.crc32  # same results as zlib's, several times as fast
    return function


def _as_line(line: NDArray[Any]) -> NDArray[Any]:
    line = np.asarray(line)
    if line.ndim != 2 or line.dtype.name not in ("uint8", "uint16"):
        raise ArgumentError(
            f"a line in mode 'counting' is 2-D, uint16 or uint8, got {line.dtype} of shape {line.shape}"
        )
    _require_size(line.shape, line.dtype)
    return np.ascontiguousarray(line, line.dtype.newbyteorder("<"))


def _require_size(frame_shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    n_columns = _MIN_ROW_BYTES // dtype.itemsize
    if frame_shape[1] < n_columns or not 1 <= frame_shape[0] < 1 << 16:
        raise ArgumentError(
            f"mode 'counting' needs frames of 1 to 65535 rows and at least {n_columns} columns of {dtype}, "
            f"got {frame_shape}"
        )
