"""The columns of a cube as a table of its lines, CSV, for formats that have no place for them."""

import csv
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.durable import PartFile
from openhsi_shared.groups import Variable
from openhsi_shared.line_times import UNKNOWN_TIME_NS

__all__ = ["write_lines_table"]

ROWS_AT_ONCE = 10_000


def write_lines_table(part: PartFile, columns: Mapping[str, Variable], n_lines: int) -> None:
    """Write `y`, `time` (UTC, ISO 8601 to the nanosecond) and all other columns, a row for each line.

    An unknown time or number is an empty field. SaveError.
    """
    names = ["y", *(name for name in ("time",) if name in columns)]
    names += [name for name in columns if name not in names]
    offset = 0
    for first in range(0, n_lines, ROWS_AT_ONCE):
        stop = min(first + ROWS_AT_ONCE, n_lines)
        text = io.StringIO()
        writer = csv.writer(text)
        if first == 0:
            writer.writerow(names)
        writer.writerows(zip(*(_texts(name, columns, first, stop) for name in names), strict=True))
        data = text.getvalue().encode("utf-8")
        part.write_at(offset, memoryview(data))
        offset += len(data)


def _texts(name: str, columns: Mapping[str, Variable], first: int, stop: int) -> list[str]:
    if name == "y" and name not in columns:
        return [str(number) for number in range(first, stop)]
    values = columns[name].data[first:stop]
    if name == "time" and values.dtype.kind == "i":
        return _iso(values.astype(np.int64))
    if values.dtype.kind == "f":
        return ["" if np.isnan(value) else str(value) for value in values]
    return [str(value) for value in values.tolist()]


def _iso(times_ns: NDArray[np.int64]) -> list[Any]:
    texts = np.datetime_as_string(times_ns.astype("M8[ns]"))
    return [f"{text}Z" if time != UNKNOWN_TIME_NS else "" for time, text in zip(times_ns.tolist(), texts, strict=True)]
