"""The loop of a reducer: results go in, each batch once; `publish` comes out."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from openhsi_shared.analysis.contract import Pair, State, bound, constructing
from openhsi_shared.analysis.parameters import Parameters
from openhsi_shared.analysis.pickling import unpickled
from openhsi_shared.analysis.work.failures import failed, failure_of
from openhsi_shared.analysis.work.forking import ForkGuard
from openhsi_shared.analysis.work.messages import BatchResult, EventFailure
from openhsi_shared.errors import AnalysisError
from openhsi_shared.given_numbers import is_finite
from openhsi_shared.loggers import safe_logger

__all__ = ["ReduceRunner", "ResultData"]

logger = safe_logger(__name__)

DEFAULT_TIMER_S = 1.0
"""Until the next call of a timer that returned nothing, or failed: as in dranspose."""


@dataclass(slots=True, eq=False)
class ResultData:
    """What `process_result` is given; as in dranspose (`dranspose.event.ResultData`)."""

    event_number: int
    worker: str
    payload: Any
    parameters_hash: str


class ReduceRunner:
    """A reducer of the user, and the loop around it. All but `publish` and `lock` for one thread.

    Batches are numbered without gaps; each arrives, those that failed too, with whatever they have. One that arrives
    again is dropped. With `ordered`, results wait until all batches before theirs have arrived.
    """

    def __init__(self, pair: Pair, context: dict[Any, Any], parameters: Parameters, ordered: bool = False) -> None:
        """Make the reducer. AnalysisError if its constructor fails."""
        self.parameters = parameters
        self.n_results = 0
        """Delivered."""
        self.reducer: Any = None
        self._name = pair.reducer_name
        self._context = context
        self._ordered = ordered
        self._next = 0
        self._ahead: dict[int, tuple[BatchResult, Parameters] | None] = {}
        self._timer_due = time.monotonic()
        self._is_finished = False
        self._forks = ForkGuard()
        self._process: Callable[..., Any] | None = None
        self._timer: Callable[..., Any] | None = None
        if pair.reducer is not None:
            try:
                state = State("reducer", pair.version)
                self.reducer = constructing(pair.reducer)(parameters, context, state)
                self._process = bound(self.reducer, "process_result")
                self._timer = bound(self.reducer, "timer")
            except BaseException as error:  # not swallowed: raised as ours
                raise failed(f"reducer {pair.reducer_name} cannot be made", error) from error
        theirs = getattr(self.reducer, "publish_rlock", None)
        self.lock: AbstractContextManager[Any] = threading.RLock() if theirs is None else theirs
        """Hold it while reading `publish`: `publish_rlock` of the reducer, else one that is held while it works."""
        self._while_working = self.lock if theirs is None else nullcontext()

    @property
    def publish(self) -> Mapping[Any, Any]:
        """What the reducer publishes; empty without `publish`. AnalysisError if that is code of the user that fails."""
        try:
            published = getattr(self.reducer, "publish", None)
        except BaseException as error:  # not swallowed: raised as ours
            raise failed(f"publish of the reducer {self._name} failed", error) from error
        return {} if published is None else published

    def set_parameters(self, parameters: Parameters) -> None:
        """Let `timer` and `finish` get these, if they are newer."""
        if parameters.version > self.parameters.version:
            self.parameters = parameters

    def take(self, batch: BatchResult, parameters: Parameters) -> list[EventFailure]:
        """Deliver the results of a batch; return those for which the reducer raised, or that cannot be unpickled.

        `parameters` are those of the version of the batch.
        """
        self.set_parameters(parameters)
        if batch.number < 0:
            return self._deliver(batch, parameters)
        if batch.number < self._next or batch.number in self._ahead:
            return []
        failures: list[EventFailure] = []
        if not self._ordered:
            failures = self._deliver(batch, parameters)
        self._ahead[batch.number] = (batch, parameters) if self._ordered else None
        while self._next in self._ahead:
            due = self._ahead.pop(self._next)
            self._next += 1
            if due is not None:
                failures += self._deliver(*due)
        return failures

    def seconds_until_timer(self) -> float | None:
        """Seconds until `run_timer` is due, 0 or more; None without a timer."""
        if self._timer is None or self._is_finished:
            return None
        return max(0.0, self._timer_due - time.monotonic())

    def run_timer(self) -> EventFailure | None:
        """Call `timer`; return what it raised, with the event number -1."""
        delay_s: Any = DEFAULT_TIMER_S
        failure = None
        try:
            with self._while_working:
                returned = self._timer(self.parameters)  # type: ignore[misc] # called only if there is one
            delay_s = DEFAULT_TIMER_S if returned is None else returned
            if not is_finite(delay_s):
                raise AnalysisError(f"timer returned {returned!r}: expected seconds until its next call")
        except BaseException as error:  # noqa: BLE001 - not swallowed: returned
            delay_s, failure = DEFAULT_TIMER_S, failure_of(-1, error)
        self._timer_due = time.monotonic() + float(delay_s)
        return failure

    def finish(self, failed_by: BaseException | None = None) -> list[EventFailure]:
        """Deliver what waits, then call `finish`, once; `failed_by` is what ended the run early.

        Returns failures as `take` does. AnalysisError if `finish` raises. Idempotent.
        """
        if self._is_finished:
            return []
        self._is_finished = True
        failures: list[EventFailure] = []
        for number in sorted(self._ahead):
            waiting = self._ahead.pop(number)
            if waiting is not None:
                failures += self._deliver(*waiting)
        if failed_by is not None:
            logger.warning("%s finishes although the run failed: its result is incomplete (%s)", self._name, failed_by)
        method = bound(self.reducer, "finish") if self.reducer is not None else None
        if method is not None:
            try:
                with self._while_working:
                    method(self.parameters)
            except BaseException as error:  # not swallowed: raised as ours
                raise failed(f"finish of the reducer {self._name} failed", error) from error
        return failures

    def close(self) -> None:
        """Close the reducer, if it has `close`. AnalysisError if that fails."""
        method = bound(self.reducer, "close") if self.reducer is not None else None
        if method is not None:
            try:
                method(self._context)
            except BaseException as error:  # not swallowed: raised as ours
                raise failed(f"reducer {self._name} cannot be closed", error) from error

    def _deliver(self, batch: BatchResult, parameters: Parameters) -> list[EventFailure]:
        failures: list[EventFailure] = []
        if self._process is None:
            return []
        for event_number, payload in batch.results:
            try:
                result = ResultData(event_number, batch.worker, unpickled(payload), parameters.hash)
                with self._while_working:
                    self._process(result, parameters)
                self.n_results += 1
            except BaseException as error:  # noqa: BLE001 - not swallowed: returned
                failures.append(failure_of(event_number, error, is_first=not failures))
            self._forks.end_if_forked()
        return failures
