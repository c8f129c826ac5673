"""A ring of items in shared memory: one process puts, any number look, and nobody waits for anybody.

An item is whatever is put at once, most often a frame, flattened. It lies behind the one before it; where the end is
reached, it goes on at the beginning. `ring_memory` says how torn copies are told from whole ones, `ring_file` what
becomes of the name when somebody dies.
"""

import itertools
import os
import secrets
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
from openhsi_shared.buffers.ring_memory import Item, RingMemory, let_go, make_ring
from openhsi_shared.errors import ArgumentError, ClosedError, FrameError, FrameTimeout, OverrunError

__all__ = ["Item", "SharedRing"]

PATIENCE_S = 0.5
SHORTEST_NAP_S, LONGEST_NAP_S = 0.0002, 0.004


class SharedRing:
    """A 1-D ring buffer in shared memory, with a name; its maker puts, everybody else looks.

    Attach by name from any process, or hand it to a spawned child as an argument of its `Process`. A ring that is
    closed raises ClosedError; arrays that were taken from it before stay readable.
    """

    def __init__(
        self, capacity_bytes: int | None, name: str | None = None, create: bool = False, dtype: DTypeLike = "uint16"
    ) -> None:
        """Make a ring of as many whole items of `dtype` as `capacity_bytes` hold, or attach to the one called `name`.

        `name` None: a new one makes up its own. Attaching compares size and type; `capacity_bytes` None takes any size.
        ArgumentError for what makes no ring; RingExists, RingNotFound, MemoryShortage.
        """
        try:
            kind = np.dtype(dtype)
        except TypeError as error:
            raise ArgumentError(f"dtype must be a type of numbers such as 'uint16', got {dtype!r}") from error
        if kind.kind not in "biufc" or not kind.isnative:
            raise ArgumentError(f"a ring holds numbers in the order of this machine's bytes, not {kind!r}")
        if not create and name is None:
            raise ArgumentError("a ring to attach to needs its name; to make a new one, say create=True")
        if create:
            size = _whole_items(capacity_bytes, kind)
            self._attach(make_ring(name or f"ring-{secrets.token_hex(4)}", size, kind))
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
        """How many items of `dtype` fit."""
        self._file = file
        self._memory: RingMemory | None = memory
        self._putting = threading.Lock()
        self._finalizer = weakref.finalize(self, let_go, file)  # a ring that nobody closed leaves no file behind

    def _compare(self, size: int | None, kind: np.dtype[Any]) -> None:
        if kind != self.dtype:
            raise ArgumentError(f"the ring {self.name!r} holds {self.dtype}, not {kind}: say dtype={str(self.dtype)!r}")
        if size is not None and size != self.size:
            raise ArgumentError(
                f"the ring {self.name!r} has room for {self.size} items ({self.nbytes} bytes), not for {size}: "
                "say that, or None"
            )

    def _open_memory(self) -> RingMemory:
        memory = self._memory
        if memory is None:
            raise ClosedError(f"the ring {self.name!r} is closed")
        return memory

    @property
    def nbytes(self) -> int:
        """Its capacity, rounded down to whole items."""
        return self.size * self.dtype.itemsize

    @property
    def shape(self) -> tuple[int]:
        """As of an array."""
        return (self.size,)

    @property
    def n_put(self) -> int:
        """How many items were ever put: frames, not their pixels."""
        return self._open_memory().n_put

    @property
    def is_live(self) -> bool:
        """Whether its maker lives and has not closed it: something may still come."""
        return not self._open_memory().is_closed and self._file.maker_lives()

    # ---- the maker ----

    def put(self, array: ArrayLike) -> tuple[int, int]:
        """Copy `array`, flattened, behind the last one and return its place: start (included), stop (excluded).

        Start is negative if it reaches the end: the item then lies in the last `-start` places and in the first `stop`.
        Never waits for readers. FrameError if it is larger than the ring, or not of its type; ClosedError in any
        process but its maker's.
        """
        memory = self._open_memory()
        if not self._file.is_mine:
            raise ClosedError(f"the ring {self.name!r} is read-only here: only the process that made it can put")
        given = np.asarray(array)
        if given.dtype != self.dtype:
            raise FrameError(f"the ring {self.name!r} holds {self.dtype}, not {given.dtype}: convert it first")
        if given.size > self.size:
            raise FrameError(
                f"{given.size} items ({given.nbytes} bytes) do not fit into the ring {self.name!r} of {self.size} "
                f"({self.nbytes} bytes): make it larger"
            )
        with self._putting:
            return memory.put(given)

    # ---- everybody ----

    def read(self, start: int, stop: int, patience_s: float = PATIENCE_S) -> NDArray[Any]:
        """Copy the places from `start` (negative: it goes over the end) to `stop`, as `put` returned them.

        What lies there now is given, if it is one item, a part of one, or several whole ones: never half of one and
        half of another. If it is just being changed, it is read again. OverrunError if that does not end within
        `patience_s`, or if something else lies there by now. ArgumentError for places that do not exist, or are empty.
        """
        n = stop - start
        if not (-self.size <= start < self.size and 0 <= n <= self.size and stop <= self.size):
            raise ArgumentError(f"places {start} to {stop} do not exist in the ring {self.name!r} of {self.size}")
        try:
            for _ in _naps(patience_s):
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
            f"places {start} to {stop} of the ring {self.name!r} have been overwritten, at least in part: read them "
            f"sooner, or make the ring larger than {self.nbytes} bytes"
        )

    def latest(self, after: int = -1, patience_s: float = PATIENCE_S) -> Item | None:
        """Copy the newest item; None if there is none with a higher number than `after`.

        If it is overwritten meanwhile, the next one is taken. OverrunError if that does not end within `patience_s`: in
        a ring with room for less than two items, there may never be a whole one.
        """
        for _ in _naps(patience_s):
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
        """Copy every item in order, waiting for the next one, until the ring is closed by its maker, or he is dead.

        `first` is the number of the first one wanted (0: as many as are still there), None the next that is put. Who
        is lapped goes on with the oldest that is whole, and finds in `missed` how many are gone. FrameTimeout if none
        comes for `patience_s`. OverrunError at the end if the last ones could not be had.
        """
        return self._follow(self.n_put if first is None else max(0, first), patience_s)

    def _follow(self, number: int, patience_s: float | None) -> Iterator[Item]:
        missed = 0
        while True:
            was_live = self.is_live  # asked first: what was put last is not forgotten
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
            for _ in _naps(patience_s):
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
        """Look at places as in an array: live and read-only. They change while you look; `read` gives a whole copy.

        `ring[start:stop]` also takes what `put` returned: with a negative start, where numpy would find nothing, it
        goes over the end, and gives a copy.
        """
        memory = self._open_memory()
        if isinstance(key, slice) and key.step in (None, 1) and key.start is not None and key.stop is not None:
            start, stop = int(key.start), int(key.stop)
            if -self.size <= start < 0 <= stop <= self.size + start:
                return memory.copy(start, stop - start)
        return memory.places[key]

    def __len__(self) -> int:
        return self.size

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self[:], dtype) if copy else np.asarray(self[:], dtype)

    # ---- its life ----

    def close(self) -> None:
        """Let it go; by its maker: nothing more will come, and its name is free. Twice is once."""
        with self._putting:  # not under the hands of another thread that puts
            self._memory = None
            self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        self._open_memory()
        if context.get_spawning_popen() is not None and os.name != "nt":  # by descriptor: it need not find the name
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
            f"a ring of {capacity_bytes} bytes cannot hold one item of {kind}, which has {kind.itemsize}"
        )
    return int(capacity_bytes) // kind.itemsize


def _unattached() -> SharedRing:
    """A ring without memory, for pickle."""
    return SharedRing.__new__(SharedRing)


def _naps(patience_s: float | None) -> Iterator[None]:
    """Go on at once, then after naps that become longer, until patience is at its end; once at least."""
    end = None if patience_s is None else time.monotonic() + patience_s
    for attempt in itertools.count():
        yield
        if end is not None and time.monotonic() >= end:
            return
        time.sleep(min(LONGEST_NAP_S, SHORTEST_NAP_S * 1.2 ** min(attempt, 99)))
