"""The process of a reducer: it takes results, calls the timer, and serves what is published."""

import contextlib
import itertools
import pickle
import queue
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from openhsi_shared.analysis.live.analysis import Analysis
from openhsi_shared.analysis.parameter_log import ParameterLog
from openhsi_shared.analysis.parameters import Parameter, Parameters
from openhsi_shared.analysis.publishing.published import Published
from openhsi_shared.analysis.publishing.server import serve
from openhsi_shared.analysis.publishing.snapshots import take_snapshot
from openhsi_shared.analysis.work.failures import failed
from openhsi_shared.analysis.work.messages import BatchResult, EventFailure
from openhsi_shared.analysis.work.reduce import ReduceRunner
from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.errors import AnalysisError, ParameterError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.logs import forward_logs
from openhsi_shared.processes.printing import LoggedPrints
from openhsi_shared.processes.supervision import GuardedThread
from openhsi_shared.processes.workers import end_with_parent, how_it_ended, single_threaded

__all__ = ["Finish", "Finished", "NextRun", "ParameterSet", "ReducerProcess", "SetParameter", "Taken"]

logger = safe_logger(__name__)

TIMER_INTERVAL_S = 0.25
PARAMETER_TIMEOUT_S = 10.0


# ---- messages ------------------------------------------------------------------------


class Serving(NamedTuple):
    """From the reducer: it is made."""

    socket: str
    url: str


class Taken(NamedTuple):
    """From the reducer: it has processed the results of a batch."""

    number: int
    n_results: int
    """Since the start."""
    failures: list[EventFailure]


class SetParameter(NamedTuple):
    """From the reducer: a client sets a parameter. Answered by `ParameterSet`."""

    ticket: int
    name: str
    data: Any


class ParameterSet(NamedTuple):
    """To the reducer: the change holds from an event on."""

    ticket: int
    event_number: int
    time: Any
    parameters: Parameters | None
    refused: str = ""


@dataclass(frozen=True, kw_only=True)
class Finish:
    """To the reducer: no result follows."""

    failed_by: str
    """Why the analysis has ended early; empty if it has not."""
    save_as: str
    """Path of the first cube, beside which the result is saved; empty: it is not saved."""
    status: AnalysisStatus
    changes: str
    """The parameters and their changes, as JSON."""


class NextRun(NamedTuple):
    """To the reducer: make it again."""

    parameters: Parameters


@dataclass(frozen=True, kw_only=True)
class Finished:
    """From the reducer: the answer to `Finish`, or why it cannot go on."""

    published: bytes
    n_results: int
    failures: list[EventFailure] = field(default_factory=list)
    error: str = ""
    """Why `finish`, or saving the result, has failed."""
    where: str = ""
    saved_to: str = ""


# ---- in the dispatcher ---------------------------------------------------------------


class ReducerProcess:
    """The reducer, as seen by its dispatcher. Sending never blocks."""

    def __init__(self, analysis: Analysis) -> None:
        """Start it; returns before it is ready."""
        self._patience_s = analysis.patience_s
        with single_threaded():
            name = f"reducer of {analysis.name}"
            self.child = Child(_serve, (analysis,), name=name, logger=logger, daemon=True)
        self.n_unanswered = 0
        """Batches that it was sent and has not processed."""
        self._heard_at = time.monotonic()
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        failure = "results are not sent to the reducer any more: the analysis ends"
        self._sender = GuardedThread(
            self._send_all, name="results", failure=failure, on_failure=lambda _: self.child.hang_up()
        )
        self._sender.start()

    def wait_ready(self) -> Serving:
        """Block until it is made. AnalysisError if it cannot be."""
        answer = self.child.first_message(AnalysisError)
        if isinstance(answer, Serving):
            return answer
        raise AnalysisError(answer.error, where=answer.where)

    def send(self, message: Any) -> None:
        """Send a result, parameters, or `Finish`."""
        if isinstance(message, BatchResult | Finish):
            if not self.n_unanswered:
                self._heard_at = time.monotonic()
            self.n_unanswered += 1
        self._queue.put(message)

    def send_status(self, status: AnalysisStatus) -> None:
        """Send it, unless other messages wait."""
        if self._queue.empty():
            self._queue.put(status)

    def receive(self) -> list[Any]:
        """Return what has arrived. AnalysisError if it has died or hangs."""
        found = []
        while (message := self.child.receive(0)) is not None:
            if message is GONE:
                self.child.end(1.0)
                raise AnalysisError(f"the reducer's process {how_it_ended(self.child.exit_code)}")
            if isinstance(message, Taken | Finished):
                self.n_unanswered -= 1
                self._heard_at = time.monotonic()
            found.append(message)
        if self.n_unanswered and time.monotonic() - self._heard_at > self._patience_s:
            self.child.end()
            raise AnalysisError(f"the reducer made no progress for {self._patience_s:g} s: it was killed")
        return found

    def close(self) -> None:
        """End it. Idempotent."""
        self._queue.put(None)
        self.child.hang_up()
        self.child.end(1.0)
        self._sender.join()
        self.child.close()

    def _send_all(self) -> None:
        while (message := self._queue.get()) is not None:
            if not self.child.send(message):
                return  # it has died: `receive` says so


# ---- in the reducer's process --------------------------------------------------------


def _serve(parent: Parent, analysis: Analysis) -> None:
    end_with_parent(parent)
    forward_logs(parent)
    with contextlib.redirect_stdout(LoggedPrints()):
        try:
            service = _Service(parent, analysis)
            with serve(service, analysis.port) as server:
                parent.tell(Serving(server.socket, server.url))
                service.run()
        except BaseException as error:  # noqa: BLE001 - not swallowed: the dispatcher raises it
            refused = error if isinstance(error, AnalysisError) else failed("the reducer failed", error)
            words, where = str(refused), refused.worker_traceback
            parent.tell(Finished(published=b"", n_results=0, error=words, where=where))
            while parent.receive() is not GONE:
                continue


class _Service(Published):
    """The reducer, and what its server reads of it in another thread."""

    def __init__(self, parent: Parent, analysis: Analysis) -> None:
        self._parent, self._analysis = parent, analysis
        self._pair, parameters = analysis.unpacked()
        self._context: dict[Any, Any] = {}
        self._begin(parameters)
        self._status = AnalysisStatus(name=str(analysis.name), mode=analysis.mode)
        self._tickets = itertools.count()
        self._answers: dict[int, queue.SimpleQueue[ParameterSet]] = {}

    def _begin(self, parameters: Parameters) -> None:
        self._newest = parameters
        self._versions = {parameters.version: parameters}
        self._runner = ReduceRunner(self._pair, self._context, parameters, self._analysis.ordered)

    def run(self) -> None:
        """Take messages until the dispatcher ends this process."""
        while (message := self._parent.receive(self._pause_s())) is not GONE:
            match message:
                case BatchResult():
                    failures = self._runner.take(message, self._versions[message.version])
                    self._parent.tell(Taken(message.number, self._runner.n_results, failures))
                case Parameters():
                    self._versions[message.version] = self._newest = message
                    self._runner.set_parameters(message)
                case ParameterSet():
                    waiting = self._answers.pop(message.ticket, None)
                    if waiting is not None:  # else its client was told that the reducer is busy
                        waiting.put(message)
                case AnalysisStatus():
                    self._status = message
                case NextRun(parameters):
                    self._begin(parameters)
                case Finish():
                    self._parent.tell(self._finished(message))
            if self._runner.seconds_until_timer() == 0.0 and (failure := self._runner.run_timer()):
                self._parent.tell(Taken(-2, self._runner.n_results, [failure]))

    def _pause_s(self) -> float:
        due_s = self._runner.seconds_until_timer()
        return TIMER_INTERVAL_S if due_s is None else min(due_s, TIMER_INTERVAL_S)

    def _finished(self, message: Finish) -> Finished:
        failures: list[EventFailure] = []
        error = where = saved_to = ""
        self._status = message.status
        failed_by = AnalysisError(message.failed_by) if message.failed_by else None
        for step in ("finish", "close", "save"):  # what is published is saved in any case
            try:
                if step == "finish":
                    failures = self._runner.finish(failed_by)
                elif step == "close":
                    self._runner.close()
                else:
                    saved_to = self._save(message, message.failed_by or error)
            except Exception as raised:  # noqa: BLE001 - not swallowed: reported with what was published
                if not error:
                    error, where = str(raised), getattr(raised, "worker_traceback", "") or traceback.format_exc()
        return Finished(
            published=pickle.dumps(take_snapshot(self).as_dict()),
            n_results=self._runner.n_results,
            failures=failures,
            error=error,
            where=where,
            saved_to=saved_to,
        )

    def _save(self, message: Finish, failed_by: str) -> str:
        """Save the result beside the first cube; returns its path, empty if nothing is saved."""
        if not message.save_as:
            return ""
        from openhsi_shared.analysis.publishing.result_file import result_path, save_result

        status = message.status
        counts = {name: getattr(status, name) for name in ("name", "mode", "events", "skipped", "failed", "not_saved")}
        counts |= {"results": self._runner.n_results, "failed_by": failed_by}
        Path(message.save_as).parent.mkdir(parents=True, exist_ok=True)  # the writer may not have made it yet
        log = ParameterLog.from_json(self._pair.described, message.changes)
        target = result_path(Path(message.save_as), is_attached=bool(status.recording))
        return str(save_result(target, take_snapshot(self), self._pair, log, counts))

    # ---- for the server's threads ----

    @property
    def publish(self) -> Mapping[Any, Any]:
        """What the reducer publishes now."""
        return self._runner.publish

    @property
    def lock(self) -> Any:
        """Held while `publish` is read."""
        return self._runner.lock

    @property
    def described(self) -> Mapping[str, Parameter]:
        """Its parameters."""
        return self._pair.described

    @property
    def parameters(self) -> Parameters:
        """Their newest values."""
        return self._newest

    def status(self) -> AnalysisStatus:
        """The newest one."""
        return self._status

    def set_parameter(self, name: str, data: Any) -> tuple[int, Any, str]:
        """Let a value hold from an event on: returns that event's number, the time, and the hash of all values.

        ParameterError if it does not fit, AnalysisError if the analysis does not respond.
        """
        ticket = next(self._tickets)
        answers = self._answers[ticket] = queue.SimpleQueue()
        self._parent.tell(SetParameter(ticket, name, data))
        try:
            answer = answers.get(timeout=PARAMETER_TIMEOUT_S)
        except queue.Empty:
            self._answers.pop(ticket, None)
            raise AnalysisError(f"parameter {name!r}: no answer, as the reducer is busy; it may be set") from None
        if answer.parameters is None:
            raise ParameterError(answer.refused)
        return answer.event_number, answer.time, answer.parameters.hash
