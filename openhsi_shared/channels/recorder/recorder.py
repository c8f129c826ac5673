"""A recorder of rows: updates of several channels, scalars and images, that belong together."""

import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal, SignalInstance

from openhsi_shared.buffers.times import Clock
from openhsi_shared.channels.recorder.data import LiveRows, RowData, RowStore
from openhsi_shared.channels.recorder.files import RowsHandle, RowsSaver
from openhsi_shared.channels.recorder.inputs import row_inputs
from openhsi_shared.channels.recorder.matching import FoundRow, RowMatching
from openhsi_shared.channels.recorder.rates import Rates
from openhsi_shared.channels.recorder.running import Run, RunCalls, Update
from openhsi_shared.errors import ArgumentError, ChannelError, NothingToSave
from openhsi_shared.loggers import safe_logger
from openhsi_shared.matching.delays import Differences, estimate_shift
from openhsi_shared.matching.states import State
from openhsi_shared.paths import given_path
from openhsi_shared.processes.at_exit import close_at_exit
from openhsi_shared.roi import profiles

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Recorder", "Unmatched"]

logger = safe_logger(__name__)


class Unmatched(NamedTuple):
    """Updates of a channel that are in no row."""

    n: int
    """Updates that never will be in one."""
    differences: Differences
    """Of its latest updates to those of the reference: histogram, the threshold that it suggests, a constant shift."""


class Recorder:
    """Records channels shot by shot: the last `maxlen` rows of updates that belong together.

    A row has one update of the reference, and of each other channel the one that is nearest to it in time, if it is
    nearest to that one, too, and at most `timestamp_threshold` s away; see `openhsi_shared.matching.rows`. Sources run
    in this process while the recorder runs. All methods may be called from any thread, also from slots of signals.

    Signals (psygnal; connect them as `recorder.filled.connect(function)`) are emitted outside of all locks, in the
    recorder's thread, those of saving in a thread of their own; for a Qt program connect with `thread="main"`.
    """

    started = Signal()
    """Channels are open."""
    finished = Signal()
    """It has stopped, and its last rows are there; also called `stopped`."""
    filled = Signal()
    """There are `maxlen` rows; once, and again after `clear`."""
    new_row = Signal(int)
    """The index of a row that has come; with `compat`, its place in the ring."""
    save_started = Signal(str)
    """The path of a save that begins."""
    saved = Signal(str)
    """The path of the file, which has its name."""
    save_failed = Signal(object)
    """The error of a save."""

    def __init__(
        self,
        channels: Mapping[str, Any] | None = None,
        maxlen: int = 1,
        matching_maxlen: int = 50,
        timestamp_threshold: float = 1 / 160,
        *,
        reference: str | None = None,
        match: Literal["time", "id"] = "time",
        settle_s: float = 0.5,
        compat: bool = False,
        id_mask: int | None = None,
        **more: Any,
    ) -> None:
        """`channels`, and further keywords, map a name to a Channel, to a text such as "pva:NAME", or an EPICS address
        to None (a scalar) or {"shape": [rows, columns], "threshold": 0.2, "expand": [20, 10]} (an image).

        `reference`: the channel that makes rows, default: the first. `matching_maxlen`: how many newer updates of it
        may wait before one is discarded. `settle_s`: a row that is complete is not changed any more after this time, so
        no update may arrive later than that after its partners. match="id" matches equal ids instead of times, those of
        the updates, or `time_ns & id_mask`, for pulse ids in the nanoseconds. `compat`: slots, counts, transposed
        images and numbers of the EPICS recorder, in the order of its ring. ArgumentError, UnknownKeyword.
        """
        if isinstance(maxlen, bool) or not isinstance(maxlen, int | np.integer) or maxlen < 1:
            raise ArgumentError(f"maxlen must be a whole number of rows > 0, got {maxlen!r}")
        self._inputs = row_inputs(channels, more, compat)
        names = [one.name for one in self._inputs]
        if reference is not None and reference not in names:
            raise ArgumentError(f"reference {reference!r} is no channel of this recorder; there are {', '.join(names)}")
        self.reference = reference or names[0]
        """Name of the channel that makes rows."""
        self._matching = RowMatching(
            names, self.reference, timestamp_threshold, int(matching_maxlen), match, settle_s, compat, id_mask
        )
        is_image = {column: one.image is not None for one in self._inputs for column in one.columns}
        self._store = RowStore(is_image, int(maxlen), compat)
        self._lock = threading.RLock()
        """Of rows and matching; no slot is called while it is held."""
        self._control = threading.RLock()
        """Of starting and stopping."""
        self._run: Run | None = None
        self._changed = threading.Condition()
        self.rate = Rates(*names)
        """Updates per second of each channel, a read-only mapping; "Total": rows per second."""
        self._clock = Clock()
        self._is_filled = False
        self._epoch = 0
        self._saver = RowsSaver(self.save_started.emit, self.saved.emit, self.save_failed.emit)
        self.data: LiveRows = LiveRows(self._store, self._lock)
        """The rows, which change while it runs; see `RowData`."""

    # ---- running ----

    def start(self) -> None:
        """Open the channels, and record. Idempotent. ChannelError, PackageMissing if one cannot be opened."""
        with self._control:
            if self.is_running:
                return
            self._clock = Clock()
            self._warm()
            calls = RunCalls(lambda: self._epoch, self._take, self._settle, self._begun, self._ended)
            run = Run(self._inputs, calls, previous=self._run)
            run.start(self.rate)
            self._run = run
            close_at_exit(self.stop)

    def stop(self) -> None:
        """Close the channels; rows stay. Idempotent. Blocks until the last rows are there, unless a slot calls it.

        Raises ChannelError if the recorder has failed since `start`.
        """
        with self._control:
            run = self._run
            if run is not None:
                run.close()
        if run is not None:
            run.join()
            failure, run.failure = run.failure, None
            if failure is not None:
                raise ChannelError(f"the recorder has stopped by a failure: {failure}") from failure

    def _warm(self) -> None:
        """Compile the sums of images before they come."""
        if any(one.image is not None for one in self._inputs):
            for dtype in ("uint8", "uint16", "int32", "float64"):
                profiles(np.zeros((1, 1), dtype))

    @property
    def is_running(self) -> bool:
        """Whether channels are open."""
        return self._run is not None and self._run.is_open

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it is full, or has stopped; False after `timeout` s."""
        with self._changed:
            return self._changed.wait_for(lambda: self.full or not self._is_busy, timeout)

    @property
    def _is_busy(self) -> bool:
        return self._run is not None and self._run.is_alive

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    # ---- rows ----

    @property
    def maxlen(self) -> int:
        """How many rows are kept."""
        return self._store.maxlen

    @property
    def full(self) -> bool:
        """Whether there are `maxlen` rows; older ones are replaced then."""
        return self._store.n_added >= self._store.maxlen

    @property
    def index(self) -> int:
        """Where in the ring the next row will be stored."""
        return self._store.n_added % self._store.maxlen

    def __len__(self) -> int:
        with self._lock:
            return self._store.n_stored if self._store.is_compat else self._store.n_rows

    def __bool__(self) -> bool:
        return True

    def clear(self) -> None:
        """Remove all rows, updates that wait for others, and counts; shifts stay. It goes on if it runs."""
        with self._lock:
            self._epoch += 1
            self._store.clear()
            self._matching.clear()
            self._is_filled = False
            for one in self._inputs:
                one.n_refused = one.n_squashed = 0

    def snapshot(self) -> RowData:
        """The rows as they are now, which do not change any more. Pixels are not copied."""
        with self._lock:
            return self._store.data(self._attributes())

    def to_dataset(self) -> "xr.Dataset":
        """The rows as an xarray Dataset; see `RowData.to_dataset`."""
        return self.snapshot().to_dataset()

    def save(self, path: str | Path) -> RowsHandle:
        """Save the rows that there are now as `path` (netCDF), in the background; read them by `read_rows`.

        Returns at once; saves are queued. A name that is taken gets a suffix: the handle's `result` has the path.
        NothingToSave if there are no rows.
        """
        found = given_path(path)
        data = self.snapshot()
        if data.n_rows == 0:
            raise NothingToSave(f"there are no rows to save as {found}")
        return self._saver.save(found, data)

    # ---- what did not match ----

    @property
    def unmatched(self) -> Mapping[str, Unmatched]:
        """Of each channel, how many updates are in no row, and how its times differ from those of the reference."""
        with self._lock:
            counts = self._matching.n_unmatched
            differences = {name: self._matching.differences(name) for name in counts}
        return MappingProxyType({name: Unmatched(n, differences[name]) for name, n in counts.items()})

    @property
    def refused(self) -> Mapping[str, int]:
        """Of each channel, how many updates could not be used: no numbers, INVALID, without an id."""
        return MappingProxyType({one.name: one.n_refused for one in self._inputs})

    @property
    def updates(self) -> Mapping[str, int]:
        """Of each channel, how many updates were matched or not: after `stop`, those in rows and those unmatched."""
        with self._lock:
            return MappingProxyType(self._matching.n_updates)

    @property
    def squashed(self) -> Mapping[str, int]:
        """Of each channel, how many updates did not arrive, as the ids of others show."""
        return MappingProxyType({one.name: one.n_squashed for one in self._inputs})

    @property
    def states(self) -> Mapping[str, State]:
        """State of each channel."""
        return MappingProxyType({one.name: one.state for one in self._inputs})

    @property
    def image_shapes(self) -> Mapping[str, tuple[int, int] | None]:
        """Of each image, rows and columns of the newest whole one; None before the first."""
        return MappingProxyType({one.name: one.image_shape for one in self._inputs if one.image is not None})

    @property
    def failure(self) -> BaseException | None:
        """What its thread has failed of; `stop` raises it once. None if it runs, or was stopped."""
        return None if self._run is None else self._run.failure

    @property
    def why(self) -> str:
        """Why no rows come, in words; empty if they do."""
        with self._lock:
            return self._matching.why(self.states)

    def shift(self, name: str, n: int) -> None:
        """Move the column `name` by n rows: row i has its value of row i - n. 0: not at all.

        It lasts until it is changed, also over `clear`, and is in what is saved. Rows without a partner are left out.
        ArgumentError for a column that there is not, or an `n` that is no whole number.
        """
        self._check_column(name)
        if isinstance(n, bool) or not isinstance(n, int | np.integer):
            raise ArgumentError(f"shift of {name!r} must be a whole number of rows, got {n!r}")
        with self._lock:
            self._store.shifts[name] = int(n)

    def estimate_shift(self, name: str, other: str, most: int = 10) -> int:
        """The n to hand to `shift(name, n)`, so that `name` correlates best with `other`, at most `most` rows away.

        Of an image, the row of its region's centre is compared. ArgumentError where nothing can be estimated.
        """
        self._check_column(name)
        self._check_column(other)
        with self._lock:
            shifts = {one: n for one, n in self._store.shifts.items() if one != name}
            columns = [self._numbers(one, shifts) for one in (name, other)]
        return estimate_shift(columns[0], columns[1], most)

    def _numbers(self, name: str, shifts: Mapping[str, int]) -> NDArray[np.float64]:
        centre = f"{name} centre"
        if centre in self._store.columns:
            return np.asarray(self._store.column(centre, shifts)["x"])
        return np.asarray(self._store.column(name, shifts), np.float64)

    def _check_column(self, name: str) -> None:
        columns = [column for one in self._inputs for column in one.columns]
        if name not in columns:
            raise ArgumentError(f"{name!r} is no column of this recorder; there are {', '.join(columns)}")

    def _attributes(self) -> dict[str, Any]:
        return {
            "reference": self.reference,
            "maxlen": self.maxlen,
            **self._matching.attributes,
            "shifts": {name: n for name, n in self._store.shifts.items() if n},
            "unmatched": self._matching.n_unmatched,
            "refused": {one.name: one.n_refused for one in self._inputs},
            "units": {column: unit for one in self._inputs for column, unit in one.units.items()},
            "sources": {one.name: one.channel.description for one in self._inputs},
        }

    # ---- in the recorder's thread ----

    def _take(self, update: Update) -> None:
        """Store the rows that an update completes, then tell of them."""
        source = self._inputs[update.place]
        if update.id < 0 and self._matching.needs_ids:
            source.refuse("it has no id")
            return
        value = source.accept(update.value, update.quality)
        if value is None:
            return
        time_ns = source.time_ns(update.time_ns, update.arrival_ns, self._clock)
        with self._lock:
            if update.epoch != self._epoch:
                return
            rows = self._matching.add(update.place, time_ns, update.id, value, update.arrival_ns)
            indices, is_filled = self._keep(rows)
        self._tell(indices, is_filled)

    def _settle(self, now_ns: int | None) -> None:
        """Store the rows that have settled; called a few times a second, and with None at the end."""
        with self._lock:
            rows = self._matching.finish() if now_ns is None else self._matching.settle(now_ns)
            indices, is_filled = self._keep(rows)
            warning = self._matching.warning(self.states)
        if warning:
            logger.warning("nothing has matched for 5 s: %s", warning)
        self._tell(indices, is_filled)

    def _keep(self, rows: list[FoundRow]) -> tuple[list[int], bool]:
        indices = []
        for time_ns, time_s, values in rows:
            columns: dict[str, Any] = {}
            for one, value in zip(self._inputs, values, strict=True):
                one.fill(columns, value)
            indices.append(self._store.add(time_ns, time_s, columns, len(self._inputs)))
            self.rate.tick()
        is_filled = bool(rows) and self.full and not self._is_filled
        self._is_filled |= is_filled
        return indices, is_filled

    def _tell(self, indices: list[int], is_filled: bool) -> None:
        for index in indices:
            self._emit(self.new_row, index)
        if is_filled:
            with self._changed:
                self._changed.notify_all()
            self._emit(self.filled)

    def _begun(self) -> None:
        self._emit(self.started)

    def _ended(self) -> None:
        with self._changed:
            self._changed.notify_all()
        self._emit(self.finished)

    @property
    def stopped(self) -> SignalInstance:
        """The signal `finished`."""
        return self.finished

    @staticmethod
    def _emit(signal: SignalInstance, *arguments: Any) -> None:
        try:
            signal.emit(*arguments)
        except Exception as error:
            logger.error("a slot of the signal %r failed: %s", signal.name, error, exc_info=error)
