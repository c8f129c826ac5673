"""Rows of a recorder: kept in a ring, read as columns, as rows, or as an xarray Dataset."""

import copy
import threading
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.channels.recorder.variables import to_dataset
from openhsi_shared.matching.delays import shifted_rows

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["CENTRE", "START", "LiveRows", "RowData", "RowStore"]

START = np.dtype([("x", np.uint32), ("y", np.uint32)])
"""Row and column of the first pixel of a region."""
CENTRE = np.dtype([("x", np.float64), ("y", np.float64)])
COMPAT_START = np.dtype([("x", np.uint16), ("y", np.uint16)])


class RowData(Mapping[str, NDArray[Any]]):
    """Rows that do not change any more, in the order of time: a read-only mapping from names to columns.

    `data["name"]` is a column: float64, of images an array of objects, each a region (rows, columns); beside it
    "<name> start" and "<name> centre", with the fields x (row) and y (column) in the whole image. "timestamp" is UTC in
    s, "time_ns" in ns. `data[i]` is a row, a dictionary of its own; `data[a:b]` are some rows.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any] | None = None) -> None:
        self._columns = dict(columns)
        self.attributes: Mapping[str, Any] = MappingProxyType(dict(attributes or {}))
        """How they were recorded: threshold, shifts, units, counts."""

    @property
    def n_rows(self) -> int:
        """Number of rows; `len` is that of columns."""
        return len(self._columns["time_ns"])

    @property
    def images(self) -> list[str]:
        """Names of the columns of images."""
        return [name for name in self._columns if f"{name} start" in self._columns]

    @overload
    def __getitem__(self, key: str) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: slice) -> "RowData": ...
    def __getitem__(self, key: str | int | slice) -> Any:
        """Return a column, a row, or some rows. KeyError, IndexError if there is none."""
        if isinstance(key, slice):
            return RowData({name: column[key] for name, column in self._columns.items()}, self.attributes)
        if isinstance(key, int | np.integer):
            return row_of(self._columns, int(key), self.n_rows)
        return self._columns[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def to_dataset(self) -> "xr.Dataset":
        """The rows as an xarray Dataset, with the variables of a saved file; images are ragged. Copies pixels."""
        return to_dataset(self, self.images, self.attributes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.n_rows} rows of {', '.join(self._columns)}>"


def row_of(columns: Mapping[str, NDArray[Any]], index: int, n_rows: int) -> dict[str, Any]:
    """A row, as a dictionary of its own. IndexError if there is none."""
    if not -n_rows <= index < n_rows:
        raise IndexError(f"row {index} of {n_rows} does not exist")
    return {name: copy.copy(column[index]) for name, column in columns.items()}


class RowStore:
    """The last `maxlen` rows; not thread-safe."""

    def __init__(self, names: Mapping[str, bool], maxlen: int, is_compat: bool) -> None:
        """`names` maps columns, in their order, to whether they contain images."""
        self.maxlen, self.is_compat = maxlen, is_compat
        self.shifts: dict[str, int] = {}
        """By how many rows columns are moved; kept when the rows are cleared."""
        self._of: dict[str, str] = {}
        """The column with whose shift each one is moved."""
        self._rings: dict[str, NDArray[Any]] = {"timestamp": np.zeros(maxlen), "time_ns": np.zeros(maxlen, np.int64)}
        if is_compat:
            self._rings["valid"] = np.zeros(maxlen, np.uint16)
        for name, is_image in names.items():
            self._add_ring(name, name, np.dtype(object) if is_image else np.dtype(np.float64))
            if is_image:
                self._add_ring(f"{name} start", name, COMPAT_START if is_compat else START)
                self._add_ring(f"{name} centre", name, CENTRE)
        self.n_added = 0

    def _add_ring(self, column: str, of: str, dtype: np.dtype[Any]) -> None:
        self._rings[column] = np.zeros(self.maxlen, dtype)  # of objects: 0, as the neighbour's
        self._of[column] = of

    @property
    def n_stored(self) -> int:
        """Rows, before shifts."""
        return min(self.n_added, self.maxlen)

    @property
    def n_rows(self) -> int:
        """Rows of the data: without those that shifts leave without a partner."""
        part = self._parts()["time_ns"]
        return int(part.stop) - int(part.start)

    @property
    def columns(self) -> list[str]:
        """Their names."""
        return list(self._rings)

    def add(self, time_ns: int, time_s: float, values: Mapping[str, Any], n_channels: int) -> int:
        """Store a row, instead of the oldest one if it is full; return its index."""
        position = self.n_added % self.maxlen
        rings = self._rings
        if self.is_compat:
            rings["valid"][position] = n_channels
        rings["time_ns"][position], rings["timestamp"][position] = time_ns, time_s
        for name, value in values.items():
            rings[name][position] = value
        self.n_added += 1
        return position if self.is_compat else self.n_rows - 1

    def clear(self) -> None:
        """Remove all rows."""
        self.n_added = 0
        for ring in self._rings.values():
            ring[:] = 0

    def column(self, name: str, shifts: Mapping[str, int] | None = None) -> NDArray[Any]:
        """A column of the data, by other shifts if they are given; a copy. KeyError if there is none."""
        ring = self._rings[name]
        if self.is_compat and shifts is None:
            return ring.copy()
        part = self._parts(shifts)[name]
        n, first = self.n_stored, self.n_added % self.maxlen if self.n_added > self.maxlen else 0
        begin, stop = first + part.start, first + part.stop
        if stop <= self.maxlen or begin >= self.maxlen:
            wrap = self.maxlen if begin >= self.maxlen else 0
            return ring[begin - wrap : stop - wrap].copy()
        assert n == self.maxlen
        return np.concatenate([ring[begin:], ring[: stop - self.maxlen]])

    def row(self, index: int) -> dict[str, Any]:
        """A row, as a dictionary of its own. IndexError if there is none."""
        if self.is_compat:
            return row_of(self._rings, index, self.maxlen)
        parts = self._parts()
        n_rows = self.n_rows
        if not -n_rows <= index < n_rows:
            raise IndexError(f"row {index} of {n_rows} does not exist")
        index %= n_rows
        first = self.n_added % self.maxlen if self.n_added > self.maxlen else 0
        return {
            name: copy.copy(ring[(first + parts[name].start + index) % self.maxlen])
            for name, ring in self._rings.items()
        }

    def data(self, attributes: Mapping[str, Any] | None = None) -> RowData:
        """All rows, in the order of time; of images, the regions themselves, which never change."""
        shifts = dict(self.shifts)
        return RowData({name: self.column(name, shifts) for name in self._rings}, attributes)

    def _parts(self, shifts: Mapping[str, int] | None = None) -> dict[str, slice]:
        shifts = self.shifts if shifts is None else shifts
        if not any(shifts.values()):
            return dict.fromkeys(self._rings, slice(0, self.n_stored))
        of = {name: self._of.get(name, "") for name in self._rings}
        return shifted_rows(self.n_stored, {name: shifts.get(of[name], 0) for name in of}, list(of))


class LiveRows(Mapping[str, NDArray[Any]]):
    """The rows of a recorder as they are now: a read-only mapping, as `RowData`.

    Each access reads the newest rows; for several columns of the same rows take `snapshot()`.
    """

    def __init__(self, store: RowStore, lock: threading.RLock) -> None:
        self._store, self._lock = store, lock

    @overload
    def __getitem__(self, key: str) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: slice) -> RowData: ...
    def __getitem__(self, key: str | int | slice) -> Any:
        """Return a copy of a column, a row of its own, or some rows. KeyError, IndexError if there is none."""
        with self._lock:
            if isinstance(key, slice):
                return self._store.data()[key]
            return self._store.row(int(key)) if isinstance(key, int | np.integer) else self._store.column(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._store.columns)

    def __len__(self) -> int:
        return len(self._store.columns)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._store.n_rows} rows of {', '.join(self._store.columns)}>"
