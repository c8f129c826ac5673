"""Worker processes of an analysis: who does which batch, and what happens when one dies or hangs."""

import logging
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from typing import Any, NamedTuple

from openhsi_shared.analysis.contract import Pair
from openhsi_shared.analysis.parameters import Parameters
from openhsi_shared.analysis.streams.source import Source
from openhsi_shared.analysis.work.messages import Batch, BatchResult, EventFailure
from openhsi_shared.analysis.work.worker_process import Begin, Flush, Ready, Refused, start_worker
from openhsi_shared.errors import AnalysisError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.liveness import GONE
from openhsi_shared.processes.supervision import GuardedThread
from openhsi_shared.processes.workers import how_it_ended

__all__ = ["PATIENCE_S", "Crew", "SumsLost"]

logger = safe_logger(__name__)

PATIENCE_S = 60.0
START_TIMEOUT_S = 300.0
"""To be made: a constructor may read large tables, on a machine that is overloaded."""
END_TIMEOUT_S = 5.0
"""For `close` of a worker."""
MAX_DEATHS = 3
IN_FLIGHT = 2
"""Batches that a worker has, so that it need not wait for the next one."""
POLL_INTERVAL_S = 0.25


class SumsLost(NamedTuple):
    """A worker died that sums up, and what it has summed is not done again."""

    worker: str
    n_events: int
    """That were processed, and are in no result."""
    first: int
    last: int
    """Numbers of the first and the last one."""
    error: str


@dataclass(eq=False)
class _Worker:
    """One place in the crew, and the process that has it now."""

    index: int
    name: str = ""
    child: Child | None = None
    is_ready: bool = False
    n_started: int = 0
    n_failed_starts: int = 0
    tasks: deque[Batch | Flush] = field(default_factory=deque)
    """What it has to do; the first `n_sent` were sent."""
    n_sent: int = 0
    version: int = 0
    """Of the parameters that it has."""
    waiting_since: float = 0.0
    """When the task that it works on was sent, or its start."""
    done: list[Batch] = field(default_factory=list)
    """What a process that replaces it must do again: first events of streams, and what it has summed."""
    summed: list[int] = field(default_factory=list)
    """Number of events in sums that would be lost, and the first and the last of them."""


class Crew:
    """Worker processes. For one thread.

    A worker that dies or hangs is replaced, and gets its batches again. A batch that three die of is failed. The first
    event of a stream goes to each worker, and its results, those of one worker, come before those of later batches.
    """

    def __init__(
        self,
        pair: Pair,
        source: Source,
        n: int,
        context: dict[Any, Any],
        parameters: Parameters,
        *,
        patience_s: float = PATIENCE_S,
        niceness: int = 0,
        debug: bool = False,
        redo_sums: bool = False,
    ) -> None:
        """Start `n` workers; returns before they are ready.

        `patience_s`: a worker hangs that works on a batch for longer. `redo_sums`: if a worker dies that has `flush`,
        all its batches are done again, as their source can be read again; else see `SumsLost`.
        """
        self._context, self._patience_s, self._niceness, self._redo_sums = context, patience_s, niceness, redo_sums
        self._workers = [_Worker(index) for index in range(n)]
        self.n_replaced = 0
        """Workers that died or hung, in all runs."""
        self._begin(pair, source, parameters, debug)

    def begin(self, pair: Pair, source: Source, parameters: Parameters, *, debug: bool = False) -> None:
        """Begin another run with the same processes, whose `context` survives. The one before must be done."""
        self._begin(pair, source, parameters, debug)

    def _begin(self, pair: Pair, source: Source, parameters: Parameters, debug: bool) -> None:
        self._begin_message = Begin(
            pair=pair, source=None if source.is_live else source, name="", parameters=parameters, debug=debug
        )
        self._live = source if source.is_live else None
        self._sums = callable(getattr(pair.worker, "flush", None))
        self._versions = {parameters.version: parameters}
        self._newest = parameters.version
        self._deaths: Counter[int] = Counter()
        self._of_all: dict[int, dict[int, BatchResult | None]] = {}
        """By number of a batch for all: what each worker answered."""
        self._after: list[BatchResult] = []
        """Results that wait for those of a batch for all before them."""
        self._found: list[BatchResult | SumsLost] = []
        self.tick_interval_s: float | None = None
        """What the newest worker said when it was made."""
        for worker in self._workers:
            worker.done.clear()
            worker.summed.clear()
            worker.n_failed_starts = 0
            self._start(worker)

    # ---- what is to be done ----

    def set_parameters(self, parameters: Parameters) -> None:
        """Make the values of a version known, before its first batch. Workers get them with that."""
        self._versions[parameters.version] = parameters
        self._newest = parameters.version

    def submit(self, batch: Batch, worker: int | None = None) -> None:
        """Let a worker process a batch: this one, or who has the least to do. Never blocks for long."""
        if batch.part.is_for_all:
            self._of_all[batch.number] = {}
            chosen = self._workers
        else:
            chosen = [min(self._workers, key=lambda one: len(one.tasks)) if worker is None else self._workers[worker]]
        for one in chosen:
            one.tasks.append(batch)
            self._send_tasks(one)

    def flush(self) -> None:
        """Let each worker end its run, after its batches; their last results have the number -1."""
        for one in self._workers:
            one.tasks.append(Flush(self._newest))
            self._send_tasks(one)

    @property
    def n_waiting(self) -> int:
        """Tasks that are not done."""
        return sum(len(one.tasks) for one in self._workers)

    @property
    def n_free(self) -> int:
        """Batches that can be submitted without waiting for others longer than for the one that a worker works on."""
        return sum(max(0, IN_FLIGHT - len(one.tasks)) for one in self._workers)

    @property
    def is_ready(self) -> bool:
        """Whether all workers are made."""
        return all(one.is_ready for one in self._workers)

    @property
    def workers(self) -> Mapping[str, int | None]:
        """Names of the workers, and the ids of their processes."""
        return {one.name: None if one.child is None else one.child.pid for one in self._workers}

    @property
    def waitables(self) -> list[Any]:
        """Objects for `multiprocessing.connection.wait`: if one is ready, call `wait(0)`; at least every 0.25 s."""
        return [each for one in self._workers if one.child is not None for each in one.child.waitables]

    def wait(self, timeout_s: float) -> list[BatchResult | SumsLost]:
        """Return what was done, failed batches included: at once if there is something, else after the timeout.

        AnalysisError if a worker cannot be made.
        """
        end = time.monotonic() + timeout_s
        self._receive()
        while not self._found and (left := end - time.monotonic()) > 0 and (self.n_waiting or not self.is_ready):
            wait(self.waitables, min(left, POLL_INTERVAL_S))
            self._receive()
        found, self._found = self._found, []
        return found

    def wait_ready(self) -> None:
        """Block until all workers are made. AnalysisError if one cannot be."""
        while not self.is_ready:
            wait(self.waitables, POLL_INTERVAL_S)
            self._receive()

    def close(self) -> None:
        """End the processes, after `close` of the workers; what they still do is lost. Idempotent."""
        for one in self._workers:
            if one.child is not None:
                one.child.hang_up()
        end = time.monotonic() + END_TIMEOUT_S
        for one in self._workers:
            if one.child is not None:
                one.child.end(0.0 if one.n_sent else max(0.0, end - time.monotonic()))
                one.child.close()
                one.child = None

    # ---- messages ----

    def _start(self, worker: _Worker) -> None:
        """Let it begin the run, in a new process if it has none."""
        worker.n_started += 1
        worker.name = f"worker{worker.index}" + (f"-{worker.n_started}" if worker.n_started > 1 else "")
        worker.is_ready, worker.n_sent = False, 0
        worker.version = self._begin_message.parameters.version
        worker.waiting_since = time.monotonic()
        if worker.child is None:
            level = logging.getLogger().level if logging.getLogger().handlers else None
            worker.child = start_worker(worker.index, self._context, self._niceness, logger, level, self._live)
        worker.child.send(replace(self._begin_message, name=worker.name))

    def _send_tasks(self, worker: _Worker) -> None:
        while worker.is_ready and worker.n_sent < min(IN_FLIGHT, len(worker.tasks)):
            task = worker.tasks[worker.n_sent]
            has_events = isinstance(task, Batch) and task.part.events is not None
            if has_events and worker.n_sent:
                return  # it may be larger than the pipe, and the worker may be sending its answer meanwhile
            if task.version != worker.version:
                worker.version = task.version
                self._send(worker, self._versions[task.version], is_large=True)
            self._send(worker, task, is_large=has_events)
            if not worker.n_sent:
                worker.waiting_since = time.monotonic()
            worker.n_sent += 1

    def _send(self, worker: _Worker, message: Any, *, is_large: bool) -> None:
        """Send it; a large message to a worker that is stopped would block for ever."""
        child = worker.child
        if child is None:
            return
        if not is_large:
            child.send(message)
            return
        errors: list[BaseException] = []
        failure = f"a message of {worker.name} was not sent"
        sending = GuardedThread(child.send, message, name="large message", failure=failure, on_failure=errors.append)
        sending.start()
        sending.join(self._patience_s)
        if sending.is_alive():
            child.kill()  # its death is noticed as any other
        elif errors:
            raise errors[0]

    def _receive(self) -> None:
        for worker in self._workers:
            child = worker.child
            while child is not None and child is worker.child:
                message = child.receive(0)
                if message is None:
                    self._check_patience(worker)
                    break
                if message is GONE:
                    child.end(END_TIMEOUT_S)
                    self._replace(worker, how_it_ended(child.exit_code))
                else:
                    self._take(worker, message)

    def _take(self, worker: _Worker, message: Any) -> None:
        if isinstance(message, Refused):
            raise AnalysisError(message.text, where=message.where)
        if isinstance(message, Ready):
            worker.is_ready, worker.n_failed_starts = True, 0
            self.tick_interval_s = message.tick_interval_s
        else:
            task = worker.tasks.popleft()
            worker.n_sent -= 1
            worker.waiting_since = time.monotonic()
            if isinstance(task, Batch):
                self._note_done(worker, task)
                if not task.is_repeated_for_state:
                    self._deliver(worker, task, message)
            else:
                worker.summed.clear()
                self._found.append(message)
        self._send_tasks(worker)

    def _note_done(self, worker: _Worker, batch: Batch) -> None:
        if batch.is_repeated_for_state:
            return  # it is in `done`
        if batch.part.is_for_all or (self._sums and self._redo_sums and batch.part.events is None):
            worker.done.append(batch)
        elif self._sums:
            numbers = batch.part.numbers
            n, first, _ = worker.summed or (0, int(numbers[0]), 0)
            worker.summed[:] = n + len(numbers), first, int(numbers[-1])

    # ---- what was done ----

    def _deliver(self, worker: _Worker, batch: Batch, result: BatchResult) -> None:
        answers = self._of_all.get(batch.number)
        if answers is None:
            self._after.append(result)
        else:
            answers[worker.index] = result
            if len(answers) == len(self._workers):
                del self._of_all[batch.number]
                self._after.append(_one_of(answers, batch.number))
        first = min(self._of_all, default=None)
        self._found += [one for one in sorted(self._after, key=_number) if first is None or one.number < first]
        self._after = [one for one in self._after if first is not None and one.number > first]

    # ---- deaths ----

    def _check_patience(self, worker: _Worker) -> None:
        patience_s = self._patience_s if worker.is_ready else max(START_TIMEOUT_S, self._patience_s)
        if (worker.n_sent or not worker.is_ready) and time.monotonic() - worker.waiting_since > patience_s:
            if worker.child is not None and not worker.child.kill():
                worker.child.forget()
            self._replace(worker, f"made no progress for {patience_s:g} s")

    def _replace(self, worker: _Worker, reason: str) -> None:
        child, task = worker.child, worker.tasks[0] if worker.n_sent else None
        who = f"analysis {worker.name} (process {None if child is None else child.pid}) {reason}"
        if child is not None:
            child.close()
        worker.child = None
        if not worker.is_ready:
            worker.n_failed_starts += 1
            if worker.n_failed_starts == MAX_DEATHS:
                raise AnalysisError(f"{who}, as {MAX_DEATHS} processes did while they started")
        self.n_replaced += 1
        logger.warning("%s%s: replacing it", who, f" at {_what(task)}" if task is not None else "")
        if worker.summed:
            n, first, last = worker.summed
            self._found.append(SumsLost(worker.name, n, first, last, who))
            worker.summed.clear()
        if task is not None:
            self._count_death(worker, task, who)
        again = [replace(batch, is_repeated_for_state=True) for batch in worker.done]
        rest = (one for one in worker.tasks if not (isinstance(one, Batch) and one.is_repeated_for_state))
        worker.tasks = deque([*again, *rest])
        self._start(worker)

    def _count_death(self, worker: _Worker, task: Batch | Flush, who: str) -> None:
        """Give a task up if it has killed three workers."""
        key = task.number if isinstance(task, Batch) else -1 - worker.index
        self._deaths[key] += 1
        if self._deaths[key] < MAX_DEATHS:
            return
        text = f"AnalysisError: {who} at {_what(task)}, as {MAX_DEATHS} did: given up"
        logger.error("%s", text)
        worker.tasks.popleft()
        if isinstance(task, Flush):
            n = sum(len(batch.part) for batch in worker.done if not batch.part.is_for_all)
            numbers = [int(batch.part.numbers[0]) for batch in worker.done] or [-1]
            self._found.append(SumsLost(worker.name, n, numbers[0], numbers[-1], text))
            return
        worker.done = [batch for batch in worker.done if batch.number != task.number]
        failures = [EventFailure(int(number), text, "") for number in task.part.numbers]
        failed = BatchResult(
            number=-1 if task.is_repeated_for_state else task.number,
            worker=worker.name,
            version=task.version,
            failures=failures,
            n_events=0 if task.is_repeated_for_state else len(failures),
        )
        if task.is_repeated_for_state:
            self._found.append(failed)
        else:
            self._deliver(worker, task, failed)


def _number(result: BatchResult) -> int:
    return result.number


def _one_of(answers: Mapping[int, BatchResult | None], number: int) -> BatchResult:
    """The answer of one worker to a batch for all, always that of the same; with the failure of another one."""
    found = [answer for _, answer in sorted(answers.items()) if answer is not None]
    chosen = found[number % len(found)]
    failures = next((answer.failures for answer in found if answer.failures), [])
    return chosen if chosen.failures else replace(chosen, failures=failures)


def _what(task: Batch | Flush) -> str:
    if isinstance(task, Flush):
        return "its last result (flush)"
    first, last = int(task.part.numbers[0]), int(task.part.numbers[-1])
    return f"event {first}" if first == last else f"events {first} to {last}"
