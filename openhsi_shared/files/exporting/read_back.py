"""Lines that are kept while a file is written, to be compared with what another program reads from it."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import SaveError
from openhsi_shared.files.checksums import crc32_of

__all__ = ["Samples"]

MAX_SAMPLES = 7
MAX_BYTES = 16 << 20


class Samples:
    """Some lines of a cube: the first, the last, and others between, so that no order of axes fits but the right one.

    Which lines are correct in all others is known by the writer, whose every call reports its errors: reading back
    shows that the other program understands the file.
    """

    def __init__(self, n_lines: int, line_bytes: int) -> None:
        n = max(2, min(MAX_SAMPLES, MAX_BYTES // max(1, line_bytes)))
        wanted = np.linspace(0, n_lines - 1, n) if n_lines > 2 else np.arange(n_lines)
        self._wanted = sorted({int(number) for number in wanted})
        self._lines: dict[int, NDArray[Any]] = {}

    def note(self, first: int, lines: NDArray[Any]) -> None:
        """Keep those of these lines that are wanted. Thread-safe."""
        for number in self._wanted:
            if first <= number < first + len(lines):
                self._lines[number] = lines[number - first].copy()

    def compare_crcs(
        self, path: Path, tool: str, read: Callable[[int], NDArray[Any]], crcs: NDArray[np.uint32]
    ) -> None:
        """SaveError unless `tool` reads lines of these checksums, also such as other processes have written."""
        for number in self._wanted:
            if crc32_of(read(number)) != crcs[number]:
                text = f"{tool} does not read line {number} as it was written: its checksum is another one"
                raise SaveError(errno.EIO, text, str(path))

    def compare(
        self, path: Path, tool: str, read: Callable[[int], NDArray[Any]], bands: list[int] | None = None
    ) -> None:
        """SaveError unless `tool` reads these lines, (x, wavelength) by `read`, as they were written."""
        for number, line in self._lines.items():
            expected = line if bands is None else np.ascontiguousarray(line[:, bands])
            found = read(number)
            is_same = found.shape == expected.shape and found.dtype.newbyteorder("=") == expected.dtype
            if not (is_same and np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f")):
                raise SaveError(
                    errno.EIO,
                    f"{tool} does not read line {number} as it was written: it finds {found.dtype} {found.shape}, "
                    f"expected {expected.dtype} {expected.shape} with the values of the source",
                    str(path),
                )
