"""The loop of a worker: events of a batch go in, pickled results come out."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from openhsi_shared.analysis.contract import Pair, State, bound, constructing
from openhsi_shared.analysis.events import Event
from openhsi_shared.analysis.parameters import Parameters
from openhsi_shared.analysis.pickling import pickled
from openhsi_shared.analysis.streams.source import Read, Reader, Unreadable
from openhsi_shared.analysis.work.failures import failed, failure_of
from openhsi_shared.analysis.work.forking import ForkGuard
from openhsi_shared.analysis.work.messages import Batch, BatchResult, EventFailure
from openhsi_shared.analysis.work.overwriting import OverwrittenBehind
from openhsi_shared.errors import AnalysisError
from openhsi_shared.given_numbers import is_finite

__all__ = ["WorkerRunner", "end_work"]


class WorkerRunner:
    """A worker of the user, and the loop around it. For one thread.

    Whatever its code raises, SystemExit and KeyboardInterrupt included, is the failure of an event.
    """

    def __init__(
        self,
        pair: Pair,
        name: str,
        context: dict[Any, Any],
        parameters: Parameters,
        *,
        debug: bool = False,
        on_exception: Callable[[int, BaseException], None] | None = None,
    ) -> None:
        """Make the worker. AnalysisError if its constructor fails.

        `debug`: each event is overwritten behind the worker, and one that keeps a view of it fails. `on_exception` is
        called with the number of an event and what it raised, while that is handled.
        """
        self.name = name
        self.parameters = parameters
        self._context = context
        self._on_exception = on_exception
        self._last_number = -1
        self._forks = ForkGuard()
        try:
            self.worker = constructing(pair.worker)(parameters, context, State(name, pair.version))
            process = bound(self.worker, "process_event")
            if process is None:
                raise AnalysisError("it has no method process_event")
            self._call = process
            self._process = OverwrittenBehind(self._process_event) if debug else self._process_event
            self._get_tick_interval = bound(self.worker, "get_tick_interval")
            self.tick_interval_s = self._tick_interval()
        except BaseException as error:  # not swallowed: raised as ours
            raise failed(f"worker {pair.worker_name} cannot be made", error) from error

    def set_parameters(self, parameters: Parameters) -> None:
        """Use these from the next batch on."""
        self.parameters = parameters

    def process(self, batch: Batch, events: Iterable[Read]) -> BatchResult:
        """Process the events of a batch. What its reader does not deliver is a failure, too."""
        if batch.version != self.parameters.version:
            text = (
                f"batch {batch.number}: expected parameters of version {batch.version}, got {self.parameters.version}"
            )
            raise AnalysisError(text)
        began = time.perf_counter()
        results: list[tuple[int, bytes]] = []
        failures: list[EventFailure] = []
        overwritten: list[tuple[int, int]] = []
        self._process_events(batch, iter(events), results, failures, overwritten)
        try:
            self.tick_interval_s = self._tick_interval()
        except BaseException as error:  # noqa: BLE001 - not swallowed: counted, with its traceback
            self._add_failure(failures, self._last_number, error)
        is_new = not batch.is_repeated_for_state
        return BatchResult(
            number=batch.number,
            worker=self.name,
            version=batch.version,
            results=results if is_new else [],
            failures=failures if is_new else [],
            n_events=(len(batch.part) - len(overwritten)) * is_new,
            overwritten=overwritten if is_new else [],
            seconds=time.perf_counter() - began,
            tick_interval_s=self.tick_interval_s,
        )

    def _process_events(
        self,
        batch: Batch,
        events: Iterator[Read],
        results: list[tuple[int, bytes]],
        failures: list[EventFailure],
        overwritten: list[tuple[int, int]],
    ) -> None:
        process, parameters, tick, numbers = self._process, self.parameters, batch.tick, batch.part.numbers
        for k, due in enumerate(numbers.tolist()):
            try:
                event = next(events, None)
            except Exception as error:  # noqa: BLE001 - not swallowed: counted, with its traceback
                self._add_failure(failures, due, error)
                continue
            if event is None:
                failures += [
                    EventFailure(missing, "AnalysisError: it was not read", "") for missing in numbers[k:].tolist()
                ]
                break
            if not isinstance(event, Event):
                if isinstance(event, Unreadable):
                    self._add_failure(failures, event.event_number, event.error)
                else:
                    overwritten.append(event)
                continue
            self._last_number = number = event.event_number
            try:
                payload = process(event, parameters, tick == number)
                if payload is not None:
                    results.append((number, payload))
            except BaseException as error:  # noqa: BLE001 - not swallowed: counted, with its traceback
                self._add_failure(failures, number, error)
            self._forks.end_if_forked()

    def _process_event(self, event: Event, parameters: Parameters, tick: bool) -> bytes | None:
        payload = self._call(event, parameters, tick)
        return None if payload is None else pickled(payload)

    def flush(self) -> BatchResult | None:
        """End the events of the run: return the last result of the worker, if it has one, and let it finish.

        The result has the number of the last event that this worker got.
        """
        results: list[tuple[int, bytes]] = []
        failures: list[EventFailure] = []
        for name in ("flush", "finish"):
            try:
                method = bound(self.worker, name)
                payload = None if method is None else method(self.parameters)
                if payload is not None and name == "flush":
                    results.append((self._last_number, pickled(payload)))
            except BaseException as error:  # noqa: BLE001 - not swallowed: counted, with its traceback
                self._add_failure(failures, self._last_number, error)
        if not results and not failures:
            return None
        version = self.parameters.version
        return BatchResult(number=-1, worker=self.name, version=version, results=results, failures=failures)

    def close(self) -> None:
        """Close the worker, if it has `close`. AnalysisError if that fails."""
        try:
            close = bound(self.worker, "close")
            if close is not None:
                close(self._context)
        except BaseException as error:  # not swallowed: raised as ours
            raise failed(f"worker {self.name} cannot be closed", error) from error

    def _tick_interval(self) -> float | None:
        if self._get_tick_interval is None:
            return None
        interval_s = self._get_tick_interval(self.parameters)
        if not (is_finite(interval_s) and interval_s >= 0):
            raise AnalysisError(f"get_tick_interval returned {interval_s!r}: expected seconds, 0 or more")
        return float(interval_s)

    def _add_failure(self, failures: list[EventFailure], event_number: int, error: BaseException) -> None:
        if self._on_exception is not None:
            self._on_exception(event_number, error)
        failures.append(failure_of(event_number, error, is_first=not failures))


def end_work(runner: WorkerRunner | None, reader: Reader | None) -> None:
    """Close a worker, and its source in any case. AnalysisError if `close` of the worker raises."""
    try:
        if runner is not None:
            runner.close()
    finally:
        if reader is not None:
            reader.close()
