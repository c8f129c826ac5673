"""A ring buffer of items in shared memory, without locks: one process puts, any number of processes read.

An item is the array of one `put`, most often a frame, flattened. It is stored after the previous one; at the end it
wraps around. `ring_memory` describes how torn copies are detected, `ring_file` what happens to the name when a process
dies.
"""

import itertools
import os
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import context, reduction
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from openhsi_shared.buffers.ring_file import RingFile
from openhsi_shared.buffers.ring_memory import Item, RingMemory, create_ring, release
from openhsi_shared.errors import ArgumentError, ClosedError, FrameError, FrameTimeout, OverrunError

__all__ = ["SharedRing"]

TIMEOUT_S = 0.5
MIN_SLEEP_S, MAX_SLEEP_S = 0.0002, 0.004


class SharedRing:
    """A named 1-D ring buffer in shared memory; the process that created it puts, all others read.

    Attach by name from any process, or pass it to a spawned child as an argument of its `Process`. A closed ring raises
    ClosedError; arrays that were obtained from it before stay readable.
    """

    def __init__(
        self, capacity_bytes: int | None, name: str | None = None, create: bool = False, dtype: DTypeLike = "uint16"
    ) -> None:
        """Create a ring for as many items of `dtype` as fit into `capacity_bytes`, or attach to the ring `name`.

        `name` None: a new ring generates one. Attaching compares size and type; `capacity_bytes` None accepts any size.
        ArgumentError for invalid arguments; RingExists, RingNotFound, MemoryShortage.
        """
        try:
            kind = np.dtype(dtype)
        except TypeError as error:
            raise ArgumentError(f"dtype must be a numeric type such as 'uint16', got {dtype!r}") from error
        if kind.kind not in "biufc" or not kind.isnative:
            raise ArgumentError(f"a ring holds numbers in native byte order, not {kind!r}")
        if not create and name is None:
            raise ArgumentError("attaching to a ring needs its name; to create a ring, pass create=True")
        if create:
            size = _whole_items(capacity_bytes, kind)
            self._attach(create_ring(name or f"ring-{os.urandom(4).hex()}", size, kind))
        else:
            self._attach(RingFile.open(str(name)))
            try:
                self._compare(None if capacity_bytes is None else _whole_items(capacity_bytes, kind), kind)
            except ArgumentError:
                self.close()
                raise

    def _attach(self, file: RingFile) -> None:
        memory = RingMemory(file)
        self.name = file.name
        self.dtype = memory.dtype
        """Type of an item."""
        self.size = memory.size
        """Capacity in items of `dtype`."""
        self._file = file
        self._memory: RingMemory | None = memory
        self._putting = threading.Lock()
        self._finalizer = weakref.finalize(self, release, file)  # a ring that was not closed leaves no file behind

    def _compare(self, size: int | None, kind: np.dtype[Any]) -> None:
        if kind != self.dtype:
            raise ArgumentError(
                f"the ring {self.name!r} holds {self.dtype}, not {kind}: pass dtype={str(self.dtype)!r}"
            )
        if size is not None and size != self.size:
            raise ArgumentError(
                f"the ring {self.name!r} has room for {self.size} items ({self.nbytes} bytes), not for {size}: "
                "pass that, or None"
            )

    def _open_memory(self) -> RingMemory:
        memory = self._memory
        if memory is None:
            raise ClosedError(f"the ring {self.name!r} is closed: attach to it again, or create another one")
        return memory

    @property
    def nbytes(self) -> int:
        """Capacity in bytes, rounded down to whole items."""
        return self.size * self.dtype.itemsize

    @property
    def shape(self) -> tuple[int]:
        """Shape as of an array."""
        return (self.size,)

    @property
    def n_put(self) -> int:
        """Number of items ever put: frames, not their pixels."""
        return self._open_memory().n_put

    @property
    def is_live(self) -> bool:
        """Whether its creator is alive and has not closed it: more items may follow."""
        return not self._open_memory().is_closed and self._file.is_creator_alive()

    # ---- in the process that created it ----

    def put(self, array: ArrayLike) -> tuple[int, int]:
        """Copy `array`, flattened, after the last item and return its indices: start (included), stop (excluded).

        Start is negative if the item reaches the end: it is then stored at the last `-start` indices and the first
        `stop`. Never waits for readers. FrameError if it is larger than the ring, or not of its type; ClosedError in
        any process but its creator.
        """
        memory = self._open_memory()
        if not self._file.is_creator:
            raise ClosedError(f"the ring {self.name!r} is read-only here: only the process that created it can put")
        values = np.asarray(array)
        if values.dtype != self.dtype:
            raise FrameError(f"the ring {self.name!r} holds {self.dtype}, not {values.dtype}: convert it first")
        if values.size > self.size:
            raise FrameError(
                f"{values.size} items ({values.nbytes} bytes) do not fit into the ring {self.name!r} of {self.size} "
                f"({self.nbytes} bytes): make it larger"
            )
        with self._putting:
            return memory.put(values)

    # ---- in every process ----

    def read(self, start: int, stop: int, patience_s: float = TIMEOUT_S) -> NDArray[Any]:
        """Copy the values from index `start` (negative: wraps around) to `stop`, as `put` returned them.

        Returns the current contents, if they are one item, a part of one, or several whole ones: never parts of two
        items. Retries while they are being overwritten. OverrunError if that does not end within `patience_s`, or if
        other items are stored there by now. ArgumentError for indices that do not exist, or are empty.
        """
        n = stop - start
        if not (-self.size <= start < self.size and 0 <= n <= self.size and stop <= self.size):
            raise ArgumentError(f"indices {start} to {stop} do not exist in the ring {self.name!r} of {self.size}")
        try:
            for _ in _retries(patience_s):
                data = self._open_memory().read(start, n)
                if data is not None:
                    return data
        except IndexError as error:
            raise ArgumentError(
                f"nothing has been put yet from {start} to {stop} in the ring {self.name!r}: read what `put` returned"
            ) from error
        except LookupError:
            pass
        raise OverrunError(
            f"indices {start} to {stop} of the ring {self.name!r} have been overwritten, at least in part: read them "
            f"sooner, or make the ring larger than {self.nbytes} bytes"
        )

    def latest(self, after: int = -1, patience_s: float = TIMEOUT_S) -> Item | None:
        """Copy the newest item; None unless its number is higher than `after`.

        Retries with the next item if it is overwritten meanwhile. OverrunError if that does not end within
        `patience_s`: a ring with a capacity of less than two items may never contain a whole one.
        """
        for _ in _retries(patience_s):
            memory = self._open_memory()
            newest = memory.n_put - 1
            if newest <= after:
                return None
            item = memory.item(newest)
            if item is not None:
                return item
        raise OverrunError(
            f"the newest item of the ring {self.name!r} is overwritten faster than it can be copied: make the ring "
            f"larger than {self.nbytes} bytes, with room for three items or more"
        )

    def follow(self, first: int | None = None, patience_s: float | None = None) -> Iterator[Item]:
        """Copy every item in order, waiting for the next one, until the creator of the ring closes it or dies.

        `first` is the number of the first item to return (0: all that are still there), None the next one put. A reader
        that is overrun continues with the oldest whole item, whose `missed` is the number of items lost. FrameTimeout
        if none is put for `patience_s`. OverrunError at the end if the last items were overwritten.
        """
        return self._follow(self.n_put if first is None else max(0, first), patience_s)

    def _follow(self, number: int, patience_s: float | None) -> Iterator[Item]:
        missed = 0
        while True:
            was_live = self.is_live  # before n_put, so that the last items are not missed
            while number < self.n_put:
                memory = self._open_memory()
                item = memory.item(number)
                if item is None:
                    oldest = memory.oldest(number + 1)
                    missed += oldest - number
                    number = oldest
                    continue
                number += 1
                yield replace(item, missed=missed)
                missed = 0
            if not was_live:
                break
            for _ in _retries(patience_s):
                if number < self.n_put or not self.is_live:
                    break
            else:
                raise FrameTimeout(f"nothing was put into the ring {self.name!r} for {patience_s} s: is it alive?")
        if missed:
            raise OverrunError(
                f"the last {missed} items of the ring {self.name!r} were overwritten before they could be read: "
                f"make it larger than {self.nbytes} bytes"
            )

    # ---- as an array ----

    def __getitem__(self, key: Any) -> Any:
        """Index like an array: a live, read-only view that changes with each `put`; `read` returns a consistent copy.

        `ring[start:stop]` also accepts the indices that `put` returned: with a negative start, where numpy would return
        nothing, it wraps around, and returns a copy.
        """
        memory = self._open_memory()
        if isinstance(key, slice) and key.step in (None, 1) and key.start is not None and key.stop is not None:
            start, stop = int(key.start), int(key.stop)
            if -self.size <= start < 0 <= stop <= self.size + start:
                return memory.copy(start, stop - start)
        return memory.values[key]

    def __len__(self) -> int:
        return self.size

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self[:], dtype) if copy else np.asarray(self[:], dtype)

    # ---- closing, pickling ----

    def close(self) -> None:
        """Close it; in the process that created it, mark the end for readers and free the name. Idempotent."""
        with self._putting:  # not during a put of another thread
            self._memory = None
            self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        self._open_memory()
        if context.get_spawning_popen() is not None and os.name != "nt":  # by descriptor: independent of the name
            return _unattached, (), (self.name, reduction.DupFd(self._file.descriptor))
        return SharedRing, (None, self.name, False, self.dtype.str)

    def __setstate__(self, state: tuple[str, Any]) -> None:
        """Attach, in a spawned child, to the ring that it was given."""
        name, descriptor = state
        self._attach(RingFile.adopt(name, descriptor.detach()))

    def __repr__(self) -> str:
        memory = self._memory
        state = "closed" if memory is None else f"{memory.n_put} put"
        return f"SharedRing({self.nbytes}, {self.name!r}, dtype={str(self.dtype)!r}: {state})"


def _whole_items(capacity_bytes: int | None, kind: np.dtype[Any]) -> int:
    if isinstance(capacity_bytes, bool) or not isinstance(capacity_bytes, int | np.integer):
        raise ArgumentError(f"capacity_bytes must be a whole number of bytes, got {capacity_bytes!r}")
    if capacity_bytes < kind.itemsize:
        raise ArgumentError(
            f"a ring of {capacity_bytes} bytes cannot hold one item of {kind}, which has {kind.itemsize} bytes"
        )
    return int(capacity_bytes) // kind.itemsize


def _unattached() -> SharedRing:
    """A ring without memory, for pickle."""
    return SharedRing.__new__(SharedRing)


def _retries(patience_s: float | None) -> Iterator[None]:
    """Yield at once, then after increasing sleeps, until the timeout; at least once."""
    end = None if patience_s is None else time.monotonic() + patience_s
    for attempt in itertools.count():
        yield
        if end is not None and time.monotonic() >= end:
            return
        time.sleep(min(MAX_SLEEP_S, MIN_SLEEP_S * 1.2 ** min(attempt, 99)))
