"""Files of rows: netCDF-4 in the CF conventions, with ragged images, saved in the background."""

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.channels.recorder.data import CENTRE, START, RowData
from openhsi_shared.channels.recorder.variables import FORMAT, OF_IMAGE, ROW, Part, attributes_of, parts_of
from openhsi_shared.durable import PartFile, save_error
from openhsi_shared.errors import FileError, OpenHSIError, SaveError
from openhsi_shared.hdf5_guard import refuse_endless_heaps
from openhsi_shared.loggers import safe_logger
from openhsi_shared.paths import given_path
from openhsi_shared.processes.at_exit import finish_at_exit, forget
from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["RowsHandle", "RowsSaved", "RowsSaver", "read_rows", "write_rows"]

logger = safe_logger(__name__)

CHUNK_BYTES = 1 << 19


@dataclass(frozen=True, kw_only=True)
class RowsSaved:
    """Result of saving rows."""

    path: Path
    """The file; a name that was taken has got a suffix."""
    n_rows: int


class RowsHandle:
    """Rows that are being saved; `join`, `is_alive`, `exitcode` and `name` are those of a `multiprocessing.Process`.

    A failure that is not handled by calling `result` is reported when the program ends.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        """What is saved, with its path."""
        self._done = threading.Event()
        self._saved: RowsSaved | None = None
        self._error: OpenHSIError | None = None
        self._is_handled = False

    def join(self, timeout: float | None = None) -> None:
        """Block until they are saved or that has failed, `timeout` seconds at most. Never raises the failure."""
        self._done.wait(timeout)

    def is_alive(self) -> bool:
        """Whether they are still being saved."""
        return not self._done.is_set()

    @property
    def exitcode(self) -> int | None:
        """None while they are being saved, 0 when the file is written, 1 when that failed."""
        return None if self.is_alive() else int(self._error is not None)

    def result(self, timeout: float | None = None) -> RowsSaved:
        """Block until they are saved. Raises SaveError (an OSError) if it failed, TimeoutError after `timeout` s."""
        if not self._done.wait(timeout):
            raise TimeoutError(f"{self.name} is not saved after {timeout} s")
        if self._error is not None:
            self._is_handled = True
            raise self._error
        assert self._saved is not None
        return self._saved

    @property
    def unhandled_failure(self) -> OpenHSIError | None:
        """The error, if the save failed and no caller has handled it yet."""
        return None if self._is_handled else self._error

    def settle(self, saved: RowsSaved | None, error: OpenHSIError | None = None) -> None:
        """It is done, or has failed."""
        self._saved, self._error = saved, error
        self._done.set()

    def __repr__(self) -> str:
        state = "saving" if self.is_alive() else f"failed: {self._error}" if self._error else f"{self._saved}"
        return f"<{self.name}, {state}>"


class RowsSaver:
    """Saves rows one after the other, in a thread that runs while there are any."""

    def __init__(
        self,
        on_started: Callable[[str], object],
        on_saved: Callable[[str], object],
        on_failed: Callable[[OpenHSIError], object],
    ) -> None:
        """The functions are called in that thread, without locks."""
        self._on_started, self._on_saved, self._on_failed = on_started, on_saved, on_failed
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Path, RowData, RowsHandle]] = deque()
        self._thread: GuardedThread | None = None
        self._saving: tuple[Path, RowData, RowsHandle] | None = None
        self._failed: list[RowsHandle] = []

    def save(self, path: Path, data: RowData) -> RowsHandle:
        """Save rows as `path` when all before are saved. Returns at once. SaveError if no thread can be started."""
        import h5netcdf  # noqa: F401 - here: at the end of the program, in a thread, it cannot be imported any more

        handle = RowsHandle(f"{data.n_rows} rows to {path}")
        with self._lock:
            self._waiting.append((path, data, handle))
            if self._thread is None:
                finish_at_exit(self)
                thread = GuardedThread(
                    self._run,
                    name="saving rows",
                    failure="the thread that saves rows has failed: what waited is not saved",
                    on_failure=self._fail_all,
                )
                try:
                    thread.start()
                except RuntimeError as error:  # the system has no more threads now
                    self._waiting.pop()
                    raise SaveError(None, f"{error}: save the rows again", str(path)) from error
                self._thread = thread
        return handle

    def shutdown(self, crashed: bool) -> Sequence[BaseException]:  # noqa: ARG002 - see `finish_at_exit`
        """Wait for all, and return the failures that were not handled."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        return [error for handle in self._failed if (error := handle.unhandled_failure) is not None]

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = self._saving = None
                    if all(handle.unhandled_failure is None for handle in self._failed):
                        forget(self)
                    return
                self._saving = path, data, handle = self._waiting.popleft()
            self._call(self._on_started, str(path))
            try:
                saved = write_rows(path, data)
            except Exception as error:  # noqa: BLE001 - not swallowed: the handle raises it, the signal has it
                failure = error if isinstance(error, OpenHSIError) else SaveError(5, f"{error}", str(path))
                failure.__cause__ = None if failure is error else error
                self._failed.append(handle)
                handle.settle(None, failure)
                self._call(self._on_failed, failure)
            else:
                handle.settle(saved)
                self._call(self._on_saved, str(saved.path))

    def _fail_all(self, error: BaseException) -> None:
        """Release all that wait for this thread. The next save starts another one."""
        with self._lock:
            unsaved = [*filter(None, [self._saving]), *self._waiting]
            self._waiting.clear()
            self._thread = self._saving = None
        why = f"the thread that saves rows has failed: {type(error).__name__}: {error}"
        for path, _, handle in unsaved:
            if handle.is_alive():
                failure = SaveError(None, why, str(path))
                failure.__cause__ = error
                self._failed.append(handle)
                handle.settle(None, failure)

    def _call(self, function: Callable[[Any], object], argument: Any) -> None:
        try:
            function(argument)
        except BaseException as error:  # also a slot that exits: it must not cost the rows that wait
            logger.error("a slot of a signal of saving failed: %s", error, exc_info=error)


def write_rows(path: Path, data: RowData) -> RowsSaved:
    """Write rows into a new file, which has its name when it is complete and on the disk. Blocks. SaveError."""
    import h5netcdf

    ending = "".join(path.suffixes[-1:]) or ".nc"
    try:
        with PartFile(path.parent, path.name) as part:
            with h5netcdf.File(part.path, "w", locking=False) as file:
                file.dimensions[ROW] = data.n_rows
                file.attrs.update(attributes_of(data.attributes))
                for one in parts_of(data, data.images, data.attributes):
                    _write(file, one)
            published = part.publish(path.name.removesuffix(ending), ending)
    except OSError as error:
        raise save_error(error, path) from error
    return RowsSaved(path=published, n_rows=data.n_rows)


def _write(file: Any, part: Part) -> None:
    if not isinstance(part.data, list):
        variable = file.create_variable(part.name, part.dims, data=part.data, fletcher32=bool(part.data.size))
    else:
        [dimension] = part.dims
        n_pixels = sum(region.size for region in part.data)
        dtype = np.result_type(*part.data) if part.data else np.dtype(np.float64)
        file.dimensions[dimension] = n_pixels
        chunk = {"chunks": (min(n_pixels, CHUNK_BYTES // dtype.itemsize),), "fletcher32": True} if n_pixels else {}
        variable = file.create_variable(part.name, part.dims, dtype=dtype, **chunk)
        begin = 0
        for region in part.data:
            if region.size:
                variable[begin : begin + region.size] = region.reshape(-1)
            begin += region.size
    variable.attrs.update(part.attributes)
    if part.dims == (ROW,) and part.name != "time":
        variable.attrs["coordinates"] = "time"


def read_rows(path: str | Path) -> RowData:
    """Read the rows of a file that a recorder has saved. FileError for any other file."""
    import h5netcdf

    found = given_path(path)
    try:
        with found.open("rb") as raw:
            refuse_endless_heaps(raw)
        with h5netcdf.File(found, "r") as file:
            if file.attrs.get("rows_format") != FORMAT:
                raise FileError(f"{found} contains no rows of a recorder (rows_format is not {FORMAT!r})")
            return _read(file)
    except FileError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:  # whatever damage makes of it
        raise FileError(f"{found} cannot be read: {error}") from error


def _read(file: Any) -> RowData:
    time_ns = np.asarray(file.variables["time"][...], np.int64)
    columns: dict[str, NDArray[Any]] = {"timestamp": time_ns * 1e-9, "time_ns": time_ns}
    for name, variable in file.variables.items():
        column = variable.attrs.get("column")
        if column is None:
            continue
        values = np.asarray(variable[...])
        if "is_image" not in variable.attrs:
            columns[column] = values
            continue
        of = {suffix: np.asarray(file.variables[f"{name}_{suffix}"][...]) for suffix in OF_IMAGE}
        ends = np.cumsum(of["size"])
        regions = np.empty(len(time_ns), object)
        for row, (end, size) in enumerate(zip(ends, of["size"], strict=True)):
            regions[row] = values[end - size : end].reshape(of["height"][row], of["width"][row])
        start, centre = np.zeros(len(time_ns), START), np.zeros(len(time_ns), CENTRE)
        start["x"], start["y"] = of["start_row"], of["start_column"]
        centre["x"], centre["y"] = of["centre_row"], of["centre_column"]
        columns |= {column: regions, f"{column} start": start, f"{column} centre": centre}
    attributes: Mapping[str, Any] = json.loads(file.attrs["recorder"])
    return RowData(columns, attributes)
