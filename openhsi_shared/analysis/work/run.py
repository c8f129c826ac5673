"""One run over a source that ends: its batches go to workers, their results to the reducer, in the order of events."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from openhsi_shared.analysis.contract import Pair
from openhsi_shared.analysis.parameter_log import ParameterLog
from openhsi_shared.analysis.parameters import Parameters
from openhsi_shared.analysis.streams.source import Ranges
from openhsi_shared.analysis.work.batches import Batches
from openhsi_shared.analysis.work.failure_log import FailureLog, error_of
from openhsi_shared.analysis.work.in_process import Workers
from openhsi_shared.analysis.work.messages import Batch, BatchResult, EventFailure
from openhsi_shared.analysis.work.reduce import ReduceRunner
from openhsi_shared.analysis.work.workers import SumsLost
from openhsi_shared.errors import CaptureError

__all__ = ["Run", "Shuffle"]

OnError = Literal["raise", "log"]

TICK_LAG = 256
"""What a worker wants of ticks holds so many batches later: else it depended on the speed of the others."""
PER_WORKER = 4
"""Batches that are given to workers, and whose results are not yet reduced, for each of them."""
SHUFFLED = 8
"""Batches whose results are shuffled among each other."""
INTERVAL_S = 0.25


class Shuffle:
    """Assignment of batches and order of their results, at random but repeatable."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._group: list[BatchResult] = []

    def worker(self, n_workers: int) -> int:
        """Who gets the next batch."""
        return int(self._random.integers(n_workers))

    def add(self, result: BatchResult, is_last: bool) -> list[BatchResult]:
        """Return what is to be reduced now. `is_last`: nothing after it may come before it."""
        self._group.append(result)
        return self.rest() if is_last or len(self._group) == SHUFFLED else []

    def rest(self) -> list[BatchResult]:
        """Return all that was kept, in another order, also within batches."""
        group, self._group = self._group, []
        return [self._shuffled(group[k]) for k in self._random.permutation(len(group))]

    def _shuffled(self, result: BatchResult) -> BatchResult:
        order = self._random.permutation(len(result.results))
        return replace(result, results=[result.results[k] for k in order])


@dataclass(kw_only=True, eq=False)
class Run:
    """A run of `n_workers` workers. `run` is for one thread, `set_parameter` for any."""

    pair: Pair
    ranges: Ranges
    workers: Workers
    reducer: ReduceRunner
    log: ParameterLog
    n_workers: int
    size: int
    """Events in a batch, at most."""
    on_error: OnError = "raise"
    shuffle: Shuffle | None = None
    is_stopped: Callable[[], bool] = lambda: False
    """Whether to take no more events: those that workers have are finished."""
    on_progress: Callable[[int], object] = lambda _n: None
    """Called with the number of events done since it was called last."""
    n_events: int = 0
    failures: FailureLog = field(default_factory=FailureLog)

    def __post_init__(self) -> None:
        self._changing = threading.Lock()
        self._batches = Batches(self.ranges, size=self.size, next_change=self.log.next_change)
        self._given: dict[int, Batch] = {}
        self._arrived: dict[int, BatchResult] = {}
        self._intervals: dict[int, float | None] = {}
        self._flushed: list[BatchResult] = []
        self._next = 0

    def set_parameter(self, name: str, value: object) -> tuple[int, np.datetime64, Parameters]:
        """Let a value hold from the next event on that no worker has yet; return its number, and the time now."""
        with self._changing:
            parameters = self.log.change(name, value, self._batches.next_event)
            self.workers.set_parameters(parameters)
            change = self.log.changes[-1]
        return change.event_number, change.time, parameters

    def run(self) -> None:
        """Process all events, and flush the workers; `finish` of the reducer is left to the caller. Blocks.

        CaptureError after all whole events of a source that is cut, AnalysisError for an event that fails.
        """
        for change in range(1, len(self.log.changes) + 1):
            self.workers.set_parameters(self.log.at(change))
        self.workers.wait_ready()
        self._interval_s = self.workers.tick_interval_s
        cut: list[CaptureError] = []
        while not (self._batches.is_ended or self.is_stopped()):
            try:
                self._give()
            except CaptureError as error:
                cut.append(error)
                break
            self._collect()
        self._collect_all()
        if self.shuffle is not None:
            for result in self.shuffle.rest():
                self._reduce(result)
        self.workers.flush()
        self._collect_all()
        for result in sorted(self._flushed, key=_place):
            self._reduce(result)
        self.failures.end()
        if cut:
            raise cut[0]

    def _give(self) -> None:
        """Give workers as many batches as they may have."""
        while not self._batches.is_ended and self._batches.n_batches - self._next < self._window:
            with self._changing:
                k = self._batches.n_batches
                self._interval_s = self._intervals.pop(k - TICK_LAG, self._interval_s)
                self._batches.tick_interval_s = self._interval_s
                batch = self._batches.next(self.log.version_for)
            if batch is None:
                return
            self._given[batch.number] = batch
            chosen = batch.number % self.n_workers if self.shuffle is None else self.shuffle.worker(self.n_workers)
            self.workers.submit(batch, chosen)

    @property
    def _window(self) -> int:
        return min(PER_WORKER * self.n_workers, TICK_LAG)

    def _collect_all(self) -> None:
        while self.workers.n_waiting:
            self._collect()

    def _collect(self) -> None:
        """Wait for results, and reduce those that are next."""
        until_timer_s = self.reducer.seconds_until_timer()
        if until_timer_s == 0:
            failure = self.reducer.run_timer()
            if failure is not None:
                self.fail([failure], self.pair.reducer_name)
        for result in self.workers.wait(INTERVAL_S if until_timer_s is None else min(INTERVAL_S, until_timer_s)):
            if isinstance(result, SumsLost):
                failure = EventFailure(
                    result.first, f"{result.error}; its sums of {result.n_events} events are lost", ""
                )
                self.fail([failure], self.pair.worker_name)
                self.failures.n_failed += result.n_events - 1
            elif result.number < 0:
                self._flushed.append(result)
            else:
                self._arrived[result.number] = result
        while (due := self._arrived.pop(self._next, None)) is not None:
            self._next += 1
            self._intervals[due.number] = due.tick_interval_s
            batch = self._given.pop(due.number)
            self._batches.release(batch)
            for each in [due] if self.shuffle is None else self.shuffle.add(due, batch.part.is_for_all):
                self._reduce(each)

    def _reduce(self, result: BatchResult) -> None:
        failures = result.failures
        if failures and self.on_error == "raise":
            first = failures[0].event_number
            result = replace(result, results=[one for one in result.results if one[0] < first])
        raised = self.reducer.take(result, self.log.at(result.version))
        self.fail(raised, self.pair.reducer_name)
        self.fail(failures, self.pair.worker_name)
        self.n_events += result.n_events
        self.on_progress(result.n_events)

    def fail(self, failures: list[EventFailure], who: str | None) -> None:
        """Raise for the first failure of the class `who`, or count and log them: see `on_error`."""
        if failures and self.on_error == "raise":
            self.failures.n_failed += 1
            raise error_of(failures[0], str(who))
        self.failures.add(failures, str(who))


def _place(result: BatchResult) -> tuple[int, str]:
    """Sorts results by their workers: worker2 before worker10."""
    return len(result.worker.partition("-")[0]), result.worker
