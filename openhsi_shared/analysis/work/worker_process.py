"""A process with a worker: what it runs, and the messages to it and from it."""

import contextlib
import logging
import os
import signal
from dataclasses import dataclass
from typing import Any, NamedTuple

from openhsi_shared.analysis.contract import Pair
from openhsi_shared.analysis.parameters import Parameters
from openhsi_shared.analysis.streams.source import Reader, Source
from openhsi_shared.analysis.work.batches import events_of
from openhsi_shared.analysis.work.failures import failed
from openhsi_shared.analysis.work.messages import Batch, BatchResult, EventFailure
from openhsi_shared.analysis.work.worker import WorkerRunner, end_work
from openhsi_shared.errors import AnalysisError
from openhsi_shared.loggers import AnyLogger
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.logs import forward_logs
from openhsi_shared.processes.printing import LoggedPrints
from openhsi_shared.processes.workers import end_with_parent, single_threaded

__all__ = ["Begin", "Flush", "Ready", "Refused", "start_worker"]

LOG_FORMAT = logging.BASIC_FORMAT


@dataclass(frozen=True, kw_only=True)
class Begin:
    """To a worker: a run begins. Answered by `Ready` or `Refused`."""

    pair: Pair
    source: Source | None
    """None: the one that the process was started with."""
    name: str
    """Of the worker, unique."""
    parameters: Parameters
    debug: bool = False


class Flush(NamedTuple):
    """To a worker: the run ends. Answered by a BatchResult with number -1."""

    version: int
    """Of the parameters."""


class Ready(NamedTuple):
    """From a worker: it is made."""

    tick_interval_s: float | None


class Refused(NamedTuple):
    """From a worker: it cannot go on."""

    text: str
    where: str
    """Traceback of the code that raised."""


# ---- in the parent -------------------------------------------------------------------


def start_worker(
    index: int,
    context: dict[Any, Any],
    niceness: int,
    logger: AnyLogger,
    log_level: int | None = None,
    live: Source | None = None,
) -> Child:
    """Start a process, which waits for `Begin`; returns before it is ready. OSError if the system cannot start it.

    `niceness` is added to that of this process. `log_level`: records of the user's loggers from it on go to stderr.
    `live`: a source in shared memory, which a process can be given only when it is started.
    """
    with single_threaded():
        return Child(
            _serve, (context, niceness, log_level, live), name=f"analysis worker {index}", logger=logger, daemon=True
        )


# ---- in the child --------------------------------------------------------------------


def _serve(parent: Parent, context: dict[Any, Any], niceness: int, log_level: int | None, live: Source | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group: the parent handles it
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if niceness and hasattr(os, "nice"):
        os.nice(niceness)
    end_with_parent(parent)
    if log_level is not None:
        logging.basicConfig(level=log_level, format=LOG_FORMAT)
    forward_logs(parent)
    with contextlib.redirect_stdout(LoggedPrints()), contextlib.closing(_Service(context, live)) as service:
        while (message := parent.receive()) is not GONE:
            if message is None:
                continue
            answer = service.answer(message)
            if answer is not None:
                parent.tell(answer)


class _Service:
    """The worker of one run after the other."""

    def __init__(self, context: dict[Any, Any], live: Source | None) -> None:
        self._context, self._live = context, live
        self._runner: WorkerRunner | None = None
        self._reader: Reader | None = None

    def answer(self, message: Any) -> Ready | Refused | BatchResult | None:
        """Do what is asked."""
        try:
            return self._answer(message)
        except BaseException as error:  # noqa: BLE001 - not swallowed: the parent raises it
            refused = error if isinstance(error, AnalysisError) else failed("an analysis worker failed", error)
            return Refused(str(refused), refused.worker_traceback)

    def _answer(self, message: Any) -> Ready | BatchResult | None:
        if isinstance(message, Begin):
            self.close()
            source = message.source or self._live
            self._reader = None if source is None else source.reader()
            self._runner = WorkerRunner(
                message.pair, message.name, self._context, message.parameters, debug=message.debug
            )
            return Ready(self._runner.tick_interval_s)
        if self._runner is None or self._reader is None:
            raise AnalysisError(f"an analysis worker got {type(message).__name__} before its run began")
        if isinstance(message, Batch):
            events: Any = events_of(self._reader, message.part)
            return self._runner.process(message, events)
        if isinstance(message, Parameters):
            self._runner.set_parameters(message)
            return None
        return self._flushed(self._runner, message.version)

    def _flushed(self, runner: WorkerRunner, version: int) -> BatchResult:
        """The last result of the worker, which is closed."""
        found = runner.flush() or BatchResult(number=-1, worker=runner.name, version=version)
        try:
            self.close()
        except AnalysisError as error:  # not swallowed: counted, as others are
            found.failures.append(EventFailure(-1, str(error), error.worker_traceback))
        return found

    def close(self) -> None:
        """End the run. Idempotent."""
        runner, reader = self._runner, self._reader
        self._runner = self._reader = None
        end_work(runner, reader)
