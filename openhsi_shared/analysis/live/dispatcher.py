"""The dispatcher: gives lines to workers as they come, their results to the reducer, and slots back to their owner.

It is the only process of an analysis that the owner of the slots knows. Workers and reducer are its children. ::

    slots ──words──▶ dispatcher ──batches──▶ workers, which read the lines by themselves
                     │    ▲ ▲                  │
        released ◀───┘    │ └─────results──────┘
                          └──results──▶ reducer ──acknowledged──▶ done
"""

import os
import time
import traceback
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np

from openhsi_shared.analysis.live.analysis import Analysis
from openhsi_shared.analysis.live.cube_by_cube import CubeByCube
from openhsi_shared.analysis.live.hosting import SlotReader
from openhsi_shared.analysis.live.messages import AllReleased, EndNow, NoMoreLines, ReaderEnded, Ready, Released
from openhsi_shared.analysis.live.reducer_process import (
    Finish,
    Finished,
    NextRun,
    ParameterSet,
    ReducerProcess,
    SetParameter,
    Taken,
)
from openhsi_shared.analysis.live.tally import Tally
from openhsi_shared.analysis.parameter_log import ParameterLog
from openhsi_shared.analysis.parameters import Parameters
from openhsi_shared.analysis.streams.lines_of_slots import SlotSource
from openhsi_shared.analysis.work.batches import LINES_IN_BATCH, Batches
from openhsi_shared.analysis.work.failure_log import error_of
from openhsi_shared.analysis.work.messages import Batch, BatchResult, EventFailure
from openhsi_shared.analysis.work.workers import Crew
from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.errors import AnalysisError, ParameterError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.logs import forward_logs
from openhsi_shared.processes.spawning import become_service

__all__ = ["analysis_reader"]

logger = safe_logger(__name__)

LOOK_INTERVAL_S = 0.005
"""How often the words of the slots are read while a worker is idle."""
WAIT_INTERVAL_S = 0.1
STATUS_INTERVAL_S = 0.5
"""Each status costs the recording's process 0.2 ms."""
MAX_GAPS = 100
"""Newest gaps in a status while it runs."""


def analysis_reader(analysis: Analysis, source: SlotSource) -> SlotReader:
    """What reads the slots for an analysis."""
    return SlotReader(
        name=str(analysis.name),
        kind="analysis",
        mode=analysis.mode,
        target=_run,
        args=(analysis, source),
        patience_s=2 * analysis.patience_s,
    )


def _run(parent: Parent, analysis: Analysis, source: SlotSource) -> None:
    """Main function of the child: process lines until `NoMoreLines`, `EndNow`, or the death of the parent."""
    become_service(analysis.niceness, in_background=True)
    forward_logs(parent)
    status = AnalysisStatus(name=str(analysis.name), mode=analysis.mode, state="failed")
    dispatcher: _Dispatcher | None = None
    with ExitStack() as stack:
        try:
            dispatcher = _Dispatcher(parent, analysis, source, stack)
            parent.tell(Ready())
            ended = dispatcher.run()
        except BaseException as error:  # noqa: BLE001 - not swallowed: the parent logs or raises it
            failure = error if isinstance(error, AnalysisError) else _unexpected(error)
            status = replace(status if dispatcher is None else dispatcher.status(), state="failed")
            ended = ReaderEnded(status=replace(status, why=str(failure)), error=failure)
        parent.tell(ended)


def _unexpected(error: BaseException) -> AnalysisError:
    return AnalysisError(f"{type(error).__name__}: {error}", where=traceback.format_exc())


class _Dispatcher:
    """One analysis, from its first line to its end. For one thread."""

    def __init__(self, parent: Parent, analysis: Analysis, source: SlotSource, stack: ExitStack) -> None:
        """Start workers and reducer, and wait until they are made; `stack` ends them."""
        self._parent, self._analysis, self._source = parent, analysis, source
        pair, parameters = analysis.unpacked()
        self._pair = pair
        self._reducer = ReducerProcess(analysis)
        stack.callback(self._reducer.close)
        self._crew = Crew(
            pair,
            source,
            analysis.n_workers,
            {},
            parameters,
            patience_s=analysis.patience_s,
            debug=analysis.debug,
        )
        stack.callback(self._crew.close)
        self._ranges = source.ranges()
        stack.callback(self._ranges.close)
        self._cubes = CubeByCube(self._ranges) if analysis.per == "cube" else None
        self._begin_run(parameters)
        self._crew.wait_ready()
        socket, url = self._reducer.wait_ready()
        self._batches.tick_interval_s = self._crew.tick_interval_s
        recording = str(source.slots) if isinstance(source.slots, Path) else ""
        status = AnalysisStatus(
            name=str(analysis.name), mode=analysis.mode, state="running", socket=socket, url=url, recording=recording
        )
        self._tally = Tally(status, analysis.n_workers)
        self._in_flight: dict[int, Batch] = {}
        """Submitted, and without a result."""
        self._at_reducer: dict[int, Batch] = {}
        self._status_at = 0.0
        self._is_stopping = self._is_orphan = self._is_finishing = self._has_released = False
        self._first_file = ""
        self._saved: frozenset[int] | None = None
        self._finished: Finished | None = None

    def run(self) -> ReaderEnded:
        """Process all lines; AnalysisError if the reducer dies or hangs."""
        failed: AnalysisError | None = None
        try:
            self._process_run()
            while self._cubes is not None and not self._cubes.is_over and not self._is_stopping:
                self._begin_next_cube()
                self._process_run()
        except AnalysisError as error:
            if self._reducer.child.exit_code is not None:
                raise
            failed = error
        if failed is None and self._is_orphan:
            failed = AnalysisError("the program that started it has ended")
        return self._finish(failed)

    def _begin_run(self, parameters: Parameters) -> None:
        self._log = ParameterLog(self._pair.described, parameters)
        ranges = self._cubes or self._ranges
        self._batches = Batches(ranges, now_ns=time.monotonic_ns, next_change=self._log.next_change)

    def _process_run(self) -> None:
        while not self._is_drained():
            self._step(self._submit())
        if self._is_stopping:
            self._release_all()
        self._crew.flush()
        while self._crew.n_waiting or self._reducer.n_unanswered:
            self._step(WAIT_INTERVAL_S)

    def _begin_next_cube(self) -> None:
        """Let the reducer finish; then worker and reducer are made again, with the newest values of the parameters."""
        finished = self._finish_run(None)
        if finished.error:
            self._finished = finished
            raise AnalysisError(finished.error, where=finished.where)
        tick_interval_s = self._batches.tick_interval_s
        values = {name: value.value for name, value in self._log.newest.items()}
        parameters = Parameters(self._pair.described, values)
        self._reducer.send(NextRun(parameters))
        self._crew.begin(self._pair, self._source, parameters, debug=self._analysis.debug)
        if self._cubes is not None:
            self._cubes.begin_next()
        self._begin_run(parameters)
        self._batches.tick_interval_s = tick_interval_s

    def _is_drained(self) -> bool:
        return (self._is_stopping or self._batches.is_ended) and not self._in_flight

    def _step(self, timeout_s: float) -> None:
        """Wait for a message, and do what all messages want."""
        waitables = [*self._crew.waitables, *self._reducer.child.waitables]
        wait(waitables if self._is_orphan else [*waitables, *self._parent.waitables], timeout_s)
        while not self._is_orphan and (message := self._parent.receive(0)) is not None:
            self._obey(message)
        self._look()
        for result in self._crew.wait(0):
            self._take(result)
        self._hear_reducer()
        if time.monotonic() - self._status_at > STATUS_INTERVAL_S:
            self._tell_status()

    def _obey(self, message: Any) -> None:
        match message:
            case NoMoreLines(first_file, saved):
                self._first_file, self._saved = first_file, saved
                self._ranges.end()
            case EndNow(first_file):
                self._first_file, self._is_stopping = first_file, True
            case _ if message is GONE:
                self._is_orphan = self._is_stopping = True

    # ---- batches ----

    def _submit(self) -> float:
        """Give batches to idle workers; returns how long to wait for messages."""
        limit = LINES_IN_BATCH + 2 * self._analysis.n_workers
        while not self._is_stopping and self._crew.n_free and self._reducer.n_unanswered < limit:
            batch = self._batches.next(self._log.version_for)
            self._release()
            if batch is None:
                return WAIT_INTERVAL_S if self._batches.is_ended else LOOK_INTERVAL_S
            self._in_flight[batch.number] = batch
            self._crew.submit(batch)
        return WAIT_INTERVAL_S if self._analysis.mode == "lossless" else LOOK_INTERVAL_S

    def _release(self) -> None:
        for slot, cube in self._ranges.released:
            self._parent.tell(Released(slot, cube))
        self._ranges.released.clear()

    def _look(self) -> None:
        """Note the lines that are new, unless none is wanted any more."""
        if not self._has_released:
            self._ranges.look()

    def _release_all(self) -> None:
        """No line is read any more: what users do in `flush` and `finish` must not hold up the recording."""
        self._has_released = True
        if not self._is_orphan:
            self._parent.tell(AllReleased())

    def _take(self, result: Any) -> None:
        """Pass the result of a batch on; no worker reads its lines any more."""
        batch = None
        if isinstance(result, BatchResult):
            batch = self._in_flight.pop(result.number, None)
            self._batches.tick_interval_s = result.tick_interval_s or self._batches.tick_interval_s
            self._ranges.note_overwritten(frame_id for _, frame_id in result.overwritten)
            self._reducer.send(result)
        self._tally.add(result, None if batch is None else batch.part, self._pair.worker_name)
        if batch is not None:
            self._at_reducer[batch.number] = batch
            self._batches.release(batch)
            self._release()
        failures = result.failures if isinstance(result, BatchResult) else []
        self._raise_first(failures, self._pair.worker_name)

    def _raise_first(self, failures: list[EventFailure], who: str) -> None:
        if failures and self._analysis.on_error == "raise":
            raise error_of(failures[0], who)

    # ---- the reducer ----

    def _hear_reducer(self) -> None:
        for message in self._reducer.receive():
            match message:
                case Taken(number, n_results, failures):
                    batch = self._at_reducer.pop(number, None)
                    self._tally.taken(n_results, None if batch is None else batch.part)
                    self._tally.fail(failures, str(self._pair.reducer_name))
                    if not self._is_finishing:
                        self._raise_first(failures, str(self._pair.reducer_name))
                case SetParameter():
                    self._reducer.send(self._set_parameter(message))
                case Finished():
                    self._finished = message
                    if not self._is_finishing:
                        raise AnalysisError(message.error, where=message.where)

    def _set_parameter(self, message: SetParameter) -> ParameterSet:
        """A change holds from the first event on that no worker was given."""
        number = self._batches.next_event
        now = np.datetime64(time.time_ns(), "ns")
        try:
            parameters = self._log.change(message.name, message.data, number, now)
        except ParameterError as error:
            return ParameterSet(message.ticket, number, now, None, str(error))
        self._crew.set_parameters(parameters)
        self._reducer.send(parameters)
        return ParameterSet(message.ticket, number, now, parameters)

    # ---- status and end ----

    def status(self) -> AnalysisStatus:
        """All counts now."""
        waiting = self._ranges.n_waiting + sum(len(batch.part) for batch in self._in_flight.values())
        skipped = self._ranges.skipped
        status = self._tally.status(
            waiting=waiting, n_skipped=skipped.n, skipped_ids=skipped.ids, n_replaced=self._crew.n_replaced
        )
        workers = {name: pid for name, pid in self._crew.workers.items() if pid is not None}
        ids = {"dispatcher": os.getpid(), "reducer": self._reducer.child.pid or 0, **workers}
        is_ending = self._is_stopping or self._batches.is_ended
        return replace(status, processes=ids, state="ending" if is_ending else "running")

    def _tell_status(self) -> None:
        self._status_at = time.monotonic()
        status = self.status()
        status = replace(status, skipped_ids=status.skipped_ids[-MAX_GAPS:])
        if not self._is_orphan:
            self._parent.tell(status)
        self._reducer.send_status(status)

    def _finish_run(self, failed: AnalysisError | None) -> Finished:
        """Let the reducer finish, and save its result. AnalysisError if it dies or hangs."""
        why = "" if failed is None else str(failed)
        save_as = (self._first_file or self._ranges.first_file) if self._cubes is None else self._cubes.file
        self._is_finishing = True
        self._reducer.send(Finish(failed_by=why, save_as=save_as, status=self.status(), changes=self._log.to_json()))
        while (finished := self._finished) is None:
            wait(self._reducer.child.waitables, WAIT_INTERVAL_S)
            self._look()
            self._hear_reducer()
            self._tell_status()
        self._finished, self._is_finishing = None, False
        self._tally.end_run(finished.n_results)
        self._tally.fail(finished.failures, str(self._pair.reducer_name))
        return finished

    def _finish(self, failed: AnalysisError | None) -> ReaderEnded:
        """Let the reducer finish, also after a failure, unless it has. AnalysisError if it dies or hangs."""
        self._release_all()
        finished = self._finished or self._finish_run(failed)
        if finished.error and failed is None:
            failed = AnalysisError(finished.error, where=finished.where)
        state: Any = "ended" if failed is None else "failed"
        status = replace(
            self.status(), state=state, why="" if failed is None else str(failed), saved_to=finished.saved_to
        )
        return ReaderEnded(
            status=status,
            error=failed,
            published=finished.published,
            parameters={name: value.value for name, value in self._log.newest.items()},
            lines_of=self._lines_of_unsaved(),
        )

    def _lines_of_unsaved(self) -> dict[int, int]:
        """Empty if it has ended before the recording."""
        saved, lines_of = self._saved, self._tally.lines_of
        return {} if saved is None else {cube: n for cube, n in lines_of.items() if cube not in saved}
