"""Samples of channels in shared memory: a ring for each channel, which one process fills and any process reads.

A ring stores, for each sample, the source's time, the time of arrival, an id, a quality and `n_values` numbers. The
writing process counts a sample as begun before, and as done after its stores. A reader copies samples that are done,
and then discards those that were begun again meanwhile: it never waits, and never gets a torn sample. Samples that were
overwritten are counted exactly. The memory has no name and no lock, as that of the slots.
"""

import json
import struct
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.fence import Fence
from openhsi_shared.buffers.memory import require_memory, shared_array
from openhsi_shared.buffers.times import Anchor, Clock, read_anchor
from openhsi_shared.errors import ArgumentError
from openhsi_shared.matching.states import State

__all__ = ["Counts", "Sample", "SampleLayout", "SampleMemory", "SampleRing", "SampleView", "Samples"]

N_STATES = 256
"""State changes that are kept of each channel."""
TEXT_BYTES = 4096
"""Size of what a source says of itself, as JSON."""
N_WORDS = 16
N_NUMBERS = 4
"""Whole numbers of a sample: time, arrival, id, quality."""
TRIES = 100


class _Word(IntEnum):
    """The control words of a ring. The process that fills it writes all but the last four."""

    N_BEGUN = 0
    N_DONE = 1
    N_REFUSED = 2
    N_SQUASHED = 3
    STATES_BEGUN = 4
    STATES_DONE = 5
    TEXT_SEQUENCE = 6
    """Odd while the text is written."""
    TEXT_LENGTH = 7
    SAVED_DELIVERED = 8
    """This word and the next two are `Counts` of the last saved file, written by the writer."""
    SAVED_REFUSED = 9
    SAVED_SQUASHED = 10
    SAVED_OVERWRITTEN = 11
    """Samples up to the last saved file that were overwritten before they were saved."""


class Counts(NamedTuple):
    """Samples of a channel since its memory was made."""

    delivered: int
    """Written into the ring; `delivered` of an older snapshot is the index of its next sample."""
    refused: int
    """Delivered by the source, and not usable."""
    squashed: int
    """Missing by the ids of the source."""


class Sample(NamedTuple):
    """One sample."""

    time_ns: int
    """The source's own time, UTC in ns since 1970; `UNKNOWN_TIME_NS` if it gave none."""
    arrival_ns: int
    """When it arrived: UTC in ns by the anchor of the memory."""
    id: int
    """-1 if the source gave none."""
    quality: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class Samples:
    """A copy of all samples of a channel that were not overwritten, oldest first; see `Sample`."""

    time_ns: NDArray[np.int64]
    arrival_ns: NDArray[np.int64]
    id: NDArray[np.int64]
    quality: NDArray[np.int64]
    values: NDArray[np.float64]
    """(n, n_values)"""
    first_index: int
    """Index of the first sample, from 0 on: the number of samples that were overwritten before."""
    counts: Counts
    states: tuple[tuple[int, State], ...]
    """State changes, oldest first: time (as `arrival_ns`) and new state; the last `N_STATES` of them."""
    description: Mapping[str, Any]
    """What the source says of itself."""
    anchor: Anchor
    """By which `arrival_ns` was converted from the monotonic clock."""

    def __len__(self) -> int:
        return len(self.time_ns)


@dataclass(frozen=True)
class SampleLayout:
    """Layout of the ring of one channel. ArgumentError for sizes that are no whole numbers > 0."""

    name: str
    n_values: int
    """Numbers of a sample."""
    capacity: int
    """Samples that the ring stores, before the oldest one is overwritten; 2 or more."""

    def __post_init__(self) -> None:
        for name, least in (("n_values", 1), ("capacity", 2)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise ArgumentError(f"channel {self.name!r}: {name} must be a whole number >= {least}, got {value!r}")

    @property
    def n_bytes(self) -> int:
        """Size in shared memory."""
        return 8 * (N_WORDS + self.capacity * (N_NUMBERS + self.n_values) + 2 * N_STATES) + TEXT_BYTES


@dataclass(frozen=True)
class SampleMemory:
    """The shared memory of all channels, which is passed to children when they are started, also to their children."""

    layouts: tuple[SampleLayout, ...]
    arrays: tuple[Any, ...]
    """One shared array of bytes for each layout."""
    anchor: Anchor
    """Converts the monotonic clock to `arrival_ns`, in all processes."""

    @classmethod
    def allocate(cls, layouts: Sequence[SampleLayout]) -> "SampleMemory":
        """Allocate and zero the rings. MemoryShortage, with figures, if they do not fit."""
        what = f"the samples of {len(layouts)} channels"
        require_memory(sum(layout.n_bytes for layout in layouts), what)
        arrays = tuple(shared_array("B", layout.n_bytes, what) for layout in layouts)
        return cls(tuple(layouts), arrays, read_anchor())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels."""
        return tuple(layout.name for layout in self.layouts)

    @property
    def clock(self) -> Clock:
        """Converts monotonic times to `arrival_ns`."""
        return Clock(self.anchor)

    def ring(self, name: str) -> "SampleRing":
        """The ring of channel `name`, for the one process that fills it."""
        which = self.names.index(name)
        return SampleRing(self.layouts[which], self.arrays[which])

    def view(self, name: str) -> "SampleView":
        """View the ring of channel `name`."""
        which = self.names.index(name)
        return SampleView(self.layouts[which], self.arrays[which], self.anchor)

    def views(self) -> "dict[str, SampleView]":
        """View all rings, by the names of the channels."""
        return {name: self.view(name) for name in self.names}


class _Parts:
    """The parts of a ring as memoryviews, which are three times as fast as arrays for single numbers."""

    def __init__(self, layout: SampleLayout, array: Any) -> None:
        numbers = memoryview(array).cast("B")
        n, n_words = layout.capacity, 8 * N_WORDS
        ends = np.cumsum([n_words, *[8 * n] * N_NUMBERS, 8 * n * layout.n_values, 16 * N_STATES, TEXT_BYTES]).tolist()
        parts = [numbers[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
        self.words, self.times, self.arrivals, self.ids, self.qualities = (part.cast("q") for part in parts[:5])
        self.values, self.states, self.text = parts[5], parts[6].cast("q"), parts[7]


class SampleRing:
    """Fills the ring of one channel. Only one process may do that, from any of its threads.

    A process that dies at any point leaves a ring that the next one continues.
    """

    def __init__(self, layout: SampleLayout, array: Any) -> None:
        self.layout = layout
        self._parts = _Parts(layout, array)
        self._lock, barrier = threading.Lock(), threading.Lock()
        self._release, self._acquire = barrier.release, barrier.acquire
        self._pack = struct.Struct(f"={layout.n_values}d").pack_into
        self._row, self._capacity = 8 * layout.n_values, int(layout.capacity)

    def put(self, time_ns: int, arrival_ns: int, id: int, quality: int, values: Sequence[float]) -> None:  # noqa: A002
        """Add a sample of `n_values` numbers; the oldest one is overwritten. Never blocks for another process.

        struct.error for another number of values or what is no number, OverflowError or TypeError for times, ids or
        qualities that are no int64; then nothing is added.
        """
        parts = self._parts
        words = parts.words
        with self._lock:
            index = words[_DONE]
            at = index % self._capacity
            words[_BEGUN] = index + 1  # before any other store: readers see that the oldest sample is overwritten
            self._acquire(False)  # it is held, unless Ctrl-C came between the next two
            self._release()  # earlier stores are visible before it,
            self._acquire()  # later ones after it: also on processors that reorder (ARM)
            self._pack(parts.values, at * self._row, *values)
            parts.times[at] = time_ns
            parts.arrivals[at] = arrival_ns
            parts.ids[at] = id
            parts.qualities[at] = quality
            self._release()
            self._acquire()
            words[_DONE] = index + 1  # last: the sample exists

    def note_state(self, arrival_ns: int, state: State) -> None:
        """Note that the state has changed."""
        words, states = self._parts.words, self._parts.states
        with self._lock:
            index = words[_Word.STATES_DONE]
            words[_Word.STATES_BEGUN] = index + 1
            self._fence()
            at = 2 * (index % N_STATES)
            states[at], states[at + 1] = arrival_ns, int(state)
            self._fence()
            words[_Word.STATES_DONE] = index + 1

    def refuse(self, n: int = 1) -> None:
        """Count `n` samples that could not be used."""
        with self._lock:
            self._parts.words[_Word.N_REFUSED] += n

    def squash(self, n: int) -> None:
        """Count `n` samples that are missing by their ids."""
        with self._lock:
            self._parts.words[_Word.N_SQUASHED] += n

    def describe(self, description: Mapping[str, Any]) -> None:
        """Replace what the source says of itself. ArgumentError for what is no JSON, or is longer than 4 KiB."""
        try:
            text = json.dumps(dict(description), ensure_ascii=False).encode()
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"channel {self.layout.name!r}: its description cannot be stored: {error}") from error
        if len(text) > TEXT_BYTES:
            raise ArgumentError(f"channel {self.layout.name!r}: its description has {len(text)} bytes, of {TEXT_BYTES}")
        words = self._parts.words
        with self._lock:
            words[_Word.TEXT_SEQUENCE] |= 1  # also after one that died while it wrote
            self._fence()
            self._parts.text[: len(text)] = text
            words[_Word.TEXT_LENGTH] = len(text)
            self._fence()
            words[_Word.TEXT_SEQUENCE] += 1

    def _fence(self) -> None:
        """Earlier stores are visible before later ones; only while the lock is held."""
        self._acquire(False)
        self._release()
        self._acquire()

    @property
    def counts(self) -> Counts:
        """Samples so far."""
        return _counts(self._parts.words)


class SampleView:
    """Reads the ring of one channel, in any process, without waiting."""

    def __init__(self, layout: SampleLayout, array: Any, anchor: Anchor) -> None:
        self.layout, self.anchor = layout, anchor
        self._parts = parts = _Parts(layout, array)
        self._fence = Fence()
        numbers = (parts.times, parts.arrivals, parts.ids, parts.qualities)
        self._numbers: list[NDArray[np.int64]] = [np.frombuffer(part, np.int64) for part in numbers]
        self._values: NDArray[np.float64] = np.frombuffer(parts.values, np.float64).reshape(-1, layout.n_values)
        self._states: NDArray[np.int64] = np.frombuffer(parts.states, np.int64).reshape(-1, 2)

    @property
    def counts(self) -> Counts:
        """Samples so far."""
        return _counts(self._parts.words)

    def snapshot(self, newest: int | None = None) -> Samples:
        """Copy all samples that are not overwritten meanwhile, or at most the `newest` of them."""
        counts = self.counts
        first = max(0, counts.delivered - self.layout.capacity)
        if newest is not None:
            first = max(first, counts.delivered - newest)
        begin, n = first % self.layout.capacity, counts.delivered - first
        until, from_front = begin + n, max(0, begin + n - self.layout.capacity)
        self._fence()
        times, arrivals, ids, qualities = (
            np.concatenate((numbers[begin:until], numbers[:from_front])) for numbers in self._numbers
        )
        values = np.concatenate((self._values[begin:until], self._values[:from_front]))
        self._fence()
        overtaken = self._parts.words[_BEGUN] - self.layout.capacity
        n_torn = min(max(0, overtaken - first), n)
        return Samples(
            time_ns=times[n_torn:],
            arrival_ns=arrivals[n_torn:],
            id=ids[n_torn:],
            quality=qualities[n_torn:],
            values=values[n_torn:],
            first_index=first + n_torn,
            counts=counts,
            states=self.states(),
            description=self.description(),
            anchor=self.anchor,
        )

    def newest(self) -> Sample | None:
        """The last sample; None before the first one."""
        for _ in range(TRIES):
            done = self._parts.words[_DONE]
            if not done:
                return None
            self._fence()
            at = (done - 1) % self.layout.capacity
            time_ns, arrival_ns, sample_id, quality = (int(numbers[at]) for numbers in self._numbers)
            values = tuple(self._values[at].tolist())
            self._fence()
            if self._parts.words[_BEGUN] - self.layout.capacity < done:
                return Sample(time_ns, arrival_ns, sample_id, quality, values)
        return None

    def states(self) -> tuple[tuple[int, State], ...]:
        """State changes, oldest first: time and new state; the last `N_STATES` of them."""
        words = self._parts.words
        done = words[_Word.STATES_DONE]
        first = max(0, done - N_STATES)
        self._fence()
        rows = self._states[np.arange(first, done) % N_STATES].tolist()
        self._fence()
        n_torn = max(0, words[_Word.STATES_BEGUN] - N_STATES - first)
        return tuple((time_ns, State(state)) for time_ns, state in rows[n_torn:])

    def state(self) -> State:
        """The state now; CONNECTING before the first one."""
        for _ in range(TRIES):
            done = self._parts.words[_Word.STATES_DONE]
            if not done:
                break
            self._fence()
            state = int(self._states[(done - 1) % N_STATES, 1])
            self._fence()
            if self._parts.words[_Word.STATES_BEGUN] - N_STATES < done:
                return State(state)
        return State.CONNECTING

    def description(self) -> dict[str, Any]:
        """What the source says of itself; empty before it has, and if it died while it wrote that."""
        words = self._parts.words
        for _ in range(TRIES):
            sequence = words[_Word.TEXT_SEQUENCE]
            self._fence()
            text = bytes(self._parts.text[: words[_Word.TEXT_LENGTH]])
            self._fence()
            if sequence % 2 == 0 and sequence == words[_Word.TEXT_SEQUENCE]:
                found: dict[str, Any] = json.loads(text) if text else {}
                return found
        return {}

    # ---- what files contain: only the writer ----

    def saved(self) -> Counts:
        """Counts up to the last file: what came later belongs to the next one."""
        return Counts(*self._parts.words[_Word.SAVED_DELIVERED : _Word.SAVED_SQUASHED + 1].tolist())

    def saved_overwritten(self) -> int:
        """Samples up to the last file that were overwritten before they were saved."""
        return int(self._parts.words[_Word.SAVED_OVERWRITTEN])

    def note_saved(self, counts: Counts, n_overwritten: int = 0) -> None:
        """Note that files contain the samples up to `counts`, but for `n_overwritten` ones since the beginning.

        Called by the writer, once a file is published.
        """
        for place, count in enumerate((*counts, n_overwritten), _Word.SAVED_DELIVERED):
            self._parts.words[place] = count


_BEGUN, _DONE = int(_Word.N_BEGUN), int(_Word.N_DONE)  # an index that is an enum costs 0.2 us


def _counts(words: Any) -> Counts:
    return Counts(words[_DONE], words[_Word.N_REFUSED], words[_Word.N_SQUASHED])
